//! A release at central: pack, manifest, commit object, and the announcement of it.

use super::lab::{Caller, Fleet, MADE, bytes_of};
use crate::local::sealed_descriptor;
use fullmetal_proto::wire::local::{CentralObject, FromPeer, ToPeer};
use fullmetal_proto::wire::{
    Announcement, BlobRef, Bundle, Frame, Hint, Manifest, Mode, ObjectEntry, ObjectId, ObjectKind, Pack, Part,
    PartKind, Proof, Row, StartOptions, seal,
};
use fullmetal_proto::{Bitmap, Digest, Timestamp};
use serde_bytes::ByteBuf;
use std::path::Path;

/// What was published.
pub struct Release {
    pub commit: Digest,
    pub commit_object: Vec<u8>,
    pub manifest: BlobRef,
    pub manifest_bytes: Vec<u8>,
    pub frames: Vec<Vec<u8>>,
    pub pack: Digest,
}

/// Bytes that differ from seed to seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..length.div_ceil(8)).flat_map(word).take(length).collect()
}

impl Release {
    /// `count` frames of about `length` bytes each.
    pub fn new(seed: u64, count: usize, length: usize) -> Self {
        let frames: Vec<Vec<u8>> = (0..count).map(|i| noise(seed * 1000 + i as u64 + 1, length + i)).collect();
        let pack = frames.concat();
        let mut offset = 0;
        let mut entries = Vec::new();
        for bytes in &frames {
            let length = bytes.len() as u32;
            entries.push(Frame { pack: 0, offset, length, raw_length: length, sha256: Digest::of(bytes) });
            offset += u64::from(length);
        }
        let commit_object = noise(seed, 300);
        let commit = Digest::of(&commit_object);
        let id = ObjectId { kind: ObjectKind::Commit, checksum: commit };
        let manifest = Manifest {
            commit,
            packs: vec![Pack { sha256: Digest::of(&pack), length: pack.len() as u64 }],
            frames: entries,
            objects: vec![ObjectEntry { id, frame: 0, offset: 0, length: 300 }],
            boot: Vec::new(),
        };
        let manifest_bytes = seal(&manifest, &[]).unwrap();
        let manifest = BlobRef::of(&manifest_bytes);
        Release { commit, commit_object, manifest, manifest_bytes, frames, pack: Digest::of(&pack) }
    }

    /// Lays it down as `fullmetal publish` does.
    pub fn publish(&self, repo: &Path) {
        let hex = self.commit.to_string();
        self.write(repo, &format!("objects/{}/{}.commit", &hex[..2], &hex[2..]), &self.commit_object);
        self.write(repo, &format!("fullmetal/manifests/{hex}"), &self.manifest_bytes);
        self.write(repo, &self.pack_path(), &self.frames.concat());
    }

    pub fn pack_path(&self) -> String {
        format!("fullmetal/packs/{}.pack", self.pack)
    }

    fn write(&self, repo: &Path, path: &str, bytes: &[u8]) {
        let path = repo.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn bytes(&self) -> u64 {
        self.frames.iter().map(|f| f.len() as u64).sum()
    }

    pub fn full(&self) -> Bitmap {
        Bitmap::full(self.frames.len() as u32)
    }

    /// The signed announcement of it for every device.
    pub fn announcement(&self, fleet: &Fleet, counter: u64) -> Vec<u8> {
        let part = Part {
            kind: PartKind::App,
            name: "web".parse().unwrap(),
            version: "1".into(),
            ref_name: "apps/web".parse().unwrap(),
            commit: self.commit,
            commit_object: BlobRef::of(&self.commit_object),
            commit_meta: None,
            manifest: self.manifest.clone(),
            hardware: Vec::new(),
            start: StartOptions::default(),
            proof: Proof::default(),
        };
        let bundle = seal(&Bundle { parts: vec![part], removed: vec![] }, &[]).unwrap();
        let announcement = Announcement {
            fleet: fleet.id.clone(),
            epoch: 1,
            counter,
            issued: MADE,
            expires: Timestamp::MAX,
            bundles: vec![ByteBuf::from(bundle)],
            rows: vec![Row("a".parse().unwrap(), 0, 1, Mode::Now, None)],
        };
        seal(&announcement, &[&fleet.gateway_key]).unwrap()
    }

    pub fn hint(announcement: &[u8], counter: u64) -> Hint {
        Hint { epoch: 1, counter, digest: Digest::of(announcement), length: announcement.len() as u32 }
    }

    /// What a gateway does before it announces, then the announcement.
    pub async fn announce(&self, fleet: &Fleet, gateway: &Caller, counter: u64) -> Vec<u8> {
        for (object, expected) in [
            (CentralObject::Commit(self.commit), &self.commit_object),
            (CentralObject::Manifest(self.commit), &self.manifest_bytes),
        ] {
            gateway.say(ToPeer::Central(object.clone())).await;
            let got = gateway.until(|p| (p.message == FromPeer::Central(object.clone())).then(|| bytes_of(&p))).await;
            assert_eq!(got, *expected);
        }
        gateway.say(self.want(Bitmap::new(0))).await;
        let bytes = self.announcement(fleet, counter);
        let hint = Self::hint(&bytes, counter);
        gateway.say_with(ToPeer::Announce(hint), sealed_descriptor(&bytes).unwrap()).await;
        bytes
    }

    pub fn want(&self, need: Bitmap) -> ToPeer {
        ToPeer::Want { manifest: self.manifest.clone(), commit: self.commit, need }
    }

    /// What an agent does with an announcement: pulls the blobs, wants the frames, reads them all. Gives the
    /// bytes from neighbours and from central.
    pub async fn install(&self, agent: &Caller) -> (u64, u64) {
        let blob = BlobRef::of(&self.commit_object);
        let sha256 = blob.sha256;
        agent.say(ToPeer::Blob { blob, central: CentralObject::Commit(self.commit) }).await;
        let got = agent.until(|p| (p.message == FromPeer::Blob { sha256 }).then(|| bytes_of(&p))).await;
        assert_eq!(got, self.commit_object);
        agent.say(self.want(self.full())).await;
        let bytes = self.complete(agent).await;
        for (index, expected) in (0u32..).zip(&self.frames) {
            let manifest = self.manifest.sha256;
            agent.say(ToPeer::Frame { manifest, index }).await;
            let message = FromPeer::Frame { manifest, index };
            assert_eq!(&agent.until(|p| (p.message == message).then(|| bytes_of(&p))).await, expected);
        }
        bytes
    }

    /// Waits until all frames are there.
    pub async fn complete(&self, agent: &Caller) -> (u64, u64) {
        agent
            .until(|p| match p.message {
                FromPeer::Have { manifest, have, bytes_from_peers, bytes_from_central }
                    if manifest == self.manifest.sha256 && have.is_full() =>
                {
                    Some((bytes_from_peers, bytes_from_central))
                }
                _ => None,
            })
            .await
    }
}
