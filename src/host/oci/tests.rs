mod policy;

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn place() -> Place {
    Place {
        rootfs: "/r/apps/web/c0/rootfs".into(),
        data: "/r/data/web".into(),
        data_by_default: "/var/lib/fullmetal/data/web".into(),
        cgroup: "/fm-d+web".into(),
    }
}

/// The configuration of FullMetalUpdate's hello-world sample, shortened.
fn hello_world() -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.0",
        "process": {
            "terminal": true, "user": {"uid": 1000, "gid": 1000}, "args": ["./entry.sh"], "env": ["A=b"], "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "inheritable": caps, "permitted": caps, "ambient": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}], "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "runc",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/asound"]
        }
    })
}

/// Under the strict policy, on a device where every limit can be held and /dev is as below.
struct Site {
    asks: Asks,
    policy: AppPolicy,
    nodes: Vec<Node>,
    controllers: Controllers,
}

impl Site {
    fn new() -> Self {
        let node = |(name, major, minor): &(&str, u32, u32)| Node {
            name: (*name).to_owned(),
            character: *name != "sda",
            major: *major,
            minor: *minor,
        };
        let dev = [
            ("dri/card0", 226, 0),
            ("fb0", 29, 0),
            ("i2c-1", 89, 1),
            ("input/event0", 13, 64),
            ("mem", 1, 1),
            ("null", 1, 3),
            ("sda", 8, 0),
            ("ttyUSB0", 188, 0),
        ];
        let controllers = Controllers { memory: true, cpu: true, pids: true, io: true };
        let (asks, policy) = (Asks::default(), AppPolicy::default());
        Site { asks, policy, nodes: dev.iter().map(node).collect(), controllers }
    }

    fn grants(mut self, grants: &[&str]) -> Self {
        self.policy.grants = grants.iter().map(|g| g.parse().unwrap()).collect();
        self
    }

    fn asks(mut self, grants: &[&str]) -> Self {
        self.asks.grants = grants.iter().map(|g| g.parse().unwrap()).collect();
        self
    }

    fn run(&self, json: &[u8]) -> Result<Adapted, Refusal> {
        let name = "web".parse().unwrap();
        let Site { asks, policy, nodes, controllers } = self;
        adapt(json, &place(), &Terms { name: &name, asks, policy, nodes, controllers: *controllers })
    }

    /// The spec, and what is lacking.
    fn adapted(&self, config: &Value) -> Result<(Value, Vec<String>), Refusal> {
        let Adapted { spec, lacks } = self.run(config.to_string().as_bytes())?;
        Ok((serde_json::to_value(spec).unwrap(), lacks))
    }

    fn refusal(&self, config: &Value) -> String {
        self.adapted(config).unwrap_err().to_string()
    }
}

fn parsed(config: &Value) -> Result<Spec, Refusal> {
    Site::new().run(config.to_string().as_bytes()).map(|adapted| adapted.spec)
}

fn adapted(config: &Value) -> Result<Value, Refusal> {
    Ok(serde_json::to_value(parsed(config)?).unwrap())
}

/// The sample with the value at `pointer` set (its parent object or, at its end, list exists).
fn with(pointer: &str, value: Value) -> Value {
    let mut config = hello_world();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match config.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.insert(key.to_owned(), value)),
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        other => panic!("{other}"),
    }
    config
}

fn refusal(pointer: &str, value: Value) -> Refusal {
    adapted(&with(pointer, value)).unwrap_err()
}

macro_rules! refused {
    ($pointer:expr, $value:tt, $pattern:pat) => {{
        let refusal = refusal($pointer, json!($value));
        assert!(matches!(refusal, $pattern), "{refusal}");
    }};
}

