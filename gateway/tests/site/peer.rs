//! The peer's end of the local socket, played by a thread: the same wire, a central repo in memory.

use fullmetal::local::{Connection, Listener, read_descriptor, sealed_descriptor};
use fullmetal_proto::wire::local::{CentralObject, Client, FromPeer, ToPeer, VERSION};
use fullmetal_proto::wire::{BlobRef, Hint, Receipt, Report, open, seal};
use fullmetal_proto::{DeviceId, Digest};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the peer knows and was told.
#[derive(Default)]
pub struct Shared {
    pub central: BTreeMap<CentralObject, Vec<u8>>,
    pub central_down: bool,
    /// Announcement envelopes in the order in which they came.
    pub announced: Vec<Vec<u8>>,
    /// What a gateway is shown when it connects.
    pub newest: Option<(Hint, Vec<u8>)>,
    pub receipts: Vec<Receipt>,
    pub told: Vec<ToPeer>,
    /// Manifests that the gateway brought itself.
    pub offered: Vec<(BlobRef, Vec<u8>)>,
    connection: Option<Arc<Connection>>,
    pub hellos: usize,
}

#[derive(Clone)]
pub struct Peer(Arc<Mutex<Shared>>);

impl Peer {
    pub fn start(socket: &Path) -> Self {
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let peer = Peer(Arc::default());
        let (mine, listener) = (peer.clone(), Listener::bind(socket).unwrap());
        std::thread::spawn(move || {
            while let Ok(connection) = listener.accept() {
                let connection = Arc::new(connection);
                let mine = mine.clone();
                std::thread::spawn(move || mine.serve(&connection));
            }
        });
        peer
    }

    pub fn with<T>(&self, f: impl FnOnce(&mut Shared) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// Waits until `f` gives something; a server's own schedule may be in between.
    pub fn wait<T>(&self, what: &str, f: impl Fn(&Shared) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            if let Some(found) = self.with(|s| f(s)) {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn serve(&self, connection: &Arc<Connection>) {
        let Ok(Some(hello)) = connection.receive::<ToPeer>() else { return };
        assert_eq!(hello.message, ToPeer::Hello { version: VERSION, client: Client::Gateway });
        let device: DeviceId = "gateway".parse().unwrap();
        // Whoever is gone already, such as a gateway that was killed, is no trouble.
        let _ = connection.send(&FromPeer::Hello { version: VERSION, device }, None);
        let newest = self.with(|s| {
            s.connection = Some(connection.clone());
            s.newest.clone()
        });
        if let Some((hint, bytes)) = newest {
            let fd = sealed_descriptor(&bytes).unwrap();
            let _ = connection.send(&FromPeer::Announcement(hint), Some(fd.as_fd()));
        }
        self.with(|s| s.hellos += 1);
        while let Ok(Some(packet)) = connection.receive::<ToPeer>() {
            let bytes = packet.descriptor.map(|fd| read_descriptor(&fd, 2 << 20).unwrap());
            self.take(connection, packet.message, bytes);
        }
    }

    fn take(&self, connection: &Connection, message: ToPeer, bytes: Option<Vec<u8>>) {
        match message {
            ToPeer::Central(object) => {
                let (down, found) = self.with(|s| (s.central_down, s.central.get(&object).cloned()));
                let reason = if down { "connection refused" } else { "404 Not Found" }.to_owned();
                match found.filter(|_| !down) {
                    Some(bytes) => {
                        let fd = sealed_descriptor(&bytes).unwrap();
                        let _ = connection.send(&FromPeer::Central(object), Some(fd.as_fd()));
                    }
                    None => {
                        let failed = FromPeer::CentralFailed { object, missing: !down, reason };
                        let _ = connection.send(&failed, None);
                    }
                }
            }
            ToPeer::Announce(hint) => {
                let bytes = bytes.unwrap();
                assert_eq!((hint.digest, hint.length), (Digest::of(&bytes), bytes.len() as u32));
                self.with(|s| {
                    s.announced.push(bytes.clone());
                    s.newest = Some((hint, bytes));
                });
            }
            ToPeer::Offer { manifest, .. } => self.with(|s| s.offered.push((manifest, bytes.unwrap()))),
            ToPeer::Receipt(bytes) => {
                let receipt = open::<Receipt>(&bytes).unwrap().document;
                self.with(|s| s.receipts.push(receipt));
            }
            other => self.with(|s| s.told.push(other)),
        }
    }

    pub fn say(&self, message: &FromPeer, bytes: Option<&[u8]>) {
        let connection = self.wait("the gateway", |s| s.connection.clone());
        let fd = bytes.map(|b| sealed_descriptor(b).unwrap());
        connection.send(message, fd.as_ref().map(|f| f.as_fd())).unwrap();
    }

    /// Says it to the gateway if that is there; false when it is not.
    pub fn offer(&self, message: &FromPeer) -> bool {
        self.with(|s| s.connection.clone()).is_some_and(|c| c.send(message, None).is_ok())
    }

    pub fn report(&self, envelope: Vec<u8>) {
        self.say(&FromPeer::Report(ByteBuf::from(envelope)), None);
    }

    /// Ends the connection; the gateway comes again by itself.
    pub fn hang_up(&self) {
        let (connection, before) = self.with(|s| (s.connection.take(), s.hellos));
        connection.unwrap().shutdown();
        self.wait("a new connection", |s| (s.hellos > before).then_some(()));
    }
}

/// Signs a report as it travels.
pub fn sealed(report: &Report, key: &fullmetal_proto::wire::SigningKey) -> Vec<u8> {
    seal(report, &[key]).unwrap()
}
