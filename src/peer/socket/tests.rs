use super::*;
use crate::local::{Connection, Listener, LocalError};
use std::path::{Path, PathBuf};

const OWN: u32 = 990;
const GATEWAY: u32 = 991;
const STRANGER: u32 = 1000;

fn policy() -> Policy {
    Policy {
        device: "press-1".parse().unwrap(),
        own_uid: OWN,
        gateway_uid: Some(GATEWAY),
        observer_idle: Duration::from_secs(1),
    }
}

#[test]
fn users_are_what_they_may_be() {
    let may = |client| [0, OWN, GATEWAY, STRANGER].map(|uid| policy().admits(client, uid));
    assert_eq!(may(Client::Agent), [true, true, false, false]);
    assert_eq!(may(Client::Gateway), [true, true, true, false]);
    assert_eq!(may(Client::Observer), [true; 4]);
}

#[test]
fn who_may_not_be_a_gateway_learns_who_may() {
    let open = Policy { gateway_uid: None, ..policy() };
    assert!(refusal(&open, Client::Gateway, STRANGER).contains("`client_uid = 1000` in [peer]"));
    assert!(refusal(&policy(), Client::Gateway, STRANGER).contains("root, user 990 and user 991 may"));
    assert!(refusal(&policy(), Client::Agent, GATEWAY).contains("user 991 may not be this peer's agent"));
}

#[test]
fn observers_only_ask_how_it_is_going() {
    let manifest = fullmetal_proto::Digest::default();
    let fetching = ToPeer::Unwant { manifest };
    let deciding = ToPeer::Receipt(Default::default());
    assert!(may_say(Client::Agent, &ToPeer::CheckNow) && !may_say(Client::Observer, &ToPeer::CheckNow));
    let says = |client| [&ToPeer::Status, &fetching, &deciding].map(|message| may_say(client, message));
    assert_eq!(says(Client::Observer), [true, false, false]);
    assert_eq!(says(Client::Agent), [true, true, false]);
    assert_eq!(says(Client::Gateway), [true, true, true]);
}

#[test]
fn strangers_that_take_all_places_they_can_get_take_none_of_our_users() {
    let (places, policy) = (Places::new(), policy());
    let mut taken: Vec<_> = std::iter::from_fn(|| places.role(&policy, STRANGER, Client::Observer)).collect();
    taken.extend(std::iter::from_fn(|| places.greeting(&policy, STRANGER)));
    assert_eq!(taken.len(), places::OTHER_OBSERVERS_MAX + places::GREETINGS_MAX);
    for uid in [0, OWN, GATEWAY] {
        assert!(places.greeting(&policy, uid).is_some() && places.role(&policy, uid, Client::Observer).is_some());
    }
    taken.extend(std::iter::from_fn(|| places.role(&policy, 0, Client::Observer)));
    assert!(
        places.role(&policy, 0, Client::Agent).is_some() && places.role(&policy, GATEWAY, Client::Gateway).is_some()
    );
    drop(taken);
    assert!(places.role(&policy, STRANGER, Client::Observer).is_some(), "a place that is left is free");
}

/// A socket that is served, with the user who runs this test as a stranger or as our own.
struct Bench {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    events: mpsc::Receiver<SocketEvent>,
    outboxes: Vec<Outbox>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("peer.sock");
        let listener = AsyncListener::new(Listener::bind(&socket).unwrap()).unwrap();
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(listen(listener, policy(), sender));
        Bench { _dir: dir, socket, events, outboxes: Vec::new() }
    }

    async fn opened(&mut self) -> Client {
        match self.events.recv().await.unwrap() {
            SocketEvent::Opened { client, outbox, .. } => {
                self.outboxes.push(outbox);
                client
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn call(socket: &Path, client: Client) -> Result<AsyncConnection, LocalError> {
    let connection = AsyncConnection::new(Connection::connect(socket, None).unwrap()).unwrap();
    connection.send(&ToPeer::Hello { version: VERSION, client }, None).await.unwrap();
    connection.receive::<FromPeer>().await.map(|packet| {
        assert!(packet.is_some_and(|p| matches!(p.message, FromPeer::Hello { .. })));
        connection
    })
}

#[tokio::test]
async fn idle_observers_are_many_told_so_and_soon_gone_while_the_agent_gets_in() {
    let mut bench = Bench::new();
    let mut observers = Vec::new();
    let full = loop {
        match call(&bench.socket, Client::Observer).await {
            Ok(connection) => observers.push(connection),
            Err(error) => break error.to_string(),
        }
        assert_eq!(bench.opened().await, Client::Observer);
    };
    assert!([places::OWN_OBSERVERS_MAX, places::OTHER_OBSERVERS_MAX].contains(&observers.len()));
    assert!(full.contains("refused: too many clients of the kind Observer"), "{full}");
    let own = rustix::process::getuid().as_raw();
    let agent = call(&bench.socket, Client::Agent).await;
    match agent {
        Ok(_) => assert_eq!(bench.opened().await, Client::Agent),
        Err(error) => assert!(own != 0 && error.to_string().contains("may not be this peer's agent"), "{error}"),
    }
    for observer in observers {
        assert!(observer.receive::<FromPeer>().await.unwrap().is_none(), "it asked nothing and lost its place");
    }
    assert!(call(&bench.socket, Client::Observer).await.is_ok());
}

#[tokio::test]
async fn a_client_of_another_version_or_without_hello_is_told() {
    let bench = Bench::new();
    let say = async |message: ToPeer| {
        let connection = AsyncConnection::new(Connection::connect(&bench.socket, None).unwrap()).unwrap();
        connection.send(&message, None).await.unwrap();
        connection.receive::<FromPeer>().await.unwrap_err().to_string()
    };
    let newer = ToPeer::Hello { version: VERSION + 1, client: Client::Observer };
    assert!(say(newer).await.contains("update both programs"));
    assert!(say(ToPeer::Status).await.contains("first message must be Hello"));
}
