//! An image's configuration, and what becomes of it in a runtime configuration.
//!
//! Fields: <https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md>, and Docker's `Healthcheck`. How they
//! are translated: `conversion.md` beside it.

use super::user;
use super::walk::{dir_at, make_dir, node_at, resolve};
use crate::publish::bundle_config::{PATH_DIRS, Process, Volume};
use crate::publish::options::check_argv;
use crate::publish::source::{Dir, Meta, Node, S_IFDIR};
use crate::publish::tarball::Refused;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The most volumes.
const VOLUMES_MAX: usize = 32;
/// The most variables, and the longest of them.
const ENV_MAX: usize = 1024;
const ENV_LEN_MAX: usize = 32 << 10;
/// Where a container writes already: the app's data, and scratch space.
const WRITABLE: [&str; 5] = ["/data", "/tmp", "/run", "/dev/shm", "/dev/mqueue"];

/// The configuration of an image.
#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    pub architecture: String,
    pub os: String,
    pub variant: Option<String>,
    pub rootfs: RootFs,
    config: Option<Run>,
}

/// Its layers after decompression.
#[derive(Debug, Deserialize)]
pub(super) struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    pub diff_ids: Vec<String>,
}

/// How it is run.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Run {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    exposed_ports: Option<BTreeMap<String, Value>>,
    volumes: Option<BTreeMap<String, Value>>,
    healthcheck: Option<Healthcheck>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Healthcheck {
    test: Option<Vec<String>>,
}

/// What an image runs.
pub(super) struct Running {
    pub process: Process,
    /// Its health check; empty when it has none.
    pub health: Vec<String>,
    /// What of the configuration a device does otherwise.
    pub notes: Vec<String>,
}

impl Configuration {
    /// What runs in `rootfs`, which gains the working directory and mount points that are missing. A `cmd` that is not
    /// empty replaces the image's own.
    pub fn running(self, rootfs: &mut Dir, cmd: &[String]) -> Result<Running, String> {
        let run = self.config.unwrap_or_default();
        let user = user::find(rootfs, run.user.as_deref().unwrap_or_default())?;
        let mut notes = Vec::new();
        let args = if cmd.is_empty() {
            [run.entrypoint.unwrap_or_default(), run.cmd.unwrap_or_default()].concat()
        } else {
            cmd.to_vec()
        };
        if args.first().is_none_or(String::is_empty) {
            return Err("has neither Entrypoint nor Cmd; say with --cmd what it runs".into());
        }
        check_argv("Entrypoint and Cmd", &args).map_err(|e| e.to_string())?;
        let cwd = working_dir(rootfs, run.working_dir.unwrap_or_default())?;
        let volumes = volumes(rootfs, run.volumes.unwrap_or_default(), &mut notes)?;
        let mut annotations = BTreeMap::new();
        if let Some(signal) = run.stop_signal.filter(|s| !s.is_empty()) {
            if !matches!(signal.as_str(), "SIGTERM" | "TERM" | "15") {
                notes.push(format!("the image wants to be stopped by {signal}; devices send SIGTERM, then SIGKILL"));
            }
            annotations.insert("org.opencontainers.image.stopSignal".to_owned(), signal);
        }
        let ports: Vec<String> = run.exposed_ports.unwrap_or_default().into_keys().collect();
        if !ports.is_empty() {
            annotations.insert("org.opencontainers.image.exposedPorts".to_owned(), ports.join(","));
        }
        let health = health(run.healthcheck, &mut notes);
        let process = Process {
            args,
            env: env(run.env.unwrap_or_default())?,
            cwd,
            uid: user.uid,
            gid: user.gid,
            groups: user.groups,
            annotations,
            volumes,
        };
        Ok(Running { process, health, notes })
    }
}

fn env(mut env: Vec<String>) -> Result<Vec<String>, String> {
    let bad = |e: &String| e.contains('\0') || e.len() > ENV_LEN_MAX || e.find('=').is_none_or(|at| at == 0);
    if env.len() > ENV_MAX || env.iter().any(bad) {
        return Err(format!("has more than {ENV_MAX} variables in Env, or one that is not NAME=VALUE"));
    }
    if !env.iter().any(|e| e.starts_with("PATH=")) {
        env.insert(0, format!("PATH={PATH_DIRS}"));
    }
    Ok(env)
}

/// The components of an absolute path.
fn absolute(field: &str, path: &str) -> Result<Vec<String>, String> {
    let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty() && *p != ".").map(str::to_owned).collect();
    if !path.starts_with('/') || path.len() > 4096 || path.contains('\0') || parts.iter().any(|p| p == "..") {
        return Err(format!("{field} is {path:?}, which is no absolute path"));
    }
    Ok(parts)
}

/// Made where it is missing, as Docker does: the root file system cannot be written to on a device.
fn working_dir(rootfs: &mut Dir, path: String) -> Result<String, String> {
    let parts = absolute("WorkingDir", if path.is_empty() { "/" } else { &path })?;
    let place = format!("/{}", parts.join("/"));
    if !writable(&place) {
        let refused = |Refused(problem)| format!("WorkingDir {place} {problem}");
        let real = resolve(rootfs, &parts).map_err(refused)?;
        make_dir(rootfs, &real).map_err(refused)?;
    }
    Ok(place)
}

fn writable(place: &str) -> bool {
    WRITABLE.iter().any(|dir| place.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// What a volume outside of `/data` holds when the app starts is what the image has there, each time.
fn volumes(rootfs: &mut Dir, asked: BTreeMap<String, Value>, notes: &mut Vec<String>) -> Result<Vec<Volume>, String> {
    if asked.len() > VOLUMES_MAX {
        return Err(format!("has more than {VOLUMES_MAX} volumes"));
    }
    let mut volumes: BTreeMap<String, Volume> = BTreeMap::new();
    for path in asked.keys() {
        let parts = absolute("a volume", path)?;
        let refused = |Refused(problem)| format!("volume {path} {problem}");
        let real = resolve(rootfs, &parts).map_err(refused)?;
        let at = format!("/{}", real.join("/"));
        if writable(&at) {
            continue;
        }
        if at == "/" || ["proc", "sys", "dev"].contains(&real[0].as_str()) {
            return Err(format!("has a volume at {path}, where an app cannot have one"));
        }
        make_dir(rootfs, &real).map_err(refused)?;
        let meta = dir_at(rootfs, &real).map_or(Meta::root(S_IFDIR | 0o755), |dir| dir.meta.clone());
        let filled = matches!(node_at(rootfs, &real), Some(Node::Dir(dir)) if !dir.children.is_empty());
        notes.push(format!(
            "volume {at} is scratch space in memory (64 MiB) that every start begins anew; what must stay goes to /data"
        ));
        volumes.insert(at.clone(), Volume { at, uid: meta.uid, gid: meta.gid, mode: meta.mode & 0o7777, filled });
    }
    Ok(volumes.into_values().collect())
}

/// `CMD ARGS…`, `CMD-SHELL TEXT`, `NONE`. How often it runs is the device's business.
fn health(check: Option<Healthcheck>, notes: &mut Vec<String>) -> Vec<String> {
    let test = check.and_then(|check| check.test).unwrap_or_default();
    let health = match test.split_first() {
        Some((kind, args)) if kind == "CMD" => args.to_vec(),
        Some((kind, [text, ..])) if kind == "CMD-SHELL" => ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
        _ => return Vec::new(),
    };
    if check_argv("HEALTHCHECK", &health).is_err() {
        notes.push("the image's HEALTHCHECK is left out: it is too long".to_owned());
        return Vec::new();
    }
    health
}
