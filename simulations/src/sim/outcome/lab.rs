//! What a lab tells besides what a simulation tells, too.

use super::{bytes, seconds};
use serde_json::{Value, json};

/// What only a lab tells.
#[derive(Clone, Debug, Default)]
pub struct LabFigures {
    /// What of the scenario was not applied, or otherwise than in a simulation.
    pub notes: Vec<String>,
    /// Bytes over the uplink of one cold pull.
    pub one_copy: u64,
    /// What became of frames on links with latency, jitter or loss.
    pub frames: Frames,
    /// The gateway, then the devices in the order of the scenario.
    pub hosts: Vec<LabDevice>,
}

/// Ethernet frames on links with latency, jitter or loss; a frame that crosses a trunk is counted there, too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    /// Held for as long as the scenario says.
    pub delayed: u64,
    /// Lost by chance, as the scenario says.
    pub lost: u64,
    /// Dropped since too much was on its way.
    pub dropped: u64,
    /// Microseconds by which delayed frames were late on average, besides what the scenario says.
    pub late: u64,
}

/// One host of a lab. Times in microseconds since the start, sizes in bytes.
#[derive(Clone, Debug, Default)]
pub struct LabDevice {
    /// Its id.
    pub id: String,
    /// Whether the release was for it.
    pub told: bool,
    /// Whether it was on at the end.
    pub on: bool,
    /// When it had every piece.
    pub pieces_at: Option<u64>,
    /// When the release was in force.
    pub in_force_at: Option<u64>,
    /// When its end was known at the deployment server.
    pub reported_at: Option<u64>,
    /// How that was: `finished` or `error`.
    pub end: Option<String>,
    /// User and system time of all its programs.
    pub cpu_us: u64,
    /// The most anonymous memory that all its programs were seen to have together.
    pub memory: u64,
    /// Into its port.
    pub received: u64,
    /// Out of its port.
    pub sent: u64,
}

impl LabFigures {
    /// As JSON: times in milliseconds, sizes in bytes.
    pub(super) fn json(&self) -> Value {
        let ms = |us: Option<u64>| us.map(|us| us / 1_000);
        let host = |d: &LabDevice| {
            json!({
                "id": d.id, "told": d.told, "on": d.on, "pieces_ms": ms(d.pieces_at), "in_force_ms": ms(d.in_force_at),
                "reported_ms": ms(d.reported_at), "end": d.end, "cpu_ms": d.cpu_us / 1_000, "memory": d.memory,
                "received": d.received, "sent": d.sent,
            })
        };
        let hosts: Vec<Value> = self.hosts.iter().map(host).collect();
        let Frames { delayed, lost, dropped, late } = self.frames;
        let frames = json!({ "delayed": delayed, "lost": lost, "dropped": dropped, "late_us": late });
        json!({ "notes": self.notes, "one_copy": self.one_copy, "frames": frames, "hosts": hosts })
    }

    /// For a person: labels and texts.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        for (i, host) in self.hosts.iter().enumerate() {
            let at = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), |us| format!("{} s", seconds(us)));
            let label = if i == 0 { "hosts" } else { "" };
            let text = format!(
                "{:<16} pieces {:>9}   in force {:>9}   {:<8} CPU {:>8} s   memory {:>8}   in {:>8}   out {:>8}",
                host.id,
                at(host.pieces_at),
                at(host.in_force_at),
                if host.on { host.end.as_deref().unwrap_or("") } else { "off" },
                seconds(host.cpu_us),
                bytes(host.memory),
                bytes(host.received),
                bytes(host.sent),
            );
            lines.push((label, text));
        }
        let Frames { delayed, lost, dropped, late } = self.frames;
        if delayed + lost > 0 {
            let text = format!("delayed {delayed} (late by {late} us)   lost {lost}   dropped {dropped}");
            lines.push(("frames", text));
        }
        lines.extend(self.notes.iter().map(|note| ("note", note.clone())));
        lines
    }
}
