//! A site for the gateway program: a root directory with keys and trust, its peer, certified devices.

pub mod commit;
pub mod hawkbit;
pub mod operator;
mod peer;

pub use peer::{Peer, sealed};

use fullmetal::identity::{Usage, issue_ca, issue_member, new_key, save_key};
use fullmetal_proto::wire::local::CentralObject;
use fullmetal_proto::wire::{
    BuildKey, Document, Frame, Hint, Manifest, ObjectEntry, ObjectId, ObjectKind, Pack, PublicKey, Report, ReportState,
    SigningKey, Trust, open, seal, trust::Role,
};
use fullmetal_proto::{DeviceId, Digest, FleetId, Timestamp};
use serde_bytes::ByteBuf;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

pub const REF: &str = "apps/web/x86_64";
pub const OS_REF: &str = "os/floor/x86_64";

pub struct Site {
    pub dir: tempfile::TempDir,
    pub peer: Peer,
    pub root: SigningKey,
    pub build: SigningKey,
    pub gateway: SigningKey,
    pub ca: (Vec<u8>, SigningKey),
    gateways: Vec<Child>,
}

pub fn fleet() -> FleetId {
    "plant".parse().unwrap()
}

pub fn now() -> Timestamp {
    fullmetal::identity::Clock::new().now()
}

