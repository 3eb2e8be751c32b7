//! Rounds on a device that says what the test wants, and programs that belong to somebody.

use super::*;
use crate::config::Paths;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::sync::{Arc, Mutex};

/// What there is to say, and what was asked.
#[derive(Clone, Default)]
struct Said {
    states: Arc<Mutex<BTreeMap<String, Result<String, String>>>>,
    peer: Arc<Mutex<Option<String>>>,
    ran: Arc<Mutex<VecDeque<Result<Ran, String>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Device for Said {
    fn state(&self, unit: &str) -> Result<String, String> {
        self.asked.lock().unwrap().push(unit.to_owned());
        self.states.lock().unwrap().get(unit).cloned().unwrap_or_else(|| Ok("active".into()))
    }

    fn reached(&self, neighbour: bool) -> Result<(), String> {
        self.asked.lock().unwrap().push(format!("peer, neighbour {neighbour}"));
        self.peer.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn run(&self, program: &Path, limit: Duration) -> Result<Ran, String> {
        let name = program.file_name().unwrap().to_string_lossy();
        self.asked.lock().unwrap().push(format!("{name}, {} s", limit.as_secs()));
        self.ran.lock().unwrap().pop_front().unwrap_or(Ok(Ran::Well))
    }
}

const CONFIG: &str = "[device]\nid = \"press-1\"\nfleet = \"plant-7\"\n[os]\nunits = [\"ssh.service\", \"a.socket\"]\n\
    neighbour = true\ncheck_timeout_s = 7\n";

/// A device with two checks.
fn device() -> (tempfile::TempDir, Said, Settings) {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    fs::create_dir_all(paths.health_dir()).unwrap();
    fs::write(paths.config_file(), CONFIG).unwrap();
    for (name, mode) in [("20-disk", 0o755), ("10-net", 0o700), ("README", 0o644), ("x.dpkg-old", 0o755), ("y~", 0o755)]
    {
        let path = paths.health_dir().join(name);
        fs::write(&path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let settings = Settings::load(paths).unwrap();
    (dir, Said::default(), settings)
}

/// The files of a test are root's in CI only.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_round_asks_in_its_order_and_ends_with_the_first_that_is_not_well() {
    if !is_root() {
        return;
    }
    let (_dir, said, settings) = device();
    let checks = Checks::with(Box::new(said.clone()), &settings);
    let asked = || std::mem::take(&mut *said.asked.lock().unwrap());
    assert_eq!(checks.round(), Verdict::Well);
    assert_eq!(asked(), ["ssh.service", "a.socket", "peer, neighbour true", "10-net, 7 s", "20-disk, 7 s"]);
    let dir = settings.paths.health_dir().display().to_string();
    let ill = |ran: Ran| {
        *said.ran.lock().unwrap() = VecDeque::from([Ok(ran)]);
        match checks.round() {
            Verdict::Ill(reason) => reason,
            other => panic!("{other:?}"),
        }
    };
    let reason = ill(Ran::Failed { status: 3, said: "no link".into() });
    assert_eq!(reason, format!("{dir}/10-net ended with 3: no link"));
    assert_eq!(asked().last().unwrap(), "10-net, 7 s");
    assert_eq!(ill(Ran::TooLong { said: String::new() }), format!("{dir}/10-net took longer than 7 s"));
    *said.ran.lock().unwrap() = VecDeque::from([Ok(Ran::Well), Err("no bus".into())]);
    assert_eq!(checks.round(), Verdict::Unknown(format!("{dir}/20-disk was not run: no bus")));
    *said.peer.lock().unwrap() = Some("the peer does not answer".into());
    assert_eq!(checks.round(), Verdict::Away("the peer does not answer".into()));
    let state = |state: Result<&str, &str>| {
        let state = state.map(str::to_owned).map_err(str::to_owned);
        said.states.lock().unwrap().insert("a.socket".into(), state);
        checks.round()
    };
    let failed = "a.socket is failed: see `systemctl status a.socket`".to_owned();
    assert_eq!(state(Ok("failed")), Verdict::Ill(failed));
    assert!(matches!(state(Ok("activating")), Verdict::Ill(_)), "not yet");
    asked();
    assert_eq!(state(Err("no bus")), Verdict::Unknown("no bus".into()));
    assert_eq!(asked(), ["ssh.service", "a.socket"]);
}

#[test]
fn what_others_than_root_could_change_is_not_run_and_is_not_well() {
    if !is_root() {
        return;
    }
    let (dir, _, settings) = device();
    let checks = settings.paths.health_dir();
    let all = || programs(&checks, dir.path()).map(|all| all.len());
    assert_eq!(all(), Ok(2));
    let is_refused = |path: &Path| {
        let why = all().unwrap_err();
        assert!(why.contains(&format!("may change {}", path.display())), "{why}");
    };
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let disk = checks.join("20-disk");
    for (path, bad, good) in [(&disk, 0o775, 0o755), (&checks, 0o777, 0o755), (&dir.path().join("etc"), 0o757, 0o755)] {
        mode(path, bad);
        is_refused(path);
        mode(path, good);
    }
    chown(&disk, Some(1000), None).unwrap();
    is_refused(&disk);
    fs::remove_file(&disk).unwrap();
    // A link is as good as what it points to.
    let elsewhere = dir.path().join("usr/checks");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::copy(checks.join("10-net"), elsewhere.join("disk")).unwrap();
    symlink(elsewhere.join("disk"), &disk).unwrap();
    assert_eq!(all(), Ok(2));
    mode(&elsewhere, 0o777);
    is_refused(&elsewhere);
    fs::remove_dir_all(&elsewhere).unwrap();
    assert!(all().unwrap_err().contains("20-disk"), "it points nowhere");
    fs::remove_dir_all(&checks).unwrap();
    assert_eq!(all(), Ok(0));
}

#[test]
fn rounds_are_told_with_the_time_at_which_they_began_until_nobody_listens() {
    let (dir, said, mut settings) = device();
    settings.paths = Paths::new(dir.path().join("without-checks"));
    said.states.lock().unwrap().insert("a.socket".into(), Err("no bus".into()));
    let (started, (sender, events)) = (Instant::now(), channel());
    let health = OsHealth::start(Checks::with(Box::new(said.clone()), &settings), started, move |event| {
        let _ = sender.send(event);
    });
    let next = || events.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(next(), AppEvent::Unasked { reason: "no bus".into() });
    said.states.lock().unwrap().clear();
    let began = |event| match event {
        AppEvent::Healthy { began } => began,
        other => panic!("{other:?}"),
    };
    let first = began(next());
    assert_eq!(next(), AppEvent::Asked, "the answer comes first");
    let second = began(next());
    assert!(second.since(first) >= PAUSE && second <= Timestamp::ZERO.after(started.elapsed()));
    *said.peer.lock().unwrap() = Some("the peer does not answer".into());
    let away = AppEvent::Unasked { reason: "the peer does not answer".into() };
    assert_eq!(next(), away, "after a good round it may be its own restart");
    said.states.lock().unwrap().insert("a.socket".into(), Ok("failed".into()));
    assert!(matches!(next(), AppEvent::Unhealthy { reason } if reason.starts_with("a.socket is failed")));
    assert_eq!(next(), AppEvent::Asked);
    drop(health);
    assert!(events.recv_timeout(Duration::from_secs(20)).is_err(), "the thread has ended and told nothing");
}
