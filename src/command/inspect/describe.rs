//! What each kind of document says.

use super::line;
use fullmetal_proto::wire::bundle::BlobRef;
use fullmetal_proto::wire::manifest::ObjectKind;
use fullmetal_proto::wire::trust::Role;
use fullmetal_proto::wire::{
    Announcement, Bundle, EnrolmentAnswer, EnrolmentRequest, ExitStatus, Manifest, PartKind, PlainManifest, Receipt,
    Report, Revocations, Trust, open,
};
use std::fmt::Display;

/// How many rows, objects or entries are spelled out.
const LISTED_MAX: usize = 20;

/// A document that can be told to a person, one fact a line.
pub trait Describe {
    fn describe(&self, text: &mut String);
}

fn joined<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

fn listed<T>(text: &mut String, label: &str, items: &[T], show: impl Fn(&T) -> String) {
    for item in items.iter().take(LISTED_MAX) {
        line(text, label, &show(item));
    }
    if items.len() > LISTED_MAX {
        line(text, label, &format!("… and {} more", items.len() - LISTED_MAX));
    }
}

impl Describe for Trust {
    fn describe(&self, text: &mut String) {
        line(text, "fleet", &self.fleet);
        line(text, "version", &self.version);
        line(text, "issued", &self.issued);
        line(text, "expires", &self.expires);
        let role = |role: &Role| format!("{} of {}", role.threshold, joined(role.keys.iter().map(|k| k.id())));
        line(text, "root", &role(&self.root));
        line(text, "gateway", &format!("{}, epoch {}", role(&self.gateway), self.epoch));
        let build = self.build.iter().map(|b| format!("{} for {}", b.key.id(), joined(&b.refs)));
        line(text, "build", &format!("{} of {}", self.build_threshold, joined(build)));
        line(text, "device CAs", &self.device_ca.len());
        line(text, "unsigned", &joined(&self.unsigned_refs));
    }
}

impl Describe for Revocations {
    fn describe(&self, text: &mut String) {
        line(text, "fleet", &self.fleet);
        line(text, "version", &self.version);
        line(text, "issued", &self.issued);
        line(text, "keys", &joined(&self.keys));
        line(text, "devices", &joined(&self.devices));
    }
}

impl Describe for Bundle {
    fn describe(&self, text: &mut String) {
        if !self.removed.is_empty() {
            line(text, "removes", &joined(&self.removed));
        }
        for part in &self.parts {
            let kind = if part.kind == PartKind::Os { "os" } else { "app" };
            line(text, kind, &format!("{} {}", part.name, part.version));
            line(text, "  ref", &part.ref_name);
            line(text, "  commit", &part.commit);
            line(text, "  signatures", &part.commit_meta.as_ref().map_or("none".into(), blob));
            line(text, "  manifest", &blob(&part.manifest));
            line(text, "  hardware", &if part.hardware.is_empty() { "any".into() } else { joined(&part.hardware) });
            if part.kind == PartKind::App {
                let start = if part.start.autostart { "after the switch and at boot" } else { "not by itself" };
                line(text, "  start", &start);
            }
            if part.proof.notify {
                let seconds = part.proof.seconds.map_or_else(String::new, |s| format!(" within {s} s"));
                line(text, "  proof", &format!("says success on its notify socket{seconds}"));
            }
        }
    }
}

fn blob(blob: &BlobRef) -> String {
    format!("{} ({} bytes)", blob.sha256, blob.length)
}

impl Describe for Announcement {
    fn describe(&self, text: &mut String) {
        line(text, "fleet", &self.fleet);
        line(text, "epoch", &self.epoch);
        line(text, "counter", &self.counter);
        line(text, "issued", &self.issued);
        line(text, "expires", &self.expires);
        for (i, bytes) in self.bundles.iter().enumerate() {
            match open::<Bundle>(bytes) {
                Ok(bundle) => {
                    line(text, "bundle", &format!("{i}: {}", bundle.digest));
                    bundle.document.describe(text);
                }
                Err(e) => line(text, "bundle", &format!("{i}: unreadable: {e}")),
            }
        }
        listed(text, "device", &self.rows, |row| {
            let until = row.4.map(|t| format!(", until {t}")).unwrap_or_default();
            let mode = serde_json::to_value(row.3).ok();
            let mode = mode.as_ref().and_then(|m| m.as_str()).unwrap_or("?");
            format!("{}: bundle {}, action {}, {mode}{until}", row.0, row.1, row.2)
        });
    }
}

