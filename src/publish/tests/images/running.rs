//! What an image's configuration becomes.

use super::super::harness::{Bench, publish};
use super::layout::{Layer, one_image, options, source};
use crate::publish::Published;
use serde_json::{Value, json};

fn etc() -> Layer {
    Layer::new()
        .file("etc/passwd", "root:x:0:0::/:\nweb:x:33:34::/srv:\n")
        .file("etc/group", "www:x:34:\nvideo:x:44:web\n")
        .dir("srv/seed")
        .file("srv/seed/x", "")
        .program("usr/bin/check")
}

fn published(config: Value) -> (Bench, Published, Value) {
    let bench = Bench::new();
    let layout = one_image(&bench, config, vec![etc()]);
    let published = publish(&options(&bench, &layout.dir)).unwrap();
    let json = bench.ostree(&["cat", "apps/web", "/config.json"]);
    (bench, published, serde_json::from_str(&json).unwrap())
}

#[test]
fn the_process_is_the_images() {
    let (_, published, config) = published(json!({
        "User": "web", "Entrypoint": ["/bin/app"], "Cmd": ["-v", "two words"], "WorkingDir": "/var/work",
        "Env": ["PATH=/usr/bin:/bin", "MODE=x=y"], "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
        "Labels": {"a": "b"}, "Volumes": null, "Healthcheck": null
    }));
    let process = &config["process"];
    assert_eq!(process["args"], json!(["/bin/app", "-v", "two words"]));
    assert_eq!(process["env"], json!(["PATH=/usr/bin:/bin", "MODE=x=y"]));
    assert_eq!(process["cwd"], "/var/work");
    assert_eq!(process["user"], json!({ "uid": 33, "gid": 34, "additionalGids": [44] }));
    let annotations = json!({
        "org.opencontainers.image.stopSignal": "SIGQUIT", "org.opencontainers.image.exposedPorts": "443/tcp,80/tcp"
    });
    assert_eq!(config["annotations"], annotations);
    assert_eq!(published.notes, ["the image wants to be stopped by SIGQUIT; devices send SIGTERM, then SIGKILL"]);
    assert_eq!(config["root"]["readonly"], true);
    assert_eq!(process["capabilities"]["bounding"], json!([]));
}

#[test]
fn what_an_image_leaves_out_is_as_for_a_command() {
    let (bench, published, config) = published(json!({ "Cmd": ["app"] }));
    let plain = Bench::new();
    publish(&plain.options()).unwrap();
    let mut other: Value = serde_json::from_str(&plain.ostree(&["cat", "apps/web", "/config.json"])).unwrap();
    other["process"]["args"] = json!(["app"]);
    assert_eq!(config, other);
    assert!(published.notes.is_empty());
    assert!(!bench.ostree(&["show", "--raw", "apps/web"]).contains("fullmetal.health"));
}

#[test]
fn a_health_check_of_docker_is_the_apps_unless_another_is_given() {
    for (test, expected) in [
        (json!(["CMD", "/usr/bin/check", "-q"]), "['/usr/bin/check', '-q']"),
        (json!(["CMD-SHELL", "app || exit 1"]), "['/bin/sh', '-c', 'app || exit 1']"),
        (json!(["NONE"]), ""),
        (json!([]), ""),
    ] {
        let bench = Bench::new();
        let config = json!({ "Healthcheck": { "Test": test, "Interval": 5 } });
        let layout = one_image(&bench, config, vec![etc(), Layer::new().program("bin/sh")]);
        let mut options = options(&bench, &layout.dir);
        publish(&options).unwrap();
        let raw = bench.ostree(&["show", "--raw", "apps/web"]);
        assert_eq!(raw.contains("fullmetal.health"), !expected.is_empty(), "{raw}");
        assert!(raw.contains(expected), "{raw}");
        options.info.health = vec!["/bin/app".into()];
        publish(&options).unwrap();
        assert!(bench.ostree(&["show", "--raw", "apps/web"]).contains("'fullmetal.health': <['/bin/app']>"));
        options.info.health = vec!["/bin/none".into()];
        assert!(publish(&options).unwrap_err().to_string().starts_with("--health: /bin/none does not exist"));
    }
}

#[test]
fn volumes_are_scratch_space_but_for_the_apps_data() {
    let volumes = json!({ "/srv/seed": {}, "/var/lib/new/": {}, "/data/db": {}, "/tmp": {} });
    let (bench, published, config) = published(json!({ "Volumes": volumes }));
    let mounts = config["mounts"].as_array().unwrap();
    let of = |at: &str| mounts.iter().find(|m| m["destination"] == at).map(|m| m["options"].clone());
    let filled = json!(["nosuid", "nodev", "uid=7", "gid=8", "mode=0750", "size=64m", "tmpcopyup"]);
    assert_eq!(of("/srv/seed"), Some(filled));
    assert_eq!(of("/var/lib/new"), Some(json!(["nosuid", "nodev", "uid=0", "gid=0", "mode=0755", "size=64m"])));
    assert_eq!((mounts.len(), published.notes.len()), (10, 2));
    assert!(bench.ostree(&["ls", "apps/web", "/rootfs/var/lib/new"]).starts_with("d00755 0 0 "));
}

#[test]
fn what_could_not_run_is_refused() {
    for (config, expected) in [
        (json!({ "Entrypoint": [] }), "has neither Entrypoint nor Cmd; say with --cmd what it runs"),
        (json!({ "Cmd": ["/bin/none"] }), "Entrypoint or Cmd of the image: /bin/none does not exist"),
        (json!({ "User": "nobody" }), "runs as user \"nobody\", who is not in its /etc/passwd"),
        (json!({ "WorkingDir": "srv" }), "WorkingDir is \"srv\", which is no absolute path"),
        (json!({ "WorkingDir": "/bin/app" }), "WorkingDir /bin/app lies beneath a file"),
        (json!({ "Env": ["=x"] }), "one that is not NAME=VALUE"),
        (json!({ "Volumes": { "/proc/x": {} } }), "has a volume at /proc/x"),
        (json!({ "Volumes": { "/../x": {} } }), "no absolute path"),
        (json!({ "Healthcheck": { "Test": ["CMD", "none"] } }), "HEALTHCHECK of the image: no executable none"),
    ] {
        let bench = Bench::new();
        let layout = one_image(&bench, config, vec![etc()]);
        let said = publish(&options(&bench, &layout.dir)).unwrap_err().to_string();
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!bench.repo().exists());
    }
}

#[test]
fn a_command_that_is_given_runs_instead_and_an_image_published_again_writes_nothing() {
    let bench = Bench::new();
    let layout = one_image(&bench, json!({ "Cmd": ["/bin/none"], "Env": ["PATH=/opt:/usr/bin"] }), vec![etc()]);
    let mut options = options(&bench, &layout.dir);
    source(&mut options).cmd = vec!["check".into()];
    let first = publish(&options).unwrap();
    let before = bench.snapshot();
    let again = publish(&options).unwrap();
    assert!(again.unchanged && !first.unchanged);
    assert_eq!((again.commit, bench.snapshot()), (first.commit, before));
}
