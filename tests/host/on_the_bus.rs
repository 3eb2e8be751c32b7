//! An agent on a device's system bus: what programs of the device see there and what polkit lets them do.
//!
//! [`device`] is the half that runs on the device; it starts a program of another user, see [`bus_program`].

use super::bus_program::Program;
use super::by_polkit;
use super::site::{check_out, kill, run};
use super::{Bench, Groups};
use fullmetal::config::Paths;
use fullmetal::journal::Journal;
use fullmetal::repo::LibostreeStore;
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::{App, Installed, Record};
use fullmetal_proto::wire::StartOptions;
use fullmetal_proto::wire::asking::INHIBITORS_OF_USER_MAX;
use fullmetal_sim::lab::wait_for;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub const NAME: &str = "org.fullmetal.Agent1";
pub const PATH: &str = "/org/fullmetal/Agent1";
pub const LIMIT: Duration = Duration::from_secs(30);
const FULLMETAL: &str = "/usr/bin/fullmetal";
/// A user that a rule lets inhibit, and one that nothing is let.
pub const HMI: &str = "games";
const STRANGER: &str = "daemon";

/// As packages install them, and the integrator's rule.
const FILES: [(&str, &str); 4] = [
    ("/usr/share/dbus-1/system.d/org.fullmetal.Agent1.conf", include_str!("../../dbus/org.fullmetal.Agent1.conf")),
    ("/usr/share/polkit-1/actions/org.fullmetal.agent1.policy", include_str!("../../dbus/org.fullmetal.agent1.policy")),
    ("/usr/lib/systemd/system/fullmetal-agent.service", include_str!("../../systemd/fullmetal-agent.service")),
    (
        "/etc/polkit-1/rules.d/50-hmi.rules",
        "polkit.addRule(function(action, subject) {\n\
         if (action.id == 'org.fullmetal.agent1.inhibit' && subject.user == 'games') return polkit.Result.YES;\n});\n",
    ),
];

#[test]
fn programs_are_told_over_the_bus_and_may_do_what_polkit_lets_them() {
    let bench = Bench::new(Groups::AsHost);
    for (path, text) in FILES {
        let write =
            format!("mkdir -p {}; cat > {path} <<'END'\n{text}\nEND", Path::new(path).parent().unwrap().display());
        bench.device.run(&["sh", "-c", &write]).unwrap();
    }
    bench.device.run(&["ln", "-s", "/run/lab/fullmetal", FULLMETAL]).unwrap();
    bench.device.run(&["systemctl", "daemon-reload"]).unwrap();
    bench.device.run(&["systemctl", "reload", "dbus"]).unwrap();
    bench.other_half("on_the_bus::device");
    // Services that somebody waits for over the bus do not outlive it.
    let own = Path::new("/run/lab").join(bench.own.file_name().unwrap());
    let argv = [&own.to_string_lossy(), "--exact", "on_the_bus::another_bus", "--ignored", "--nocapture"];
    let said = bench.device.run(&argv).unwrap();
    assert!(said.contains("1 passed"), "{said}");
}

/// Calls the bus as a user of the device.
fn busctl(user: &str, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", "busctl", "--json=short", "--timeout=20"]);
    let output = command.args(words).output().unwrap();
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(said(output.stdout)) } else { Err(said(output.stderr)) }
}

fn call(user: &str, words: &[&str]) -> Result<String, String> {
    busctl(user, &[&["call", NAME, PATH, NAME], words].concat())
}

fn property(name: &str) -> Value {
    let said = busctl(STRANGER, &["get-property", NAME, PATH, NAME, name]).unwrap_or_default();
    serde_json::from_str::<Value>(&said).map(|said| said["data"].clone()).unwrap_or_default()
}

fn until(what: &str, done: impl Fn() -> bool) {
    if let Err(error) = wait_for(what, LIMIT, || Ok(done().then_some(()))) {
        let log = run("journalctl", &["--no-pager", "-n", "40"]);
        panic!("{error}: {:?}: {log}", busctl("root", &["get-property", NAME, PATH, NAME, "State"]));
    }
}

fn refused(user: &str, words: &[&str], why: &str) {
    let said = call(user, words).unwrap_err();
    assert!(said.contains(why), "{words:?}: {said}");
}

/// Enrols the device; its app has a version before the one in force.
fn prepare() {
    run(FULLMETAL, &["keys", "generate", "--fleet", "plant-7", "--out", "/root/keys"]);
    run(FULLMETAL, &["enroll", "--fleet", "plant-7", "--device", "press-1", "--request", "/root/request"]);
    run(FULLMETAL, &["keys", "certify", "/root/request", "--keys", "/root/keys", "--out", "/root/answer"]);
    run(FULLMETAL, &["enroll", "--answer", "/root/answer"]);
    let paths = Paths::new("/");
    drop(LibostreeStore::open_or_create(&paths.repo()).unwrap());
    let [previous, current] = ["1", "2"].map(|version| installed(&paths, version));
    let mut record = Record::default();
    let app = App { current, previous: Some(previous), floor: 0, lost: false };
    record.apps.insert("web".parse().unwrap(), app);
    Journal::open(&paths.journal_dir()).unwrap().save(&record).unwrap();
}

