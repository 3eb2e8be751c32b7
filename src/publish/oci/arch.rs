//! Architectures as images name them: those of Go, with a variant where it matters.
//!
//! Names: <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md#platform-variants>.

use fullmetal_proto::RefName;
use std::fmt;
use std::str::FromStr;

/// What OSTree refs, `uname -m` and Debian call them, and how images do.
const OTHER_NAMES: [(&str, &str); 10] = [
    ("x86_64", "amd64"),
    ("aarch64", "arm64"),
    ("armv7l", "arm/v7"),
    ("armv7", "arm/v7"),
    ("armhf", "arm/v7"),
    ("armv6l", "arm/v6"),
    ("i386", "386"),
    ("i686", "386"),
    ("ppc64el", "ppc64le"),
    ("loongarch64", "loong64"),
];
/// Those of Go that run Linux on devices, and what their programs have in `e_machine` (elf(5)).
const KNOWN: [(&str, u16); 9] = [
    ("amd64", 62),
    ("arm64", 183),
    ("arm", 40),
    ("386", 3),
    ("riscv64", 243),
    ("ppc64le", 21),
    ("s390x", 22),
    ("mips64le", 8),
    ("loong64", 258),
];

/// An architecture, such as `amd64` or `arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arch {
    name: String,
    variant: Option<String>,
}

/// A name that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no architecture such as amd64, arm64 or arm/v7")]
pub struct NoArch(String);

impl FromStr for Arch {
    type Err = NoArch;

    fn from_str(text: &str) -> Result<Self, NoArch> {
        let text = OTHER_NAMES.iter().find(|(other, _)| *other == text).map_or(text, |(_, name)| name);
        let (name, variant) = match text.split_once('/') {
            Some((name, variant)) => (name, Some(variant)),
            None => (text, None),
        };
        let known = KNOWN.iter().any(|(known, _)| *known == name);
        if !known || variant.is_some_and(|v| v.is_empty() || !v.bytes().all(|b| b.is_ascii_alphanumeric())) {
            return Err(NoArch(text.to_owned()));
        }
        Ok(Arch::new(name, variant))
    }
}

impl Arch {
    /// As an image says it. Without a variant `arm` is v7 and `arm64` v8, as in containerd.
    pub(super) fn new(name: &str, variant: Option<&str>) -> Self {
        let variant = match (name, variant.filter(|v| !v.is_empty())) {
            ("arm", variant) => Some(variant.unwrap_or("v7")),
            ("arm64", Some("v8")) => None,
            (_, variant) => variant,
        };
        Arch { name: name.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// That with which a ref ends, such as `apps/web/x86_64`.
    pub(super) fn of_ref(name: &RefName) -> Option<Self> {
        name.as_str().rsplit('/').next()?.parse().ok()
    }

    /// What else a program with these first bytes is made for, if it is an ELF program for something else.
    pub(super) fn foreign_program(&self, head: &[u8]) -> Option<String> {
        let [0x7f, b'E', b'L', b'F', _, order, ..] = head else { return None };
        let machine: [u8; 2] = head.get(18..20)?.try_into().ok()?;
        let machine = if *order == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
        let (_, own) = KNOWN.iter().find(|(name, _)| *name == self.name)?;
        // 64-bit x86 and ARM run programs of the 32-bit one.
        let runs = machine == *own || matches!((self.name.as_str(), machine), ("amd64", 3) | ("arm64", 40));
        let named =
            |m: u16| KNOWN.iter().find(|(_, k)| *k == m).map_or(format!("machine {m}"), |(n, _)| (*n).to_owned());
        (!runs).then(|| named(machine))
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variant {
            Some(variant) => write!(f, "{}/{variant}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_architecture_has_one_name() {
        for (text, shown) in
            [("x86_64", "amd64"), ("aarch64", "arm64"), ("arm64/v8", "arm64"), ("arm", "arm/v7"), ("armv6l", "arm/v6")]
        {
            assert_eq!(text.parse::<Arch>().unwrap().to_string(), shown);
        }
        for bad in ["", "web", "amd64/", "arm/v 7"] {
            assert!(bad.parse::<Arch>().is_err(), "{bad}");
        }
        assert_eq!(Arch::of_ref(&"apps/web/aarch64".parse().unwrap()), Some(Arch::new("arm64", None)));
        assert_eq!(Arch::of_ref(&"apps/web".parse().unwrap()), None);
    }

    #[test]
    fn a_program_is_known_by_its_header() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        let (own, other) = if cfg!(target_arch = "x86_64") { ("amd64", "arm64") } else { ("arm64", "amd64") };
        assert_eq!(own.parse::<Arch>().unwrap().foreign_program(&program), None);
        assert_eq!(other.parse::<Arch>().unwrap().foreign_program(&program).as_deref(), Some(own));
        assert_eq!(own.parse::<Arch>().unwrap().foreign_program(b"#!/bin/sh\nexit 0 # and more"), None);
    }
}
