//! Configuration: fragments, merged in order, validated into [`Settings`] with units in the types.
//!
//! Read from `etc/fullmetal/fullmetal.toml` and then `etc/fullmetal/fullmetal.d/*.toml` in the order of
//! their names, all below the root directory; a later file wins key by key.

mod budget;
mod fragment;
mod hawkbit;
mod interfaces;
mod local_time;
mod os;
mod paths;
mod policy;
mod rate;
mod windows;

pub use budget::CentralBudget;
pub use hawkbit::{Confirm, DevicePattern, HawkbitSettings};
pub use interfaces::unknown_interfaces;
pub use local_time::{LocalTime, wall_clock};
pub use os::OsSettings;
pub use paths::Paths;
pub use policy::{AppPolicy, Bind, HostNamespace, Network, Policy};
pub use rate::Rate;
pub use windows::{Window, Windows};

use fragment::{AgentFragment, DeviceFragment, Fragment, GatewayFragment, PeerFragment};
use fullmetal_proto::{DeviceId, FleetId, HardwareId};
use reqwest::Url;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What is wrong with the configuration. Programs end with status 2 on it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("reading {path}: {source}", path = .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// No configuration at all.
    #[error("no configuration: {path} does not exist; `fullmetal enroll` writes a first one", path = .path.display())]
    Absent {
        /// The main file.
        path: PathBuf,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{path}: {problem}", path = .path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line, column and what was expected.
        problem: String,
    },
    /// A policy that somebody else may change.
    #[error("{path}: has a [policy] and {problem}: only root may say what apps are allowed", path = .path.display())]
    Owner {
        /// The file, or its directory.
        path: PathBuf,
        /// Whose it is, or who may write it, and what to do.
        problem: String,
    },
    /// A value that is needed is given nowhere.
    #[error("{key} is not set; add it to {path}", path = .path.display())]
    Missing {
        /// `[section] key`.
        key: &'static str,
        /// The main file.
        path: PathBuf,
    },
    /// A value that makes no sense, with its place.
    #[error("{path}: line {line}: {key} = {value} {problem}", path = .path.display())]
    Setting {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// `[section] key`.
        key: &'static str,
        /// What was given, as it is written.
        value: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A value that makes no sense.
    #[error("{key} = {value:?} {problem}")]
    Value {
        /// `[section] key`.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// The validated configuration of all programs of one device.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where everything lies.
    pub paths: Paths,
    /// Who this device is.
    pub device: DeviceSettings,
    /// For `fullmetal peer`.
    pub peer: PeerSettings,
    /// For `fullmetal agent`.
    pub agent: AgentSettings,
    /// When an operating system counts as well.
    pub os: OsSettings,
    /// For `fullmetal-gateway`.
    pub gateway: GatewaySettings,
    /// The deployment system that the gateway serves; `None` without one.
    pub hawkbit: Option<HawkbitSettings>,
}

/// `[device]`.
#[derive(Clone, Debug)]
pub struct DeviceSettings {
    /// Its id, which is also in its certificates.
    pub id: DeviceId,
    /// Its fleet.
    pub fleet: FleetId,
    /// What kind of hardware it is; a commit made for others is refused.
    pub hardware: Vec<HardwareId>,
}

/// `[peer]`.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// Interfaces to be found on; empty means all that are up, but not loopback.
    pub interfaces: Vec<String>,
    /// UDP port of the data endpoint; 0 takes a free one.
    pub port: u16,
    /// Peers to try besides those found.
    pub peers: Vec<SocketAddr>,
    /// Whether to find peers by DNS-SD.
    pub discovery: bool,
    /// Whether this peer can and may fetch from central.
    pub origin: bool,
    /// Its weight in the election of fetchers.
    pub weight: u16,
    /// URL of the central repo, ending in a slash; `None` without one.
    pub central: Option<String>,
    /// PEM file of CAs for central; `None` takes the system's.
    pub central_ca: Option<PathBuf>,
    /// HTTP proxy towards central; `None` asks it itself, whatever the environment says.
    pub central_proxy: Option<Url>,
    /// What the whole site may take of central.
    pub central_budget: CentralBudget,
    /// How large the frame cache may grow in bytes.
    pub cache_bytes_max: u64,
    /// The user whose gateway may use this peer; root and the peer's own user always may.
    pub client_uid: Option<u32>,
}

/// What runs the apps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostKind {
    /// systemd where the device runs it, else a supervisor for each app.
    #[default]
    Auto,
    /// Units of systemd.
    Systemd,
    /// A process of our own for each app.
    Supervisor,
}

/// `[agent]`.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// What runs the apps.
    pub host: HostKind,
    /// The user that the peer must run as; `None` accepts any.
    pub peer_uid: Option<u32>,
    /// How long a new version must run before it is kept, where its commit says nothing.
    pub probation: Duration,
    /// How long an app may take to end before it is killed.
    pub stop_timeout: Duration,
    /// The hours in which a deployment that may wait is switched to.
    pub windows: Windows,
}

