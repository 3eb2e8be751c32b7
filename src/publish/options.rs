//! What to publish, where, and as what.

use super::error::PublishError;
use super::oci::ImageSource;
use super::signer::Judge;
use fullmetal_proto::ostree::asks::{self, Asks};
use fullmetal_proto::wire::SigningKey;
use fullmetal_proto::{AppName, HardwareId, RefName};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Raw bytes of a frame unless told otherwise.
pub const FRAME_LEN_DEFAULT: u32 = 2 << 20;
/// zstd level unless told otherwise.
pub const LEVEL_DEFAULT: i32 = 12;
/// The shortest frame: below it the table of frames outgrows what it saves.
const FRAME_LEN_MIN: u32 = 64 << 10;
/// The longest frame that is written; readers allow twice as much.
const FRAME_LEN_MAX: u32 = 4 << 20;
/// The longest version text, as in a bundle's part.
const VERSION_LEN_MAX: usize = 128;
/// The most arguments of a command, and the longest of them.
const ARGS_MAX: usize = 64;
/// The longest probation: a day.
const PROBATION_S_MAX: u32 = 86_400;

/// Where the release comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A directory or tarball (plain, gzip, zstd).
    Tree {
        /// An app bundle (`config.json` and `rootfs/`), the root file system of an app, or an operating system.
        path: PathBuf,
        /// The command of a root file system without `config.json`; empty for a bundle.
        cmd: Vec<String>,
    },
    /// An image of an OCI image layout.
    Image(ImageSource),
    /// A commit that is there already, by checksum or ref: signed and framed as it is.
    Commit(String),
    /// The tree of a commit that is there already, in a new commit with our metadata.
    Recommit(String),
}

/// What the commit says about itself, in its metadata.
#[derive(Clone, Debug, Default)]
pub struct ReleaseInfo {
    /// `fullmetal.release`: orders releases.
    pub release: Option<u64>,
    /// `fullmetal.floor`: the lowest release allowed once this one is proven.
    pub floor: Option<u64>,
    /// `fullmetal.hardware`: what it is made for; empty means any.
    pub hardware: Vec<HardwareId>,
    /// `fullmetal.version`: for people.
    pub version: Option<String>,
    /// `fullmetal.name`: the app's name on the device.
    pub name: Option<AppName>,
    /// `fullmetal.health`: a command run inside the container; exit status 0 means healthy.
    pub health: Vec<String>,
    /// `fullmetal.probation`: seconds until a start counts as proven.
    pub probation: Option<u32>,
    /// What it asks of the device that runs it.
    pub asks: Asks,
}

/// Everything `publish` needs.
#[derive(Clone)]
pub struct Options {
    /// The central repo; made when missing.
    pub repo: PathBuf,
    /// What to publish.
    pub source: Source,
    /// The ref to set. Needed but for [`Source::Commit`], and for [`Source::Recommit`] of a ref.
    pub ref_name: Option<RefName>,
    /// Commit metadata; empty for [`Source::Commit`].
    pub info: ReleaseInfo,
    /// Signs the commit; none leaves it unsigned (devices take it only where the trust file allows that).
    pub key: Option<SigningKey>,
    /// Judges the key before anything is written, when there is a trust file to judge by.
    pub judge: Option<Judge>,
    /// It is an operating system, which is checked before anything is written.
    pub os: bool,
    /// The operating system's kernel needs an initramfs beside it.
    pub needs_initramfs: bool,
    /// Whether a ref may go to another tree under a release number that is not higher.
    pub allow_lower_release: bool,
    /// Raw bytes of a frame.
    pub frame_len: u32,
    /// zstd level.
    pub level: i32,
    /// Seconds since 1970 written into the commit (`SOURCE_DATE_EPOCH`); now when none.
    pub timestamp: Option<u64>,
}

impl Options {
    /// Options with defaults for frames and time, and nothing said about the release.
    pub fn new(repo: impl Into<PathBuf>, source: Source) -> Self {
        let (frame_len, level) = (FRAME_LEN_DEFAULT, LEVEL_DEFAULT);
        let info = ReleaseInfo::default();
        Options {
            repo: repo.into(),
            source,
            ref_name: None,
            info,
            key: None,
            judge: None,
            os: false,
            needs_initramfs: true,
            allow_lower_release: false,
            frame_len,
            level,
            timestamp: None,
        }
    }

