//! The Hawkbit stand-in answers as Hawkbit 1.0.4 did when it was recorded, and fails when it is told to.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "hawkbit/standin/bench.rs"]
mod bench;
#[path = "hawkbit/standin/decisions.rs"]
mod decisions;
#[path = "hawkbit/standin/faults.rs"]
mod faults;

use fullmetal_sim::hawkbit::Server;
use fullmetal_sim::hawkbit::record::{Exchange, Played, Player, read, read_setup, summary, write};
use serde_json::json;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/hawkbit").join(name)
}

/// Plays a recording against a stand-in of its own.
fn played(recorded: &[Exchange]) -> Vec<Played> {
    let setup = read_setup(&fixture("setup.jsonl")).unwrap();
    let server = Server::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut played = Vec::new();
    Player::new(&server.url(), recorded).unwrap().play(recorded, &setup, &mut played).unwrap();
    played
}

#[test]
fn the_stand_in_answers_as_hawkbit_1_0_4_did() {
    let recorded = read(&fixture("recording-1.0.4.jsonl")).unwrap();
    let played = played(&recorded);
    let (text, wrong) = summary(&played);
    println!("{text}");
    assert_eq!((played.len(), wrong), (recorded.len(), 0), "{text}");
    // What the recorder writes is a recording again, and this server plays it too.
    let file = tempfile::NamedTempFile::new().unwrap();
    write(file.path(), &played.iter().map(|p| &p.exchange).collect::<Vec<_>>()).unwrap();
    let again = self::played(&read(file.path()).unwrap());
    assert_eq!(summary(&again).1, 0, "{}", summary(&again).0);
}

#[test]
fn a_recording_of_another_behaviour_does_not_match() {
    let all = read(&fixture("recording-1.0.4.jsonl")).unwrap();
    let some = |e: &&Exchange| e.scenario.starts_with("polling: new") || e.scenario == "deployment: forced";
    let some: Vec<Exchange> = all.iter().filter(some).cloned().collect();
    let at = |method: &str, end: &str| {
        some.iter().position(|e| e.request.method == method && e.request.path.ends_with(end)).unwrap()
    };
    let wrong = |at: usize, change: &dyn Fn(&mut Exchange)| {
        let mut changed = some.clone();
        change(&mut changed[at]);
        let played = played(&changed);
        let wrong: Vec<usize> = (0..played.len()).filter(|at| !played[*at].differences.is_empty()).collect();
        let first = wrong.first().map(|at| played[*at].differences.join("; "));
        (wrong, first.unwrap_or_default())
    };
    assert_eq!(wrong(0, &|_| {}), (vec![], String::new()));
    let feedback = at("POST", "/deploymentBase/1/feedback");
    assert_eq!(wrong(feedback, &|e| e.response.status = 201).1, "status: recorded 201, here 200");
    let action = at("GET", "/actions/1");
    let said = wrong(action, &|e| e.response.body["status"] = json!("running")).1;
    assert_eq!(said, "/status: recorded \"running\", here \"finished\"");
    assert_eq!(wrong(action, &|e| e.response.body["new"] = json!(1)).1, "/new: recorded 1, here null");
    let made = wrong(action, &|e| e.response.body["lastModifiedAt"] = json!(1)).1;
    assert!(made.starts_with("/lastModifiedAt: recorded 1, here"), "{made}");
    // The same action under two names, and the same ETag for two bodies.
    let history = at("GET", "/deploymentBase/1?actionHistory=5");
    assert_eq!(wrong(history, &|e| e.response.body["id"] = json!("2")).0, [history]);
    let tag = some[at("GET", "/controller/v1/p1")].response.headers["ETag"].clone();
    assert_eq!(wrong(history, &|e| drop(e.response.headers.insert("ETag".into(), tag.clone()))).0, [history]);
    let typeless = wrong(history, &|e| drop(e.response.headers.remove("Content-Type"))).1;
    assert!(typeless.starts_with("Content-Type: recorded null"), "{typeless}");
    // Order counts, unless it is said not to.
    let long = at("GET", &"a".repeat(250));
    let turned = "name size must be between 1 and 128. controllerId size must be between 1 and 256.";
    let turn = |e: &mut Exchange| e.response.body["message"] = json!(turned);
    assert_eq!(wrong(long, &turn).0, [long]);
}
