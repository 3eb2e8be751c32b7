//! `[hawkbit]`: the deployment system that the gateway serves. Every mistake is named with its file and line.

use super::{ConfigError, Paths};
use fullmetal_proto::DeviceId;
use reqwest::Url;
use serde::{Deserialize, Deserializer};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

const TENANT_DEFAULT: &str = "DEFAULT";
/// Hawkbit's own limit (`Tenant.tenant`).
const TENANT_LEN_MAX: usize = 40;
const POLL_MIN_S_DEFAULT: u64 = 30;
/// Hawkbit's own longest interval, rounded up.
const POLL_MAX_S_DEFAULT: u64 = 86_400;
const POLL_S_MAX: u64 = 7 * 86_400;
const HEARD_WITHIN_S_DEFAULT: u64 = 600;
const HEARD_WITHIN_S_MAX: u64 = 86_400;

/// `[hawkbit]`, validated.
#[derive(Clone, Debug)]
pub struct HawkbitSettings {
    /// The server, ending in a slash; the tenant's paths come below it.
    pub url: Url,
    /// The tenant.
    pub tenant: String,
    /// File with the tenant's gateway token.
    pub gateway_token_file: Option<PathBuf>,
    /// Folder with one file a device, named by its id, that holds its target token; such a device does not use the
    /// gateway token.
    pub target_token_dir: Option<PathBuf>,
    /// PEM file of CAs for the server; `None` takes the system's.
    pub ca_file: Option<PathBuf>,
    /// HTTP proxy for all requests; `None` asks the server itself, whatever the environment says.
    pub proxy: Option<Url>,
    /// Which devices of the fleet it may steer; never empty.
    pub devices: Vec<DevicePattern>,
    /// Who confirms what waits for confirmation.
    pub confirm: Confirm,
    /// The shortest polling interval of one device, whatever the server says.
    pub poll_min: Duration,
    /// The longest one.
    pub poll_max: Duration,
    /// A device is polled only when the fleet heard it within this time.
    pub heard_within: Duration,
}

impl HawkbitSettings {
    /// Whether the server may steer `device`.
    pub fn allows(&self, device: &DeviceId) -> bool {
        self.devices.iter().any(|pattern| pattern.matches(device))
    }
}

/// Who confirms what waits for confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// A local operator, action by action.
    Ask,
    /// The gateway, at once.
    Auto,
}

/// Device ids, `*` standing for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePattern(String);

impl DevicePattern {
    /// Whether the whole id fits.
    pub fn matches(&self, device: &DeviceId) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = device.as_str().strip_prefix(first) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        for piece in pieces {
            let Some(at) = rest.find(piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last)
    }
}

/// A value with its place in a file.
#[derive(Debug)]
struct Located<T> {
    value: Spanned<T>,
    place: Option<(PathBuf, usize)>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Located { value: Spanned::deserialize(from)?, place: None })
    }
}

macro_rules! section {
    ($($key:ident: $type:ty),* $(,)?) => {
        /// The section as it is written; every key is optional here.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct HawkbitFragment {
            $($key: Option<Located<$type>>,)*
        }

        impl HawkbitFragment {
            /// Notes the places of all values, which came from `text` in `path`.
            pub(super) fn locate(&mut self, path: &Path, text: &str) {
                $(if let Some(found) = &mut self.$key {
                    let before = &text.as_bytes()[..found.value.span().start.min(text.len())];
                    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
                    found.place = Some((path.to_owned(), line));
                })*
            }

            /// Takes over what `later` says.
            pub(super) fn overlay(&mut self, later: HawkbitFragment) {
                $(if later.$key.is_some() { self.$key = later.$key; })*
            }

            fn is_empty(&self) -> bool {
                true $(&& self.$key.is_none())*
            }
        }
    };
}

section!(
    url: String,
    tenant: String,
    gateway_token_file: PathBuf,
    target_token_dir: PathBuf,
    ca_file: PathBuf,
    proxy: String,
    devices: Vec<String>,
    confirm: String,
    poll_min_s: u64,
    poll_max_s: u64,
    heard_within_s: u64,
);

impl<T: Clone> Located<T> {
    /// The checked value; the error says where it stands and what `check` found.
    fn check<R>(
        &self,
        key: &'static str,
        shown: impl Display,
        check: impl FnOnce(&T) -> Result<R, String>,
    ) -> Result<R, ConfigError> {
        check(self.value.get_ref()).map_err(|problem| {
            let (path, line) = self.place.clone().unwrap_or_default();
            ConfigError::Setting { path, line, key, value: shown.to_string(), problem }
        })
    }
}