/// A version whose commit is in the store and checked out.
fn installed(paths: &Paths, version: &str) -> Installed {
    let script = format!("trap 'exit 0' TERM; echo {version}; while :; do sleep 1000 & wait; done");
    let app = check_out(Path::new("/"), "web", &script, |_, _| {});
    let made = paths.checkout(&app.name, &app.commit);
    let source = made.to_string_lossy();
    let release = ["--json", "publish", &source, "--repo", "/root/repo", "--ref", "apps/web/x86_64", "--unsigned"];
    let asks = ["--name", "web", "--version", version, "--release", version, "--probation", "5", "--level", "1"];
    let published: Value = serde_json::from_str(&run(FULLMETAL, &[&release[..], &asks].concat())).unwrap();
    let hex = published["commit"].as_str().unwrap();
    let commit: Digest = hex.parse().unwrap();
    fs::rename(&made, paths.checkout(&app.name, &commit)).unwrap();
    let object = format!("objects/{}/{}.commit", &hex[..2], &hex[2..]);
    let to = paths.repo().join(&object);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(Path::new("/root/repo").join(&object), to).unwrap();
    let start = StartOptions { autostart: true, job: false };
    Installed { commit, version: version.into(), manifest: commit, start, unsigned: true }
}

fn agent_pid() -> i32 {
    run("systemctl", &["show", "--value", "-p", "MainPID", "fullmetal-agent"]).trim().parse().unwrap()
}

