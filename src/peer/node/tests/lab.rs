//! A fleet's keys, its peers as threads, and clients at their sockets.

use crate::config::{
    AgentSettings, CentralBudget, DeviceSettings, GatewaySettings, OsSettings, Paths, PeerSettings, Settings,
};
use crate::identity::{Usage, issue_ca, issue_member, new_key, save_certificate, save_key};
use crate::local::{AsyncConnection, Connection, Packet, read_descriptor};
use crate::peer::testing::PATIENCE;
use crate::peer::{run_until, runtime};
use fullmetal_proto::wire::local::{Client, FromPeer, PeerReport, ToPeer, VERSION};
use fullmetal_proto::wire::trust::Role;
use fullmetal_proto::wire::{BuildKey, PublicKey, SigningKey, Trust, seal};
use fullmetal_proto::{DeviceId, FleetId, Timestamp};
use serde_bytes::ByteBuf;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// When all certificates and documents were made.
pub const MADE: Timestamp = Timestamp::from_secs(1_795_528_440);

/// A fleet with its CA and gateway key, below one temporary directory.
pub struct Fleet {
    dir: tempfile::TempDir,
    pub id: FleetId,
    pub gateway_key: SigningKey,
    ca_key: SigningKey,
    ca: Vec<u8>,
    trust: Vec<u8>,
}

/// How a peer is set up.
#[derive(Clone, Default)]
pub struct Setup {
    pub peers: Vec<SocketAddr>,
    pub central: Option<String>,
    pub cache_bytes_max: Option<u64>,
    pub central_budget: CentralBudget,
}

impl Fleet {
    pub fn new() -> Self {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_thread_ids(true).try_init();
        let id: FleetId = format!("plant-{:08x}", getrandom::u32().unwrap()).parse().unwrap();
        let (ca_key, gateway_key) = (new_key(), new_key());
        let ca = issue_ca(&id, &ca_key).unwrap();
        let role = |key: &SigningKey| Role { keys: vec![PublicKey::of(key)], threshold: 1 };
        let trust = Trust {
            fleet: id.clone(),
            version: 1,
            issued: MADE,
            expires: Timestamp::MAX,
            root: role(&ca_key),
            build: vec![BuildKey { key: PublicKey::of(&ca_key), refs: vec!["*".into()] }],
            build_threshold: 1,
            gateway: role(&gateway_key),
            epoch: 1,
            device_ca: vec![ByteBuf::from(ca.clone())],
            unsigned_refs: Vec::new(),
        };
        let trust = seal(&trust, &[&ca_key]).unwrap();
        Fleet { dir: tempfile::tempdir().unwrap(), id, gateway_key, ca_key, ca, trust }
    }

    /// The same fleet in name, with no keys of it.
    pub fn like(fleet: &Fleet) -> Self {
        Fleet { id: fleet.id.clone(), ..Fleet::new() }
    }

    /// A key and its certificate.
    pub fn certify(&self, device: &DeviceId, usage: Usage) -> (SigningKey, Vec<u8>) {
        let key = new_key();
        let ca = (self.ca.as_slice(), &self.ca_key);
        let certificate = issue_member(ca, (&self.id, device), &PublicKey::of(&key), usage, MADE).unwrap();
        (key, certificate)
    }

    pub fn trust(&self) -> crate::identity::FleetTrust {
        let trust = fullmetal_proto::wire::open::<Trust>(&self.trust).unwrap().document;
        let revoked = fullmetal_proto::wire::Revocations::none(&self.id);
        crate::identity::FleetTrust { trust, revoked }
    }

