//! The `systemd.service` that FullMetalUpdate's apps bring along: read for what it says about other apps and about
//! time, never installed.
//!
//! Syntax: `systemd.syntax(7)`, time spans: `systemd.time(7)`, keys: `systemd.unit(5)` and `systemd.service(5)`.

use std::time::Duration;

/// The longest such file in bytes.
pub const FOREIGN_UNIT_LEN_MAX: usize = 64 * 1024;
/// The most units that one key names.
const NAMES_MAX: usize = 64;
/// The longest time span that is taken for one; more is as good as none.
const SPAN_SECS_MAX: f64 = 86_400.0;

/// What matters of it here; everything else is ours to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignUnit {
    /// `After=`: units as they are named.
    pub after: Vec<String>,
    /// `Requires=`.
    pub requires: Vec<String>,
    /// `Wants=`.
    pub wants: Vec<String>,
    /// `Restart=` is there and not `no`: an app that is meant to stay.
    pub stays: bool,
    /// `Type=notify`.
    pub notify: bool,
    /// `ExecStartPost=`: it has a command for when it has started.
    pub tells_start: bool,
    /// `RestartSec=`.
    pub restart_pause: Option<Duration>,
    /// `TimeoutStartSec=`, also by `TimeoutSec=`; `None` also for `infinity`.
    pub start_timeout: Option<Duration>,
    /// `TimeoutStopSec=`, likewise.
    pub stop_timeout: Option<Duration>,
}

/// Why a unit file is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignUnitError {
    /// It is too long.
    #[error("systemd.service has {0} bytes, at most {FOREIGN_UNIT_LEN_MAX} are read")]
    Length(usize),
    /// It is not text.
    #[error("systemd.service is not UTF-8 text")]
    Text,
    /// A key names too many units.
    #[error("systemd.service: {0}= names more than {NAMES_MAX} units")]
    Names(&'static str),
    /// A value that is no time span.
    #[error("systemd.service: line {line}: \"{}\" is not a time span", .value.escape_debug())]
    Span {
        /// From 1; where the value ends, if it goes over several.
        line: usize,
        /// What stands there.
        value: String,
    },
}

impl ForeignUnit {
    /// Reads a unit file; keys and sections that are not ours to know are passed over, as systemd does.
    ///
    /// # Errors
    /// When it is too long, or a value that matters cannot be understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, ForeignUnitError> {
        if bytes.len() > FOREIGN_UNIT_LEN_MAX {
            return Err(ForeignUnitError::Length(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ForeignUnitError::Text)?;
        let (mut unit, mut section, mut joined) = (ForeignUnit::default(), String::new(), String::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(start) = line.strip_suffix('\\') {
                joined.push_str(start);
                joined.push(' ');
                continue;
            }
            let whole = std::mem::take(&mut joined) + line;
            match whole.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                Some(name) => section = name.to_owned(),
                None => {
                    if let Some((key, value)) = whole.split_once('=') {
                        unit.take(&section, key.trim(), value.trim(), index + 1)?;
                    }
                }
            }
        }
        Ok(unit)
    }

