//! The release of a scenario as a real one: files that do not compress around a program that runs.

use super::super::small::noise;
use super::super::{Fleet, Operator, SmallApp, output_of};
use crate::sim::release::Release;
use crate::sim::scenario::{Kind, ReleaseSpec, Sizes};
use anyhow::{Context as _, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

const APP: &str = "app";
const REF: &str = "apps/app/x86_64";
/// What the app runs.
const COMMAND: &str = r#"["/bin/busybox","sleep","1000000"]"#;
/// Seconds of probation.
const PROBATION_S: &str = "2";
/// Bytes of a file in a release of frames.
const FILE_LEN: u64 = 256 << 10;
/// What OSTree adds to a file that does not compress (measured: `.filez` of 1 kB to 1 MB).
const FILEZ_HEAD_LEN: u64 = 80;

/// What devices are told to take.
#[derive(Clone, Debug)]
pub struct Published {
    /// The ref at central.
    pub ref_name: String,
    /// The distribution set at the deployment server.
    pub set: u64,
    /// Bytes of all pieces, nearly so for plain ones.
    pub bytes: u64,
}

/// Refs that may be unsigned: those of a repository that others made.
pub fn unsigned(spec: &ReleaseSpec) -> Option<&str> {
    if let Sizes::FromRepo { rev, .. } = &spec.sizes { Some(rev) } else { None }
}

/// Builds the release and makes it known to the operator's server.
pub fn publish(
    fleet: &Fleet,
    spec: &ReleaseSpec,
    sizes: &Release,
    seed: u64,
    operator: &Operator,
) -> anyhow::Result<Published> {
    if let Sizes::FromRepo { path, rev, .. } = &spec.sizes {
        copy(path, rev, &fleet.plain_repo())?;
        let set = operator.make_set((APP, "1"), (rev, &commit_of(&fleet.plain_repo(), rev)?), &[])?;
        return Ok(Published { ref_name: rev.clone(), set, bytes: sizes.bytes });
    }
    let tree = fleet.dir().join("release");
    let root = SmallApp::new(&tree).build(1)?;
    let program = packed(&root.join("bin/busybox"))?;
    let frame = match &spec.sizes {
        Sizes::Even { each, .. } => each.to_string(),
        _ => (2u64 << 20).to_string(),
    };
    for (i, length) in files(spec, sizes, program).into_iter().enumerate() {
        let bytes = noise(seed.wrapping_mul(1_000_003).wrapping_add(i as u64), length as usize);
        fs::write(root.join("www").join(format!("{i:06}")), bytes).context("writing the release")?;
    }
    let mut more = vec!["--name", APP, "--cmd", COMMAND, "--probation", PROBATION_S, "--frame-size", &frame];
    let known = operator.publish_options(APP, APP);
    more.extend(["--level", "3"]);
    more.extend(known.iter().map(String::as_str));
    let published = fleet.publish(&root, REF, 1, &more)?;
    let set = published["hawkbit"]["set"].as_u64().context("publish made no distribution set")?;
    let framed = published["packed_bytes"].as_u64().with_context(|| format!("no packed_bytes in {published}"))?;
    let plain = spec.kind != Kind::Frames;
    if plain {
        fleet.mirror_plainly(REF)?;
    }
    fs::remove_dir_all(&tree).context("removing the release's files")?;
    Ok(Published { ref_name: REF.to_owned(), set, bytes: if plain { sizes.bytes } else { framed } })
}

/// Lengths of the files around the program, so that all together are what the scenario says.
fn files(spec: &ReleaseSpec, sizes: &Release, program: u64) -> Vec<u64> {
    if spec.kind == Kind::Frames {
        let total = sizes.bytes.saturating_sub(program);
        let mut all = vec![FILE_LEN; (total / FILE_LEN) as usize];
        all.extend((!total.is_multiple_of(FILE_LEN)).then_some(total % FILE_LEN));
        return all;
    }
    let mut all: Vec<u64> = sizes.objects.iter().flatten().map(|n| n.saturating_sub(FILEZ_HEAD_LEN).max(1)).collect();
    // The program takes the place of a part of the largest.
    if let Some(largest) = all.iter_mut().max() {
        *largest = largest.saturating_sub(program).max(1);
    }
    all
}

/// How long a file is when it is compressed.
fn packed(file: &Path) -> anyhow::Result<u64> {
    let output = Command::new("gzip").arg("-c").arg(file).output().context("running gzip")?;
    ensure!(output.status.success(), "gzip ended with {}", output.status);
    Ok(output.stdout.len() as u64)
}

fn copy(from: &Path, rev: &str, to: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("ostree");
    command.arg("pull-local").arg(format!("--repo={}", to.display())).arg("--disable-fsync").arg(from).arg(rev);
    output_of(&mut command).map(|_| ())
}

fn commit_of(repo: &Path, rev: &str) -> anyhow::Result<String> {
    let mut command = Command::new("ostree");
    let said = output_of(command.arg("rev-parse").arg(format!("--repo={}", repo.display())).arg(rev))?;
    Ok(said.trim().to_owned())
}
