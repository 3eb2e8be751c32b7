//! A fleet on loopback whose gateway has a real peer that is killed; a device's peer, with a played agent, beside it.

use crate::agent::Agent;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{Announcement, Part};
use fullmetal_sim::lab::{Central, Fleet, Node, NodeOptions, PEER_UID, Process, Programs, SmallApp, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const REF: &str = "apps/web/x86_64";
const DEVICE: &str = "press-1";
/// How long a step may take, with a start of the peer in between.
const LIMIT: Duration = Duration::from_secs(60);
/// Without a call for so long a peer has come to rest; it saves whom it met five seconds after its start.
const REST: Duration = Duration::from_secs(6);
/// What the peer keeps in its cache.
const KEPT: [&str; 9] = ["batches", "blobs", "carried", "frames", "kept", "lock", "newest", "peers", "tmp"];

pub struct Plant {
    /// Says what the device hears.
    agent: Agent,
    peer: Option<Process>,
    gateway_program: Process,
    gateway: Node,
    _device: Node,
    _central: Central,
    fleet: Fleet,
    release: u64,
    // Last: everything above lives in it.
    dir: tempfile::TempDir,
}

impl Plant {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("fullmetal-plant-").tempdir_in("/var/tmp").unwrap();
        let fleet = Fleet::new(&Programs::find(None).unwrap(), dir.path(), "plant").unwrap();
        std::fs::create_dir_all(fleet.repo()).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let central = Central::start(&dir.path().join("nginx"), &fleet.repo(), address, None).unwrap();
        let options = |central| NodeOptions { central, interface: "lo".into(), ..NodeOptions::default() };
        let gateway = fleet.enroll("gateway", &options(Some(central.url()))).unwrap();
        std::fs::copy(fleet.keys().join("gateway.key"), gateway.root().join("etc/fullmetal/gateway.key")).unwrap();
        let mut device = fleet.enroll(DEVICE, &options(None)).unwrap();
        device.start_peer().unwrap();
        let agent = wait_for("the device's peer", LIMIT, || Ok(agent_at(&device))).unwrap();
        let args =
            ["--root".into(), gateway.root().as_os_str().to_owned(), "run".into(), "--settle".into(), "0".into()];
        let args: [OsString; 5] = args;
        let gateway_program = Process::start(&fleet.programs().gateway, args, &gateway.log("run"), None, None).unwrap();
        Plant {
            agent,
            peer: None,
            gateway_program,
            gateway,
            _device: device,
            _central: central,
            fleet,
            release: 0,
            dir,
        }
    }

    /// Starts the gateway's peer, killed before call `kill_at` if that is given.
    fn start_peer(&mut self, kill_at: Option<u64>) {
        let root = self.gateway.root();
        let program = &self.fleet.programs().fullmetal;
        let peer: [OsString; 4] = [program.into(), "--root".into(), root.into(), "peer".into()];
        let log = self.gateway.log("peer");
        let started = match kill_at {
            None => Process::start(program, &peer[1..], &log, Some(PEER_UID), None),
            Some(kill_at) => {
                let tracer = Programs::find(None).unwrap().fullmetal.with_file_name("fullmetal-sim");
                let uid = PEER_UID.to_string();
                let kill_at = kill_at.to_string();
                let mut args: Vec<OsString> = ["trace", "--kill-at", &kill_at, "--count"].map(Into::into).into();
                args.extend([self.count_file().into(), "--tear".into(), self.cache().into(), "--".into()]);
                args.extend(["setpriv", "--clear-groups", "--reuid", &uid, "--regid", &uid].map(Into::into));
                args.extend(peer);
                Process::start(&tracer, args, &log, None, None)
            }
        };
        self.peer = Some(started.unwrap());
    }

    fn cache(&self) -> PathBuf {
        self.gateway.root().join("var/cache/fullmetal")
    }

    fn count_file(&self) -> PathBuf {
        self.dir.path().join("count")
    }

    /// Calls of the peer that was traced last.
    pub fn count(&self) -> u64 {
        let count = std::fs::read_to_string(self.count_file()).unwrap_or_default();
        count.trim().parse().unwrap_or(0)
    }

    /// A release is published and decided while the gateway's peer is started, to be killed before call `kill_at`; gives
    /// whether it was.
    pub fn release(&mut self, kill_at: u64) -> bool {
        self.release += 1;
        let commit = self.publish();
        self.start_peer(Some(kill_at));
        let deciding = self.decide();
        let hit = self.until_killed_or_at_rest(commit);
        if hit {
            // The gateway would tell its peer all that it lost.
            self.signal_gateway(Signal::STOP);
            let given = self.agent.rank();
            self.start_peer(None);
            let mine = wait_for("the gateway's peer", LIMIT, || Ok(agent_at(&self.gateway))).unwrap();
            let knows = || Ok((mine.rank() >= given).then_some(()));
            wait_for(&format!("{given:?}, which was given away, at the gateway's peer"), LIMIT, knows).unwrap();
            self.signal_gateway(Signal::CONT);
            wait_for("the release at the device", LIMIT, || Ok(self.is_whole(commit).then_some(()))).unwrap();
            wait_for("the newest at both peers", LIMIT, || Ok((mine.rank() == self.agent.rank()).then_some(())))
                .unwrap();
        }
        drop(deciding);
        self.peer.take().unwrap().end();
        self.check();
        hit
    }

    fn publish(&self) -> Digest {
        let tree = SmallApp::new(self.dir.path()).build(self.release).unwrap();
        let more = ["--name", "web", "--cmd", "/app/run"];
        let published = self.fleet.publish(&tree, REF, self.release, &more).unwrap();
        std::fs::remove_dir_all(tree).unwrap();
        published["commit"].as_str().unwrap().parse().unwrap()
    }

    /// Hands the decision to the gateway; whether it can be announced at once is told, and of no interest.
    fn decide(&self) -> Process {
        let file = self.dir.path().join("decision.toml");
        std::fs::write(&file, format!("devices = [\"{DEVICE}\"]\n[[part]]\nref = \"{REF}\"\n")).unwrap();
        let args: [OsString; 4] = ["--root".into(), self.gateway.root().into(), "deploy".into(), file.into()];
        Process::start(&self.fleet.programs().gateway, args, &self.gateway.log("deploy"), None, None).unwrap()
    }

    fn until_killed_or_at_rest(&mut self, commit: Digest) -> bool {
        let mut last = (self.count(), Instant::now());
        wait_for("the kill", LIMIT, || {
            let whole = self.is_whole(commit);
            let count = self.count();
            if count != last.0 || !whole {
                last = (count, Instant::now());
            }
            let killed = !self.peer.as_mut().unwrap().is_running();
            Ok((killed || last.1.elapsed() > REST).then_some(killed))
        })
        .unwrap()
    }

    /// Whether the device has been told to take `commit` and can have all of it.
    fn is_whole(&mut self, commit: Digest) -> bool {
        let newest = self.agent.with(|h| h.announcements.last().and_then(|(_, a)| part(a)));
        newest.is_some_and(|part| part.commit == commit && self.agent.has(&part))
    }

    fn signal_gateway(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.gateway_program.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Counters never went back, none has two contents, and nothing half written stays.
    fn check(&self) {
        self.agent.with(|heard| {
            for pair in heard.announcements.windows(2) {
                let ((before, _), (after, _)) = (&pair[0], &pair[1]);
                let rank = |h: &fullmetal_proto::wire::Hint| (h.epoch, h.counter);
                assert!(rank(before) < rank(after) || before == after, "{before:?}, then {after:?}");
            }
        });
        let names = std::fs::read_dir(self.cache()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let strange: Vec<String> = names.filter(|n| !KEPT.contains(&n.as_str())).collect();
        assert!(strange.is_empty(), "in the peer's cache: {strange:?}");
    }
}

impl Drop for Plant {
    /// A release that failed leaves its logs.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            println!("release {}: logs and state are in {}", self.release, self.dir.path().display());
        }
    }
}

fn agent_at(node: &Node) -> Option<Agent> {
    Agent::at(&node.root().join("run/fullmetal/peer/peer.sock"))
}

/// What the device is to take.
fn part(announcement: &Announcement) -> Option<Part> {
    let row = announcement.row(&DEVICE.parse().unwrap())?;
    Some(announcement.bundle(row).unwrap().document.parts.remove(0))
}
