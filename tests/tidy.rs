//! The house rules, as a test: sizes, import directions, names, leftovers.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

/// The longest source file in lines.
const FILE_LINES_MAX: usize = 400;
/// The longest function in lines.
const FUNCTION_LINES_MAX: usize = 70;
/// Names of junk drawers.
const JUNK: [&str; 6] = ["utils", "util", "misc", "common", "helpers", "manager"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust sources below the folders of the workspace, with their text.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut queue: Vec<PathBuf> = folders.iter().map(|f| root().join(f)).collect();
    while let Some(path) = queue.pop() {
        if path.is_dir() {
            queue.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no sources below {folders:?}");
    found
}

const ALL: [&str; 5] = ["proto/src", "src", "gateway", "simulations/src", "tests"];

/// A file's code: lines up to its test module, without comments.
fn production(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().enumerate().map(|(i, l)| (i + 1, l)).filter(|(_, l)| !l.trim_start().starts_with("//"))
}

fn complain(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn no_source_file_is_long() {
    let long = |(path, text): (PathBuf, String)| {
        let lines = text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
    };
    complain(sources(&ALL).into_iter().filter_map(long).collect());
}

#[test]
fn no_function_is_long() {
    let mut problems = Vec::new();
    for (path, text) in sources(&ALL) {
        let mut open: Option<(usize, usize, &str)> = None;
        for (i, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let code = line.trim_start();
            let starts = ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(crate) fn ", "pub(super) fn "];
            if starts.iter().any(|s| code.starts_with(s)) {
                open = Some((i, indent, code));
            }
            let Some((start, level, name)) = open else { continue };
            if indent == level && code == "}" {
                if i - start + 1 > FUNCTION_LINES_MAX {
                    problems.push(format!("{}:{}: {} lines: {name}", path.display(), start + 1, i - start + 1));
                }
                open = None;
            }
        }
    }
    complain(problems);
}

#[test]
fn no_module_is_a_junk_drawer() {
    let junk = |(path, _): &(PathBuf, String)| {
        path.components().any(|c| JUNK.contains(&c.as_os_str().to_string_lossy().trim_end_matches(".rs")))
    };
    complain(sources(&ALL).iter().filter(|s| junk(s)).map(|(p, _)| p.display().to_string()).collect());
}

/// Which words a folder's production code may not use, and why.
const BANNED: [(&str, &[&[&str]], &str); 13] = [
    (
        "proto/src",
        &[AMBIENT, &["tokio", "std::env"]],
        "the core is deterministic: no clock, socket, file, thread, randomness or unordered iteration; addresses are data",
    ),
    (
        "src/peer",
        &[&["crate::repo", "crate::host", "crate::agent", "crate::journal", " ostree::"]],
        "the peer sees neither store nor apps",
    ),
    ("src/repo", &[&["crate::peer", "crate::host", "crate::agent"]], "the store sees neither peer nor host"),
    ("src/host", &[&["crate::peer", "crate::repo", "crate::agent"]], "the host sees neither peer nor store"),
    (
        "src/boot_loader",
        &[&["crate::peer", "crate::repo", "crate::host", "crate::agent", "crate::journal"]],
        "a boot loader counts boots of what it is told, and asks nobody",
    ),
    (
        "src/agent",
        &[&["crate::peer", "std::net::", "Tcp", "Udp", "lookup_host", "reqwest", "quinn", "libp2p"]],
        "the agent talks over Unix sockets only",
    ),
    (
        "gateway/src",
        &[&["fullmetal::repo", "fullmetal::peer", "libp2p", "quinn"]],
        "the gateway talks to its peer's socket and to Hawkbit only",
    ),
    ("simulations/src/sim/engine", &[AMBIENT, FLOATS], "a simulated run depends on its scenario and seed alone"),
    ("simulations/src/sim/flows", &[AMBIENT, FLOATS], "a simulated run depends on its scenario and seed alone"),
    ("simulations/src/sim/world", &[AMBIENT, FLOATS], "a simulated run depends on its scenario and seed alone"),
    ("simulations/src/sim/explore/faults.rs", &[AMBIENT, FLOATS], "a seed always draws the same faults"),
    ("simulations/src/sim/explore/shrink.rs", &[AMBIENT, FLOATS], "a finding always shrinks to the same"),
    (
        "simulations/src/sim",
        &[&["fn elect", "fn lease", "fn claim", "fn takeover", "rarest"]],
        "who fetches what from whom is the core's to decide, also in a simulation",
    ),
];

/// What would make two runs of one seed differ.
const AMBIENT: &[&str] = &[
    "std::fs",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "ToSocketAddrs",
    "std::thread",
    "Instant::",
    "SystemTime",
    "HashMap",
    "HashSet",
    "getrandom",
];

/// What would make two machines differ.
const FLOATS: &[&str] = &["f64", "f32"];

#[test]
fn imports_keep_their_direction() {
    let mut problems = Vec::new();
    for (folder, words, why) in BANNED {
        for (path, text) in sources(&[folder]) {
            if path.components().any(|c| c.as_os_str() == "tests") || path.ends_with("tests.rs") {
                continue;
            }
            for (number, line) in production(&text) {
                if let Some(word) = words.iter().copied().flatten().find(|w| line.contains(**w)) {
                    problems.push(format!("{}:{number}: {word}: {why}", path.display()));
                }
            }
        }
    }
    complain(problems);
}

#[test]
fn nothing_is_left_over() {
    let words = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"].map(|w| w.to_owned());
    let mut problems = Vec::new();
    for (path, text) in sources(&ALL).into_iter().filter(|(p, _)| !p.ends_with("tidy.rs")) {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|w| line.contains(w.as_str())) {
                problems.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    complain(problems);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |(path, text): &(PathBuf, String)| {
        let is_test = path.components().any(|c| c.as_os_str() == "tests") || path.ends_with("tests.rs");
        !is_test && !text.starts_with("//!")
    };
    complain(sources(&ALL).iter().filter(|s| silent(s)).map(|(p, _)| p.display().to_string()).collect());
}
