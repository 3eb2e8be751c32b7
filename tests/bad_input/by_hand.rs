//! Apps that an operator stops and starts, and what `fullmetal status` says meanwhile.

use super::bench::{Bench, LIMIT};
use super::said::{Said, run};
use fullmetal_sim::lab::{APP, APP_REF, wait_for};
use std::path::Path;
use std::time::Duration;

fn on_device(bench: &Bench, args: &[&str]) -> Said {
    let (device, program) = (bench.device(), &bench.site.fleet.programs().fullmetal);
    let net = format!("--net=/run/netns/{}", device.netns().unwrap());
    let (program, root) = (program.to_string_lossy(), device.root().to_string_lossy());
    run(Path::new("nsenter"), &[&[net.as_str(), &program, "--root", &root], args].concat())
}

/// How often an agent of the first device has started.
fn starts(bench: &Bench) -> usize {
    let log = std::fs::read_to_string(bench.device().log("agent")).unwrap_or_default();
    log.matches("agent started").count()
}

#[test]
fn an_app_that_is_stopped_by_hand_stays_so_until_it_is_started_or_deployed() {
    let mut bench = Bench::new(1);
    on_device(&bench, &["app", "list"]).prints(&[APP, "running"]);
    on_device(&bench, &["app", "stop", "wbe"]).fails(2, &["no app wbe", "there are web"]);
    on_device(&bench, &["app", "stop", APP]).prints(&["is stopped until", "fullmetal app start web"]);
    let is_down = |bench: &Bench| {
        assert!(bench.site.page(bench.device()).is_err(), "the app serves");
        assert_eq!(bench.device().status().unwrap()["apps"][0]["phase"], "stopped");
        on_device(bench, &["status"]).prints(&["stopped by hand", "peer: running"]);
    };
    is_down(&bench);

    let before = starts(&bench);
    bench.site.devices[0].end_agent();
    on_device(&bench, &["status"]).prints(&["agent: not running", "fullmetal agent"]);
    bench.site.devices[0].start_agent().unwrap();
    // By then it has adopted the apps.
    wait_for("the agent", LIMIT, || Ok((starts(&bench) > before).then_some(()))).unwrap();
    on_device(&bench, &["status"]).prints(&["agent: running"]);
    is_down(&bench);

    on_device(&bench, &["app", "start", APP]).prints(&["web runs from commit"]);
    bench.check();
    on_device(&bench, &["app", "stop", APP]).succeeds();
    bench.publish();
    bench.deploys();
    on_device(&bench, &["status"]).prints(&["running", "succeeded"]);
}

#[test]
fn status_tells_how_far_a_probation_is_and_why_it_failed() {
    let mut bench = Bench::new(1);
    bench.release += 1;
    let tree = bench.app.build(bench.release).unwrap().to_string_lossy().into_owned();
    let (repo, release) = (bench.repo(), bench.release.to_string());
    let key = bench.site.fleet.keys().join("build.key").to_string_lossy().into_owned();
    let health = r#"["/bin/sh", "-c", "echo no recipe; exit 1"]"#;
    let what = ["publish", &tree, "--repo", &repo, "--ref", APP_REF, "--name", APP, "--cmd", "/app/run"];
    let how = ["--release", &release, "--version", &release, "--key", &key, "--health", health, "--probation", "6"];
    bench.fullmetal(&[&what[..], &how[..]].concat()).succeeds();
    bench.deploy();
    wait_for("the second second of the probation", Duration::from_secs(60), || {
        let status = bench.device().status()?;
        let probation = &status["deployment"]["probation"];
        assert!(probation.is_null() || probation["total_s"] == 6, "{status}");
        Ok(probation["elapsed_s"].as_u64().is_some_and(|passed| (2..6).contains(&passed)).then_some(()))
    })
    .unwrap();
    on_device(&bench, &["status"]).prints(&["is proving: ", " of 6 s"]);
    on_device(&bench, &["app", "stop", APP]).fails(1, &["is switching web now", "try again"]);
    bench.fails(&["was never healthy", "no recipe"]);
    let told = ["failed at", "web", "was never healthy", "no recipe"];
    on_device(&bench, &["status"]).prints(&told);
    // Also when the gateway has the report, and the agent is another.
    let spooled = || std::fs::read_dir(bench.device().root().join("var/lib/fullmetal/reports")).unwrap().flatten();
    wait_for("the receipt", LIMIT, || {
        Ok(spooled().all(|e| e.path().extension().is_some_and(|e| e == "told")).then_some(()))
    })
    .unwrap();
    on_device(&bench, &["status"]).prints(&told);
}

