//! Whether a command's program is in the root file system that it is to run in.

use super::error::PublishError;
use super::source::{Dir, Leaf, Node, S_IFLNK, S_IFMT};
use std::collections::VecDeque;

/// As many symlinks as the kernel follows (path_resolution(7)).
const SYMLINKS_MAX: usize = 40;
/// The app's data is bound here when it starts: what will be there cannot be known.
const DATA: &str = "data";

/// What a path leads to inside the root file system.
enum Found<'d> {
    File(&'d Leaf),
    Dir,
    /// Below the app's data.
    Unknown,
    Nothing,
}

/// Where a program is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'a> {
    /// Directories for names without a slash, with colons between.
    pub path: &'a str,
    /// Where relative paths begin.
    pub cwd: &'a str,
}

/// The program of a command, unless it cannot be known yet; refuses one that is not there or cannot be executed.
pub(super) fn check<'d>(
    rootfs: &'d Dir,
    option: &'static str,
    argv: &[String],
    Search { path, cwd }: Search<'_>,
) -> Result<Option<&'d Leaf>, PublishError> {
    let Some(program) = argv.first() else { return Ok(None) };
    let problem = if program.contains('/') {
        let found = find(rootfs, &if program.starts_with('/') { program.clone() } else { format!("{cwd}/{program}") });
        let Some(problem) = unfit(&found) else { return Ok(file(found)) };
        format!("{program} {problem} in the published directory")
    } else {
        let mut found = path.split(':').map(|dir| find(rootfs, &format!("{dir}/{program}")));
        if let Some(found) = found.find(|found| unfit(found).is_none()) {
            return Ok(file(found));
        }
        format!("no executable {program} in any of {path} of the published directory")
    };
    let way_out = "name a program that is in it, or publish a bundle with a config.json of its own";
    Err(PublishError::option(option, format!("{problem}, so it could not run; {way_out}")))
}

fn file(found: Found<'_>) -> Option<&Leaf> {
    match found {
        Found::File(leaf) => Some(leaf),
        _ => None,
    }
}

fn unfit(found: &Found<'_>) -> Option<String> {
    match found {
        Found::File(leaf) if leaf.meta.mode & 0o111 == 0 => {
            Some(format!("is not executable (mode {:04o})", leaf.meta.mode & 0o7777))
        }
        Found::File(_) | Found::Unknown => None,
        Found::Dir => Some("is a directory".to_owned()),
        Found::Nothing => Some("does not exist".to_owned()),
    }
}

/// Follows `path` from the root, which `..` and absolute symlinks do not leave.
fn find<'d>(rootfs: &'d Dir, path: &str) -> Found<'d> {
    let mut todo: VecDeque<String> = path.split('/').map(str::to_owned).collect();
    let mut dirs = vec![rootfs];
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                dirs.truncate((dirs.len() - 1).max(1));
                continue;
            }
            DATA if dirs.len() == 1 => return Found::Unknown,
            _ => {}
        }
        match dirs.last().and_then(|dir| dir.children.get(&name)) {
            None => return Found::Nothing,
            Some(Node::Dir(dir)) => dirs.push(dir),
            Some(Node::Leaf(leaf)) if leaf.meta.mode & S_IFMT == S_IFLNK => {
                links += 1;
                if links > SYMLINKS_MAX {
                    return Found::Nothing;
                }
                if leaf.target.starts_with('/') {
                    dirs.truncate(1);
                }
                for part in leaf.target.split('/').rev() {
                    todo.push_front(part.to_owned());
                }
            }
            Some(Node::Leaf(leaf)) => {
                let ends = todo.iter().all(String::is_empty);
                return if ends { Found::File(leaf) } else { Found::Nothing };
            }
        }
    }
    Found::Dir
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::bundle_config::PATH_DIRS;
    use crate::publish::source::{Content, Meta, S_IFDIR, S_IFREG};

    fn dir(children: Vec<(&str, Node)>) -> Node {
        let mut dir = Dir::new(Meta::root(S_IFDIR | 0o755));
        dir.children.extend(children.into_iter().map(|(name, node)| (name.to_owned(), node)));
        Node::Dir(dir)
    }

    fn file(mode: u32) -> Node {
        let content = Content::Bytes(std::sync::Arc::from([]));
        Node::Leaf(Leaf { meta: Meta::root(S_IFREG | mode), target: String::new(), length: 0, content })
    }

    fn link(target: &str) -> Node {
        Node::Leaf(Leaf::symlink(Meta::root(S_IFLNK | 0o777), target.to_owned()))
    }

    fn rootfs() -> Dir {
        let usr_bin = dir(vec![
            ("busybox", file(0o755)),
            ("sh", link("busybox")),
            ("up", link("../../../../usr/bin/sh")),
            ("round", link("around")),
            ("around", link("/bin/round")),
            ("gone", link("/opt/gone")),
            ("notes", file(0o644)),
        ]);
        let children = vec![("usr", dir(vec![("bin", usr_bin)])), ("bin", link("usr/bin")), ("entry", link("/bin/up"))];
        let Node::Dir(root) = dir(children) else { panic!("no directory") };
        root
    }

    fn says(program: &str) -> Option<String> {
        let search = Search { path: PATH_DIRS, cwd: "/" };
        check(&rootfs(), "--cmd", &[program.to_owned()], search).err().map(|e| {
            assert!(e.is_usage());
            e.to_string()
        })
    }

    #[test]
    fn programs_are_found_by_path_and_by_name_through_symlinks_inside_the_root() {
        for good in ["/usr/bin/busybox", "/bin/sh", "bin/sh", "/entry", "sh", "busybox", "/bin/../bin//./sh", "/data/x"]
        {
            assert_eq!(says(good), None, "{good}");
        }
    }

    #[test]
    fn what_could_not_start_is_refused_with_a_way_out() {
        for (bad, words) in [
            ("/bin/httpd", "/bin/httpd does not exist"),
            ("/bin/gone", "does not exist"),
            ("/bin/round", "does not exist"),
            ("/bin/sh/x", "does not exist"),
            ("/usr", "is a directory"),
            ("/bin/notes", "is not executable (mode 0644)"),
            ("notes", "no executable notes in any of"),
            // It is there on the machine that publishes.
            ("/proc/self/exe", "does not exist"),
        ] {
            let said = says(bad).unwrap_or_else(|| panic!("{bad} was taken"));
            assert!(said.contains(words) && said.contains("config.json"), "{said}");
        }
    }
}