impl Describe for Manifest {
    fn describe(&self, text: &mut String) {
        line(text, "commit", &self.commit);
        let packed: u64 = self.frames.iter().map(|f| u64::from(f.length)).sum();
        let raw: u64 = self.frames.iter().map(|f| u64::from(f.raw_length)).sum();
        line(text, "frames", &format!("{}: {packed} bytes compressed, {raw} raw", self.frames.len()));
        let files = self.objects.iter().filter(|o| o.id.kind == ObjectKind::File).count();
        line(text, "objects", &format!("{}, {files} of them files", self.objects.len()));
        listed(text, "pack", &self.packs, |p| format!("{} ({} bytes)", p.sha256, p.length));
    }
}

impl Describe for PlainManifest {
    fn describe(&self, text: &mut String) {
        line(text, "commit", &self.commit);
        let known = self.objects.iter().filter(|o| o.archived > 0);
        let (count, bytes) = known.fold((0usize, 0u64), |(n, sum), o| (n + 1, sum.saturating_add(o.archived)));
        line(text, "batches", &self.ends.len());
        let files = self.objects.iter().filter(|o| o.id.kind == ObjectKind::File).count();
        line(text, "objects", &format!("{}, {files} of them files", self.objects.len()));
        line(text, "at central", &format!("{bytes} bytes in {count} objects whose length is known"));
    }
}

impl Describe for Report {
    fn describe(&self, text: &mut String) {
        line(text, "fleet", &self.fleet);
        line(text, "device", &self.device);
        line(text, "counter", &self.counter);
        line(text, "action", &self.action);
        if let Some(bundle) = &self.bundle {
            line(text, "bundle", bundle);
        }
        let state = serde_json::to_value(self.state).ok();
        line(text, "state", &state.as_ref().and_then(|s| s.as_str()).unwrap_or("?"));
        if !self.reason.is_empty() {
            line(text, "reason", &self.reason.escape_debug());
        }
        match self.exit {
            Some(ExitStatus::Code(code)) => line(text, "exit", &format!("status {code}")),
            Some(ExitStatus::Signal(signal)) => line(text, "exit", &format!("by signal {signal}")),
            None => {}
        }
        listed(text, "log", &self.log, |l| l.escape_debug().to_string());
        listed(text, "runs", &self.parts, |p| {
            format!("{}{} {} ({})", p.kind.before_name(), p.name, p.version, p.commit.short())
        });
        let (peers, central) = (self.bytes_from_peers, self.bytes_from_central);
        let of = if self.bytes_total > 0 { format!(", of {}", self.bytes_total) } else { String::new() };
        line(text, "bytes", &format!("{peers} from peers, {central} from central{of}"));
        if !self.agent.is_empty() {
            line(text, "agent", &self.agent);
        }
        if let Some(free) = self.free_bytes {
            line(text, "free", &format!("{free} bytes"));
        }
        line(text, "elapsed", &format!("{}.{:03} s", self.elapsed_ms / 1000, self.elapsed_ms % 1000));
        line(text, "made", &self.at);
    }
}

impl Describe for Receipt {
    fn describe(&self, text: &mut String) {
        line(text, "fleet", &self.fleet);
        line(text, "device", &self.device);
        line(text, "up to", &self.counter);
    }
}

impl Describe for EnrolmentRequest {
    fn describe(&self, text: &mut String) {
        line(text, "fleet", &self.fleet);
        line(text, "device", &self.device);
        line(text, "peer key", &self.peer_key.id());
        line(text, "agent key", &self.agent_key.id());
    }
}

impl Describe for EnrolmentAnswer {
    fn describe(&self, text: &mut String) {
        line(text, "fleet", &self.fleet);
        line(text, "device", &self.device);
        if let Ok(trust) = open::<Trust>(&self.trust) {
            let root = joined(trust.document.root.keys.iter().map(|k| k.id()));
            line(text, "trust", &format!("version {}, root {root}", trust.document.version));
        }
    }
}
