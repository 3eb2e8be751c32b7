//! A scratch directory with a source, a central repo and a key, and readers that share no code with ours.

use super::super::{Options, PublishError, Published, Source, run};
use fullmetal_proto::wire::{self, Manifest, ObjectKind, SigningKey};
use fullmetal_proto::{Digest, RefName};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub(super) struct Bench {
    pub dir: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Bench { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    /// A root file system with a setuid program, an empty file, symlinks, twins and some text.
    pub fn rootfs(&self) -> PathBuf {
        let root = self.path("rootfs");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("etc/empty.d")).unwrap();
        fs::write(root.join("bin/su"), b"#!/bin/true\n").unwrap();
        fs::set_permissions(root.join("bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::write(root.join("etc/empty"), b"").unwrap();
        fs::write(root.join("etc/twin"), b"same").unwrap();
        fs::write(root.join("etc/twin2"), b"same").unwrap();
        for (target, name) in [("../etc/empty", "bin/link"), ("/nowhere/ä", "bin/dangling")] {
            let _ = fs::remove_file(root.join(name));
            symlink(target, root.join(name)).unwrap();
        }
        for i in 0..40 {
            fs::write(root.join(format!("etc/conf{i}.txt")), format!("value = {i}\n").repeat(200)).unwrap();
        }
        root
    }

    /// Options for the root file system under `apps/web`.
    pub fn options(&self) -> Options {
        self.options_of(self.rootfs())
    }

    pub fn options_of(&self, path: PathBuf) -> Options {
        let mut options = Options::new(self.repo(), Source::Tree { path, cmd: vec!["/data/run".into()] });
        options.ref_name = Some(name("apps/web"));
        options.key = Some(key(1));
        options.frame_len = 64 << 10;
        options.level = 3;
        options
    }

    /// Runs `ostree --repo=REPO ARGS`; its output.
    pub fn ostree(&self, args: &[&str]) -> String {
        let repo = format!("--repo={}", self.repo().display());
        command("ostree", &[&[args[0], repo.as_str()], &args[1..]].concat())
    }

    pub fn manifest(&self, commit: &Digest) -> Manifest {
        let bytes = fs::read(self.repo().join(format!("fullmetal/manifests/{commit}"))).unwrap();
        wire::open::<Manifest>(&bytes).unwrap().document
    }

    pub fn pack(&self, pack: &Digest) -> Vec<u8> {
        fs::read(self.repo().join(format!("fullmetal/packs/{pack}.pack"))).unwrap()
    }

    /// Every object of a manifest, decoded from its packs; every hash on the way is checked.
    pub fn decode(&self, manifest: &Manifest) -> BTreeMap<(u8, Digest), Vec<u8>> {
        let packs: Vec<Vec<u8>> = manifest.packs.iter().map(|p| self.pack(&p.sha256)).collect();
        for (pack, bytes) in manifest.packs.iter().zip(&packs) {
            assert_eq!((Digest::of(bytes), bytes.len() as u64), (pack.sha256, pack.length));
        }
        let frames: Vec<Vec<u8>> = manifest
            .frames
            .iter()
            .map(|f| {
                let bytes = &packs[f.pack as usize][f.offset as usize..][..f.length as usize];
                assert_eq!(Digest::of(bytes), f.sha256);
                let raw = zstd::bulk::decompress(bytes, f.raw_length as usize).unwrap();
                assert_eq!(raw.len(), f.raw_length as usize);
                raw
            })
            .collect();
        manifest
            .objects
            .iter()
            .map(|o| {
                let (first, last) = manifest.starts().frames_of(o).into_inner();
                let raw = frames[first as usize..=last as usize].concat();
                let stream = raw[o.offset as usize..][..o.length as usize].to_vec();
                assert_eq!(Digest::of(&stream), o.id.checksum, "{}", o.id);
                ((o.id.kind as u8, o.id.checksum), stream)
            })
            .collect()
    }

    /// Every file of the repo: contents, inode and times.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, (u64, i64, i64, Vec<u8>)> {
        let mut out = BTreeMap::new();
        let mut todo = vec![self.repo()];
        while let Some(path) = todo.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            let mut content = Vec::new();
            if meta.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            } else if meta.is_file() {
                content = fs::read(&path).unwrap();
            }
            out.insert(path, (meta.ino(), meta.mtime(), meta.mtime_nsec(), content));
        }
        out
    }
}

pub(super) fn publish(options: &Options) -> Result<Published, PublishError> {
    run(options, &mut |_, _, _| {})
}

pub(super) fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(super) fn command(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).env("LC_ALL", "C").output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The file of an object in an archive repo.
pub(super) fn object_path(repo: &Path, kind: ObjectKind, sum: &Digest) -> PathBuf {
    let sum = sum.to_string();
    repo.join(format!("objects/{}/{}.{}", &sum[..2], &sum[2..], kind.archive_suffix()))
}

/// Name, type, content, link target.
pub(super) type Entry<'e> = (&'e str, tar::EntryType, &'e [u8], &'e str);

/// A tarball made entry by entry, as hostile as wanted.
pub(super) fn tarball(path: &Path, entries: &[Entry<'_>]) {
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, kind, content, link) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(7);
        header.set_gid(8);
        if !link.is_empty() {
            header.set_link_name_literal(link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.finish().unwrap();
}

/// Bytes that do not compress.
pub(super) fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}
