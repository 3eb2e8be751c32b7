//! What a policy allows, and what becomes of what apps ask for.

use super::*;
use crate::config::Bind;
use fullmetal_proto::ostree;

/// FullMetalUpdate's Qt sample: nodes, and a rule that opens every device.
fn qt() -> Value {
    let mut config = hello_world();
    let node = |path: &str, major: i64, minor: i64| json!({"path": path, "type": "c", "major": major, "minor": minor, "fileMode": 432, "uid": 0, "gid": 0});
    config["linux"]["devices"] = json!([
        node("/dev/fb0", 29, 0),
        node("/dev/galcore", 199, 0),
        node("/dev/dri/card0", 226, 0),
        node("/dev/input/event0", 13, 64)
    ]);
    config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    config
}

fn paths(spec: &Value) -> Vec<&str> {
    spec["linux"]["devices"].as_array().into_iter().flatten().map(|d| d["path"].as_str().unwrap()).collect()
}

#[test]
fn the_qt_sample_runs_with_its_nodes_and_nothing_more() {
    let (spec, lacks) = Site::new().grants(&["screen", "gpu"]).adapted(&qt()).unwrap();
    assert_eq!(paths(&spec), ["/dev/dri/card0", "/dev/fb0", "/dev/input/event0"]);
    let own =
        json!({"path": "/dev/fb0", "type": "c", "major": 29, "minor": 0, "fileMode": 0o600, "uid": 1000, "gid": 1000});
    assert_eq!(spec["linux"]["devices"][1], own);
    let rule =
        |major: i64, minor: i64| json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rw"});
    let rules = json!([{"allow": false, "access": "rwm"}, rule(226, 0), rule(29, 0), rule(13, 64)]);
    assert_eq!(spec["linux"]["resources"]["devices"], rules);
    assert_eq!(lacks, ["no /dev/galcore on this device, which gpu would give"]);
}

#[test]
fn without_a_grant_the_line_that_would_allow_it_is_told() {
    assert_eq!(
        Site::new().grants(&["sound"]).refusal(&qt()),
        "it asks for /dev/fb0 (screen), which the policy of this device does not allow; to allow it, \
         /etc/fullmetal/fullmetal.d/policy.toml must say: policy.app.web.grants = [\"sound\", \"screen\"]"
    );
    let text = Site::new().asks(&["serial:ttyUSB0"]).refusal(&hello_world());
    assert!(text.contains("asks for serial:ttyUSB0") && text.ends_with("grants = [\"serial:ttyUSB0\"]"), "{text}");
}

#[test]
fn what_a_commit_asks_for_is_given_by_class_and_by_name() {
    let site = Site::new().grants(&["screen", "sound", "serial:ttyUSB0", "device:i2c-1"]);
    let (spec, lacks) =
        site.asks(&["screen", "sound", "serial:ttyUSB0", "device:i2c-1"]).adapted(&hello_world()).unwrap();
    assert_eq!(paths(&spec), ["/dev/dri/card0", "/dev/fb0", "/dev/i2c-1", "/dev/input/event0", "/dev/ttyUSB0"]);
    assert_eq!(lacks, ["this device has none of the devices that sound gives"]);
    assert_eq!(spec["linux"]["resources"]["devices"].as_array().unwrap().len(), 6);
}

#[test]
fn a_named_device_that_is_not_there_is_an_error() {
    let site = || Site::new().grants(&["serial:ttyUSB7", "device:sda"]);
    let text = site().asks(&["serial:ttyUSB7"]).refusal(&hello_world());
    assert!(text.starts_with("it needs /dev/ttyUSB7 (serial:ttyUSB7)"), "{text}");
    let text = site().refusal(&with("/linux/devices", json!([{"path": "/dev/ttyUSB7", "type": "c"}])));
    assert!(text.contains("connect it"), "{text}");
    let text = site().asks(&["device:sda"]).refusal(&hello_world());
    assert!(text.contains("no such character device"), "a disk is none: {text}");
}

#[test]
fn no_policy_gives_the_memory_of_the_device_or_a_path_outside_dev() {
    let site = || Site::new().grants(&["device:mem", "screen"]);
    assert!(site().asks(&["device:mem"]).refusal(&hello_world()).contains("asks for the device /dev/mem"));
    for path in ["/dev/mem", "/etc/passwd", "/dev/../etc/passwd", "/dev/", "fb0"] {
        let text = site().refusal(&with("/linux/devices", json!([{"path": path, "type": "c"}])));
        assert!(text.contains("asks for the device"), "{path}: {text}");
    }
    let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 1, "access": "rwm"});
    let text = site().asks(&["screen"]).refusal(&with("/linux/resources/devices/-", rule));
    assert!(text.contains("asks for the device 1:1"), "{text}");
    let major = json!({"allow": true, "type": "c", "major": 29, "access": "rwm"});
    assert!(site().asks(&["screen"]).refusal(&with("/linux/resources/devices/-", major)).contains("29:*"));
    let all = json!({"allow": true, "access": "rwm"});
    assert!(site().refusal(&with("/linux/resources/devices/-", all)).contains("*:*"), "nothing was asked for by name");
}