/// Validates the section; `None` without one.
pub(super) fn hawkbit(f: HawkbitFragment, paths: &Paths) -> Result<Option<HawkbitSettings>, ConfigError> {
    if f.is_empty() {
        return Ok(None);
    }
    let missing = |key| ConfigError::Missing { key, path: paths.config_file() };
    let url = f.url.as_ref().ok_or_else(|| missing("[hawkbit] url"))?;
    let devices = f.devices.as_ref().ok_or_else(|| missing("[hawkbit] devices"))?;
    if f.gateway_token_file.is_none() && f.target_token_dir.is_none() {
        return Err(missing("[hawkbit] gateway_token_file"));
    }
    let poll_min = seconds(&f.poll_min_s, "[hawkbit] poll_min_s", POLL_MIN_S_DEFAULT, 1..=POLL_S_MAX)?;
    // A minimum above the default of the maximum moves that, so that one key alone can be set.
    let longest = POLL_MAX_S_DEFAULT.max(poll_min.as_secs());
    let poll_max = seconds(&f.poll_max_s, "[hawkbit] poll_max_s", longest, poll_min.as_secs()..=POLL_S_MAX)?;
    let heard = (&f.heard_within_s, "[hawkbit] heard_within_s");
    Ok(Some(HawkbitSettings {
        url: text(url, "[hawkbit] url", server_url)?,
        tenant: optional(&f.tenant, "[hawkbit] tenant", tenant)?.unwrap_or_else(|| TENANT_DEFAULT.to_owned()),
        gateway_token_file: file(&f.gateway_token_file, "[hawkbit] gateway_token_file")?,
        target_token_dir: file(&f.target_token_dir, "[hawkbit] target_token_dir")?,
        ca_file: file(&f.ca_file, "[hawkbit] ca_file")?,
        proxy: optional(&f.proxy, "[hawkbit] proxy", proxy_url)?,
        devices: devices.check("[hawkbit] devices", format!("{:?}", devices.value.get_ref()), |d| patterns(d))?,
        confirm: optional(&f.confirm, "[hawkbit] confirm", confirm)?.unwrap_or(Confirm::Ask),
        poll_min,
        poll_max,
        heard_within: seconds(heard.0, heard.1, HEARD_WITHIN_S_DEFAULT, 1..=HEARD_WITHIN_S_MAX)?,
    }))
}

fn text<R>(
    found: &Located<String>,
    key: &'static str,
    check: impl FnOnce(&str) -> Result<R, String>,
) -> Result<R, ConfigError> {
    found.check(key, format!("{:?}", found.value.get_ref()), |text| check(text))
}

fn optional<R>(
    found: &Option<Located<String>>,
    key: &'static str,
    check: impl FnOnce(&str) -> Result<R, String>,
) -> Result<Option<R>, ConfigError> {
    found.as_ref().map(|found| text(found, key, check)).transpose()
}

fn file(found: &Option<Located<PathBuf>>, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
    let absolute = |path: &PathBuf| match path.is_absolute() {
        true => Ok(path.clone()),
        false => Err("must be an absolute path".to_owned()),
    };
    let check = |found: &Located<PathBuf>| found.check(key, format!("{:?}", found.value.get_ref()), absolute);
    found.as_ref().map(check).transpose()
}

fn seconds(
    found: &Option<Located<u64>>,
    key: &'static str,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Duration, ConfigError> {
    let Some(found) = found else { return Ok(Duration::from_secs(default)) };
    let check = |secs: &u64| match range.contains(secs) {
        true => Ok(Duration::from_secs(*secs)),
        false => Err(format!("must be between {} and {} seconds", range.start(), range.end())),
    };
    found.check(key, found.value.get_ref(), check)
}

/// `https` unless the text says `http://` itself.
fn server_url(text: &str) -> Result<Url, String> {
    let mut url = web_url(&if text.contains("://") { text.to_owned() } else { format!("https://{text}") })?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

pub(super) fn proxy_url(text: &str) -> Result<Url, String> {
    let url = web_url(text)?;
    if url.path() != "/" {
        return Err("must be http://host:port".to_owned());
    }
    Ok(url)
}

fn web_url(text: &str) -> Result<Url, String> {
    let wrong = "must be https://host[:port][/path] or http://…, without user, query or fragment";
    let url: Url = text.parse().map_err(|e| format!("{wrong}: {e}"))?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let plain = plain && url.fragment().is_none() && url.has_host();
    if plain && matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(wrong.to_owned()) }
}

fn tenant(text: &str) -> Result<String, String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let fits = (1..=TENANT_LEN_MAX).contains(&text.len()) && text.bytes().all(word) && !text.starts_with('.');
    let wrong = format!("must have 1 to {TENANT_LEN_MAX} letters, digits, '_', '-', '.'");
    if fits { Ok(text.to_owned()) } else { Err(wrong) }
}

fn patterns(list: &[String]) -> Result<Vec<DevicePattern>, String> {
    if list.is_empty() {
        return Err("must name at least one device, or a pattern such as \"press-*\"".to_owned());
    }
    list.iter().map(|p| pattern(p)).collect()
}

fn pattern(text: &str) -> Result<DevicePattern, String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'*');
    let fits = (1..=DeviceId::LEN_MAX).contains(&text.len()) && text.bytes().all(word);
    let wrong = || format!("has {text:?}, which is no device id or pattern: letters, digits, '_', '.', '-', and '*'");
    if fits { Ok(DevicePattern(text.to_owned())) } else { Err(wrong()) }
}

fn confirm(text: &str) -> Result<Confirm, String> {
    match text {
        "ask" => Ok(Confirm::Ask),
        "auto" => Ok(Confirm::Auto),
        _ => Err("must be \"ask\" (a local operator confirms) or \"auto\" (the gateway does)".to_owned()),
    }
}

#[cfg(test)]
mod tests;
