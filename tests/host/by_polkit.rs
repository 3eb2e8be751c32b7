//! Whom polkit lets, and whom it asks for a password: who sits at the device's screen, and who has an administrator's
//! word. These run on the device, see [`device`](super::on_the_bus).

use super::on_the_bus::{NAME, PATH};
use super::site::run;
use fullmetal::config::Paths;
use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A user that no rule names.
const USER: &str = "daemon";
const ASK: &str = "/tmp/ask.sh";

/// Calls the agent in a session of the user's own.
fn in_session(seat: Option<&str>, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--pipe", "--wait", "--collect", "-p", "PAMName=login", "-p", &format!("User={USER}")]);
    command.args(seat.map(|seat| format!("--setenv=XDG_SEAT={seat}")));
    let output = command.args(["busctl", "--timeout=20", "call", NAME, PATH, NAME]).args(words).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

/// Who sits at the screen may hold back and ask for news, and no more.
pub fn who_sits_at_the_screen_may_do_what_harms_nothing() {
    let (check, inhibit) = (["CheckNow"], ["Inhibit", "ss", "operator", "casting"]);
    for words in [&check[..], &inhibit] {
        in_session(Some("seat0"), words).unwrap();
        let refused = in_session(None, words).unwrap_err();
        assert!(refused.contains("needs a password"), "from elsewhere: {refused}");
    }
    for words in [&["Lock", "s", "mine"][..], &["Unlock"], &["Rollback", "s", "web"]] {
        let refused = in_session(Some("seat0"), words).unwrap_err();
        assert!(refused.contains("needs a password"), "{words:?}: {refused}");
    }
}

/// Calls `Lock` as a user with an authentication agent, at a terminal, that answers its question; whether that did it, and
/// what the terminal showed.
fn locks_with(password: &str) -> (bool, String) {
    let mut command = Command::new("script");
    let ask = format!("setpriv --reuid {USER} --regid {USER} --clear-groups sh {ASK}");
    let mut at =
        command.args(["-qec", &ask, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut screen) = (at.stdin.take().unwrap(), at.stdout.take().unwrap());
    let (mut shown, mut byte) = (Vec::new(), [0]);
    while screen.read(&mut byte).unwrap() == 1 {
        shown.push(byte[0]);
        if shown.ends_with(b"Password: ") {
            until_it_listens(&shown);
            writeln!(keys, "{password}").unwrap();
        }
    }
    (at.wait().unwrap().success(), String::from_utf8_lossy(&shown).into_owned())
}

/// Whoever asks at a terminal throws away what was typed before its echo was off; the terminal's name was shown first.
fn until_it_listens(shown: &[u8]) {
    let shown = String::from_utf8_lossy(shown);
    let terminal = shown.lines().next().unwrap().trim();
    let begin = Instant::now();
    while !run("stty", &["-F", terminal, "-a"]).split_whitespace().any(|word| word == "-echo") {
        assert!(begin.elapsed() < Duration::from_secs(20), "{terminal} goes on showing what is typed");
        sleep(Duration::from_millis(10));
    }
}

/// The agent of polkit at a terminal belongs to the very process that calls.
pub fn an_administrator_is_asked_for_the_password() {
    run("useradd", &["--groups", "sudo", "boss"]);
    run("sh", &["-c", "echo boss:secret | chpasswd"]);
    let script = format!(
        "tty; rm -f /tmp/ready; mkfifo /tmp/ready\npkttyagent --process $$ --notify-fd 3 3>/tmp/ready &\ncat /tmp/ready\n\
         exec busctl --timeout=60 call {NAME} {PATH} {NAME} Lock s maintenance\n"
    );
    fs::write(ASK, script).unwrap();
    let is_locked = || Paths::new("/").lock_file().exists();
    let (done, shown) = locks_with("wrong");
    assert!(!done && !is_locked() && shown.contains("Access denied"), "{shown}");
    let (done, shown) = locks_with("secret");
    assert!(done && is_locked(), "{shown}");
    for words in ["lock or unlock the device against updates", "Authenticating as: boss"] {
        assert!(shown.contains(words), "{shown}");
    }
    run("/usr/bin/fullmetal", &["unlock"]);
}