    /// The root role's key.
    pub fn root_key(&self) -> SigningKey {
        self.ca_key.clone()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Enrols a device and starts its peer.
    pub fn start(&self, name: &str, setup: Setup) -> Peer {
        let device: DeviceId = name.parse().unwrap();
        let paths = Paths::new(self.dir.path().join(name));
        let identity = paths.identity_dir();
        std::fs::create_dir_all(&identity).unwrap();
        let (key, certificate) = self.certify(&device, Usage::Peer);
        save_key(&identity.join("peer.key"), &key).unwrap();
        save_certificate(&identity.join("peer.crt"), &certificate).unwrap();
        std::fs::write(paths.trust_file(), &self.trust).unwrap();
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Peer::start(settings(paths, device, self.id.clone(), port, setup))
    }
}

fn settings(paths: Paths, id: DeviceId, fleet: FleetId, port: u16, setup: Setup) -> Settings {
    let peer = PeerSettings {
        interfaces: vec!["lo".into()],
        port,
        peers: setup.peers,
        discovery: false,
        origin: setup.central.is_some(),
        weight: 1,
        central: setup.central,
        central_ca: None,
        central_proxy: None,
        central_budget: setup.central_budget,
        cache_bytes_max: setup.cache_bytes_max.unwrap_or(1 << 30),
        client_uid: None,
    };
    let (probation, stop_timeout) = (Duration::from_secs(1), Duration::from_secs(1));
    let host = crate::config::HostKind::Supervisor;
    let agent = AgentSettings { host, peer_uid: None, probation, stop_timeout, windows: Default::default() };
    let gateway =
        GatewaySettings { key: paths.gateway_key(), announcement_lifetime: Duration::from_secs(3600), metrics: None };
    let (device, os) = (DeviceSettings { id, fleet, hardware: Vec::new() }, OsSettings::default());
    Settings { paths, device, peer, agent, os, gateway, hawkbit: None }
}

/// A running peer.
pub struct Peer {
    pub settings: Settings,
    stop: Option<oneshot::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    fn start(settings: Settings) -> Self {
        let (stop, stopped) = oneshot::channel::<bool>();
        let of_thread = settings.clone();
        let thread = std::thread::spawn(move || {
            let runtime = runtime().unwrap();
            runtime.block_on(async move {
                let (gracefully, graceful) = oneshot::channel::<()>();
                let running = run_until(of_thread, async { drop(graceful.await) });
                let killed = async move {
                    match stopped.await {
                        Ok(true) => {}
                        _ => {
                            drop(gracefully);
                            std::future::pending::<()>().await;
                        }
                    }
                };
                tokio::select! {
                    ended = running => ended.unwrap(),
                    () = killed => {}
                }
            });
        });
        Peer { settings, stop: Some(stop), thread: Some(thread) }
    }

    /// Where others dial it.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.settings.peer.port).into()
    }

    pub fn device(&self) -> DeviceId {
        self.settings.device.id.clone()
    }

    /// Drops everything as it is, without any goodbye of the node; waits until the cache is free.
    pub fn kill(mut self) -> Settings {
        self.end(true);
        self.settings.clone()
    }

    /// As SIGTERM does.
    pub fn stop(mut self) -> Settings {
        self.end(false);
        self.settings.clone()
    }

    pub fn restart(settings: Settings) -> Self {
        Self::start(settings)
    }

    fn end(&mut self, kill: bool) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(kill);
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// A client at its socket, after Hello.
    pub async fn client(&self, client: Client) -> Caller {
        let path = self.settings.paths.peer_socket();
        let connection =
            crate::peer::testing::eventually("the peer's socket", || async { Connection::connect(&path, None).ok() })
                .await;
        let caller = Caller { connection: AsyncConnection::new(connection).unwrap() };
        caller.say(ToPeer::Hello { version: VERSION, client }).await;
        let hello = caller.next().await.message;
        assert_eq!(hello, FromPeer::Hello { version: VERSION, device: self.device() });
        caller
    }

    pub async fn status(&self) -> PeerReport {
        let caller = self.client(Client::Observer).await;
        caller.say(ToPeer::Status).await;
        match caller.next().await.message {
            FromPeer::Status(report) => report,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(true);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A client of a peer.
pub struct Caller {
    connection: AsyncConnection,
}

impl Caller {
    pub async fn say(&self, message: ToPeer) {
        self.connection.send(&message, None).await.unwrap();
    }

    pub async fn say_with(&self, message: ToPeer, descriptor: OwnedFd) {
        self.connection.send(&message, Some(descriptor.as_fd())).await.unwrap();
    }

    pub async fn next(&self) -> Packet<FromPeer> {
        self.try_next().await.expect("the peer closed the socket")
    }

    pub async fn try_next(&self) -> Option<Packet<FromPeer>> {
        timeout(PATIENCE, self.connection.receive()).await.expect("an answer in time").unwrap()
    }

    /// The first message that `pick` takes; others are passed over.
    pub async fn until<T>(&self, mut pick: impl FnMut(Packet<FromPeer>) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }
}

/// The bytes behind a packet's descriptor.
pub fn bytes_of(packet: &Packet<FromPeer>) -> Vec<u8> {
    read_descriptor(packet.descriptor.as_ref().expect("a descriptor"), 64 << 20).unwrap()
}
