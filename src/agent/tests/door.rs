//! What people ask a whole agent over its socket.

use super::whole::Bench;
use crate::agent::lock;
use crate::local::{Connection, Listener};
use fullmetal_proto::Timestamp;
use fullmetal_proto::deploy::{Input, Local, State};
use fullmetal_proto::wire::asking::{AgentReport, FromAgent, LockNote, ToAgent, VERSION};
use fullmetal_proto::wire::local::{self, FromPeer, ToPeer};
use std::sync::mpsc::channel;

fn started() -> Bench {
    let mut bench = Bench::new();
    bench.agent.input(Input::Start { record: None, local: Local::default() });
    bench.run_until("rest", |agent| agent.machine.state() == State::Idle);
    bench.agent.open_door();
    bench
}

fn connected(bench: &Bench) -> Connection {
    let connection = Connection::connect(&bench.paths.agent_socket(), None).unwrap();
    connection.send(&ToAgent::Hello { version: VERSION }, None).unwrap();
    let hello = connection.receive::<FromAgent>().unwrap().unwrap().message;
    assert_eq!(hello, FromAgent::Hello { version: VERSION, device: "press-1".parse().unwrap() });
    connection
}

/// Asks, while the agent's loop runs.
fn ask(bench: &mut Bench, connection: &Connection, what: &ToAgent) -> FromAgent {
    connection.send(what, None).unwrap();
    let (answer, answered) = channel();
    let reader = connection.try_clone().unwrap();
    std::thread::spawn(move || answer.send(reader.receive::<FromAgent>().unwrap().unwrap().message));
    let got = std::cell::RefCell::new(None);
    bench.run_until("the answer", |_| {
        let mut got = got.borrow_mut();
        *got = got.take().or_else(|| answered.try_recv().ok());
        got.is_some()
    });
    got.into_inner().unwrap()
}

fn report(bench: &mut Bench, connection: &Connection) -> AgentReport {
    match ask(bench, connection, &ToAgent::Status) {
        FromAgent::Status(report) => *report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lock_holds_from_the_answer_on_and_a_start_finds_it() {
    let mut bench = started();
    let connection = connected(&bench);
    let note = LockNote { reason: "acceptance".into(), since: Timestamp::from_secs(1_795_528_440) };
    lock::set(&bench.paths.lock_file(), &note).unwrap();
    assert!(!bench.agent.machine.local().locked);
    assert_eq!(ask(&mut bench, &connection, &ToAgent::LookAgain), FromAgent::Done);
    assert!(bench.agent.machine.local().locked);
    let told = report(&mut bench, &connection);
    assert_eq!((told.state.as_str(), told.locked), ("idle", Some(note)));

    let mut next = Bench::new();
    lock::set(&next.paths.lock_file(), &LockNote { reason: String::new(), since: Timestamp::ZERO }).unwrap();
    next.agent.start(None);
    assert!(next.agent.machine.local().locked);
    lock::clear(&bench.paths.lock_file()).unwrap();
    assert_eq!(ask(&mut bench, &connection, &ToAgent::LookAgain), FromAgent::Done);
    assert!(!bench.agent.machine.local().locked);
}

#[test]
fn an_inhibitor_is_held_until_its_connection_closes() {
    let mut bench = started();
    let (owner, looker) = (connected(&bench), connected(&bench));
    for why in ["", "two\nlines", &"x".repeat(300)] {
        let refused = ask(&mut bench, &owner, &ToAgent::Inhibit { who: String::new(), why: why.into() });
        assert!(matches!(refused, FromAgent::Failed { .. }), "{why}");
    }
    assert_eq!(
        ask(&mut bench, &owner, &ToAgent::Inhibit { who: "caster".into(), why: "casting".into() }),
        FromAgent::Done
    );
    assert!(bench.agent.machine.local().inhibited);
    let held = report(&mut bench, &looker).inhibitors;
    assert_eq!((held[0].why.as_str(), held[0].pid), ("casting", std::process::id()));
    drop(owner);
    bench.run_until("its end", |agent| !agent.machine.local().inhibited);
    assert!(report(&mut bench, &looker).inhibitors.is_empty());
}

#[test]
fn a_check_is_handed_on_to_the_peer() {
    let mut bench = started();
    std::fs::create_dir_all(bench.paths.peer_run_dir()).unwrap();
    let peer = Listener::bind(&bench.paths.peer_socket()).unwrap();
    let (sender, heard) = channel();
    std::thread::spawn(move || {
        let agent = peer.accept().unwrap();
        agent.send(&FromPeer::Hello { version: local::VERSION, device: "press-1".parse().unwrap() }, None).unwrap();
        while let Ok(Some(packet)) = agent.receive::<ToPeer>() {
            let _ = sender.send(packet.message);
        }
    });
    // The peer is there once it hears something.
    let first = std::cell::RefCell::new(None);
    bench.run_until("the peer", |_| {
        let mut first = first.borrow_mut();
        *first = first.take().or_else(|| heard.try_recv().ok());
        first.is_some()
    });
    let connection = connected(&bench);
    assert_eq!(ask(&mut bench, &connection, &ToAgent::CheckNow), FromAgent::Done);
    let told = || heard.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    assert!(std::iter::repeat_with(told).any(|message| message == ToPeer::CheckNow));
}

#[test]
fn who_speaks_another_version_is_told_and_who_speaks_none_is_let_go() {
    let bench = started();
    let to = || Connection::connect(&bench.paths.agent_socket(), None).unwrap();
    let old = to();
    old.send(&ToAgent::Hello { version: VERSION + 1 }, None).unwrap();
    match old.receive::<FromAgent>().unwrap().unwrap().message {
        FromAgent::Failed { reason } => assert!(reason.contains("update both"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let mute = to();
    mute.send(&42u8, None).unwrap();
    assert!(mute.receive::<FromAgent>().map(|packet| packet.is_none()).unwrap_or(true));
}
