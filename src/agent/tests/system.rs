//! An operating system on its way from the peer to the sysroot, with the real store and no boot loader.

use super::*;
use crate::agent::Event;
use crate::agent::link::{Expected, Link};
use crate::agent::system::System;
use crate::agent::worker::{FetchEvent, FetchHandle, Parts, Wanted, Worker};
use crate::local::{Connection, Listener, sealed_descriptor};
use crate::os::{Os, OsError, Step};
use crate::repo::tests::{Fixture, pack, run, sysroot, system};
use crate::repo::{SystemStore, installed};
use fullmetal_proto::deploy::{BootId, Candidate, Input, OsView, StagedOs, Ticket};
use fullmetal_proto::wire::local::{FromPeer, ToPeer, VERSION};
use fullmetal_proto::wire::{BlobRef, PartKind, Pieces};
use fullmetal_proto::{Bitmap, DeploymentId};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// Notes what it is asked; a commit that is there can be staged.
#[derive(Clone)]
struct Noting {
    steps: Arc<Mutex<Vec<Step>>>,
    repo: std::path::PathBuf,
    loader: Result<(), OsError>,
}

impl Os for Noting {
    fn ask(&self, step: &Step) -> Result<Option<OsView>, OsError> {
        self.loader.clone()?;
        self.steps.lock().unwrap().push(step.clone());
        let staged = match step {
            Step::Stage(commit) => {
                assert!(installed(&SystemStore::open(&self.repo).unwrap(), commit).unwrap());
                Some(DeploymentId { commit: *commit, serial: 0 })
            }
            _ => None,
        };
        let booted = DeploymentId { commit: Digest::of(b"old"), serial: 0 };
        let (boot, entries) = (BootId("b".into()), vec![booted]);
        Ok(Some(OsView {
            booted,
            version: "1".into(),
            boot,
            entries,
            staged,
            counted: None,
            entry: None,
            obstacle: None,
            etc_kept: Vec::new(),
        }))
    }
}

/// A peer that waits with the last piece until others have pruned the sysroot, which they can while nothing comes.
fn serve(
    connection: &Connection,
    pieces: &[Vec<u8>],
    wishes: &AtomicUsize,
    mut prune: Option<impl FnOnce() + Send + 'static>,
) {
    connection.send(&FromPeer::Hello { version: VERSION, device: "press-1".parse().unwrap() }, None).unwrap();
    while let Ok(Some(packet)) = connection.receive::<ToPeer>() {
        match packet.message {
            ToPeer::Want { manifest, need, .. } => {
                wishes.fetch_add(usize::from(need.count() > 0), Ordering::SeqCst);
                let all = pieces.len() as u32;
                let Some(prune) = prune.take() else {
                    has(connection, manifest.sha256, (all, all));
                    continue;
                };
                has(connection, manifest.sha256, (all - 1, all));
                let connection = connection.try_clone().unwrap();
                std::thread::spawn(move || {
                    prune();
                    has(&connection, manifest.sha256, (all, all));
                });
            }
            ToPeer::Frame { manifest, index } => {
                let bytes = sealed_descriptor(&pieces[index as usize]).unwrap();
                connection.send(&FromPeer::Frame { manifest, index }, Some(bytes.as_fd())).unwrap();
            }
            _ => {}
        }
    }
}

/// The peer has so many of all pieces, the first ones.
fn has(connection: &Connection, manifest: Digest, (count, all): (u32, u32)) {
    let mut have = Bitmap::new(all);
    for piece in 0..count {
        have.set(piece);
    }
    let have = FromPeer::Have { manifest, have, bytes_from_peers: 0, bytes_from_central: 0 };
    connection.send(&have, None).unwrap();
}

/// Cleans the sysroot up once a slice of an import is in it.
fn prune(repo: &Path) {
    let began = || fs::read_dir(repo.join("objects")).unwrap().next().is_some();
    let end = Instant::now() + Duration::from_secs(30);
    while !began() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    let sysroot = repo.parent().unwrap().parent().unwrap().display();
    run("ostree", &["admin", "cleanup", &format!("--sysroot={sysroot}")]);
}

