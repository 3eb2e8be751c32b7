//! A decision as a person writes it: a small TOML file.
//!
//! ```toml
//! devices = ["press-1", "press-2"]   # or "all": every device that the gateway knows
//! mode = "now"                       # now | when-idle | stage
//! [[part]]
//! kind = "app"                       # app | os: an operating system
//! ref = "apps/web/x86_64"
//! commit = "…"                       # optional: else the ref's commit at central
//! name = "web"                       # optional: else the commit's own, else the ref's middle word
//! version = "2"                      # optional: else the commit's own
//! autostart = true
//! job = false
//! ```
//!
//! `remove = ["camera"]` above the parts has apps leave the devices with the same switch; parts may be missing then.

use fullmetal_proto::dispatch::{PartWish, Targets, Wish};
use fullmetal_proto::wire::bundle::{PARTS_MAX, REMOVED_MAX};
use fullmetal_proto::wire::{Mode, PartKind, Proof, StartOptions};
use fullmetal_proto::{AppName, DeviceId, RefName};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest decision file in bytes.
pub const FILE_LEN_MAX: u64 = 1 << 20;

/// What is wrong with a decision file; a mistake of the caller, exit status 2.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// It cannot be read.
    #[error("reading {path}: {source}", path = .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// It is longer than any decision.
    #[error("{path}: longer than {FILE_LEN_MAX} bytes", path = .path.display())]
    Long {
        /// Which file.
        path: PathBuf,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{path}: {problem}", path = .path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line and what was expected.
        problem: String,
    },
    /// A value that makes no sense.
    #[error("{path}: {key} {problem}", path = .path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    devices: toml::Value,
    mode: Option<String>,
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    part: Vec<PartTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartTable {
    kind: Option<String>,
    #[serde(rename = "ref")]
    ref_name: String,
    commit: Option<String>,
    name: Option<String>,
    version: Option<String>,
    autostart: Option<bool>,
    job: Option<bool>,
}

/// Reads a decision file.
pub fn load(path: &Path) -> Result<Wish, DecisionError> {
    let err = |source| DecisionError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(err)?.len() > FILE_LEN_MAX {
        return Err(DecisionError::Long { path: path.to_owned() });
    }
    parse(&std::fs::read_to_string(path).map_err(err)?, path)
}

/// Reads the text of a decision file; `path` is for messages.
pub fn parse(text: &str, path: &Path) -> Result<Wish, DecisionError> {
    let syntax = |e: toml::de::Error| DecisionError::Syntax { path: path.to_owned(), problem: one_line(text, &e) };
    let file: File = toml::from_str(text).map_err(syntax)?;
    let value = |(key, problem): (String, String)| DecisionError::Value { path: path.to_owned(), key, problem };
    convert(file).map_err(value)
}

/// toml's own message is a picture over several lines; this is the same on one line.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
    match line {
        Some(line) => format!("line {line}: {}", error.message()),
        None => error.message().to_owned(),
    }
}

/// Key and problem.
type Problem = (String, String);

fn convert(file: File) -> Result<Wish, Problem> {
    if file.part.is_empty() && file.remove.is_empty() || file.part.len() > PARTS_MAX {
        let problem = format!("must be there 1 to {PARTS_MAX} times, unless apps are only removed");
        return Err(("[[part]]".into(), problem));
    }
    let parts = file.part.into_iter().enumerate().map(|(i, p)| part(i + 1, p));
    let parts: Vec<PartWish> = parts.collect::<Result<_, _>>()?;
    if parts.iter().filter(|part| part.kind == PartKind::Os).count() > 1 {
        return Err(("[[part]]".into(), "has more than one operating system; a device has one".into()));
    }
    Ok(Wish {
        action: None,
        targets: targets(file.devices)?,
        mode: mode(file.mode.as_deref().unwrap_or("now"))?,
        valid_until: None,
        parts,
        removed: removed(&file.remove)?,
    })
}

fn removed(names: &[String]) -> Result<Vec<AppName>, Problem> {
    if names.len() > REMOVED_MAX {
        return Err(("remove".into(), format!("has more than {REMOVED_MAX} apps")));
    }
    let mut removed = BTreeSet::new();
    for name in names {
        if !removed.insert(field("remove".into(), name)?) {
            return Err(("remove".into(), format!("names {name} twice")));
        }
    }
    Ok(removed.into_iter().collect())
}

