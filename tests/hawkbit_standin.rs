//! The Hawkbit stand-in answers as Hawkbit 1.0.4 did when it was recorded.

#![allow(clippy::unwrap_used, reason = "a test")]

use fullmetal_sim::hawkbit::Server;
use fullmetal_sim::hawkbit::record::{Player, read, read_setup, summary};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/hawkbit").join(name)
}

#[test]
fn the_stand_in_answers_as_hawkbit_1_0_4_did() {
    let (recorded, setup) =
        (read(&fixture("recording-1.0.4.jsonl")).unwrap(), read_setup(&fixture("setup.jsonl")).unwrap());
    let server = Server::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let played = Player::new(&server.url(), &recorded).unwrap().play(&recorded, &setup).unwrap();
    let (text, wrong) = summary(&played);
    println!("{text}");
    assert_eq!((played.len(), wrong), (recorded.len(), 0), "{text}");
}