/// The most memory that the agent had so far, in KiB.
fn peak(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn holders() -> usize {
    property("Inhibitors").as_array().map_or(usize::MAX, Vec::len)
}

#[test]
#[ignore = "runs on a device"]
fn device() {
    prepare();
    a_name_that_is_refused_is_told();
    let told = busctl(STRANGER, &["--xml-interface", "introspect", NAME, PATH]).unwrap();
    for part in [
        "\"GetStatus\"",
        "\"Inhibit\"",
        "\"CheckNow\"",
        "\"Rollback\"",
        "\"Lock\"",
        "\"Unlock\"",
        "\"a(ssuut)\"",
        "\"Finished\"",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    status_is_for_all();
    changes_are_for_whom_polkit_lets();
    by_polkit::who_sits_at_the_screen_may_do_what_harms_nothing();
    by_polkit::an_administrator_is_asked_for_the_password();
    inhibitors_go_with_their_holder();
    what_happens_is_told();
    a_loud_user_stops_nothing();
    without_polkit_root_alone_changes_things();
    the_name_comes_back();
}

/// The agent is there all the same, and has the name as soon as it may.
fn a_name_that_is_refused_is_told() {
    let (policy, away) = (FILES[0].0, "/root/policy");
    fs::rename(policy, away).unwrap();
    run("systemctl", &["reload", "dbus"]);
    run("systemctl", &["start", "fullmetal-agent"]);
    let told = || run(FULLMETAL, &["status"]).contains("trouble: org.fullmetal.Agent1 is not on the system bus");
    until("it is told", told);
    fs::rename(away, policy).unwrap();
    run("systemctl", &["reload", "dbus"]);
    until("the agent rests", || property("State") == "idle");
    until("the trouble is over", || !told());
}

fn status_is_for_all() {
    let told: Value = serde_json::from_str(&call(STRANGER, &["GetStatus"]).unwrap()).unwrap();
    let status: Value = serde_json::from_str(told["data"][0].as_str().unwrap()).unwrap();
    let shown: Value = serde_json::from_str(&run(FULLMETAL, &["status", "--json"])).unwrap();
    for key in ["device", "fleet", "agent", "local", "deployment"] {
        assert_eq!(status[key], shown[key], "{key}");
    }
    assert_eq!(status["apps"][0]["version"], "2");
    assert_eq!(property("Apps"), serde_json::json!([["web", "2", "1"]]));
    assert_eq!((property("Device"), property("Locked")), ("press-1".into(), false.into()));
}

fn changes_are_for_whom_polkit_lets() {
    for words in [
        &["CheckNow"][..],
        &["Unlock"],
        &["Lock", "s", "mine"],
        &["Rollback", "s", "web"],
        &["Inhibit", "ss", "a", "b"],
    ] {
        refused(STRANGER, words, "needs a password");
    }
    refused(HMI, &["CheckNow"], "needs a password");
    assert!(!Paths::new("/").lock_file().exists() && property("State") == "idle");
    refused("root", &["Rollback", "s", "nothing"], "no app nothing");
    refused("root", &["Lock", "s", "two\nlines"], "one line");
    refused(HMI, &["Inhibit", "ss", "hmi", &"x".repeat(300)], "one line");
    call("root", &["CheckNow"]).unwrap();
    call("root", &["Lock", "s", "acceptance"]).unwrap();
    assert_eq!((property("Locked"), property("LockReason")), (true.into(), "acceptance".into()));
    assert!(run(FULLMETAL, &["status"]).contains("acceptance"));
    run(FULLMETAL, &["unlock"]);
    assert_eq!(property("Locked"), false, "from the moment at which the command is done");
}

fn inhibitors_go_with_their_holder() {
    let mut program = Program::start();
    program.does("inhibit", "holds 1");
    let shown = run(FULLMETAL, &["status"]);
    assert!(shown.contains(": hmi: casting (user 5, process "), "{shown}");
    let held = property("Inhibitors");
    assert_eq!((&held[0][0], &held[0][1], &held[0][3]), (&"hmi".into(), &"casting".into(), &program.child.id().into()));
    program.says("Inhibitors");
    let log = || run("journalctl", &["-u", "fullmetal-agent", "--no-pager"]);
    until("switches are held back", || log().contains("local say locked=false inhibited=true"));
    Program::start().does(&format!("forge {}", program.name), "forged");
    assert_eq!(holders(), 1, "nobody else can let go");
    program.does("let go", "let go");
    until("closing the descriptor lets go", || holders() == 0);
    for held in 1..=INHIBITORS_OF_USER_MAX {
        program.does("inhibit", &format!("holds {held}"));
    }
    program.does("inhibit", "which is the limit");
    assert_eq!(holders(), INHIBITORS_OF_USER_MAX);
    program.does("leave", "left");
    until("leaving the bus lets go, though the descriptors are open", || holders() == 0);
    let mut program = Program::start();
    program.does("inhibit", "holds 1");
    assert_eq!(holders(), 1);
    kill(i32::try_from(program.child.id()).unwrap(), "KILL");
    until("a holder that is killed lets go", || holders() == 0);
}

fn what_happens_is_told() {
    let mut program = Program::start();
    call("root", &["Rollback", "s", "web"]).unwrap();
    program.says("signal Switching");
    program.says("proving");
    program.says("rolled back by hand: web 1 is in force again");
    assert_eq!(property("Apps"), serde_json::json!([["web", "1", "2"]]), "before the end is told");
    until("rest", || property("State") == "idle");
}

fn a_loud_user_stops_nothing() {
    let (pid, before) = (agent_pid(), peak(agent_pid()));
    let mut program = Program::start();
    program.does("shout", "shouted");
    until("it answers others", || property("State") == "idle");
    run(FULLMETAL, &["status"]);
    assert_eq!((agent_pid(), holders()), (pid, 0));
    let after = peak(pid);
    println!("peak of the agent: {before} KiB, with 6,000 calls of a loud user {after} KiB");
    assert!(after < before + (8 << 10), "{before} KiB became {after} KiB");
}

fn without_polkit_root_alone_changes_things() {
    let mut program = Program::start();
    run("systemctl", &["kill", "--signal=STOP", "polkit"]);
    program.tell("inhibit");
    for _ in 0..3 {
        call("root", &["CheckNow"]).unwrap();
        assert_eq!((property("State"), holders()), ("idle".into(), 0), "one that hangs holds nobody else up");
    }
    run("systemctl", &["kill", "--signal=CONT", "polkit"]);
    program.says("holds 1");
    run("systemctl", &["mask", "--runtime", "--now", "polkit"]);
    program.does("inhibit", "only root may do this");
    call("root", &["CheckNow"]).unwrap();
    assert_eq!(property("State"), "idle");
    run("systemctl", &["unmask", "--runtime", "polkit"]);
}

fn the_name_comes_back() {
    let mut program = Program::start();
    program.does("inhibit", "holds 1");
    let pid = agent_pid();
    kill(pid, "KILL");
    until("another agent has the name", || agent_pid() != pid && property("State") == "idle");
    assert_eq!(holders(), 0);
    program.does("inhibit", "holds 2");
}

#[test]
#[ignore = "runs on a device"]
fn another_bus() {
    let mut program = Program::start();
    program.does("inhibit", "holds 1");
    let pid = agent_pid();
    run("systemctl", &["restart", "dbus"]);
    until("the agent is on the new bus", || property("State") == "idle");
    assert_eq!((agent_pid(), holders()), (pid, 1), "what is held stays held while its descriptor is open");
    drop(program);
    until("its end lets go", || holders() == 0);
}