#[test]
fn a_sample_app_runs_with_what_the_policy_fixes() {
    let spec = adapted(&hello_world()).unwrap();
    assert_eq!(spec["root"], json!({"path": "/r/apps/web/c0/rootfs", "readonly": true}));
    assert_eq!(spec["process"]["args"], json!(["./entry.sh"]));
    assert_eq!(spec["process"]["terminal"], json!(false));
    assert_eq!(spec["process"]["user"], json!({"uid": 1000, "gid": 1000}));
    assert_eq!(spec["linux"]["cgroupsPath"], json!("/fm-d+web"));
    assert_eq!(spec["linux"]["resources"], json!({"devices": [{"allow": false, "access": "rwm"}]}));
    assert_eq!(spec["hostname"], json!("runc"));
    let masked = spec["linux"]["maskedPaths"].as_array().unwrap();
    assert_eq!(masked.len(), MASKED.len());
    assert!(spec["linux"]["readonlyPaths"].as_array().unwrap().contains(&json!("/proc/asound")));
    let data = spec["mounts"].as_array().unwrap().last().unwrap();
    assert_eq!((&data["destination"], &data["source"]), (&json!("/data"), &json!("/r/data/web")));
}

#[test]
fn new_privileges_and_a_writable_root_are_never_given() {
    for config in [with("/process/noNewPrivileges", json!(false)), with("/root/readonly", json!(false))] {
        let spec = adapted(&config).unwrap();
        assert_eq!(spec["process"]["noNewPrivileges"], json!(true));
        assert_eq!(spec["root"]["readonly"], json!(true));
    }
}

#[test]
fn fields_that_the_policy_does_not_know_are_left_out() {
    let mut config = with("/linux/rootfsPropagation", json!("shared"));
    config["annotations"] = json!({"org.systemd.property.ExecStartPre": "'x'"});
    config["Hooks"] = json!({"prestart": [{"path": "/bin/sh"}]});
    config["linux"]["intelRdt"] = json!({"closID": "x"});
    config["process"]["oomScoreAdj"] = json!(-1000);
    config["process"]["apparmorProfile"] = json!("unconfined");
    assert_eq!(parsed(&config).unwrap(), parsed(&hello_world()).unwrap());
}

#[test]
fn hooks_are_refused() {
    refused!("/hooks", { "prestart": [{"path": "/bin/sh"}] }, Refusal::Hooks);
    refused!("/hooks", { "poststop": [{"path": "/bin/sh"}] }, Refusal::Hooks);
    assert!(adapted(&with("/hooks", json!({}))).is_ok());
}

#[test]
fn namespaces_of_the_host_are_refused_but_for_the_network() {
    let without = |kind: &str| {
        let all = ["pid", "ipc", "mount"];
        json!(all.iter().filter(|k| **k != kind).map(|k| json!({"type": k})).collect::<Vec<_>>())
    };
    for kind in ["pid", "ipc", "mount"] {
        let refusal = refusal("/linux/namespaces", without(kind));
        assert!(matches!(refusal, Refusal::HostNamespace { .. }), "{kind}: {refusal}");
    }
    let spec = adapted(&with("/linux/namespaces", without(""))).unwrap();
    assert_eq!(spec["hostname"], Value::Null, "without a uts namespace it would be the device's");
    refused!("/linux/namespaces/0", {"type": "pid", "path": "/proc/1/ns/pid"}, Refusal::ForeignNamespace { .. });
    refused!("/linux/namespaces/-", {"type": "network", "path": "/run/netns/x"}, Refusal::ForeignNamespace { .. });
    refused!("/linux/namespaces/-", {"type": "user"}, Refusal::Namespace(_));
    assert!(adapted(&with("/linux/namespaces/-", json!({"type": "network"}))).is_ok());
}

