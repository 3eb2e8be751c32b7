//! Scenarios as text that reads as the same scenario again.

use super::fleet::{HALL, MANNERS};
use super::{
    Action, Decision, Group, Happening, Kind, Layers, Manner, Network, PowerOn, Scenario, Sizes, Targets, When,
};
use super::{event, units};
use std::fmt::Write as _;

impl Scenario {
    /// As a scenario file. Paths in it are absolute, so that it can lie anywhere.
    pub fn to_toml(&self) -> String {
        let mut out = Text::default();
        out.key("name", &quoted(&self.name));
        out.key("seconds", &self.until.0.div_ceil(1_000_000).to_string());
        if let Some(seed) = self.seed {
            out.key("seed", &seed.to_string());
        }
        let layers = match self.layers {
            Layers::Swarm => "swarm",
            Layers::Announcement => "announcement",
            Layers::Deployment => "deployment",
        };
        out.key("layers", &quoted(layers));
        out.network(&self.network);
        for group in &self.groups {
            out.table("[[group]]");
            out.key("name", &quoted(&group.name));
            out.key("devices", &group.devices.to_string());
            out.group(group, HALL, self.network.port);
        }
        out.table("[gateway]");
        out.group(&self.gateway, &self.groups[0].hall, self.network.port);
        out.release(self);
        self.happenings.iter().for_each(|happening| out.happening(happening, &self.groups));
        out.table("[expect]");
        for expectation in &self.expectations {
            let truth = ["true", "false"].contains(&expectation.text.as_str());
            let text = if truth { expectation.text.clone() } else { quoted(&expectation.text) };
            out.key(expectation.key, &text);
        }
        out.0
    }
}

/// The text so far.
#[derive(Default)]
struct Text(String);

impl Text {
    fn table(&mut self, head: &str) {
        // Writing to a string cannot fail.
        writeln!(self.0, "\n{head}").unwrap_or_default();
    }

    fn key(&mut self, key: &str, value: &str) {
        writeln!(self.0, "{key} = {value}").unwrap_or_default();
    }

    /// Writes a quantity, if it is not what it is without being written.
    fn unless<T: PartialEq + Copy>(&mut self, key: &str, value: T, default: T, show: impl Fn(T) -> String) {
        if value != default {
            self.key(key, &quoted(&show(value)));
        }
    }

    fn network(&mut self, network: &Network) {
        self.table("[network]");
        self.key("uplink", &quoted(&units::show_rate(network.uplink)));
        if let Some(rate) = network.central_rate {
            self.key("central_rate", &quoted(&units::show_rate(rate)));
        }
        self.key("port", &quoted(&units::show_rate(network.port)));
        self.key("latency", &quoted(&units::show_time(network.latency)));
        self.key("jitter", &quoted(&units::show_time(network.jitter)));
        self.unless("loss", network.loss, 0, units::show_share);
        self.unless("gossip_loss", network.gossip_loss, 0, units::show_share);
        self.key("central_latency", &quoted(&units::show_time(network.central_latency)));
        self.key("overhead", &quoted(&units::show_share(network.overhead)));
        self.key("idle", &quoted(&units::show_time(network.idle)));
        for trunk in &network.trunks {
            self.table("[[trunk]]");
            let [one, other] = &trunk.between;
            self.key("between", &format!("[{}, {}]", quoted(one), quoted(other)));
            self.key("rate", &quoted(&units::show_rate(trunk.rate)));
            self.unless("latency", trunk.latency, 0, units::show_time);
        }
    }

    /// What a group and the gateway have in common; `hall` and `port` are what they have without saying so.
    fn group(&mut self, group: &Group, hall: &str, port: u64) {
        if group.hall != hall {
            self.key("hall", &quoted(&group.hall));
        }
        if !group.origin {
            self.key("origin", "false");
        }
        if group.weight != 10 {
            self.key("weight", &group.weight.to_string());
        }
        self.unless("port", group.port, port, units::show_rate);
        if let Some(rate) = group.wifi {
            self.key("wifi", &quoted(&units::show_rate(rate)));
        }
        self.unless("on", group.on, PowerOn { from: 0, over: 0 }, |on| {
            format!("at {} over {}", units::show_time(on.from), units::show_time(on.over))
        });
        self.unless("has", group.has, 0, units::show_share);
        self.unless("lies", group.manner, Manner::Honest, |manner| word(&MANNERS, manner).to_owned());
        self.unless("clock_ahead", group.clock.max(0), 0, |ms| format!("{ms} ms"));
        self.unless("clock_behind", (-group.clock).max(0), 0, |ms| format!("{ms} ms"));
        self.key("disk", &quoted(&units::show_rate(group.disk)));
        self.key("sync", &quoted(&units::show_time(group.sync)));
    }