    /// Refuses what cannot be meant, before anything is read or written.
    pub(super) fn check(&self) -> Result<(), PublishError> {
        let bad = |option, problem: String| Err(PublishError::option(option, problem));
        if !(FRAME_LEN_MIN..=FRAME_LEN_MAX).contains(&self.frame_len) {
            return bad("--frame-size", format!("{} bytes are not within 64 KiB and 4 MiB", self.frame_len));
        }
        if !(1..=22).contains(&self.level) {
            return bad("--level", format!("{} is not within 1 and 22", self.level));
        }
        if let Source::Commit(rev) = &self.source
            && !self.info.is_empty()
        {
            return bad("--commit", format!("{rev} cannot gain metadata; use --recommit {rev} to make a new commit"));
        }
        if matches!(self.source, Source::Tree { .. } | Source::Image(_)) && self.ref_name.is_none() {
            return bad("--ref", "say under which ref devices find it, such as apps/web/x86_64".into());
        }
        if self.os {
            self.check_os()?;
        }
        self.info.check()
    }

    /// Refuses for an operating system what only apps have.
    fn check_os(&self) -> Result<(), PublishError> {
        let bad = |option, problem: &str| Err(PublishError::option(option, problem));
        match &self.source {
            Source::Image(_) => return bad("--os", "an OCI image is an app; give a directory, a tarball or a commit"),
            Source::Tree { cmd, .. } if !cmd.is_empty() => {
                return bad("--cmd", "is for apps; an operating system has its own init");
            }
            _ => {}
        }
        if !self.info.health.is_empty() {
            return bad("--health", "is for apps; an operating system has its checks in /etc/fullmetal/health.d");
        }
        if self.info.asks != Asks::default() {
            return bad("--os", "an operating system asks for no devices, limits, or other apps");
        }
        Ok(())
    }
}

impl ReleaseInfo {
    fn is_empty(&self) -> bool {
        let numbers = self.release.or(self.floor).is_none() && self.probation.is_none();
        let texts = self.version.is_none() && self.name.is_none();
        numbers && texts && self.hardware.is_empty() && self.health.is_empty() && self.asks == Asks::default()
    }

    fn check(&self) -> Result<(), PublishError> {
        let bad = |option, problem: String| Err(PublishError::option(option, problem));
        match (self.release, self.floor) {
            (None, Some(_)) => return bad("--floor", "needs --release, which it bounds".into()),
            (Some(release), Some(floor)) if floor > release => {
                return bad("--floor", format!("{floor} is above --release {release}: no device could install it"));
            }
            _ => {}
        }
        if let Some(version) = &self.version
            && (version.is_empty() || version.len() > VERSION_LEN_MAX || version.chars().any(char::is_control))
        {
            return bad("--version", format!("must have 1 to {VERSION_LEN_MAX} printable bytes"));
        }
        if self.hardware.len() > 32 {
            return bad("--hardware", "more than 32 ids".into());
        }
        if self.probation.is_some_and(|s| s == 0 || s > PROBATION_S_MAX) {
            return bad("--probation", format!("must be 1 to {PROBATION_S_MAX} seconds"));
        }
        check_asks(&self.asks, self.name.as_ref())?;
        check_argv("--health", &self.health)
    }
}

/// Refuses what no device would take, by the bounds that it reads a commit with.
fn check_asks(asks: &Asks, name: Option<&AppName>) -> Result<(), PublishError> {
    fn within<T: PartialOrd + Display>(
        option: &'static str,
        unit: &str,
        asked: Option<T>,
        range: &RangeInclusive<T>,
    ) -> Result<(), PublishError> {
        match asked {
            Some(n) if !range.contains(&n) => {
                let problem = format!("{n} is not within {} and {}{unit}", range.start(), range.end());
                Err(PublishError::option(option, problem))
            }
            _ => Ok(()),
        }
    }
    for (option, names) in [("--after", &asks.after), ("--requires", &asks.requires), ("--wants", &asks.wants)] {
        if names.len() > asks::NEIGHBOURS_MAX {
            return Err(PublishError::option(option, format!("more than {} apps", asks::NEIGHBOURS_MAX)));
        }
        if name.is_some_and(|own| names.contains(own)) {
            return Err(PublishError::option(option, "names the app itself"));
        }
    }
    if asks.grants.len() > asks::GRANTS_MAX {
        return Err(PublishError::option("--grant", format!("more than {} grants", asks::GRANTS_MAX)));
    }
    within("--start-timeout", " seconds", asks.start_timeout, &asks::START_TIMEOUT_S)?;
    within("--memory", " bytes", asks.limits.memory, &asks::MEMORY)?;
    within("--cpu", " thousandths", asks.limits.cpu, &asks::CPU)?;
    within("--pids", "", asks.limits.pids, &asks::PIDS)?;
    within("--io", "", asks.limits.io, &asks::IO)
}

