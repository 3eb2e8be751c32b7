//! Whom a program of an image runs as: names are those of the image's own `/etc/passwd` and `/etc/group`.
//!
//! Rules: <https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md>, `User`. As in Docker a user that is
//! named without a group gets the group of its line in `passwd`, and the groups that list it.

use super::walk::{leaf_at, resolve};
use crate::publish::source::{Dir, S_IFMT, S_IFREG};
use std::io::Read;

/// The longest `passwd` or `group`.
const TABLE_LEN_MAX: u64 = 4 << 20;
/// The most groups that one process can be in besides its own, as far as any image needs.
const GROUPS_MAX: usize = 256;

/// Numbers of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub uid: u32,
    pub gid: u32,
    /// Further groups, sorted.
    pub groups: Vec<u32>,
}

/// `NAME|UID[:GROUP|GID]`; root when it is empty.
pub(super) fn find(rootfs: &Dir, text: &str) -> Result<User, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let passwd = table(rootfs, "passwd")?;
    let number = user.parse::<u32>().ok();
    let line = passwd.lines().map(fields).find(|line| line[0] == user || number.is_some() && id(line[2]) == number);
    let listed = line.and_then(|line| Some((line[0], id(line[2])?, id(line[3])?)));
    let Some(uid) = listed.map(|(_, uid, _)| uid).or(number) else {
        return Err(format!("runs as user {user:?}, who is not in its /etc/passwd; name a number or add the user"));
    };
    let groups = table(rootfs, "group")?;
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        let number = group.parse::<u32>().ok();
        let line = groups.lines().map(fields).find(|line| line[0] == group);
        let Some(gid) = line.and_then(|line| id(line[2])).or(number) else {
            return Err(format!("runs as group {group:?}, which is not in its /etc/group; name a number or add it"));
        };
        return Ok(User { uid, gid, groups: Vec::new() });
    }
    let Some((name, _, gid)) = listed else { return Ok(User { uid, gid: 0, groups: Vec::new() }) };
    let lists = |line: &[&str; 4]| line[3].split(',').any(|member| member == name);
    let mut further: Vec<u32> = groups.lines().map(fields).filter(lists).filter_map(|line| id(line[2])).collect();
    further.retain(|further| *further != gid);
    further.sort_unstable();
    further.dedup();
    further.truncate(GROUPS_MAX);
    Ok(User { uid, gid, groups: further })
}

fn id(text: &str) -> Option<u32> {
    text.parse().ok()
}

/// The first four fields of a line; missing ones are empty.
fn fields(line: &str) -> [&str; 4] {
    let mut fields = line.split(':');
    std::array::from_fn(|_| fields.next().unwrap_or_default())
}

/// The file of that name in the image's /etc; empty when there is none.
fn table(rootfs: &Dir, name: &str) -> Result<String, String> {
    let path = ["etc", name].map(str::to_owned);
    let leaf = resolve(rootfs, &path).ok().and_then(|real| leaf_at(rootfs, &real));
    let Some(leaf) = leaf.filter(|leaf| leaf.meta.mode & S_IFMT == S_IFREG) else { return Ok(String::new()) };
    if leaf.length > TABLE_LEN_MAX {
        return Err(format!("/etc/{name} is longer than {} MiB", TABLE_LEN_MAX >> 20));
    }
    let mut bytes = Vec::new();
    let read = leaf.content.open(leaf.length).and_then(|mut r| r.read_to_end(&mut bytes));
    read.map_err(|e| format!("/etc/{name} cannot be read: {e}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::source::{Leaf, Meta, Node, S_IFDIR};

    fn rootfs() -> Dir {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:\nbroken\n:::\n";
        let group = "root:x:0:\nwww:x:34:\nvideo:x:44:a,web\naudio:x:29:web\n";
        let mut etc = Dir::new(Meta::root(S_IFDIR | 0o755));
        for (name, text) in [("passwd", passwd), ("group", group)] {
            etc.children.insert(name.into(), Node::Leaf(Leaf::generated(text.into())));
        }
        let mut root = Dir::new(Meta::root(S_IFDIR | 0o755));
        root.children.insert("etc".into(), Node::Dir(etc));
        root
    }

    #[test]
    fn users_are_found_by_name_and_number_in_the_images_own_files() {
        let user = |uid, gid, groups: &[u32]| Ok(User { uid, gid, groups: groups.to_vec() });
        for (text, expected) in [
            ("", user(0, 0, &[])),
            ("web", user(33, 34, &[29, 44])),
            ("33", user(33, 34, &[29, 44])),
            ("web:audio", user(33, 29, &[])),
            ("web:7", user(33, 7, &[])),
            ("1000", user(1000, 0, &[])),
            ("1000:1001", user(1000, 1001, &[])),
        ] {
            assert_eq!(find(&rootfs(), text), expected, "{text}");
        }
        assert!(find(&rootfs(), "nobody").unwrap_err().contains("\"nobody\""));
        assert!(find(&rootfs(), "web:nobody").unwrap_err().contains("group \"nobody\""));
        assert_eq!(find(&Dir::new(Meta::root(S_IFDIR)), "5:6"), user(5, 6, &[]));
    }
}
