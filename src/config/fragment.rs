//! One configuration file as it is written; every key is optional here.

use super::hawkbit::HawkbitFragment;
use super::policy::{self, PolicyFragment};
use super::{ConfigError, Paths};
use serde::Deserialize;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

macro_rules! section {
    ($name:ident { $($key:ident: $type:ty),* $(,)? }) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $key: Option<$type>,)*
        }

        impl $name {
            fn overlay(&mut self, later: $name) {
                $(if later.$key.is_some() { self.$key = later.$key; })*
            }
        }
    };
}

section!(DeviceFragment { id: String, fleet: String, hardware: Vec<String> });
section!(PeerFragment {
    interfaces: Vec<String>,
    port: u16,
    peers: Vec<String>,
    discovery: bool,
    origin: bool,
    weight: u16,
    central: String,
    central_ca: PathBuf,
    central_proxy: String,
    central_rate: String,
    central_rate_at: Vec<String>,
    cache_bytes_max: u64,
    client_uid: u32,
});
section!(AgentFragment { host: String, peer_uid: u32, probation_s: u64, stop_timeout_s: u64, windows: Vec<String> });
section!(OsFragment { units: Vec<String>, neighbour: bool, check_timeout_s: u64 });
section!(GatewayFragment { key: PathBuf, announcement_hours: u64, metrics: String });

/// All sections of one file, or of several merged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Fragment {
    pub(super) device: DeviceFragment,
    pub(super) peer: PeerFragment,
    pub(super) agent: AgentFragment,
    pub(super) os: OsFragment,
    pub(super) gateway: GatewayFragment,
    pub(super) hawkbit: HawkbitFragment,
    pub(super) policy: Option<PolicyFragment>,
}

impl Fragment {
    /// Reads and merges the main file and the fragments.
    pub(super) fn load_all(paths: &Paths) -> Result<Self, ConfigError> {
        let mut files: Vec<PathBuf> = Vec::new();
        if paths.config_file().exists() {
            files.push(paths.config_file());
        }
        files.extend(fragment_files(&paths.config_dir())?);
        if files.is_empty() {
            return Err(ConfigError::Absent { path: paths.config_file() });
        }
        let mut merged = Fragment::default();
        for file in files {
            let later = Self::read(&file)?;
            merged.device.overlay(later.device);
            merged.peer.overlay(later.peer);
            merged.agent.overlay(later.agent);
            merged.os.overlay(later.os);
            merged.gateway.overlay(later.gateway);
            merged.hawkbit.overlay(later.hawkbit);
            if let Some(later) = later.policy {
                merged.policy.get_or_insert_default().overlay(later);
            }
        }
        Ok(merged)
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let unread = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unread)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unread)?;
        let syntax = |e| ConfigError::Syntax { path: path.to_owned(), problem: one_line(&text, &e) };
        let mut fragment: Fragment = toml::from_str(&text).map_err(syntax)?;
        fragment.hawkbit.locate(path, &text);
        if fragment.policy.is_some() {
            policy::check_owner(path, &file)?;
        }
        Ok(fragment)
    }
}

/// toml's own message is a picture over several lines; this is the same on one line.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
    match line {
        Some(line) => format!("line {line}: {}", error.message()),
        None => error.message().to_owned(),
    }
}

fn fragment_files(dir: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let err = |source| ConfigError::Read { path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(err(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(err)?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::Fragment;

    #[test]
    fn the_keys_that_packages_show_are_keys() {
        for text in [include_str!("../../debian/10-device.toml"), include_str!("../../debian/30-gateway.toml")] {
            assert!(toml::from_str::<Fragment>(text).is_ok(), "{text}");
            let shown = |line: &str| line.starts_with('#') && !line.starts_with("# ");
            let (mut all, mut count) = (String::new(), 0);
            for line in text.lines() {
                count += usize::from(shown(line));
                all.extend([if shown(line) { &line[1..] } else { line }, "\n"]);
            }
            let read = toml::from_str::<Fragment>(&all);
            assert!(read.is_ok() && count > 5, "{all}: {read:?}");
        }
    }
}