    fn release(&mut self, scenario: &Scenario) {
        let release = &scenario.release;
        let head = if scenario.later.is_empty() { "[release]" } else { "[[release]]" };
        self.table(head);
        self.key("kind", if release.kind == Kind::Frames { "\"frames\"" } else { "\"plain\"" });
        if let Kind::Plain { batch, batch_objects } = release.kind {
            self.key("batch", &quoted(&units::show_size(batch)));
            self.key("batch_objects", &batch_objects.to_string());
        }
        match &release.sizes {
            Sizes::Even { total, each } => {
                self.key("size", &quoted(&units::show_size(*total)));
                self.key("frame", &quoted(&units::show_size(*each)));
            }
            Sizes::Drawn { total, count } => {
                self.key("size", &quoted(&units::show_size(*total)));
                self.key("objects", &count.to_string());
            }
            Sizes::Given(sizes) => {
                let sizes: Vec<String> = sizes.iter().map(|size| quoted(&units::show_size(*size))).collect();
                self.key("sizes", &format!("[{}]", sizes.join(", ")));
            }
            Sizes::FromRepo { path, rev, .. } => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                self.key("from_repo", &quoted(&path.to_string_lossy()));
                self.key("ref", &quoted(rev));
            }
        }
        for (key, size) in [("manifest", release.manifest), ("one_copy", release.one_copy)] {
            if let Some(size) = size {
                self.key(key, &quoted(&units::show_size(size)));
            }
        }
        self.decision(&release.decision, &scenario.groups);
        for later in &scenario.later {
            self.table(head);
            self.key("changed", &quoted(&units::show_share(later.changed)));
            self.decision(&later.decision, &scenario.groups);
        }
    }

    fn decision(&mut self, decision: &Decision, groups: &[Group]) {
        self.unless("announced", decision.announced, 0, units::show_time);
        if let Some(devices) = &decision.devices {
            self.key("devices", &quoted(&show_targets(devices, groups)));
        }
        self.unless("app", decision.fails, false, |_| "fails".to_owned());
    }

    fn happening(&mut self, happening: &Happening, groups: &[Group]) {
        self.table("[[event]]");
        let at = match happening.when {
            When::At(at) => units::show_time(at.0),
            When::Progress(ppm) => units::show_share(ppm),
        };
        self.key("at", &quoted(&at));
        let mut act = |key: &str, targets: &Targets| self.key(key, &quoted(&show_targets(targets, groups)));
        match &happening.action {
            Action::Stop(targets) => act("stop", targets),
            Action::Crash(targets) => act("crash", targets),
            Action::PowerCut(targets) => act("power_cut", targets),
            Action::Start(targets) => act("start", targets),
            Action::Partition(targets) => act("partition", targets),
            Action::Slow(targets, rate) => {
                act("slow", targets);
                self.key("port", &quoted(&units::show_rate(*rate)));
            }
            Action::Lie(targets, manner) => {
                act("lie", targets);
                self.key("how", &quoted(word(&MANNERS, *manner)));
            }
            Action::Cancel(targets) => act("cancel", targets),
            Action::Origin(mood) => self.key("origin", &quoted(word(&event::MOODS, *mood))),
            Action::Uplink(rate) => self.key("uplink", &quoted(&units::show_rate(*rate))),
        }
        if let Some(us) = happening.lasting {
            self.key("for", &quoted(&units::show_time(us)));
        }
        self.unless("each", happening.each, 0, units::show_time);
    }
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, v)| *v == value).map_or("", |(name, _)| name)
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn show_targets(targets: &Targets, groups: &[Group]) -> String {
    let name = |group: &usize| groups[*group].name.as_str();
    match targets {
        Targets::All => "all".to_owned(),
        Targets::Gateway => "gateway".to_owned(),
        Targets::Fetcher => "fetcher".to_owned(),
        Targets::Group { group, first, last } if first == last => format!("{} {first}", name(group)),
        Targets::Group { group, first, last } => format!("{} {first}-{last}", name(group)),
        Targets::Share { ppm, group } => {
            format!("{} of {}", units::show_share(*ppm), group.as_ref().map_or("all", name))
        }
    }
}
