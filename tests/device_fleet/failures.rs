//! Apps that fail: at their start, later, alone and with others.

use crate::LIMIT;
use crate::bench::Bench;
use fullmetal_proto::deploy::Phase;
use fullmetal_sim::lab::wait_for;

fn never_ready(bench: &mut Bench) {
    bench.release += 1;
    let release = bench.release;
    let hold = format!("hold-{release}");
    let file = bench.host().file("web", &hold);
    std::fs::write(&file, "").unwrap();
    let tree = crate::apps::build(&bench.dir.path().join("tree-web"), release, Some(&bench.hosts[0].device));
    bench.publish_tree("web", release, &tree, &["--notify", "--start-timeout", "1", "--probation", "1"]);
    let action = bench.decide(&["web"]);
    let reason = bench.ends_with(action, "failed", release - 1);
    assert!(reason.contains("did not start") && reason.contains("timeout"), "{reason}");
    bench.host().unset("web", &hold);
}

fn ends_at_once(bench: &mut Bench) {
    let release = bench.next("1");
    let fail = format!("fail-{release}");
    bench.host().set("web", &fail);
    let action = bench.decide(&["web"]);
    let reason = bench.ends_with(action, "failed", release - 2);
    for words in ["did not start", "exit status 3", "/data/fail-3 is there"] {
        assert!(reason.contains(words), "{words:?} is not in {reason}");
    }
    bench.host().unset("web", &fail);
}

/// What was proven is not rolled back: systemd starts it again and again, and the next deployment finds it so.
fn fails_after_its_probation(bench: &mut Bench) {
    bench.release += 1;
    let release = bench.release;
    bench.publish("web", release, false, &["--probation", "1"]);
    let action = bench.decide(&["web"]);
    bench.ends_with(action, "succeeded", release);
    bench.host().set("web", &format!("fail-{release}"));
    let main = bench.host().main_pid("web");
    bench.host().device.run(&["kill", "-9", &main]).unwrap();
    wait_for("it is started again", LIMIT, || {
        Ok((bench.host().property("web", "NRestarts").parse::<u32>()? >= 2).then_some(()))
    })
    .unwrap();
    assert_eq!(bench.ends_told_by("press-1").len(), bench.ended.len(), "nobody was told of another end");
    let status = bench.host().status();
    assert!(status["apps"][0]["restarts"].as_u64().unwrap() >= 2, "{status}");
    let next = bench.next("1");
    let action = bench.decide(&["web"]);
    bench.ends_with(action, "succeeded", next);
}

/// `web` needs `db`: what is needed starts first and stops last, on the way there and back.
fn with_what_it_needs(bench: &mut Bench) {
    let of = |bench: &Bench, word: &str| ["db", "web"].map(|app| bench.host().last(word, app));
    let starts_in_order = |bench: &Bench| {
        let [Some(db), Some(web)] = of(bench, "Starting") else { panic!("not both were started") };
        assert!(db < web, "db starts at {db}, web at {web}");
    };
    let publish = |bench: &mut Bench| {
        bench.release += 1;
        bench.publish("db", bench.release, true, &["--probation", "1"]);
        bench.publish("web", bench.release, true, &["--probation", "1", "--requires", "db", "--after", "db"]);
        bench.release
    };
    let first = publish(bench);
    // Named so that the decision's own order would be the wrong one.
    let action = bench.decide(&["web", "db"]);
    bench.ends_with(action, "succeeded", first);
    starts_in_order(bench);
    let second = publish(bench);
    let fail = format!("fail-{second}");
    bench.host().set("web", &fail);
    let action = bench.decide(&["web", "db"]);
    bench.ends_with(action, "failed", first);
    assert_eq!(bench.host().page(8081), format!("release {first}"));
    starts_in_order(bench);
    let [Some(db), stopped] = of(bench, "Stopped") else { panic!("db was not stopped") };
    assert!(stopped.is_some_and(|web| web < db), "web ends at {stopped:?}, db at {db}");
    // A boot keeps the order by systemd alone.
    bench.hosts[0].device.reboot().unwrap();
    assert_eq!(bench.host().page(8080), format!("release {first}"));
    starts_in_order(bench);
    crate::check::as_its_journal_says(bench.host());
    // What is no part of a deployment goes down with what it requires, and comes back with it.
    bench.release += 1;
    bench.host().set("db", &format!("fail-{}", bench.release));
    bench.publish("db", bench.release, true, &["--probation", "1"]);
    let action = bench.decide(&["db"]);
    bench.ends_with(action, "failed", first);
    assert_eq!(bench.host().page(8081), format!("release {first}"));
    crate::leaving::is_refused_while_it_is_required(bench);
}

/// What was withdrawn before its switch leaves nothing, and what follows is as ever.
fn proves_nothing_that_was_replaced(bench: &mut Bench) {
    bench.host().fullmetal(&["lock"]).unwrap();
    let _ = publish_both(bench);
    let action = bench.decide(&["web"]);
    bench.host().reaches("its staging", |phase| *phase == Phase::Staging);
    let second = publish_both(bench);
    let next = bench.decide(&["web"]);
    wait_for("the second is known", LIMIT, || {
        let record = bench.host().record();
        let wishes = record.deployment.map(|d| d.wish).into_iter().chain(record.next);
        Ok(wishes.into_iter().any(|wish| wish.action == next).then_some(()))
    })
    .unwrap();
    bench.host().fullmetal(&["unlock"]).unwrap();
    bench.end_of(next);
    bench.ended.push((action, "withdrawn"));
    bench.ends_with(next, "succeeded", second);
}

fn publish_both(bench: &mut Bench) -> u64 {
    bench.release += 1;
    bench.publish("web", bench.release, true, &["--probation", "1"]);
    bench.release
}

#[test]
fn what_fails_is_rolled_back_and_told_and_what_was_proven_is_not() {
    let mut bench = Bench::settled(1);
    for case in
        [never_ready, ends_at_once, fails_after_its_probation, with_what_it_needs, proves_nothing_that_was_replaced]
    {
        case(&mut bench);
    }
    crate::leaving::apps_leave(&mut bench);
}