#[test]
fn binds_outside_the_apps_data_are_refused() {
    refused!("/mounts/-", {"destination": "/x", "type": "bind", "source": "/etc"}, Refusal::Bind { .. });
    refused!("/mounts/-", {"destination": "/x", "type": "none", "source": "/etc", "options": ["rbind"]}, Refusal::Bind { .. });
    refused!("/mounts/-", {"destination": "/x", "type": "tmpfs", "source": "/etc", "options": ["bind"]}, Refusal::Bind { .. });
    refused!("/mounts/-", {"destination": "/data", "type": "bind", "source": "/var/lib/fullmetal/data/web/../db"}, Refusal::Bind { .. });
    refused!("/mounts/-", {"destination": "/x", "type": "bind", "source": "/var/lib/fullmetal/data/web"}, Refusal::Bind { .. });
    let own = json!({"destination": "/data", "type": "bind", "source": "/var/lib/fullmetal/data/web"});
    assert_eq!(parsed(&with("/mounts/-", own)).unwrap(), parsed(&hello_world()).unwrap());
}

#[test]
fn mounts_that_reach_out_of_the_container_are_refused() {
    refused!("/mounts/-", {"destination": "/x", "type": "ext4", "source": "/dev/sda1"}, Refusal::MountType { .. });
    refused!("/mounts/-", {"destination": "/x", "source": "x"}, Refusal::MountType { .. });
    refused!("/mounts/-", {"destination": "/x", "type": "overlay", "options": ["lowerdir=/etc"]}, Refusal::MountType { .. });
    refused!("/mounts/-", {"destination": "/x", "type": "tmpfs", "options": ["rshared"]}, Refusal::MountOption { .. });
    refused!("/mounts/-", {"destination": "/x", "type": "tmpfs", "options": ["mode=755,nr_blocks=0"]}, Refusal::MountOption { .. });
    for at in ["/", "/proc/self", "/sys/x", "/data", "/data/x", "x", "/a/../..", ""] {
        refused!("/mounts/-", {"destination": at, "type": "tmpfs"}, Refusal::MountPlace { .. });
    }
    refused!("/mounts/-", {"destination": "/x", "type": "proc"}, Refusal::MountPlace { .. });
    refused!("/mounts/-", {"destination": "/x", "type": "cgroup"}, Refusal::MountPlace { .. });
}

#[test]
fn the_kernels_own_file_systems_are_read_only() {
    let spec = adapted(&with("/mounts/6/options", json!(["rw"]))).unwrap();
    assert_eq!(spec["mounts"][6]["options"], json!(["ro"]));
}

#[test]
fn devices_and_rules_that_open_them_are_refused() {
    refused!("/linux/devices", [{"path": "/dev/sda", "type": "b", "major": 8, "minor": 0}], Refusal::Grant { .. });
    let refusal =
        refusal("/linux/resources/devices/-", json!({"allow": true, "type": "c", "major": 10, "access": "rwm"}));
    assert_eq!(
        refusal.to_string(),
        "config.json asks for the device 10:*: apps are given character devices by grants, and none that is the memory of the device"
    );
}

#[test]
fn capabilities_that_are_the_devices_root_are_refused() {
    let refusal = refusal("/process/capabilities/ambient", json!(["CAP_KILL", "CAP_SYS_ADMIN"]));
    assert_eq!(refusal.to_string(), "config.json asks for the capability CAP_SYS_ADMIN, which apps are not given");
    refused!("/process/capabilities/bounding", ["CAP_NO_SUCH"], Refusal::Syntax(_));
    let spec = adapted(&with("/process/capabilities", Value::Null)).unwrap();
    assert_eq!(spec["process"]["capabilities"]["effective"], json!([]));
}

#[test]
fn kernel_parameters_and_seccomp_listeners_are_refused() {
    refused!("/linux/sysctl", {"net.ipv4.ip_forward": "1"}, Refusal::Sysctl(_));
    let listener = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x.sock"});
    assert!(matches!(refusal("/linux/seccomp", listener), Refusal::SeccompListener));
}

#[test]
fn configurations_that_cannot_run_say_why() {
    refused!("/root/path", "/", Refusal::Value { field: "root.path", .. });
    refused!("/root/path", "../other/rootfs", Refusal::Value { field: "root.path", .. });
    refused!("/process/cwd", "tmp", Refusal::Value { field: "process.cwd", .. });
    refused!("/process/args", [], Refusal::Missing("process.args"));
    refused!("/ociVersion", "2.0", Refusal::Value { field: "ociVersion", .. });
    assert!(matches!(adapted(&json!({"ociVersion": "1.0.0"})), Err(Refusal::Missing("root"))));
    assert!(matches!(Site::new().run(b"{"), Err(Refusal::Syntax(_))));
}

