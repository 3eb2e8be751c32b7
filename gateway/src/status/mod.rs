//! How the gateway and its fleet are: one shape for people, scripts and the command's socket.

mod text;

use fullmetal_proto::dispatch::{Action, Alarm, Device, Dispatch, Label, Phase, Progress, State};
use fullmetal_proto::wire::{ExitStatus, Mode, PartState, ReportState};
use fullmetal_proto::{AppName, DeviceId, FleetId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that `fullmetal-gateway status --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Which fleet.
    pub fleet: FleetId,
    /// Whether the gateway runs; otherwise this is what it kept.
    pub running: bool,
    /// Whether its peer is there.
    pub connected: bool,
    /// Whether it has listened long enough to act.
    pub settled: bool,
    /// Why it has stopped acting.
    pub alarm: Option<Alarm>,
    /// The same for a person; empty when it acts.
    pub alarm_text: String,
    /// Newest lasting trouble that is no alarm.
    pub trouble: String,
    /// Epoch and counter of the newest announcement.
    pub rank: (u64, u64),
    /// Until when the newest announcement holds, in milliseconds since 1970.
    pub expires: Option<Timestamp>,
    /// Reports on disk that were not delivered yet.
    pub spooled: u64,
    /// Where decisions come from; absent when from files, or when the gateway does not run.
    #[serde(default)]
    pub hawkbit: Option<HawkbitStatus>,
    /// Devices by id.
    pub devices: BTreeMap<DeviceId, DeviceStatus>,
    /// Actions by number.
    pub actions: BTreeMap<u64, ActionStatus>,
}

/// The Hawkbit server that decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HawkbitStatus {
    /// Its address.
    pub url: String,
    /// The tenant there.
    pub tenant: String,
    /// Actions that wait for `fullmetal-gateway confirm`, by device.
    pub unconfirmed: BTreeMap<DeviceId, u64>,
    /// When it last answered; absent when it did not since the gateway started.
    #[serde(default)]
    pub answered: Option<Timestamp>,
    /// Since when it gives no usable answer, and why; absent while it does.
    #[serde(default)]
    pub silence: Option<(Timestamp, String)>,
}

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Seconds since the fleet last heard it; absent when it never did.
    pub heard_s: Option<u64>,
    /// What it runs, by its own report.
    pub parts: Vec<PartState>,
    /// The version of its agent; empty when it never said so.
    #[serde(default)]
    pub agent: String,
    /// Free bytes of its object store's disk, roughly.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// All its reports up to this counter are here.
    pub reports: u64,
    /// The newest action for it.
    pub action: Option<u64>,
    /// How far that is.
    pub progress: Option<ProgressStatus>,
}

/// How far a device is with an action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressStatus {
    /// Its newest state; absent before its first report.
    pub state: Option<ReportState>,
    /// Why.
    pub reason: String,
    /// How the app ended that failed.
    pub exit: Option<ExitStatus>,
    /// Piece bytes from neighbours.
    pub bytes_from_peers: u64,
    /// Piece bytes from central.
    pub bytes_from_central: u64,
    /// Piece bytes that its fetch under way takes in all; 0: not said.
    #[serde(default)]
    pub bytes_total: u64,
    /// Milliseconds since the device saw the row.
    pub elapsed_ms: u64,
    /// The newer action that took its place.
    pub replaced_by: Option<u64>,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionStatus {
    /// How urgently.
    pub mode: Mode,
    /// How far it is at the gateway.
    pub phase: Phase,
    /// When it was decided, in milliseconds since 1970.
    pub at: Timestamp,
    /// What it brings, once its bundle is made.
    pub parts: Vec<Label>,
    /// Apps that leave its devices.
    #[serde(default)]
    pub removed: Vec<AppName>,
    /// Its devices.
    pub devices: BTreeMap<DeviceId, ProgressStatus>,
}

impl Status {
    /// Of a running core.
    pub fn of(core: &Dispatch, fleet: &FleetId, trouble: &str, now: Timestamp) -> Self {
        let mut status = Status::kept(core.state(), fleet, now);
        status.running = true;
        status.connected = core.is_connected();
        status.settled = core.is_settled();
        status.spooled = core.spooled_count() as u64;
        status.trouble = trouble.to_owned();
        status
    }

    /// Of a gateway that does not run.
    pub fn kept(state: &State, fleet: &FleetId, now: Timestamp) -> Self {
        let device = |(id, d): (&DeviceId, &Device)| (id.clone(), device_status(state, id, d, now));
        let mut devices: BTreeMap<_, _> = state.devices.iter().map(device).collect();
        for id in state.rows.keys().filter(|id| !state.devices.contains_key(*id)) {
            devices.insert(id.clone(), device_status(state, id, &Device::default(), now));
        }
        Status {
            fleet: fleet.clone(),
            running: false,
            connected: false,
            settled: false,
            alarm: state.alarm.clone(),
            alarm_text: state.alarm.as_ref().map(ToString::to_string).unwrap_or_default(),
            trouble: String::new(),
            rank: state.rank,
            expires: state.announced.as_ref().map(|a| a.expires),
            spooled: state.undelivered.len() as u64,
            hawkbit: None,
            devices,
            actions: state.actions.iter().map(|(n, a)| (*n, action_status(a))).collect(),
        }
    }
}

fn device_status(state: &State, id: &DeviceId, device: &Device, now: Timestamp) -> DeviceStatus {
    let newest = state.actions.iter().rev().filter(|(_, a)| !matches!(a.phase, Phase::Refused { .. }));
    let newest = newest.filter_map(|(n, a)| a.devices.get(id).map(|p| (*n, progress_status(p)))).next();
    DeviceStatus {
        heard_s: device.heard.map(|at| now.since(at).as_secs()),
        parts: device.parts.clone(),
        agent: device.agent.clone(),
        free_bytes: device.free_bytes,
        reports: device.seen.base(),
        action: newest.as_ref().map(|(n, _)| *n),
        progress: newest.map(|(_, p)| p),
    }
}

fn action_status(action: &Action) -> ActionStatus {
    ActionStatus {
        mode: action.mode,
        phase: action.phase.clone(),
        at: action.at,
        parts: action.labels.clone(),
        removed: action.removed.clone(),
        devices: action.devices.iter().map(|(d, p)| (d.clone(), progress_status(p))).collect(),
    }
}

fn progress_status(p: &Progress) -> ProgressStatus {
    ProgressStatus {
        state: p.state,
        reason: p.reason.clone(),
        exit: p.exit,
        bytes_from_peers: p.bytes_from_peers,
        bytes_from_central: p.bytes_from_central,
        bytes_total: p.bytes_total,
        elapsed_ms: p.elapsed_ms,
        replaced_by: p.replaced_by,
    }
}
