//! The mounts of an app's configuration.

use super::{Allow, Place, Refusal, Terms};
use oci_spec::runtime::Mount;
use std::path::{Component, Path, PathBuf};

/// Where the app's data is, in the container.
const DATA: &str = "/data";
/// Options that change nothing outside the mount.
const OPTIONS: [&str; 16] = [
    "nosuid",
    "noexec",
    "nodev",
    "ro",
    "rw",
    "relatime",
    "norelatime",
    "noatime",
    "nodiratime",
    "strictatime",
    "newinstance",
    "tmpcopyup",
    "private",
    "rprivate",
    "slave",
    "rslave",
];
/// Options with a value, likewise.
const OPTIONS_WITH_VALUE: [&str; 7] = ["mode", "size", "nr_inodes", "uid", "gid", "ptmxmode", "hidepid"];

pub(super) fn adapt(asked: &[Mount], place: &Place, terms: &Terms<'_>) -> Result<Vec<Mount>, Refusal> {
    let mut mounts = Vec::with_capacity(asked.len() + 1);
    for mount in asked {
        if !is_bind(mount) {
            mounts.push(adapt_one(mount)?);
        } else if !is_own_data(mount, place) {
            mounts.push(bind(mount, terms)?);
        }
    }
    mounts.push(own_data(place));
    Ok(mounts)
}

/// A path that the policy names, no more writable than it says there.
fn bind(asked: &Mount, terms: &Terms<'_>) -> Result<Mount, Refusal> {
    let at = asked.destination().clone();
    let source = asked.source().clone().unwrap_or_default();
    let option = |wanted: &str| asked.options().iter().flatten().any(|o| o == wanted);
    let writes = option("rw");
    let rule = terms.policy.binds.iter().find(|rule| rule.path == source && (rule.writable || !writes));
    let Some(rule) = rule else {
        let more = format!("{}{}", source.display(), if writes { ":rw" } else { "" });
        let there: Vec<_> = terms.policy.binds.iter().filter(|rule| rule.path != source).collect();
        return Err(Refusal::Bind { path: source, allow: Allow::one_more(terms.name, "binds", &there, &more) });
    };
    if !is_place_for("bind", &at) {
        return Err(Refusal::MountPlace { kind: "bind".to_owned(), at });
    }
    let access = if rule.writable && !option("ro") { "rw" } else { "ro" };
    Ok(bound(at, &rule.path, access))
}

fn bound(at: PathBuf, source: &Path, access: &str) -> Mount {
    let mut mount = Mount::default();
    let options = ["bind", access, "nosuid", "nodev", "private"].map(str::to_owned).to_vec();
    mount
        .set_destination(at)
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(options));
    mount
}

fn is_bind(mount: &Mount) -> bool {
    let option = |wanted: &str| mount.options().iter().flatten().any(|o| o == wanted);
    mount.typ().as_deref() == Some("bind") || option("bind") || option("rbind")
}

/// Asking for what every app is given anyway.
fn is_own_data(mount: &Mount, place: &Place) -> bool {
    mount.destination() == Path::new(DATA) && mount.source().as_ref() == Some(&place.data_by_default)
}

fn own_data(place: &Place) -> Mount {
    bound(DATA.into(), &place.data, "rw")
}

fn adapt_one(asked: &Mount) -> Result<Mount, Refusal> {
    let at = asked.destination().clone();
    let kind = asked.typ().clone().unwrap_or_default();
    let read_only = match kind.as_str() {
        "sysfs" | "cgroup" => true,
        "proc" | "tmpfs" | "devpts" | "mqueue" => false,
        _ => return Err(Refusal::MountType { kind, at }),
    };
    if !is_place_for(&kind, &at) {
        return Err(Refusal::MountPlace { kind, at });
    }
    let mut options = asked.options().clone().unwrap_or_default();
    if let Some(option) = options.iter().find(|o| !is_harmless(o)) {
        return Err(Refusal::MountOption { option: option.clone(), at });
    }
    if read_only {
        options.retain(|o| o != "rw" && o != "ro");
        options.push("ro".to_owned());
    }
    let mut mount = Mount::default();
    mount.set_destination(at).set_source(Some(kind.clone().into())).set_typ(Some(kind)).set_options(Some(options));
    Ok(mount)
}

/// The kernel's own file systems where they belong; others neither there, nor over the root or the app's data.
fn is_place_for(kind: &str, at: &Path) -> bool {
    let plain = at.is_absolute() && at.components().skip(1).all(|c| matches!(c, Component::Normal(_)));
    let below = |dir: &str| at.starts_with(dir);
    match kind {
        "proc" => at == Path::new("/proc"),
        "sysfs" => at == Path::new("/sys"),
        "cgroup" => at == Path::new("/sys/fs/cgroup"),
        _ => plain && at != Path::new("/") && !below("/proc") && !below("/sys") && !below(DATA),
    }
}

fn is_harmless(option: &str) -> bool {
    let value = |v: &str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'%');
    match option.split_once('=') {
        Some((key, text)) => OPTIONS_WITH_VALUE.contains(&key) && value(text),
        None => OPTIONS.contains(&option),
    }
}
