//! Configurations that are wrong: every program that reads them ends with status 2.

use super::said::{Said, run};
use fullmetal_sim::lab::{Fleet, NodeOptions, Programs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

struct Device {
    fleet: Fleet,
    root: PathBuf,
    _dir: tempfile::TempDir,
}

impl Device {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let fleet = Fleet::new(&Programs::find(None).unwrap(), dir.path(), "plant").unwrap();
        let root = fleet.enroll("press-1", &NodeOptions { interface: "lo".into(), ..Default::default() }).unwrap();
        let root = root.root().to_owned();
        // Its peer is started as who runs the test.
        std::fs::write(root.join("etc/fullmetal/fullmetal.d/20-user.toml"), "[agent]\npeer_uid = 0\n").unwrap();
        std::fs::copy(fleet.keys().join("gateway.key"), root.join("etc/fullmetal/gateway.key")).unwrap();
        Device { fleet, root, _dir: dir }
    }

    fn etc(&self, name: &str) -> PathBuf {
        self.root.join("etc/fullmetal").join(name)
    }

    /// All programs that read the configuration, by name.
    fn programs(&self) -> [(&'static str, Said); 5] {
        let programs = self.fleet.programs();
        let call = |program: &Path, command| {
            let start = Instant::now();
            let said = run(program, &["--root", &self.root.to_string_lossy(), command]);
            assert!(start.elapsed() < Duration::from_secs(5), "{command} took its time");
            said
        };
        [
            ("peer", call(&programs.fullmetal, "peer")),
            ("agent", call(&programs.fullmetal, "agent")),
            ("status", call(&programs.fullmetal, "status")),
            ("gateway", call(&programs.gateway, "run")),
            ("gateway status", call(&programs.gateway, "status")),
        ]
    }

    fn all_fail(&self, words: &[&str]) {
        for (name, said) in self.programs() {
            println!("{name}: {}", said.text.trim());
            said.fails(2, words);
        }
    }
}

#[test]
fn a_missing_configuration_says_how_to_get_one() {
    let device = Device::new();
    std::fs::remove_dir_all(device.etc("fullmetal.d")).unwrap();
    std::fs::remove_file(device.etc("fullmetal.toml")).unwrap();
    device.all_fail(&["no configuration", "etc/fullmetal/fullmetal.toml", "fullmetal enroll"]);
}

#[test]
fn a_bad_configuration_is_named_with_file_line_and_key() {
    let device = Device::new();
    let cases: [(&str, &[&str]); 7] = [
        ("[peer]\nport = \"many\"\n", &["90-bad.toml", "line 2", "u16"]),
        ("[peer\n", &["90-bad.toml", "line 1"]),
        ("[peer]\nprot = 1\n", &["90-bad.toml", "line 2", "unknown field `prot`", "port"]),
        ("[pear]\nport = 1\n", &["90-bad.toml", "line 1", "unknown field `pear`", "peer"]),
        ("[peer]\ncentral = \"ftp://x\"\n", &["[peer] central", "ftp://x", "http://"]),
        ("[agent]\nprobation_s = 0\n", &["[agent] probation_s", "between 1 and"]),
        ("[device]\nid = \"a b\"\n", &["[device] id", "a b"]),
    ];
    for (text, words) in cases {
        std::fs::write(device.etc("fullmetal.d/90-bad.toml"), text).unwrap();
        device.all_fail(words);
    }
    std::fs::write(device.etc("fullmetal.d/90-bad.toml"), [0xff, 0xfe]).unwrap();
    device.all_fail(&["90-bad.toml"]);
}

#[test]
fn keys_and_trust_that_do_not_fit_are_named() {
    let device = Device::new();
    let root = device.root.to_string_lossy().into_owned();
    let start = |program: &Path, command| run(program, &["--root", &root, command]);
    let programs = device.fleet.programs();
    std::fs::copy(device.fleet.keys().join("build.key"), device.etc("gateway.key")).unwrap();
    start(&programs.gateway, "run").fails(2, &["gateway.key", "not in the gateway role", "install the right key"]);
    std::fs::write(device.etc("trust"), "rubbish").unwrap();
    start(&programs.fullmetal, "agent").fails(2, &["etc/fullmetal/trust"]);
    start(&programs.fullmetal, "peer").fails(2, &["etc/fullmetal/trust"]);
    start(&programs.gateway, "run").fails(2, &["etc/fullmetal/trust"]);
    std::fs::remove_file(device.etc("identity/peer.key")).unwrap();
    start(&programs.fullmetal, "peer").fails(2, &["identity/peer.key", "No such file"]);
}

#[test]
fn a_file_of_cas_that_is_none_is_a_mistake_of_the_configuration() {
    let device = Device::new();
    let ca = device.root.join("ca.pem");
    std::fs::write(&ca, "rubbish").unwrap();
    let text = format!("[peer]\norigin = true\ncentral = \"https://192.0.2.1/\"\ncentral_ca = {ca:?}\n");
    std::fs::write(device.etc("fullmetal.d/90-bad.toml"), text).unwrap();
    // The lab's belongs to its peers' user, which this one is not.
    std::fs::remove_dir_all(device.root.join("var/cache/fullmetal")).unwrap();
    let root = device.root.to_string_lossy().into_owned();
    let said = run(&device.fleet.programs().fullmetal, &["--root", &root, "peer"]);
    said.fails(2, &["ca.pem", "no usable certificate"]);
}

#[test]
fn an_interface_that_does_not_exist_is_told_with_those_that_do() {
    let device = Device::new();
    let text = "[peer]\ninterfaces = [\"lo\", \"fm-nowhere\"]\n";
    std::fs::write(device.etc("fullmetal.d/90-bad.toml"), text).unwrap();
    // It is no reason not to start; what ends the program here is its missing key.
    std::fs::remove_file(device.etc("identity/peer.key")).unwrap();
    let root = device.root.to_string_lossy().into_owned();
    let said = run(&device.fleet.programs().fullmetal, &["--root", &root, "peer"]);
    said.fails(2, &["fm-nowhere", "[peer] interfaces", "existing=", "lo", "identity/peer.key"]);
}
