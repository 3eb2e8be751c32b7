//! What a policy says, and what is wrong with one.

use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

fn site(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join("etc/fullmetal").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn load(files: &[(&str, &str)]) -> Result<Policy, ConfigError> {
    Policy::load(&Paths::new(site(files).path()))
}

fn name(text: &str) -> AppName {
    text.parse().unwrap()
}

#[test]
fn without_a_policy_apps_get_the_network_and_nothing_else() {
    for files in [&[][..], &[("fullmetal.toml", "[device]\nid = \"d\"\nfleet = \"f\"\n")]] {
        assert_eq!(*load(files).unwrap().of(&name("web")), AppPolicy::default());
    }
}

#[test]
fn an_apps_own_keys_stand_in_the_place_of_those_for_all() {
    let all = "[policy]\nnetwork = \"none\"\ngrants = [\"sound\"]\nmemory_max = \"64M\"\n";
    let hmi = "policy.app.hmi.grants = [\"screen\", \"serial:ttyUSB0\"]\n[policy.app.hmi]\n";
    let hmi = hmi.replace("[policy.app.hmi]\n", "");
    let more = "[policy.app.hmi]\nnamespaces = [\"ipc\"]\nbinds = [\"/run/a\", \"/run/b:rw\"]\ncpu_max = \"1.5\"\npids_max = 50\n";
    let policy = load(&[("fullmetal.toml", all), ("fullmetal.d/1.toml", &hmi), ("fullmetal.d/2.toml", more)]).unwrap();
    let default = AppPolicy {
        network: Network::None,
        grants: vec![Grant::Sound],
        memory_max: Some(64 << 20),
        ..AppPolicy::default()
    };
    assert_eq!(*policy.of(&name("web")), default);
    let bind = |path: &str, writable| Bind { path: path.into(), writable };
    let hmi = AppPolicy {
        grants: vec![Grant::Screen, Grant::Serial("ttyUSB0".into())],
        namespaces: vec![HostNamespace::Ipc],
        binds: vec![bind("/run/a", false), bind("/run/b", true)],
        cpu_max: Some(1500),
        pids_max: Some(50),
        ..default
    };
    assert_eq!(*policy.of(&name("hmi")), hmi);
}

#[test]
fn a_mistake_is_told_with_its_line_and_what_would_be_right() {
    let cases: [(&str, &[&str]); 11] = [
        ("[policy]\nnetwrk = \"host\"\n", &["line 2", "netwrk", "`network`"]),
        ("[policy]\nnetwork = \"hots\"\n", &["line 2", "hots", "`host`", "`none`"]),
        ("[policy]\n\ngrants = [\"screeen\"]\n", &["line 3", "screeen", "they are screen, gpu"]),
        ("[policy]\nnamespaces = [\"mount\"]\n", &["line 2", "mount", "`pid`", "`ipc`"]),
        ("[policy]\nbinds = [\"etc\"]\n", &["line 2", "etc", "absolute path"]),
        ("[policy]\nbinds = [\"/a/../etc\"]\n", &["line 2", "absolute path"]),
        ("[policy]\nmemory_max = \"1X\"\n", &["line 2", "1X", "64M"]),
        ("[policy]\nmemory_max = \"1K\"\n", &["line 2", "from 4M"]),
        ("[policy]\ncpu_max = \"0.001\"\n", &["line 2", "0.001", "from 0.01"]),
        ("[policy]\npids_max = 0\n", &["line 2", "0 is not within"]),
        ("[policy.app.\"../x\"]\npids_max = 1\n", &["line 1", "../x"]),
    ];
    for (text, words) in cases {
        let message = load(&[("fullmetal.toml", text)]).unwrap_err().to_string();
        for word in words.iter().chain(&["fullmetal.toml"]) {
            assert!(message.contains(word), "{message:?} lacks {word:?}");
        }
    }
}

#[test]
fn a_policy_that_others_may_write_is_refused() {
    let dir = site(&[("fullmetal.toml", "[policy]\n"), ("fullmetal.d/x.toml", "[peer]\n")]);
    let paths = Paths::new(dir.path());
    let refused = || Policy::load(&paths).unwrap_err().to_string();
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chmod(&paths.config_dir().join("x.toml"), 0o666);
    Policy::load(&paths).unwrap();
    chmod(&paths.config_file(), 0o664);
    assert!(refused().contains("may be written by others (mode 0664); run `chmod go-w"), "{}", refused());
    chmod(&paths.config_file(), 0o644);
    let parent = paths.config_file().parent().unwrap().to_owned();
    chmod(&parent, 0o777);
    assert!(refused().contains("(mode 0777)"), "{}", refused());
    chmod(&parent, 0o755);
    Policy::load(&paths).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(paths.config_file(), Some(1234), None).unwrap();
        assert!(refused().contains("belongs to user 1234; run `chown root"), "{}", refused());
    }
}

#[test]
fn the_example_of_the_docs_says_what_they_say() {
    let docs = include_str!("../../../docs/apps.md");
    let example = docs.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let policy = load(&[("fullmetal.toml", example)]).unwrap();
    let (all, hmi) = (policy.of(&name("web")), policy.of(&name("hmi")));
    assert_eq!((all.network, all.memory_max, all.cpu_max), (Network::None, Some(128 << 20), None));
    assert_eq!((hmi.network, hmi.memory_max, hmi.cpu_max), (Network::Host, Some(512 << 20), Some(1500)));
    assert_eq!((hmi.grants.len(), hmi.binds[1].writable, hmi.pids_max), (3, true, Some(300)));
}