#[test]
fn a_locked_device_switches_to_nothing_and_a_version_that_was_brought_back_stays() {
    let mut bench = Bench::new(1);
    on_device(&bench, &["rollback", APP]).fails(1, &["no version of web before 1", "deploy"]);
    on_device(&bench, &["rollback", "wbe"]).fails(2, &["no app wbe", "there are web"]);
    on_device(&bench, &["inhibit", "--why", "casting", "--", "sh", "-c", "echo cast; exit 7"]).fails(7, &[]);
    on_device(&bench, &["logs", APP, "-n", "1"]).succeeds();
    on_device(&bench, &["logs", APP, "--follow"]).fails(2, &["keep only the last lines"]);
    on_device(&bench, &["lock", "--reason", "acceptance"]).prints(&["is locked", "fullmetal unlock"]);
    bench.publish();
    bench.deploy();
    wait_for("the lock to hold it back", LIMIT, || {
        let status = bench.device().status()?;
        Ok(status["local"]["obstacle"].as_str().is_some_and(|o| o.contains("fullmetal unlock")).then_some(()))
    })
    .unwrap();
    on_device(&bench, &["status"]).prints(&["waits: locked by local root", "acceptance"]);
    bench.check();
    on_device(&bench, &["unlock"]).prints(&["is unlocked"]);
    bench.succeeds(2);

    on_device(&bench, &["verify"]).prints(&["0 problems"]);
    on_device(&bench, &["rollback", APP]).prints(&["web goes back from 2 to 1", "is in force again"]);
    bench.serving = 1;
    bench.check();
    on_device(&bench, &["history"]).prints(&["succeeded", "by hand", "rolled back by hand: web 1 is in force again"]);
    bench.site.devices[0].end_agent();
    bench.site.devices[0].start_agent().unwrap();
    wait_for("the agent", LIMIT, || Ok((bench.device().status()?["local"]["inhibitors"].is_array()).then_some(())))
        .unwrap();
    bench.check();
    bench.publish();
    bench.deploys();
}

#[test]
fn what_is_damaged_is_found_and_what_is_advised_mends_it() {
    let bench = Bench::new(1);
    let said = on_device(&bench, &["verify"]);
    super::said::has(&said.out, &["1 apps", "0 problems"]);
    said.succeeds();
    let root = bench.device().root().to_owned();
    let app = root.join("var/lib/fullmetal/apps").join(APP);
    let checkout = app.join(std::fs::read_link(app.join("current")).unwrap());
    std::fs::write(checkout.join("rootfs/stray"), "x").unwrap();
    let said = on_device(&bench, &["verify"]);
    said.fails(1, &["1 problems found"]);
    super::said::has(&said.out, &["is not as it was published", "stray is not of it", "fullmetal app stop web"]);
    on_device(&bench, &["app", "stop", APP]).succeeds();
    std::fs::remove_dir_all(&checkout).unwrap();
    let _ = on_device(&bench, &["app", "start", APP]);
    bench.check();
    on_device(&bench, &["verify"]).prints(&["0 problems"]);

    let bin = checkout.join("rootfs/bin");
    std::os::unix::fs::chown(&bin, Some(1000), None).unwrap();
    super::said::has(&on_device(&bench, &["verify"]).out, &["rootfs/bin belongs to 1000:0, not 0:0"]);
    std::os::unix::fs::chown(&bin, Some(0), None).unwrap();
    std::fs::write(checkout.join("rootfs/data/x"), "").unwrap();
    super::said::has(&on_device(&bench, &["verify"]).out, &["rootfs/data/x is not of it"]);
    std::fs::remove_file(checkout.join("rootfs/data/x")).unwrap();

    let key = root.join("etc/fullmetal/identity/agent.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let said = on_device(&bench, &["verify", "--json"]);
    said.fails(1, &["1 problems found"]);
    super::said::has(&said.out, &["others may read it", "chmod 600"]);
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();

    let objects = root.join("var/lib/fullmetal/repo/objects");
    let file =
        std::fs::read_dir(objects).unwrap().flatten().flat_map(|d| std::fs::read_dir(d.path()).unwrap().flatten());
    let file = file.map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "dirmeta")).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let said = on_device(&bench, &["verify"]);
    said.fails(1, &["problems found"]);
    super::said::has(&said.out, &["an object of web 1 is damaged", ".dirmeta", "ostree fsck --delete"]);
}