#[test]
fn limits_are_set_only_where_the_configuration_asks_for_them() {
    let spec = adapted(&with("/linux/resources/pids", json!({"limit": 20}))).unwrap();
    assert_eq!(spec["linux"]["resources"]["pids"], json!({"limit": 20}));
    assert_eq!(spec["linux"]["resources"]["memory"], Value::Null);
}

/// What must hold of everything that runs, whatever was published.
fn is_confined(spec: &Value) -> bool {
    let own = |kind: &str| spec["linux"]["namespaces"].as_array().unwrap().contains(&json!({"type": kind}));
    let mounts = spec["mounts"].as_array().unwrap();
    let binds: Vec<_> = mounts.iter().filter(|m| m.to_string().contains("bind")).collect();
    ["pid", "ipc", "mount"].into_iter().all(own)
        && !spec["linux"]["namespaces"].to_string().contains("path")
        && spec["process"]["noNewPrivileges"] == json!(true)
        && spec["root"] == json!({"path": "/r/apps/web/c0/rootfs", "readonly": true})
        && matches!(binds[..], [bind] if bind["source"] == json!("/r/data/web"))
        && spec["linux"]["resources"]["devices"] == json!([{"allow": false, "access": "rwm"}])
        && ["hooks", "annotations"].iter().all(|k| spec[k].is_null())
        && ["devices", "sysctl", "rootfsPropagation"].iter().all(|k| spec["linux"][k].is_null())
        && !spec.to_string().contains("CAP_SYS_ADMIN")
}

/// Pieces that a hostile configuration may be made of.
fn change() -> impl Strategy<Value = (&'static str, Value)> {
    let text = prop_oneof!["\\PC{0,20}", "(/|\\.\\.|data|proc|sys|etc|rootfs){0,5}"];
    let option = prop::sample::select(vec!["bind", "rbind", "ro", "rw", "shared", "mode=755", "nosuid"]);
    let kind = prop::sample::select(vec!["bind", "tmpfs", "proc", "sysfs", "cgroup", "none", "ext4"]);
    let mount = (text.clone(), kind, text.clone(), prop::collection::vec(option, 0..3))
        .prop_map(|(d, t, s, o)| ("/mounts/-", json!({"destination": d, "type": t, "source": s, "options": o})));
    let namespace =
        (prop::sample::select(vec!["pid", "network", "user", "cgroup", "time"]), prop::option::of(text.clone()))
            .prop_map(|(t, p)| ("/linux/namespaces/-", json!({"type": t, "path": p})));
    let flag = (prop::sample::select(vec!["/process/noNewPrivileges", "/root/readonly"]), any::<bool>())
        .prop_map(|(at, on)| (at, json!(on)));
    let caps = prop::sample::select(vec!["CAP_SYS_ADMIN", "CAP_CHOWN"])
        .prop_map(|c| ("/process/capabilities/effective", json!([c])));
    let rest = text.prop_map(|t| ("/root/path", json!(t)));
    prop_oneof![mount, namespace, flag, caps, rest]
}

proptest! {
    #[test]
    fn whatever_is_published_what_runs_is_confined(changes in prop::collection::vec(change(), 0..6)) {
        let mut config = hello_world();
        for (pointer, value) in changes {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match config.pointer_mut(parent).unwrap() {
                Value::Object(map) => drop(map.insert(key.to_owned(), value)),
                list => list.as_array_mut().unwrap().push(value),
            }
        }
        if let Ok(spec) = adapted(&config) {
            prop_assert!(is_confined(&spec), "{}", spec);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Site::new().run(&bytes).is_err());
    }
}
