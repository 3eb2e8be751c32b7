//! A gateway that is killed and started again, its server, and a device that sends its reports until it has a receipt.

use crate::site::hawkbit::Hawkbit;
use crate::site::{Site, report, sealed};
use fullmetal::identity::Usage;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::local::FromPeer;
use fullmetal_proto::wire::{Announcement, ExitStatus, Mode, ReportState, Row, SigningKey, open};
use fullmetal_sim::lab::Programs;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a step may take, with a start of the gateway in between.
const LIMIT: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(30);
/// What the tracer ends with when it has killed.
const KILLED: i32 = 137;

pub struct Run {
    pub site: Site,
    pub hawkbit: Hawkbit,
    pub device: String,
    /// Kills that hit.
    pub hits: usize,
    /// What the device reported, by counter from 1: action and state.
    pub reported: Vec<(u64, ReportState)>,
    /// At which call the next gateways are killed; those after them are not traced.
    kills: VecDeque<u64>,
    key: SigningKey,
    certificate: Vec<u8>,
    /// Reports without a receipt.
    unsent: BTreeMap<u64, Vec<u8>>,
    /// Connections of gateways that were seen.
    hellos: usize,
}

impl Run {
    /// A site with a server, a device and a gateway that is killed before call `kills[0]`, the next one before `kills[1]`.
    pub fn start(kills: &[u64]) -> Self {
        let site = Site::new();
        let hawkbit = Hawkbit::stand_in(&site, "ask");
        let device = hawkbit.device("press-1");
        hawkbit.target(&device);
        let (key, certificate) = site.agent(&device, Usage::Agent);
        let (kills, unsent) = (kills.iter().copied().collect(), BTreeMap::new());
        let reported = Vec::new();
        let mut run = Run { site, hawkbit, device, hits: 0, reported, kills, key, certificate, unsent, hellos: 0 };
        run.start_gateway();
        run
    }

    fn start_gateway(&mut self) {
        let program = self.site.command(&["run", "--settle", "0"]);
        let mut command = match self.kills.pop_front() {
            Some(kill_at) => self.traced(&program, kill_at),
            None => program,
        };
        let log = File::options().create(true).append(true).open(self.site.path("gateway.log")).unwrap();
        self.site.spawn(command.stdout(log.try_clone().unwrap()).stderr(log));
    }

    fn traced(&self, program: &Command, kill_at: u64) -> Command {
        let mut command = Command::new(Programs::find(None).unwrap().fullmetal.with_file_name("fullmetal-sim"));
        command.args(["trace", "--kill-at", &kill_at.to_string(), "--count"]).arg(self.site.path("count"));
        command.arg("--tear").arg(self.site.path("var/lib/fullmetal/gateway"));
        command.arg("--").arg(program.get_program()).args(program.get_args());
        command
    }

    /// Calls of the traced gateway that was started last.
    pub fn count(&self) -> u64 {
        std::fs::read_to_string(self.site.path("count")).unwrap().trim().parse().unwrap()
    }

    /// What its gateways, and the tracer, have said.
    fn log(&self) -> String {
        std::fs::read_to_string(self.site.path("gateway.log")).unwrap_or_default()
    }

    /// How often the tracer says of something in its log that it was lost this way.
    pub fn lost(&self, how: &str, what: &str) -> usize {
        self.log().lines().filter(|line| line.starts_with(how) && line.contains(what)).count()
    }

    /// Asks until `ready` gives something; meanwhile a gateway that was killed is started again.
    pub fn until<T>(&mut self, what: &str, mut ready: impl FnMut(&Run) -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        loop {
            self.tend();
            if let Some(found) = ready(self) {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain for {what}");
            std::thread::sleep(LOOK);
        }
    }

    fn tend(&mut self) {
        if let Some(status) = self.site.exited() {
            assert_eq!(status.code(), Some(KILLED), "the gateway ended by itself");
            self.hits += 1;
            self.start_gateway();
        }
        let (hellos, received) = self.site.peer.with(|s| {
            let mine = s.receipts.iter().filter(|r| r.device.as_str() == self.device);
            (s.hellos, mine.map(|r| r.counter).max().unwrap_or(0))
        });
        self.unsent = self.unsent.split_off(&(received + 1));
        let heard = FromPeer::Heard(vec![(self.device.parse().unwrap(), 0)]);
        if hellos > self.hellos && self.site.peer.offer(&heard) {
            self.hellos = hellos;
            self.unsent.values().for_each(|envelope| self.send(envelope));
        }
    }

    /// When it does not get there, it is sent again to the next gateway.
    fn send(&self, envelope: &[u8]) {
        self.site.peer.offer(&FromPeer::Report(ByteBuf::from(envelope.to_vec())));
    }

    pub fn report(&mut self, action: u64, bundle: Digest, state: ReportState) {
        self.reported.push((action, state));
        let counter = self.reported.len() as u64;
        let mut report = report(&self.device, counter, action, Some(bundle), &self.certificate);
        report.state = state;
        if state == ReportState::Failed {
            report.reason = "web 4 was never healthy".into();
            report.exit = Some(ExitStatus::Code(3));
        }
        let envelope = sealed(&report, &self.key);
        self.send(&envelope);
        self.unsent.insert(counter, envelope);
    }

    /// Waits until every report has its receipt and the spool is empty.
    pub fn rest(&mut self) {
        let spool = self.site.path("var/lib/fullmetal/gateway/spool");
        self.until("an empty spool", |run| {
            let empty = std::fs::read_dir(&spool).unwrap().next().is_none();
            (empty && run.unsent.is_empty()).then_some(())
        });
    }

    /// Waits until the newest announcement tells the device this; gives the bundle.
    pub fn told(&mut self, action: u64, mode: Mode) -> Digest {
        self.until(&format!("action {action} as {mode:?}"), |run| {
            let newest = run.announced().pop()?;
            let Row(_, bundle, number, in_mode, _) = newest.row(&run.device.parse().unwrap())?;
            let bundle = Digest::of(&newest.bundles[usize::from(*bundle)]);
            ((*number, *in_mode) == (action, mode)).then_some(bundle)
        })
    }

    /// Waits until the action's history has an entry of this type that says `words`.
    pub fn shown(&mut self, action: u64, kind: &str, words: &str) {
        self.until(&format!("{kind} of action {action} with {words:?}"), |run| {
            let history = run.hawkbit.history(&run.device, action);
            history.iter().any(|(k, text)| k == kind && text.contains(words)).then_some(())
        });
    }

    pub fn announced(&self) -> Vec<Announcement> {
        self.site.peer.with(|s| s.announced.iter().map(|b| open::<Announcement>(b).unwrap().document).collect())
    }
}

impl Drop for Run {
    /// A run that failed says what its gateways logged.
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("killed {} times, reported {:?}; the gateways' log:\n{}", self.hits, self.reported, self.log());
        }
    }
}
