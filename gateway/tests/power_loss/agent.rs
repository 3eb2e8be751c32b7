//! The agent's end of a peer's local socket, played: it hears announcements and asks for all that they bring.

use fullmetal::local::{Connection, read_descriptor};
use fullmetal_proto::wire::envelope::envelope_len_max;
use fullmetal_proto::wire::local::{CentralObject, Client, FromPeer, ToPeer, VERSION};
use fullmetal_proto::wire::{Announcement, BlobRef, Hint, Manifest, Part, open};
use fullmetal_proto::{Bitmap, Digest};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long to wait for a blob before it is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the peer said.
#[derive(Default)]
pub struct Heard {
    /// Announcements in the order in which they came, each whole.
    pub announcements: Vec<(Hint, Announcement)>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    have: BTreeMap<Digest, Bitmap>,
}

pub struct Agent {
    connection: Connection,
    heard: Arc<Mutex<Heard>>,
    asked: BTreeMap<Digest, Instant>,
}

impl Agent {
    /// `None` while the peer does not listen.
    pub fn at(socket: &Path) -> Option<Self> {
        let connection = Connection::connect(socket, None).ok()?;
        connection.send(&ToPeer::Hello { version: VERSION, client: Client::Agent }, None).ok()?;
        let (reading, heard) = (connection.try_clone().unwrap(), Arc::<Mutex<Heard>>::default());
        let hearing = heard.clone();
        std::thread::spawn(move || {
            while let Ok(Some(packet)) = reading.receive::<FromPeer>() {
                take(&hearing, packet.message, packet.descriptor);
            }
        });
        Some(Agent { connection, heard, asked: BTreeMap::new() })
    }

    pub fn with<T>(&self, f: impl FnOnce(&Heard) -> T) -> T {
        f(&self.heard.lock().unwrap())
    }

    /// The newest announcement's epoch and counter; zeros before the first.
    pub fn rank(&self) -> (u64, u64) {
        self.with(|h| h.announcements.last().map_or((0, 0), |(hint, _)| (hint.epoch, hint.counter)))
    }

    /// Whether commit object, signatures, manifest and all frames of the part have come; asks for what has not.
    pub fn has(&mut self, part: &Part) -> bool {
        let commit = part.commit;
        let meta = part.commit_meta.as_ref().unwrap();
        let blobs = [
            (&part.commit_object, CentralObject::Commit(commit)),
            (meta, CentralObject::CommitMeta(commit)),
            (&part.manifest, CentralObject::Manifest(commit)),
        ];
        let mut there = true;
        for (blob, central) in blobs {
            there &= self.has_blob(blob, central);
        }
        there && self.has_frames(part)
    }

    fn has_blob(&mut self, blob: &BlobRef, central: CentralObject) -> bool {
        let there = self.with(|h| h.blobs.contains_key(&blob.sha256));
        if !there && self.is_due(blob.sha256) {
            let _ = self.connection.send(&ToPeer::Blob { blob: blob.clone(), central }, None);
        }
        there
    }

    fn has_frames(&mut self, part: &Part) -> bool {
        let manifest = self.with(|h| open::<Manifest>(&h.blobs[&part.manifest.sha256]).unwrap().document);
        let need = Bitmap::full(u32::try_from(manifest.frames.len()).unwrap());
        let have = self.with(|h| h.have.get(&part.manifest.sha256).cloned());
        if have.is_none() && self.is_due(part.manifest.sha256) {
            let want = ToPeer::Want { manifest: part.manifest.clone(), commit: part.commit, need };
            let _ = self.connection.send(&want, None);
        }
        have.is_some_and(|have| have.is_full())
    }

    fn is_due(&mut self, sha256: Digest) -> bool {
        let due = self.asked.get(&sha256).is_none_or(|at| at.elapsed() > AGAIN);
        if due {
            self.asked.insert(sha256, Instant::now());
        }
        due
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.connection.shutdown();
    }
}

fn take(heard: &Mutex<Heard>, message: FromPeer, descriptor: Option<OwnedFd>) {
    let bytes = descriptor.map(|fd| read_descriptor(&fd, envelope_len_max::<Manifest>() as u64).unwrap());
    let mut heard = heard.lock().unwrap();
    match message {
        FromPeer::Announcement(hint) => {
            let bytes = bytes.unwrap();
            assert_eq!(hint.digest, Digest::of(&bytes), "an announcement that is not whole");
            heard.announcements.push((hint, open::<Announcement>(&bytes).unwrap().document));
        }
        FromPeer::Blob { sha256 } => {
            let bytes = bytes.unwrap();
            assert_eq!(sha256, Digest::of(&bytes), "a blob that is not whole");
            heard.blobs.insert(sha256, bytes);
        }
        FromPeer::Have { manifest, have, .. } => {
            heard.have.insert(manifest, have);
        }
        _ => {}
    }
}
