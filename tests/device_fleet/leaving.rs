//! Apps leave the device because a release says so, and come back when that release fails.

use crate::LIMIT;
use crate::bench::Bench;
use fullmetal_proto::deploy::Phase;
use fullmetal_sim::lab::wait_for;
use std::fs;

/// While `web` requires `db`.
pub fn is_refused_while_it_is_required(bench: &mut Bench) {
    let action = bench.decide_that("now", &[], &["db"]);
    let reason = bench.ends(action, "failed");
    assert_eq!(reason, "web requires db, which this deployment removes: remove web too, or leave db");
}

/// On a device with `web` and `db`, of which `db` serves on port 8081: `camera` takes its place there.
pub fn apps_leave(bench: &mut Bench) {
    let camera = bench.host().file("camera", "port");
    fs::create_dir_all(camera.parent().unwrap()).unwrap();
    fs::copy(bench.host().file("db", "port"), camera).unwrap();
    let before = bench.host().page(8081);
    with_a_release_that_fails(bench, &before);
    bench.publish("camera", bench.release, true, &["--probation", "1"]);
    cut_in_the_midst_of_the_switch(bench);
    let dir = bench.host().paths().app_dir(&"db".parse().unwrap());
    wait_for("its checkouts go", LIMIT, || Ok((!dir.exists()).then_some(()))).unwrap();
    assert!(bench.host().file("db", "port").exists(), "its data stays");
    assert_eq!(bench.host().property("db", "LoadState"), "not-found");
    let history = bench.host().fullmetal(&["history", "-n", "1"]).unwrap();
    assert!(history.contains("db removed") && history.contains("succeeded"), "{history}");
    // What is gone is no work, and nothing else may be left when the last leaves.
    let action = bench.decide_that("now", &[], &["db", "web", "camera"]);
    bench.ends(action, "succeeded");
    assert!(bench.host().record().apps.is_empty());
}

fn with_a_release_that_fails(bench: &mut Bench, db: &str) {
    let release = bench.next("1");
    let (fail, hold) = (format!("fail-{release}"), format!("hold-{release}"));
    bench.host().set("web", &hold);
    let action = bench.decide_that("now", &["web"], &["db"]);
    bench.host().reaches("its switch", |phase| matches!(phase, Phase::Switching { .. }));
    bench.host().is("web", "activating");
    assert_eq!(bench.host().property("db", "LoadState"), "not-found", "it left before the others start");
    let status = bench.host().status()["deployment"].clone();
    assert_eq!((&status["removed"][0], &status["parts"][1]), (&"db".into(), &"db removed".into()), "{status}");
    bench.host().set("web", &fail);
    bench.host().unset("web", &hold);
    // It is past its look at the file.
    let main = bench.host().main_pid("web");
    let _ = bench.host().device.run(&["kill", "-9", &main]);
    bench.ends_with(action, "failed", release - 1);
    assert_eq!(bench.host().page(8081), db);
    bench.host().unset("web", &fail);
}

fn cut_in_the_midst_of_the_switch(bench: &mut Bench) {
    let release = bench.next("1");
    let hold = format!("hold-{release}");
    bench.host().set("web", &hold);
    let action = bench.decide_that("now", &["web", "camera"], &["db"]);
    bench.host().reaches("its switch", |phase| matches!(phase, Phase::Switching { .. }));
    bench.host().is("web", "activating");
    bench.hosts[0].device.cut_power().unwrap();
    bench.host().is("web", "activating");
    assert_eq!(bench.host().property("db", "LoadState"), "not-found", "it is not started with the device");
    bench.host().unset("web", &hold);
    bench.ends_with(action, "succeeded", release);
    assert_eq!(bench.host().page(8081), format!("release {}", release - 1));
}