impl Site {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, build, gateway, ca_key) = (new_key(), new_key(), new_key(), new_key());
        let ca = issue_ca(&fleet(), &ca_key).unwrap();
        let role = |key: &SigningKey| Role { keys: vec![PublicKey::of(key)], threshold: 1 };
        let trust = Trust {
            fleet: fleet(),
            version: 1,
            issued: Timestamp::from_secs(1_793_500_000),
            expires: Timestamp::from_secs(2_000_000_000),
            root: role(&root),
            build: vec![BuildKey { key: PublicKey::of(&build), refs: vec!["apps/*".into(), "os/*".into()] }],
            build_threshold: 1,
            gateway: role(&gateway),
            epoch: 1,
            device_ca: vec![ByteBuf::from(ca.clone())],
            unsigned_refs: vec![],
        };
        let etc = dir.path().join("etc/fullmetal");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(etc.join("trust"), seal(&trust, &[&root]).unwrap()).unwrap();
        std::fs::write(etc.join("fullmetal.toml"), "[device]\nid = \"gateway\"\nfleet = \"plant\"\n").unwrap();
        save_key(&etc.join("gateway.key"), &gateway).unwrap();
        let peer = Peer::start(&dir.path().join("run/fullmetal/peer/peer.sock"));
        Site { dir, peer, root, build, gateway, ca: (ca, ca_key), gateways: vec![] }
    }

    /// A second machine with everything of this one but its state and what its peer heard.
    pub fn twin(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc/fullmetal");
        std::fs::create_dir_all(&etc).unwrap();
        for entry in std::fs::read_dir(self.path("etc/fullmetal")).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), etc.join(entry.file_name())).unwrap();
        }
        let peer = Peer::start(&dir.path().join("run/fullmetal/peer/peer.sock"));
        let central = self.peer.with(|s| s.central.clone());
        peer.with(|s| s.central = central);
        let (root, build, gateway) = (self.root.clone(), self.build.clone(), self.gateway.clone());
        Site { dir, peer, root, build, gateway, ca: self.ca.clone(), gateways: vec![] }
    }

    /// Puts a document where the gateway finds it, signed by the root role, as an operator does.
    pub fn install<D: Document>(&self, name: &str, document: &D) {
        let place = self.path("etc/fullmetal").join(name);
        let new = place.with_extension("new");
        std::fs::write(&new, seal(document, &[&self.root]).unwrap()).unwrap();
        std::fs::rename(new, place).unwrap();
    }

    /// The trust file in force.
    pub fn trust(&self) -> Trust {
        open(&std::fs::read(self.path("etc/fullmetal/trust")).unwrap()).unwrap().document
    }

    /// Waits until the gateway has ended by itself; its exit status.
    pub fn ended(&mut self) -> i32 {
        self.gateways.pop().unwrap().wait().unwrap().code().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the gateway and waits until it has its peer and its socket.
    pub fn start(&mut self) {
        self.start_settling("0");
    }

    pub fn start_settling(&mut self, secs: &str) {
        let command = self.command(&["run", "--settle", secs]);
        self.start_as(command);
    }

    /// Starts the gateway by a command of the test's.
    pub fn start_as(&mut self, mut command: Command) {
        let before = self.peer.with(|s| s.hellos);
        self.spawn(command.stderr(Stdio::inherit()));
        self.peer.wait("the gateway", |s| (s.hellos > before).then_some(()));
        let socket = self.path("run/fullmetal/gateway/gateway.sock");
        let end = Instant::now() + Duration::from_secs(10);
        while fullmetal::local::Connection::connect(&socket, None).is_err() {
            assert!(Instant::now() < end, "the gateway does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the gateway without waiting for anything: it may never come up.
    pub fn spawn(&mut self, command: &mut Command) {
        self.gateways.push(command.spawn().unwrap());
    }

    /// The exit status of the gateway that was started last, if it has ended by itself; it is forgotten then.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.gateways.last_mut()?.try_wait().unwrap()?;
        self.gateways.pop();
        Some(status)
    }

    /// SIGKILL: nothing of what it wanted to do later happens.
    pub fn kill(&mut self) {
        for mut child in self.gateways.drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fullmetal-gateway"));
        command.arg("--root").arg(self.dir.path()).args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Deploys what `text` says; when it was announced, the peer has it too.
    pub fn deploy(&self, text: &str) -> Ran {
        let file = self.path("decision.toml");
        std::fs::write(&file, text).unwrap();
        let ran = self.run(&["deploy", file.to_str().unwrap()]);
        // The gateway answers as soon as it has sent it: the peer may not have read it yet.
        if let Some(rank) = ran.announced() {
            let reached = |newest: &(Hint, Vec<u8>)| (newest.0.epoch, newest.0.counter) >= rank;
            self.peer.wait("the announcement", |s| s.newest.as_ref().is_some_and(reached).then_some(()));
        }
        ran
    }

    pub fn deploy_web(&self, devices: &str) -> Ran {
        self.deploy(&format!("devices = {devices}\n[[part]]\nref = \"{REF}\"\n"))
    }

    pub fn status(&self) -> serde_json::Value {
        let ran = self.run(&["--json", "status"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }

    /// Waits until `ready` holds of the status, and gives that.
    pub fn until(&self, what: &str, ready: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            let status = self.status();
            if ready(&status) {
                return status;
            }
            assert!(Instant::now() < end, "waited in vain for {what}: {status}");
        }
    }

    pub fn audit(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path("var/lib/fullmetal/gateway/audit.jsonl")).unwrap();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// Puts a good release at central, with its ref; gives the commit.
    pub fn publish(&self, version: &str) -> Digest {
        self.publish_at(REF, version)
    }

    /// The same under a ref of the test's.
    pub fn publish_at(&self, ref_name: &str, version: &str) -> Digest {
        self.put_signed(ref_name, &commit(&[ref_name], version, &[]))
    }

    /// Puts an operating system at central.
    pub fn publish_os(&self, version: &str) -> Digest {
        self.put_signed(OS_REF, &os_commit(&[OS_REF], version))
    }

    fn put_signed(&self, ref_name: &str, object: &[u8]) -> Digest {
        self.put_at(ref_name, object, Some(commitmeta(object, &self.build)), true)
    }

    /// Puts a commit at central under the ref, as good or bad as it is.
    pub fn put(&self, object: &[u8], meta: Option<Vec<u8>>, framed: bool) -> Digest {
        self.put_at(REF, object, meta, framed)
    }

    /// The same under a ref of the test's.
    pub fn put_at(&self, ref_name: &str, object: &[u8], meta: Option<Vec<u8>>, framed: bool) -> Digest {
        let commit = Digest::of(object);
        self.peer.with(|s| {
            s.central.insert(CentralObject::Ref(ref_name.parse().unwrap()), format!("{commit}\n").into_bytes());
            s.central.insert(CentralObject::Commit(commit), object.to_vec());
            if let Some(meta) = meta {
                s.central.insert(CentralObject::CommitMeta(commit), meta);
            }
            if framed {
                s.central.insert(CentralObject::Manifest(commit), manifest(commit));
            }
        });
        commit
    }

    /// A device's agent key and certificate.
    pub fn agent(&self, device: &str, usage: Usage) -> (SigningKey, Vec<u8>) {
        let (key, id) = (new_key(), device.parse::<DeviceId>().unwrap());
        let ca = (self.ca.0.as_slice(), &self.ca.1);
        let certificate = issue_member(ca, (&fleet(), &id), &PublicKey::of(&key), usage, now()).unwrap();
        (key, certificate)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

pub use commit::{commit, commitmeta, os_commit};

pub fn manifest(commit: Digest) -> Vec<u8> {
    let frame = Frame { pack: 0, offset: 0, length: 10, raw_length: 20, sha256: Digest::of(b"frame") };
    let id = ObjectId { kind: ObjectKind::Commit, checksum: commit };
    let objects = vec![ObjectEntry { id, frame: 0, offset: 0, length: 20 }];
    let packs = vec![Pack { sha256: Digest::of(b"pack"), length: 10 }];
    seal(&Manifest { commit, packs, frames: vec![frame], objects, boot: Vec::new() }, &[]).unwrap()
}

/// A report of `device` about `action`.
pub fn report(device: &str, counter: u64, action: u64, bundle: Option<Digest>, certificate: &[u8]) -> Report {
    Report {
        fleet: fleet(),
        device: device.parse().unwrap(),
        counter,
        oldest: 1,
        action,
        bundle,
        state: if action == 0 { ReportState::Inventory } else { ReportState::Succeeded },
        reason: String::new(),
        exit: None,
        log: vec![],
        parts: vec![],
        bytes_from_peers: 700,
        bytes_from_central: 300,
        bytes_total: 0,
        agent: "0.1.0".into(),
        bundle_major: 2,
        free_bytes: Some(3 << 30),
        elapsed_ms: 4000,
        at: now(),
        certificate: ByteBuf::from(certificate.to_vec()),
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
        Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Epoch and counter of the announcement that the command told of.
    fn announced(&self) -> Option<(u64, u64)> {
        let (rank, _) = self.out.split_once(": announced (")?.1.split_once(')')?;
        let (epoch, counter) = rank.split_once('.')?;
        Some((epoch.parse().ok()?, counter.parse().ok()?))
    }

    /// The command ended with `code`, saying all of `words` on standard error.
    pub fn expect(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{:?} lacks {word:?}", self.err);
        }
        assert!(code == 0 || self.err.lines().count() == 1, "one line: {:?}", self.err);
    }
}