/// A command: words separated by blanks, or a JSON array of strings where a word has blanks in it.
pub fn parse_argv(option: &'static str, text: &str) -> Result<Vec<String>, PublishError> {
    let argv: Vec<String> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|e| PublishError::option(option, format!("not a JSON array: {e}")))?
    } else {
        text.split_whitespace().map(str::to_owned).collect()
    };
    if !text.trim_start().starts_with('[') && argv.iter().any(|w| w.starts_with(['\'', '"'])) {
        let problem =
            r#"quotes are no shell's here; where a word has blanks give a JSON array: '["sh", "-c", "echo hello"]'"#;
        return Err(PublishError::option(option, problem));
    }
    if argv.first().is_none_or(String::is_empty) {
        return Err(PublishError::option(option, "names no program"));
    }
    check_argv(option, &argv)?;
    Ok(argv)
}

/// A number of bytes: `65536`, `512K`, `2M`, `2MiB`, `1G`.
pub fn parse_size(option: &'static str, text: &str) -> Result<u64, PublishError> {
    asks::parse_bytes(text)
        .ok_or_else(|| PublishError::option(option, format!("{text:?} is no size such as 2M or 512K")))
}

/// CPUs, such as `0.5` or `2`, in thousandths of one.
pub fn parse_cpu(option: &'static str, text: &str) -> Result<u32, PublishError> {
    let bad = || PublishError::option(option, format!("{text:?} is no number of CPUs such as 0.5 or 2"));
    asks::parse_cpu(text).ok_or_else(bad)
}

pub(super) fn check_argv(option: &'static str, argv: &[String]) -> Result<(), PublishError> {
    let bad_word = |w: &String| w.contains('\0') || w.len() > 4096;
    if argv.len() > ARGS_MAX || argv.iter().any(bad_word) {
        return Err(PublishError::option(option, format!("more than {ARGS_MAX} words, or one over 4096 bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words_or_a_json_array() {
        assert_eq!(parse_argv("--cmd", " httpd  -f ").unwrap(), ["httpd", "-f"]);
        assert_eq!(parse_argv("--cmd", r#"["sh","-c","echo a b"]"#).unwrap(), ["sh", "-c", "echo a b"]);
        for bad in ["", "  ", "sh -c 'echo a'", "[]", "[1]", "[\"\"]", "[\"a\\u0000\"]"] {
            assert!(parse_argv("--cmd", bad).unwrap_err().is_usage(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("--frame-size", "2MiB").unwrap(), 2 << 20);
        assert_eq!(parse_size("--frame-size", "65536").unwrap(), 65536);
        assert_eq!(parse_size("--memory", "8G").unwrap(), 8 << 30);
        for bad in ["", "M", "2T", "-1", "99999999999G", "1.5M"] {
            assert!(parse_size("--frame-size", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cpus_have_thousandths() {
        for (text, thousandths) in [("0.5", 500), ("2", 2000), ("0.125", 125), ("1.05", 1050)] {
            assert_eq!(parse_cpu("--cpu", text).unwrap(), thousandths);
        }
        for bad in ["", ".", "1.", ".5", "-1", "0.1234", "1e3", "99999999", "1,5", "0.+5"] {
            assert!(parse_cpu("--cpu", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_no_device_would_take_is_not_published() {
        let refused = |change: fn(&mut ReleaseInfo)| {
            let mut options = Options::new("r", Source::Recommit("a".into()));
            options.info.name = Some("web".parse().unwrap());
            change(&mut options.info);
            options.check().unwrap_err().to_string()
        };
        assert!(refused(|i| i.asks.limits.memory = Some(1 << 20)).starts_with("--memory: 1048576 is not within"));
        assert!(refused(|i| i.asks.limits.cpu = Some(0)).starts_with("--cpu: 0 is not within"));
        assert!(refused(|i| i.asks.limits.pids = Some(0)).starts_with("--pids: 0 is not within"));
        assert!(refused(|i| i.asks.limits.io = Some(5)).starts_with("--io: 5 is not within"));
        assert!(refused(|i| i.asks.start_timeout = Some(0)).starts_with("--start-timeout: 0 is not within"));
        assert!(refused(|i| i.asks.after = vec!["web".parse().unwrap()]).contains("--after: names the app itself"));
        assert!(refused(|i| i.asks.wants = vec!["db".parse().unwrap(); 17]).contains("--wants: more than 16"));
        assert!(refused(|i| i.asks.grants = vec!["gpu".parse().unwrap(); 33]).contains("--grant: more than 32"));
    }

    #[test]
    fn a_floor_above_its_release_is_refused() {
        let mut options = Options::new("r", Source::Recommit("a".into()));
        options.info = ReleaseInfo { release: Some(3), floor: Some(4), ..ReleaseInfo::default() };
        assert!(options.check().unwrap_err().to_string().contains("--floor: 4 is above"));
        options.info.floor = Some(3);
        options.check().unwrap();
        options.source = Source::Commit("a".into());
        assert!(options.check().unwrap_err().to_string().contains("--recommit a"));
    }
}