#[test]
fn what_is_damaged_is_told_from_what_is_not_allowed() {
    let refusal = |site: Site, config: &Value| site.adapted(config).unwrap_err();
    assert!(!refusal(Site::new(), &qt()).may_be_damage());
    let unplugged = Site::new().grants(&["serial:ttyUSB7"]).asks(&["serial:ttyUSB7"]);
    assert!(!refusal(unplugged, &hello_world()).may_be_damage());
    assert!(refusal(Site::new(), &json!({"ociVersion": "1.0.0"})).may_be_damage());
}

#[test]
fn nodes_that_every_container_has_need_no_grant() {
    let null = json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]);
    let (spec, _) = Site::new().adapted(&with("/linux/devices", null)).unwrap();
    assert_eq!(spec["linux"]["devices"], Value::Null);
}

#[test]
fn the_policy_may_take_the_network_and_lend_namespaces() {
    let mut site = Site::new();
    site.policy.network = Network::None;
    let (spec, _) = site.adapted(&hello_world()).unwrap();
    assert_eq!(spec["linux"]["namespaces"][4], json!({"type": "network"}));
    let own = with("/linux/namespaces/-", json!({"type": "network"}));
    assert_eq!(site.adapted(&own).unwrap().0["linux"]["namespaces"], spec["linux"]["namespaces"], "its own is its own");
    let bare = with("/linux/namespaces", json!([{"type": "mount"}]));
    assert!(site.refusal(&bare).ends_with("policy.app.web.namespaces = [\"pid\"]"));
    site.policy.namespaces = vec![HostNamespace::Pid];
    assert!(site.refusal(&bare).ends_with("policy.app.web.namespaces = [\"pid\", \"ipc\"]"));
    site.policy.namespaces.push(HostNamespace::Ipc);
    let (spec, _) = site.adapted(&bare).unwrap();
    assert_eq!(spec["linux"]["namespaces"], json!([{"type": "mount"}, {"type": "network"}]));
    let text = site.refusal(&with("/linux/namespaces", json!([])));
    assert!(text.ends_with("host's mount namespace: list it in linux.namespaces"), "no policy lends it: {text}");
}

#[test]
fn binds_are_of_paths_that_the_policy_names_and_no_more_writable() {
    let bind = |source: &str, at: &str, options: &[&str]| {
        with("/mounts/-", json!({"destination": at, "type": "bind", "source": source, "options": options}))
    };
    let mut site = Site::new();
    let text = site.refusal(&bind("/run/dbus", "/run/dbus", &["rbind", "rw"]));
    assert!(text.ends_with("policy.app.web.binds = [\"/run/dbus:rw\"]"), "{text}");
    let rule = |path: &str, writable| Bind { path: path.into(), writable };
    site.policy.binds = vec![rule("/run/dbus", true), rule("/usr/share/fonts", false)];
    let bound = |site: &Site, config: &Value| site.adapted(config).unwrap().0["mounts"][7].clone();
    let expected = |at: &str, source: &str, access: &str| json!({"destination": at, "type": "bind", "source": source, "options": ["bind", access, "nosuid", "nodev", "private"]});
    let rw = bound(&site, &bind("/run/dbus", "/run/dbus", &["rbind", "shared", "suid"]));
    assert_eq!(rw, expected("/run/dbus", "/run/dbus", "rw"));
    assert_eq!(bound(&site, &bind("/run/dbus", "/x", &["ro"])), expected("/x", "/run/dbus", "ro"));
    let fonts = bind("/usr/share/fonts", "/fonts", &[]);
    assert_eq!(bound(&site, &fonts), expected("/fonts", "/usr/share/fonts", "ro"));
    let text = site.refusal(&bind("/usr/share/fonts", "/fonts", &["rw"]));
    assert!(text.ends_with("binds = [\"/run/dbus:rw\", \"/usr/share/fonts:rw\"]"), "{text}");
    assert!(matches!(site.adapted(&bind("/run/dbus/..", "/x", &[])), Err(Refusal::Bind { .. })));
    assert!(matches!(site.adapted(&bind("/run/dbus", "/proc/1", &[])), Err(Refusal::MountPlace { .. })));
    assert!(matches!(site.adapted(&bind("/run/dbus", "/data", &[])), Err(Refusal::MountPlace { .. })));
}