/// `[gateway]`.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// PKCS#8 PEM file of the key that signs announcements.
    pub key: PathBuf,
    /// How long an announcement holds; it is renewed at half of it.
    pub announcement_lifetime: Duration,
    /// Where Prometheus may read figures, on this host only; `None` serves none.
    pub metrics: Option<SocketAddr>,
}

/// The default size of the frame cache.
const CACHE_BYTES_DEFAULT: u64 = 2 << 30;

impl Settings {
    /// Reads, merges and validates the configuration below `paths.root()`.
    pub fn load(paths: Paths) -> Result<Self, ConfigError> {
        let merged = Fragment::load_all(&paths)?;
        let main = paths.config_file();
        let need = |key| ConfigError::Missing { key, path: main.clone() };
        let device = device(merged.device, &need)?;
        let peer = peer(merged.peer)?;
        let agent = agent(merged.agent)?;
        let os = os::os(merged.os)?;
        let gateway = gateway(merged.gateway, &paths)?;
        let hawkbit = hawkbit::hawkbit(merged.hawkbit, &paths)?;
        Ok(Settings { paths, device, peer, agent, os, gateway, hawkbit })
    }
}

impl Settings {
    /// Whether the configuration names the fleet of the trust file that this device was enrolled with.
    pub fn check_fleet(&self, enrolled: &FleetId) -> Result<(), ConfigError> {
        if self.device.fleet == *enrolled {
            return Ok(());
        }
        let problem = format!(
            "is not fleet {enrolled}, which this device was enrolled in; see {}",
            self.paths.config_file().display()
        );
        Err(ConfigError::Value { key: "[device] fleet", value: self.device.fleet.to_string(), problem })
    }
}

fn value<T, E: std::fmt::Display>(key: &'static str, text: &str, parsed: Result<T, E>) -> Result<T, ConfigError> {
    parsed.map_err(|e| ConfigError::Value { key, value: text.to_owned(), problem: format!("is not usable: {e}") })
}

fn device(f: DeviceFragment, need: &dyn Fn(&'static str) -> ConfigError) -> Result<DeviceSettings, ConfigError> {
    let id = f.id.ok_or_else(|| need("[device] id"))?;
    let fleet = f.fleet.ok_or_else(|| need("[device] fleet"))?;
    let hardware = f.hardware.unwrap_or_default();
    Ok(DeviceSettings {
        id: value("[device] id", &id, id.parse())?,
        fleet: value("[device] fleet", &fleet, fleet.parse())?,
        hardware: hardware.iter().map(|h| value("[device] hardware", h, h.parse())).collect::<Result<_, _>>()?,
    })
}

fn peer(f: PeerFragment) -> Result<PeerSettings, ConfigError> {
    let peers = f.peers.unwrap_or_default();
    let peers = peers.iter().map(|p| value("[peer] peers", p, p.parse())).collect::<Result<_, _>>()?;
    let central = f.central.map(|url| central_url(&url)).transpose()?;
    let proxy = |url: String| value("[peer] central_proxy", &url, hawkbit::proxy_url(&url));
    let central_proxy = f.central_proxy.map(proxy).transpose()?;
    Ok(PeerSettings {
        interfaces: f.interfaces.unwrap_or_default(),
        port: f.port.unwrap_or(0),
        peers,
        discovery: f.discovery.unwrap_or(true),
        origin: f.origin.unwrap_or(true) && central.is_some(),
        weight: f.weight.unwrap_or(1),
        central,
        central_ca: f.central_ca,
        central_proxy,
        central_budget: budget::budget(f.central_rate.as_deref(), &f.central_rate_at.unwrap_or_default())?,
        cache_bytes_max: f.cache_bytes_max.unwrap_or(CACHE_BYTES_DEFAULT),
        client_uid: f.client_uid,
    })
}

fn central_url(url: &str) -> Result<String, ConfigError> {
    let http = url.starts_with("http://") || url.starts_with("https://");
    if !http || url.contains(['?', '#', '@', ' ']) || Url::parse(url).is_err() {
        let problem = "must be an http:// or https:// URL, without user, query or fragment".to_owned();
        return Err(ConfigError::Value { key: "[peer] central", value: url.to_owned(), problem });
    }
    Ok(if url.ends_with('/') { url.to_owned() } else { format!("{url}/") })
}

fn agent(f: AgentFragment) -> Result<AgentSettings, ConfigError> {
    Ok(AgentSettings {
        host: f.host.map_or(Ok(HostKind::Auto), |kind| host_kind(&kind))?,
        peer_uid: f.peer_uid,
        probation: seconds("[agent] probation_s", f.probation_s.unwrap_or(30), 24 * 3600)?,
        stop_timeout: seconds("[agent] stop_timeout_s", f.stop_timeout_s.unwrap_or(10), 3600)?,
        windows: Windows::new(windows::each("[agent] windows", &f.windows.unwrap_or_default(), str::parse)?),
    })
}

fn host_kind(text: &str) -> Result<HostKind, ConfigError> {
    match text {
        "auto" => Ok(HostKind::Auto),
        "systemd" => Ok(HostKind::Systemd),
        "supervisor" => Ok(HostKind::Supervisor),
        _ => {
            let problem = "must be \"auto\", \"systemd\" or \"supervisor\"".to_owned();
            Err(ConfigError::Value { key: "[agent] host", value: text.to_owned(), problem })
        }
    }
}

fn gateway(f: GatewayFragment, paths: &Paths) -> Result<GatewaySettings, ConfigError> {
    let hours = f.announcement_hours.unwrap_or(30 * 24);
    Ok(GatewaySettings {
        key: f.key.unwrap_or_else(|| paths.gateway_key()),
        announcement_lifetime: seconds("[gateway] announcement_hours", hours.saturating_mul(3600), 5 * 366 * 86_400)?,
        metrics: f.metrics.map(|address| loopback("[gateway] metrics", &address)).transpose()?,
    })
}

/// Whoever may read it is on this host: there is neither TLS nor a password.
fn loopback(key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    let parsed = text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback());
    parsed.ok_or_else(|| {
        let problem = "must be a loopback address with its port, such as \"127.0.0.1:9464\"".to_owned();
        ConfigError::Value { key, value: text.to_owned(), problem }
    })
}

