//! A fleet's keys, its central repo, and what is published to it.

use super::{Node, NodeOptions, Programs, output_of};
use anyhow::Context as _;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Keys and central repo of one fleet below one directory.
#[derive(Debug)]
pub struct Fleet {
    programs: Programs,
    dir: PathBuf,
    name: String,
}

impl Fleet {
    /// Installs the programs and makes the fleet's keys in `dir`.
    pub fn new(programs: &Programs, dir: &Path, name: &str) -> anyhow::Result<Self> {
        Self::that_allows(programs, dir, name, &[])
    }

    /// The same, with a trust file that allows unsigned commits under some refs.
    pub fn that_allows(programs: &Programs, dir: &Path, name: &str, unsigned: &[&str]) -> anyhow::Result<Self> {
        // Peers run as another user and must get to their own directories.
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
        let programs = programs.install(&dir.join("bin"))?;
        let fleet = Fleet { programs, dir: dir.to_owned(), name: name.to_owned() };
        let mut command = Command::new(&fleet.programs.fullmetal);
        command.args(["keys", "generate", "--fleet", name, "--out"]).arg(fleet.keys());
        output_of(command.args(unsigned.iter().flat_map(|pattern| ["--unsigned-ref", pattern])))?;
        Ok(fleet)
    }

    /// The programs under test.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The fleet's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of the fleet's keys.
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// The central repo.
    pub fn repo(&self) -> PathBuf {
        self.dir.join("central-repo")
    }

    /// A mirror of the central repo as OSTree's own tools make it: whole objects, no packs, no manifests.
    pub fn plain_repo(&self) -> PathBuf {
        self.dir.join("plain-repo")
    }

    /// Makes an empty plain repo.
    pub fn make_plain_repo(&self) -> anyhow::Result<()> {
        let option = format!("--repo={}", self.plain_repo().display());
        output_of(Command::new("ostree").args(["init", "--mode=archive", &option])).map(|_| ())
    }

    /// Copies what a ref names into the plain repo, signatures included.
    pub fn mirror_plainly(&self, ref_name: &str) -> anyhow::Result<()> {
        let mut command = Command::new("ostree");
        command.arg("pull-local").arg(format!("--repo={}", self.plain_repo().display()));
        output_of(command.arg("--disable-fsync").arg(self.repo()).arg(ref_name)).map(|_| ())
    }

    /// Publishes a directory as an app; gives what `fullmetal publish --json` prints.
    pub fn publish(&self, source: &Path, ref_name: &str, release: u64, more: &[&str]) -> anyhow::Result<Value> {
        let release = release.to_string();
        let mut command = Command::new(&self.programs.fullmetal);
        command.arg("--json").arg("publish").arg(source).arg("--repo").arg(self.repo());
        command.args(["--ref", ref_name, "--release", &release, "--version", &release]);
        command.arg("--key").arg(self.keys().join("build.key")).args(more);
        serde_json::from_str(&output_of(&mut command)?).context("reading what publish printed")
    }

    /// Enrolls a device and writes its configuration; starts nothing.
    pub fn enroll(&self, name: &str, options: &NodeOptions) -> anyhow::Result<Node> {
        let root = self.dir.join(name);
        self.enroll_at(name, &root)?;
        Node::new(self.programs.clone(), name, root, options)
    }

    /// Enrolls a device whose files are below `root`.
    pub fn enroll_at(&self, name: &str, root: &Path) -> anyhow::Result<()> {
        let (request, answer) = (self.dir.join(format!("{name}.request")), self.dir.join(format!("{name}.answer")));
        let fullmetal = || {
            let mut command = Command::new(&self.programs.fullmetal);
            command.arg("--root").arg(root);
            command
        };
        let uid = super::PEER_UID.to_string();
        let mut ask = fullmetal();
        ask.args(["enroll", "--fleet", &self.name, "--device", name, "--peer-uid", &uid, "--request"]).arg(&request);
        output_of(&mut ask)?;
        let mut certify = fullmetal();
        certify.args(["keys", "certify"]).arg(&request).arg("--keys").arg(self.keys()).arg("--out").arg(&answer);
        output_of(&mut certify)?;
        output_of(fullmetal().args(["enroll", "--answer"]).arg(&answer)).map(|_| ())
    }
}