struct Bench {
    worker: Worker,
    events: Receiver<Event>,
    noting: Noting,
    /// How often pieces were asked for.
    wishes: Arc<AtomicUsize>,
    fixture: Fixture,
    parts: Parts,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(loader: Result<(), OsError>) -> Self {
        let (dir, fixture) = (tempfile::tempdir().unwrap(), system());
        let (paths, repo) = (Paths::new(dir.path()), sysroot(dir.path()));
        assert_eq!(repo, paths.system_repo());
        for dir in [paths.repo(), paths.cache_dir()] {
            fs::create_dir_all(dir).unwrap();
        }
        let (manifest, pieces) = pack(&fixture, 1 << 20);
        let blob = BlobRef { sha256: Digest::of(b"m"), length: 1, chunks: Vec::new() };
        let os = Wanted { commit: fixture.commit, blob, pieces: Arc::new(Pieces::Frames(manifest)) };
        let listener = Listener::bind(&dir.path().join("peer.sock")).unwrap();
        let pruned = repo.clone();
        let prune = move || prune(&pruned);
        let wishes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wishes);
        std::thread::spawn(move || serve(&listener.accept().unwrap(), &pieces, &counted, Some(prune)));
        let (sender, events) = channel();
        let socket = dir.path().join("peer.sock");
        let link = Link::start(Expected { socket, owner: None, device: "press-1".parse().unwrap() }, sender.clone());
        let noting = Noting { steps: Arc::default(), repo: repo.clone(), loader };
        let system = System::new(&paths, Some(Arc::new(noting.clone())));
        let work = (Checkouts::new(paths.clone()), Box::new(MemoryHost::new()) as Box<dyn AppHost>, system);
        let worker = Worker::start(paths, Box::new(Shelf::default()), work, link, sender);
        let parts = Parts { apps: Vec::new(), os: Some(os) };
        let bench = Bench { worker, events, noting, wishes, fixture, parts, _dir: dir };
        assert!(matches!(bench.event(), Event::Connected));
        bench
    }

    fn event(&self) -> Event {
        self.events.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    /// What comes of the work; what the peer says goes to the fetch.
    fn answer(&self, fetch: Option<&FetchHandle>) -> Input {
        loop {
            match self.event() {
                Event::Input(Input::FetchProgress { .. }) => {}
                Event::Input(input) => return input,
                Event::Peer(packet) => {
                    if let Some(fetch) = fetch {
                        fetch.tell(FetchEvent::Peer(packet));
                    }
                }
                _ => panic!("the peer has gone"),
            }
        }
    }
}

fn part(kind: PartKind, commit: Digest) -> Candidate {
    let (start, digest) = (SERVICE, Digest::of(b"m"));
    Candidate {
        kind,
        name: name("press"),
        version: "2".into(),
        commit,
        manifest: digest,
        start,
        release: None,
        floor: None,
        probation: None,
        health: false,
        notify: false,
        unsigned: false,
    }
}

#[test]
fn a_system_comes_into_the_sysroot_also_when_that_is_pruned_meanwhile_and_is_staged() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bench = Bench::new(Ok(()));
    let (worker, commit, ticket) = (&bench.worker, bench.fixture.commit, Ticket(1));
    worker.look(ticket, vec![part(PartKind::Os, commit)], Vec::new());
    assert!(matches!(bench.answer(None), Input::Judged { os: Some(view), .. } if view.version == "1"));
    worker.checkout(ticket, Vec::new(), None);
    assert!(matches!(bench.answer(None), Input::CheckedOut { os: None, .. }));
    let fetch = worker.check_space(ticket, bench.parts.clone());
    let pieces = match bench.answer(Some(&fetch)) {
        Input::Fits { bytes, .. } => bytes,
        other => panic!("{other:?}"),
    };
    assert!(pieces > 4 << 20, "{pieces}");
    let fetch = worker.fetch(ticket, bench.parts.clone());
    assert_eq!(bench.answer(Some(&fetch)), Input::Imported { ticket });
    assert_eq!(bench.wishes.load(Ordering::SeqCst), 2, "what was lost is asked for again");
    let fetch = worker.check_space(ticket, bench.parts.clone());
    assert_eq!(bench.answer(Some(&fetch)), Input::Fits { ticket, bytes: 0 });
    worker.checkout(ticket, Vec::new(), Some(commit));
    let os = Some(StagedOs { id: DeploymentId { commit, serial: 0 }, etc_kept: Vec::new() });
    assert_eq!(bench.answer(None), Input::CheckedOut { ticket, jobs: Vec::new(), os });
    assert_eq!(*bench.noting.steps.lock().unwrap(), [Step::Look, Step::Room(commit), Step::Stage(commit)]);
    let refs = run("ostree", &["refs", &format!("--repo={}", bench.noting.repo.display())]);
    assert_eq!(refs.trim(), format!("fullmetal/keep/{commit}"));
}

#[test]
fn nothing_is_deployed_while_it_cannot_be_told_what_runs() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let unknown = OsError { reason: "nobody answers".into(), retry: false };
    let bench = Bench::new(Err(unknown));
    let (commit, ticket) = (bench.fixture.commit, Ticket(1));
    bench.worker.look(ticket, vec![part(PartKind::App, commit)], Vec::new());
    let reason = "nobody answers".to_owned();
    assert_eq!(bench.answer(None), Input::Failed { ticket, retry: true, reason });
}