fn targets(value: toml::Value) -> Result<Targets, Problem> {
    let wrong = |problem: &str| ("devices".to_owned(), problem.to_owned());
    let list = match value {
        toml::Value::String(word) if word == "all" => return Ok(Targets::All),
        toml::Value::Array(list) if !list.is_empty() => list,
        toml::Value::Array(_) => return Err(wrong("is empty; name the devices, or write \"all\"")),
        _ => return Err(wrong("must be \"all\" or a list of device ids")),
    };
    let mut devices = BTreeSet::new();
    for item in list {
        let Some(text) = item.as_str() else { return Err(wrong("must be a list of device ids in quotes")) };
        let device: DeviceId = text.parse().map_err(|e: fullmetal_proto::NameError| wrong(&e.to_string()))?;
        if !devices.insert(device) {
            return Err(wrong(&format!("names {text} twice")));
        }
    }
    Ok(Targets::Named(devices))
}

fn mode(text: &str) -> Result<Mode, Problem> {
    match text {
        "now" => Ok(Mode::Now),
        "when-idle" => Ok(Mode::WhenIdle),
        "stage" => Ok(Mode::Stage),
        "withdraw" => Err(("mode".into(), "cannot be withdraw; use `fullmetal-gateway withdraw ACTION`".into())),
        other => Err(("mode".into(), format!("= {other:?} is unknown; write now, when-idle or stage"))),
    }
}

fn part(number: usize, table: PartTable) -> Result<PartWish, Problem> {
    let key = |name: &str| format!("[[part]] {number}: {name}");
    let kind = match table.kind.as_deref() {
        None | Some("app") => PartKind::App,
        Some("os") => PartKind::Os,
        Some(other) => return Err((key("kind"), format!("= {other:?} is unknown; write app or os"))),
    };
    if kind == PartKind::Os && (table.autostart, table.job) != (None, None) {
        return Err((key("kind"), "= \"os\": an operating system has neither autostart nor job".into()));
    }
    let ref_name: RefName = field(key("ref"), &table.ref_name)?;
    let start = StartOptions { autostart: table.autostart.unwrap_or(true), job: table.job.unwrap_or(false) };
    if table.version.as_ref().is_some_and(|v| v.is_empty() || v.len() > 128 || v.chars().any(char::is_control)) {
        return Err((key("version"), "must have 1 to 128 printable bytes".into()));
    }
    Ok(PartWish {
        kind,
        ref_name,
        commit: table.commit.map(|c| field(key("commit"), &c)).transpose()?,
        name: table.name.map(|n| field(key("name"), &n)).transpose()?,
        version: table.version,
        start,
        proof: Proof::default(),
    })
}