#[test]
fn limits_come_from_the_commit_then_the_configuration_then_the_policy() {
    let mut config = hello_world();
    config["linux"]["resources"] = json!({
        "memory": {"limit": 67_108_864, "swappiness": 100, "disableOOMKiller": true},
        "cpu": {"quota": 50_000, "period": 200_000, "shares": 512, "realtimeRuntime": 950_000},
        "pids": {"limit": 20},
        "blockIO": {"weight": 300}
    });
    let mut site = Site::new();
    let resources = |site: &Site| site.adapted(&config).unwrap().0["linux"]["resources"].clone();
    let found = resources(&site);
    assert_eq!(found["memory"], json!({"limit": 67_108_864}));
    assert_eq!(found["cpu"], json!({"shares": 512, "quota": 25_000, "period": 100_000}));
    assert_eq!((&found["pids"], &found["blockIO"]), (&json!({"limit": 20}), &json!({"weight": 300})));
    site.asks.limits = ostree::Limits { memory: Some(32 << 20), cpu: Some(1500), pids: Some(7), io: Some(100) };
    let found = resources(&site);
    assert_eq!(found["memory"], json!({"limit": 32 << 20}));
    assert_eq!(found["cpu"]["quota"], json!(150_000));
    assert_eq!((&found["pids"], &found["blockIO"]), (&json!({"limit": 7}), &json!({"weight": 100})));
    let (bounds, mut plain) = (
        AppPolicy { memory_max: Some(8 << 20), cpu_max: Some(250), pids_max: Some(3), ..AppPolicy::default() },
        Site::new(),
    );
    plain.policy = bounds;
    let found = plain.adapted(&hello_world()).unwrap().0["linux"]["resources"].clone();
    assert_eq!((&found["memory"], &found["pids"]), (&json!({"limit": 8 << 20}), &json!({"limit": 3})));
    assert_eq!(found["cpu"], json!({"quota": 25_000, "period": 100_000}));
}

#[test]
fn more_than_the_policy_gives_is_refused_with_the_line_that_would_give_it() {
    let mut site = Site::new();
    site.policy =
        AppPolicy { memory_max: Some(64 << 20), cpu_max: Some(500), pids_max: Some(10), ..AppPolicy::default() };
    site.asks.limits.memory = Some(128 << 20);
    assert_eq!(
        site.refusal(&hello_world()),
        "it asks for \"128M\" of memory, and the policy of this device gives at most \"64M\"; to allow it, \
         /etc/fullmetal/fullmetal.d/policy.toml must say: policy.app.web.memory_max = \"128M\""
    );
    site.asks.limits = ostree::Limits { cpu: Some(1000), ..ostree::Limits::default() };
    assert!(site.refusal(&hello_world()).ends_with("policy.app.web.cpu_max = \"1.000\""));
    site.asks.limits = ostree::Limits::default();
    let config = with("/linux/resources/pids", json!({"limit": 11}));
    assert!(site.refusal(&config).ends_with("policy.app.web.pids_max = 11"));
    let unlimited = with("/linux/resources/pids", json!({"limit": -1}));
    assert_eq!(site.adapted(&unlimited).unwrap().0["linux"]["resources"]["pids"], json!({"limit": 10}));
}

#[test]
fn a_limit_that_the_kernel_cannot_hold_is_left_out_and_told() {
    let mut site = Site::new();
    site.asks.limits = ostree::Limits { memory: Some(32 << 20), cpu: Some(500), pids: Some(7), io: Some(100) };
    site.controllers = Controllers { memory: false, cpu: false, pids: false, io: false };
    let (spec, lacks) = site.adapted(&hello_world()).unwrap();
    assert_eq!(spec["linux"]["resources"], json!({"devices": [{"allow": false, "access": "rwm"}]}));
    let told = |what: &str| lacks.iter().any(|l| l.starts_with(&format!("the limit of {what} is not held")));
    assert!(["memory", "processes", "CPU time", "disk I/O"].into_iter().all(told) && lacks.len() == 4, "{lacks:?}");
}

#[test]
fn a_scan_of_dev_finds_nodes_with_their_numbers() {
    let nodes = scan(Path::new("/dev"));
    let null = nodes.iter().find(|n| n.name == "null").unwrap();
    assert_eq!((null.character, null.major, null.minor), (true, 1, 3));
    assert!(nodes.iter().all(|n| !n.name.starts_with('/')) && nodes.is_sorted_by_key(|n| n.name.clone()));
}