    fn take(&mut self, section: &str, key: &str, value: &str, line: usize) -> Result<(), ForeignUnitError> {
        match (section, key) {
            ("Unit", "After") => add("After", &mut self.after, value),
            ("Unit", "Requires") => add("Requires", &mut self.requires, value),
            ("Unit", "Wants") => add("Wants", &mut self.wants, value),
            ("Service", "Restart") => {
                self.stays = !value.is_empty() && value != "no";
                Ok(())
            }
            ("Service", "Type") => {
                self.notify = value == "notify";
                Ok(())
            }
            ("Service", "ExecStartPost") => {
                self.tells_start = !value.is_empty();
                Ok(())
            }
            ("Service", "RestartSec") => span(value, line).map(|s| self.restart_pause = s),
            ("Service", "TimeoutStartSec") => span(value, line).map(|s| self.start_timeout = s),
            ("Service", "TimeoutStopSec") => span(value, line).map(|s| self.stop_timeout = s),
            ("Service", "TimeoutSec") => {
                self.start_timeout = span(value, line)?;
                self.stop_timeout = self.start_timeout;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// An empty value forgets what came before.
fn add(key: &'static str, names: &mut Vec<String>, value: &str) -> Result<(), ForeignUnitError> {
    if value.is_empty() {
        names.clear();
    }
    for name in value.split_whitespace() {
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    if names.len() > NAMES_MAX { Err(ForeignUnitError::Names(key)) } else { Ok(()) }
}

/// `None` is no limit: nothing, 0 or `infinity`, and whatever is longer than a day.
fn span(value: &str, line: usize) -> Result<Option<Duration>, ForeignUnitError> {
    let wrong = || ForeignUnitError::Span { line, value: value.chars().take(80).collect() };
    if value.is_empty() || value == "infinity" {
        return Ok(None);
    }
    let mut secs = 0.0;
    let mut rest = value;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        secs += number * unit(&rest[..letters]).ok_or_else(wrong)?;
        rest = rest[letters..].trim_start();
    }
    let bounded = secs > 0.0 && secs <= SPAN_SECS_MAX;
    Ok(bounded.then(|| Duration::from_secs_f64(secs)))
}

fn unit(name: &str) -> Option<f64> {
    Some(match name {
        "us" | "usec" => 1e-6,
        "ms" | "msec" => 1e-3,
        "" | "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<ForeignUnit, ForeignUnitError> {
        ForeignUnit::parse(text.as_bytes())
    }

    #[test]
    fn the_samples_unit_says_little() {
        let unit = parse(
            "[Unit]\nDescription=Hello\nAfter=network.target\n\n[Service]\nWorkingDirectory=/apps/hello-world/\n\
             ExecStart=/usr/bin/runc run hello-world\n",
        );
        assert_eq!(unit.unwrap(), ForeignUnit { after: vec!["network.target".into()], ..ForeignUnit::default() });
    }

    #[test]
    fn all_that_matters_is_read_and_only_in_its_section() {
        let unit = parse(
            "; note\n[Unit]\nAfter = db.service \\\n# between\n  net.service\nAfter=db.service last.service\n\
             Requires=gone.service\nRequires=\nRequires=db.service\nWants=log.service\nRestart=always\n\
             [Service]\nAfter=x.service\nRestart=on-failure\nRestartSec=500ms\nType=notify\n\
             TimeoutStartSec=1min 30s\nTimeoutStopSec=infinity\nExecStartPost=/bin/tell a=b\n",
        )
        .unwrap();
        assert_eq!(unit.after, ["db.service", "net.service", "last.service"]);
        assert_eq!((unit.requires, unit.wants), (vec!["db.service".into()], vec!["log.service".into()]));
        assert!(unit.stays && unit.notify && unit.tells_start);
        assert_eq!(unit.restart_pause, Some(Duration::from_millis(500)));
        assert_eq!((unit.start_timeout, unit.stop_timeout), (Some(Duration::from_secs(90)), None));
    }

    #[test]
    fn the_last_word_counts_and_an_empty_one_takes_it_back() {
        let service = |lines: &str| parse(&format!("[Service]\n{lines}\n")).unwrap();
        assert!(!service("Restart=always\nRestart=").stays && !service("Restart=no").stays);
        assert!(service("Restart=no\n Restart = on-failure").stays && !service("[Install]\nRestart=always").stays);
        assert!(!service("ExecStartPost=/bin/tell\nExecStartPost=").tells_start);
        assert!(!service("ExecStopPost=/bin/tell").tells_start);
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        let text = |unit: &str| parse(unit).unwrap_err().to_string();
        assert_eq!(text("[Service]\nRestartSec=soon"), "systemd.service: line 2: \"soon\" is not a time span");
        let many: String = (0..65).map(|n| format!("a{n} ")).collect();
        assert_eq!(text(&format!("[Unit]\nWants={many}")), "systemd.service: Wants= names more than 64 units");
        assert!(text(&"#".repeat(FOREIGN_UNIT_LEN_MAX + 1)).contains("at most 65536"));
        assert_eq!(ForeignUnit::parse(b"\xff"), Err(ForeignUnitError::Text));
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = ForeignUnit::parse(&bytes);
        }

        #[test]
        fn no_span_upsets_it(value in "[0-9. a-z]{0,20}") {
            let _ = parse(&format!("[Service]\nTimeoutSec={value}"));
        }
    }
}