fn field<T: FromStr<Err: std::fmt::Display>>(key: String, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|e: T::Err| (key, format!("= {text:?}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Wish, String> {
        parse(text, Path::new("d.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_short_decision_takes_the_defaults() {
        let wish = read("devices = [\"press-1\", \"press-2\"]\n[[part]]\nref = \"apps/web/x86_64\"\n").unwrap();
        assert_eq!(wish.mode, Mode::Now);
        assert!(matches!(wish.targets, Targets::Named(d) if d.len() == 2));
        let part = &wish.parts[0];
        assert_eq!((part.commit, part.name.as_ref(), part.start.clone()), (None, None, StartOptions::default()));
    }

    #[test]
    fn a_full_decision_says_everything() {
        let commit = "ab".repeat(32);
        let text = format!(
            "devices = \"all\"\nmode = \"stage\"\n[[part]]\nref = \"apps/web/x86_64\"\ncommit = \"{commit}\"\n\
             name = \"shop\"\nversion = \"2\"\nautostart = false\njob = true\n"
        );
        let wish = read(&text).unwrap();
        assert_eq!((wish.targets, wish.mode), (Targets::All, Mode::Stage));
        let part = &wish.parts[0];
        assert_eq!(part.commit.unwrap().to_string(), commit);
        assert_eq!((part.name.as_ref().unwrap().as_str(), part.version.as_deref()), ("shop", Some("2")));
        assert_eq!(part.start, StartOptions { autostart: false, job: true });
    }

    #[test]
    fn an_operating_system_is_one_where_it_is_said() {
        let wish = read(
            "devices = \"all\"\n[[part]]\nkind = \"os\"\nref = \"os/floor\"\n[[part]]\nkind = \"app\"\nref = \"apps/web\"\n\
             [[part]]\nref = \"apps/shop\"\n",
        );
        let kinds: Vec<_> = wish.unwrap().parts.iter().map(|p| p.kind).collect();
        assert_eq!(kinds, [PartKind::Os, PartKind::App, PartKind::App]);
    }

    #[test]
    fn apps_leave_with_others_that_come_or_alone() {
        let part = "[[part]]\nref = \"apps/web/x86_64\"\n";
        for (part, parts) in [("", 0), (part, 1)] {
            let wish = read(&format!("devices = \"all\"\nremove = [\"old\", \"camera\"]\n{part}")).unwrap();
            let removed: Vec<_> = wish.removed.iter().map(AppName::as_str).collect();
            assert_eq!((removed, wish.parts.len()), (vec!["camera", "old"], parts));
        }
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        let part = "[[part]]\nref = \"apps/web/x86_64\"\n";
        let cases = [
            ("devices = ", vec!["d.toml: line 1"]),
            ("mode = \"now\"\n", vec!["missing field `devices`"]),
            ("devices = \"all\"\n", vec!["[[part]] must be there 1 to 32 times"]),
            ("devices = \"every\"\n{part}", vec!["devices must be \"all\" or a list"]),
            ("devices = []\n{part}", vec!["devices is empty"]),
            ("devices = [1]\n{part}", vec!["devices must be a list of device ids in quotes"]),
            ("devices = [\"a\", \"a\"]\n{part}", vec!["devices names a twice"]),
            ("devices = [\"../x\"]\n{part}", vec!["device id", "../x"]),
            ("devices = \"all\"\nmode = \"soon\"\n{part}", vec!["mode = \"soon\"", "now, when-idle or stage"]),
            ("devices = \"all\"\nmode = \"withdraw\"\n{part}", vec!["fullmetal-gateway withdraw ACTION"]),
            ("devices = \"all\"\ndevice = 1\n{part}", vec!["line 2", "unknown field `device`"]),
            ("devices = \"all\"\n{part}comit = \"x\"\n", vec!["line 4", "comit", "commit"]),
            ("devices = \"all\"\n{part}commit = \"xyz\"\n", vec!["[[part]] 1: commit", "64 lower-case hex"]),
            ("devices = \"all\"\n{part}name = \"a/b\"\n", vec!["[[part]] 1: name", "app name"]),
            ("devices = \"all\"\n{part}kind = \"firmware\"\n", vec!["[[part]] 1: kind", "write app or os"]),
            ("devices = \"all\"\n{part}kind = \"os\"\njob = true\n", vec!["[[part]] 1: kind", "neither autostart nor"]),
            ("devices = \"all\"\n{part}kind = \"os\"\n{part}kind = \"os\"\n", vec!["more than one operating system"]),
            ("devices = \"all\"\n{part}version = \"\"\n", vec!["[[part]] 1: version"]),
            ("devices = \"all\"\n{part}job = \"yes\"\n", vec!["line 4", "boolean"]),
            ("devices = \"all\"\n{part}[[part]]\nref = \"/x\"\n", vec!["[[part]] 2: ref", "/x"]),
            ("devices = \"all\"\n[[part]]\nname = \"x\"\n", vec!["missing field `ref`"]),
            ("devices = \"all\"\nremove = [\"a/b\"]\n{part}", vec!["remove", "app name"]),
            ("devices = \"all\"\nremove = [\"a\", \"a\"]\n{part}", vec!["remove names a twice"]),
            ("devices = \"all\"\nremove = \"a\"\n{part}", vec!["line 2", "sequence"]),
        ];
        for (text, words) in cases {
            let message = read(&text.replace("{part}", part)).unwrap_err();
            for word in words {
                assert!(message.contains(word), "{message:?} lacks {word:?}");
            }
        }
    }
}
