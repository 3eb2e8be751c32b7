//! The status as named figures. What is per device stays in `status --json`: a label per device would make a thousand
//! series.

use crate::status::{ProgressStatus, Status};
use fullmetal_proto::Timestamp;
use fullmetal_proto::dispatch::Phase;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

/// Requests to Hawkbit since the start, by what they were for and how they went; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Requests(Family<[(&'static str, &'static str); 2], Counter>);

impl Requests {
    /// Counts one.
    pub fn count(&self, purpose: &'static str, outcome: &'static str) {
        self.0.get_or_create(&[("for", purpose), ("outcome", outcome)]).inc();
    }
}

/// Heard by the fleet within this many seconds counts as there.
const HEARD_S: u64 = 300;

/// A registry that is filled once and written out.
struct Figures(Registry);

impl Figures {
    fn number(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        self.0.register(name, help, gauge);
    }

    fn time(&mut self, name: &str, help: &str, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.number(name, help, at.as_millis() as f64 / 1000.0);
        }
    }

    fn by(&mut self, label: &'static str, name: &str, help: &str, values: BTreeMap<String, u64>) {
        let family = Family::<[(&'static str, String); 1], Gauge<u64, AtomicU64>>::default();
        for (word, value) in values {
            family.get_or_create(&[(label, word)]).set(value);
        }
        self.0.register(name, help, family);
    }
}

/// The figures of a status in the OpenMetrics text format.
///
/// # Errors
/// None that the text format has; the library's writer may fail in principle.
pub fn text(status: &Status, requests: &Requests) -> Result<String, std::fmt::Error> {
    let mut figures = Figures(Registry::with_prefix("fullmetal_gateway"));
    acting(&mut figures, status);
    fleet(&mut figures, status);
    hawkbit(&mut figures, status, requests);
    let mut text = String::new();
    encode(&mut text, &figures.0)?;
    Ok(text)
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn acting(figures: &mut Figures, status: &Status) {
    figures.number("connected", "Whether the gateway has its peer", flag(status.connected));
    figures.number("stopped", "Whether an alarm keeps the gateway from acting", flag(status.alarm.is_some()));
    figures.number("trouble", "Whether status names lasting trouble", flag(!status.trouble.is_empty()));
    figures.number("announcement_epoch", "Epoch of the newest announcement", status.rank.0 as f64);
    figures.number("announcement_counter", "Counter of the newest announcement", status.rank.1 as f64);
    figures.time("announcement_expiry_seconds", "When the newest announcement ends", status.expires);
    figures.number("reports_spooled", "Reports on disk that were not delivered yet", status.spooled as f64);
}

fn fleet(figures: &mut Figures, status: &Status) {
    let heard = status.devices.values().filter(|d| d.heard_s.is_some_and(|s| s <= HEARD_S)).count();
    figures.number("devices", "Devices that the gateway knows", status.devices.len() as f64);
    figures.number("devices_heard", "Devices that the fleet heard in the last five minutes", heard as f64);
    let (mut states, mut phases) = (BTreeMap::new(), BTreeMap::new());
    for device in status.devices.values() {
        let action = device.action.and_then(|n| status.actions.get(&n));
        let word = match (&device.progress, action) {
            (Some(progress), Some(action)) => state(progress, &action.phase),
            _ => "no-action".to_owned(),
        };
        *states.entry(word).or_default() += 1;
    }
    for action in status.actions.values() {
        *phases.entry(phase(&action.phase).to_owned()).or_default() += 1;
    }
    let progress = || status.actions.values().flat_map(|action| action.devices.values());
    let peers = progress().map(|p| p.bytes_from_peers).fold(0, u64::saturating_add);
    let central = progress().map(|p| p.bytes_from_central).fold(0, u64::saturating_add);
    let bytes = BTreeMap::from([("peers".to_owned(), peers), ("central".to_owned(), central)]);
    figures.by("state", "devices_by_state", "Devices by how far they are with their newest action", states);
    figures.by("phase", "actions", "Actions that the gateway keeps, by how far they are at the gateway", phases);
    figures.by(
        "from",
        "fetched_bytes",
        "Piece bytes that devices fetched for the actions that the gateway keeps",
        bytes,
    );
}

fn hawkbit(figures: &mut Figures, status: &Status, requests: &Requests) {
    let Some(hawkbit) = &status.hawkbit else { return };
    let up = hawkbit.answered.is_some() && hawkbit.silence.is_none();
    figures.number("hawkbit_up", "Whether Hawkbit's last answer was usable", flag(up));
    figures.time("hawkbit_answer_seconds", "When Hawkbit last answered", hawkbit.answered);
    let waiting = hawkbit.unconfirmed.len() as f64;
    figures.number("hawkbit_unconfirmed", "Actions that wait for a confirmation at the gateway", waiting);
    figures.0.register("hawkbit_requests", "Requests to Hawkbit since the start", requests.0.clone());
}

/// Few words, whatever the numbers of actions are.
fn state(progress: &ProgressStatus, phase: &Phase) -> String {
    let over = progress.state.is_some_and(|s| s.is_terminal());
    if progress.replaced_by.is_some() && !over { "replaced".to_owned() } else { progress.word(phase).replace(' ', "-") }
}

fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Pending { .. } => "pending",
        Phase::Ready => "ready",
        Phase::Announced => "announced",
        Phase::Refused { .. } => "refused",
        Phase::Withdrawn => "withdrawn",
    }
}
