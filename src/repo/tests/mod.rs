//! Fixtures made by the real `ostree`, and the tests of the stores and the import.

mod batches;
mod conformance;
mod import;
mod layout;
mod libostree;
mod system;

pub(crate) use system::{sysroot, system};

use super::{Import, ImportError, Objects, Packed, StoreError};
use fullmetal_proto::wire::{Frame, Manifest, ObjectEntry, ObjectId, ObjectKind, Pack};
use fullmetal_proto::{Bitmap, Digest};
use ostree::gio::prelude::*;
use ostree::{ObjectType, gio};
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Longer than what the store keeps in memory.
const BIG_LEN: usize = (4 << 20) + 12_345;

/// A commit and the canonical streams of everything that it reaches.
pub(crate) struct Fixture {
    pub commit: Digest,
    pub objects: Vec<(ObjectId, Vec<u8>)>,
    pub dir: TempDir,
}

pub(crate) fn run(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command} {args:?}: {text}");
    text
}

/// Bytes that do not compress, the same for the same seed.
pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| step()).collect()
}

fn write_tree(root: &Path, release: u64) {
    for dir in ["bin", "etc/deep/er", "tmp"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(root.join("bin/tool"), noise(20_000, 1)).unwrap();
    fs::set_permissions(root.join("bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(root.join("big"), noise(BIG_LEN, 2)).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("etc/release"), release.to_string()).unwrap();
    fs::write(root.join("etc/deep/er/secret"), "s").unwrap();
    symlink("../bin/tool", root.join("etc/link")).unwrap();
    for i in 0..20 {
        fs::write(root.join(format!("etc/file{i}")), noise(3_000, 10 + i)).unwrap();
    }
    run("setfattr", &["-n", "user.demo", "-v", "yes", root.join("etc/deep/er/secret").to_str().unwrap()]);
}

impl Fixture {
    pub fn new(release: u64) -> Self {
        Self::of("apps/web", &["--owner-uid=1000", "--owner-gid=1000"], |tree| write_tree(tree, release))
    }

    /// A commit of what `write` makes in a directory.
    pub fn of(branch: &str, options: &[&str], write: impl Fn(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (tree, repo) = (dir.path().join("tree"), dir.path().join("repo"));
        write(&tree);
        let repo_option = format!("--repo={}", repo.display());
        run("ostree", &["init", "--mode=bare-user", &repo_option]);
        let source = format!("--tree=dir={}", tree.display());
        let args = [&["commit", &repo_option, "-b", branch, &source], options].concat();
        let commit = run("ostree", &args).trim().parse().unwrap();
        let objects = streams(&repo, &commit);
        Fixture { commit, objects, dir }
    }

    /// One object of the kind.
    pub fn one(&self, kind: ObjectKind) -> (ObjectId, &[u8]) {
        let found = self.objects.iter().find(|(id, _)| id.kind == kind).unwrap();
        (found.0, &found.1)
    }

    pub fn write(&self, store: &mut dyn Objects, wanted: impl Fn(ObjectKind) -> bool) -> Result<(), StoreError> {
        for (id, bytes) in self.objects.iter().filter(|(id, _)| wanted(id.kind)) {
            store.write(id, bytes.len() as u64, &mut bytes.as_slice())?;
        }
        store.commit_slice()
    }

    /// Installs the commit, object by object.
    pub fn install(&self, store: &mut dyn Objects) {
        self.write(store, |kind| kind != ObjectKind::Commit).unwrap();
        self.write(store, |kind| kind == ObjectKind::Commit).unwrap();
    }
}

/// Everything that a commit in an OSTree repository reaches, as libostree streams it.
fn streams(repo: &Path, commit: &Digest) -> Vec<(ObjectId, Vec<u8>)> {
    let none = gio::Cancellable::NONE;
    let repo = ostree::Repo::new_for_path(repo);
    repo.open(none).unwrap();
    let mut objects = Vec::new();
    for name in repo.traverse_commit(&commit.to_string(), 0, none).unwrap() {
        let kind = match name.object_type() {
            ObjectType::File => ObjectKind::File,
            ObjectType::DirTree => ObjectKind::DirTree,
            ObjectType::DirMeta => ObjectKind::DirMeta,
            _ => ObjectKind::Commit,
        };
        let (stream, length) = repo.load_object_stream(name.object_type(), name.checksum(), none).unwrap();
        let mut bytes = vec![0; length as usize];
        let (read, _) = stream.read_all(&mut bytes, none).unwrap();
        assert_eq!(read, bytes.len());
        let id = ObjectId { kind, checksum: name.checksum().parse().unwrap() };
        assert_eq!(Digest::of(&bytes), id.checksum);
        objects.push((id, bytes));
    }
    objects.sort_by_key(|(id, _)| (id.kind == ObjectKind::File, *id));
    objects
}

/// Objects one after another, cut into frames wherever `frame_len` says.
pub(crate) fn pack(fixture: &Fixture, frame_len: usize) -> (Manifest, Vec<Vec<u8>>) {
    let (mut raw, mut objects) = (Vec::new(), Vec::new());
    for (id, bytes) in &fixture.objects {
        let (frame, offset) = ((raw.len() / frame_len) as u32, (raw.len() % frame_len) as u32);
        objects.push(ObjectEntry { id: *id, frame, offset, length: bytes.len() as u64 });
        raw.extend_from_slice(bytes);
    }
    let mut manifest =
        Manifest { commit: fixture.commit, packs: Vec::new(), frames: Vec::new(), objects, boot: Vec::new() };
    let chunks: Vec<&[u8]> = raw.chunks(frame_len).collect();
    let mut packed = Vec::new();
    let mut offset = 0;
    for chunk in chunks {
        let bytes = zstd::bulk::compress(chunk, 1).unwrap();
        manifest.frames.push(frame(&bytes, chunk.len(), offset));
        offset += bytes.len() as u64;
        packed.push(bytes);
    }
    manifest
        .packs
        .push(Pack { sha256: Digest::of_parts(&packed.iter().map(Vec::as_slice).collect::<Vec<_>>()), length: offset });
    fullmetal_proto::wire::Document::check(&manifest).unwrap();
    (manifest, packed)
}

pub(super) fn frame(bytes: &[u8], raw: usize, offset: u64) -> Frame {
    let (length, raw_length) = (bytes.len() as u32, raw as u32);
    Frame { pack: 0, offset, length, raw_length, sha256: Digest::of(bytes) }
}

/// A piece as the agent hands it to an import.
pub(crate) fn packed(bytes: &[u8]) -> Packed {
    Packed::Bytes(bytes.to_vec())
}

/// Feeds until nothing more can be had from `have`.
pub(super) fn feed_all(
    import: &mut Import,
    store: &mut dyn Objects,
    pieces: &[Vec<u8>],
    have: &Bitmap,
) -> Result<(), ImportError<Infallible>> {
    while let Some(run) = import.next(have) {
        import.feed(store, run, &mut |piece| Ok(packed(&pieces[piece as usize])))?;
    }
    Ok(())
}
