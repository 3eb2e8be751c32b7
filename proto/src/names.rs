//! Names from outside, checked when they are parsed so that nothing later has to.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or longer than the limit.
    #[error("{what} \"{}\" must have 1 to {max} characters", printable(.text))]
    Length {
        /// Which kind of name.
        what: &'static str,
        /// The refused text.
        text: String,
        /// The limit in bytes.
        max: usize,
    },
    /// A character outside the alphabet, or a dot, slash or dash in a place that would make it a path or an option.
    #[error("{what} \"{}\" may only have {allowed}", printable(.text))]
    Alphabet {
        /// Which kind of name.
        what: &'static str,
        /// The refused text.
        text: String,
        /// What is allowed, for a person.
        allowed: &'static str,
    },
}

fn printable(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}

const WORD: &str = "letters, digits, '_', '.', '-', and must not start with '.' or '-'";
const PATH: &str = "words of letters, digits, '_', '.', '-' joined by '/', none starting with '.' or '-'";

fn check_word(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() || text.len() > max {
        return Err(NameError::Length { what, text: text.to_owned(), max });
    }
    if is_word(text) { Ok(()) } else { Err(NameError::Alphabet { what, text: text.to_owned(), allowed: WORD }) }
}

fn is_word(text: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !text.is_empty() && text.bytes().all(ok) && !text.starts_with(['.', '-'])
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest such name in bytes.
            pub const LEN_MAX: usize = $max;

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(s: &str) -> Result<Self, NameError> {
                let check: fn(&'static str, &str, usize) -> Result<(), NameError> = $check;
                check($what, s, $max)?;
                Ok($name(s.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(s: String) -> Result<Self, NameError> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(n: $name) -> String {
                n.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

name!(
    /// A device: its Hawkbit controllerId and the last part of its certificate's URI SAN.
    DeviceId, "device id", 64, check_word
);
name!(
    /// A fleet: all devices that share one trust file.
    FleetId, "fleet id", 64, check_word
);
name!(
    /// An application on a device: directory, unit and container take this name.
    AppName, "app name", 64, check_word
);
name!(
    /// A kind of hardware that a release is made for.
    HardwareId, "hardware id", 64, check_word
);
name!(
    /// An OSTree ref such as `apps/web/x86_64`.
    RefName, "ref", 255, |what, text, max| {
        if text.is_empty() || text.len() > max {
            return Err(NameError::Length { what, text: text.to_owned(), max });
        }
        if text.split('/').all(is_word) {
            return Ok(());
        }
        Err(NameError::Alphabet { what, text: text.to_owned(), allowed: PATH })
    }
);

impl RefName {
    /// Whether this ref falls under `pattern`: equal, or below it when the pattern ends in `/*`; `*` is every ref.
    pub fn matches(&self, pattern: &str) -> bool {
        match pattern.strip_suffix('*') {
            Some("") => true,
            Some(prefix) if prefix.ends_with('/') => self.0.len() > prefix.len() && self.0.starts_with(prefix),
            _ => self.as_str() == pattern,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_could_be_paths_or_options_are_refused() {
        for bad in ["", ".", "..", ".hidden", "-rf", "a/b", "a b", "a\nb", "ä", "a%n"] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad:?}");
        }
        for bad in ["", "/", "a//b", "a/../b", "a/", "/a", "a/-b", "a/.b"] {
            assert!(bad.parse::<RefName>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(65).parse::<DeviceId>().is_err());
        assert!("press-7.hall_a".parse::<DeviceId>().is_ok());
        assert!("apps/web/x86_64".parse::<RefName>().is_ok());
    }

    #[test]
    fn patterns_match_whole_words_only() {
        let r: RefName = "apps/web/x86_64".parse().unwrap();
        assert!(r.matches("*") && r.matches("apps/*") && r.matches("apps/web/x86_64"));
        assert!(!r.matches("app*") && !r.matches("apps") && !r.matches("apps/web/x86_64/*"));
    }

    proptest! {
        #[test]
        fn no_accepted_name_leaves_its_directory(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<RefName>() {
                prop_assert!(name.as_str().split('/').all(|w| !w.is_empty() && w != "." && w != ".."));
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
