//! OSTree commits and their signatures, as they lie in a repo: `objects/ab/cdef….commit` and `.commitmeta`.

use super::{FILE_LEN_MAX, Judge, Shown, verdict};
use anyhow::{Context as _, bail};
use fullmetal_proto::ostree::{Asks, Commit, signatures};
use fullmetal_proto::{Digest, RefName, Timestamp};
use std::io::Read as _;
use std::path::Path;

/// Whether the file's name is that of a commit or of its signatures.
pub fn is_commit(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "commit" || e == "commitmeta")
}

/// What a commit says and who signed it; of a `.commitmeta`, of the commit beside it.
pub fn look(path: &Path, judge: &Judge) -> anyhow::Result<Shown> {
    let object = path.with_extension("commit");
    let bytes = read(&object).with_context(|| format!("reading {}", object.display()))?;
    let commit = Commit::parse(&bytes).with_context(|| format!("{} is no OSTree commit", object.display()))?;
    let checksum = Digest::of(&bytes);
    let detached = object.with_extension("commitmeta");
    let signed = match read(&detached) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        other => signatures(&other.with_context(|| format!("reading {}", detached.display()))?),
    };
    if named(&object).is_some_and(|name| name != checksum) {
        bail!(
            "{} is corrupt: its content has checksum {checksum}; `ostree fsck` finds all such objects",
            object.display()
        );
    }
    let verdict = match &judge.trust {
        None => Err(verdict::NO_TRUST.to_owned()),
        Some(trust) => holds(&commit, |name| {
            let judged = trust.trust.check_commit(name, &bytes, &signed, &trust.revoked);
            if judged.is_err() && trust.trust.allows_unsigned(name) {
                Ok(())
            } else {
                judged.map_err(|e| e.to_string())
            }
        }),
    };
    let mut facts = facts(&commit, checksum);
    facts.push(("signatures", signed.len().to_string()));
    let builders = judge.trust.iter().flat_map(|trust| &trust.trust.build);
    let signers = builders.filter(|b| signed.iter().any(|s| b.key.verifies(&bytes, s)));
    facts.extend(signers.map(|b| ("signed by", verdict::name_of(&b.key.id(), judge.trust.as_ref()))));
    Ok(Shown { kind: "commit", title: format!("OSTree commit, {} bytes", bytes.len()), facts, verdict })
}

/// A bound commit may be installed where any of its refs allows it.
fn holds(commit: &Commit, judged: impl Fn(&RefName) -> Result<(), String>) -> Result<String, String> {
    let mut why = "it is bound to no ref: what it may be signed by depends on where it is published".to_owned();
    for name in commit.metadata.refs.iter().filter_map(|r| r.parse::<RefName>().ok()) {
        match judged(&name) {
            Ok(()) => return Ok(format!("devices take it as {name}")),
            Err(problem) => why = format!("as {name} it is {problem}"),
        }
    }
    Err(why)
}

fn facts(commit: &Commit, checksum: Digest) -> Vec<(&'static str, String)> {
    let said = &commit.metadata;
    let mut facts = vec![("checksum", checksum.to_string())];
    let mut add = |label, value: Option<String>| facts.extend(value.map(|v| (label, v.escape_debug().to_string())));
    let kind = if said.bootable { "os" } else { "app" };
    add(kind, said.name.as_ref().map(ToString::to_string).or(said.bootable.then(String::new)));
    add("version", said.version.clone());
    add("kernel", said.kernel.clone());
    add("release", said.release.map(|n| n.to_string()));
    add("floor", said.floor.map(|n| n.to_string()));
    said.refs.iter().for_each(|name| add("ref", Some(name.clone())));
    said.hardware.iter().for_each(|id| add("hardware", Some(id.to_string())));
    add("health", Some(said.health.join(" ")).filter(|argv| !argv.is_empty()));
    add("probation", said.probation.map(|s| format!("{s} s")));
    asked(&said.asks, &mut add);
    add("subject", Some(commit.subject.clone()).filter(|s| !s.is_empty()));
    add("made", Some(Timestamp::from_secs(commit.timestamp).to_string()));
    add("parent", commit.parent.map(|p| p.to_string()));
    add("tree", Some(commit.root.to_string()));
    facts
}

fn asked(asks: &Asks, add: &mut impl FnMut(&'static str, Option<String>)) {
    let lists = [("after", &asks.after), ("requires", &asks.requires), ("wants", &asks.wants)];
    for (label, names) in lists {
        names.iter().for_each(|name| add(label, Some(name.to_string())));
    }
    add("notify", asks.notify.then(|| "says itself when it is ready".to_owned()));
    add("start timeout", asks.start_timeout.map(|s| format!("{s} s")));
    add("memory", asks.limits.memory.map(|bytes| format!("{bytes} bytes")));
    add("cpu", asks.limits.cpu.map(|n| format!("{}.{:03} CPUs", n / 1000, n % 1000)));
    add("pids", asks.limits.pids.map(|n| n.to_string()));
    add("io weight", asks.limits.io.map(|n| n.to_string()));
    asks.grants.iter().for_each(|grant| add("grant", Some(grant.to_string())));
}

/// The checksum that a path in a repo's objects says: two digits, slash, the others.
fn named(path: &Path) -> Option<Digest> {
    let start = path.parent()?.file_name()?.to_str()?;
    format!("{start}{}", path.file_stem()?.to_str()?).parse().ok()
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