fn seconds(key: &'static str, secs: u64, max: u64) -> Result<Duration, ConfigError> {
    if secs == 0 || secs > max {
        let problem = format!("must be between 1 and {max} seconds");
        return Err(ConfigError::Value { key, value: format!("{secs} s"), problem });
    }
    Ok(Duration::from_secs(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join("etc/fullmetal").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Settings::load(Paths::new(dir.path()))
    }

    const DEVICE: &str = "[device]\nid = \"press-1\"\nfleet = \"plant-7\"\n";

    #[test]
    fn a_later_fragment_wins_key_by_key() {
        let settings = load(&[
            ("fullmetal.toml", &format!("{DEVICE}[peer]\nport = 1\ncentral = \"http://192.0.2.1/repo\"\n")),
            ("fullmetal.d/20-b.toml", "[peer]\nport = 3\n"),
            ("fullmetal.d/10-a.toml", "[peer]\nport = 2\nweight = 5\n"),
            ("fullmetal.d/README", "not read"),
        ])
        .unwrap();
        assert_eq!((settings.peer.port, settings.peer.weight), (3, 5));
        assert_eq!(settings.peer.central.as_deref(), Some("http://192.0.2.1/repo/"));
        assert_eq!(settings.device.id.as_str(), "press-1");
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let cases: [Case<'_>; 11] = [
            (&[("fullmetal.toml", &format!("{DEVICE}[os]\nunits = [\"ssh\"]\n"))], &["[os] units", "ssh.service"]),
            (
                &[("fullmetal.toml", &format!("{DEVICE}[os]\ncheck_timeout_s = 0\n"))],
                &["[os] check_timeout_s", "between 1 and 3600"],
            ),
            (&[("fullmetal.toml", &format!("{DEVICE}[agent]\nhost = \"docker\"\n"))], &["[agent] host", "\"systemd\""]),
            (&[], &["no configuration", "fullmetal.toml"]),
            (&[("fullmetal.toml", "[device]\nid = \"x\"\n")], &["[device] fleet is not set"]),
            (&[("fullmetal.toml", "[peer]\nprot = 1\n")], &["fullmetal.toml", "line 2", "prot", "port"]),
            (&[("fullmetal.d/x.toml", "[peer]\nport = \"a\"\n")], &["x.toml", "line 2"]),
            (&[("fullmetal.toml", "[device]\nid = \"../x\"\nfleet = \"f\"\n")], &["[device] id", "../x"]),
            (
                &[("fullmetal.toml", &format!("{DEVICE}[peer]\ncentral = \"ftp://x\"\n"))],
                &["[peer] central", "http://"],
            ),
            (
                &[("fullmetal.toml", &format!("{DEVICE}[gateway]\nmetrics = \"0.0.0.0:9464\"\n"))],
                &["[gateway] metrics", "loopback", "127.0.0.1:9464"],
            ),
            (
                &[("fullmetal.toml", &format!("{DEVICE}[gateway]\nmetrics = \"[::1]\"\n"))],
                &["[gateway] metrics", "port"],
            ),
        ];
        for (files, words) in cases {
            let message = load(files).unwrap_err().to_string();
            for word in words {
                assert!(message.contains(word), "{message:?} lacks {word:?}");
            }
        }
    }
}
