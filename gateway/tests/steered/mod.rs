//! The gateway program between a Hawkbit server and a peer played by a thread: what operators decide and see.
//!
//! Without `HAWKBIT=http://host:port` the server is the stand-in.

mod decisions;
mod ends;
mod modules;
mod published;
mod rollout;
mod shown;
mod timed;

use super::site::hawkbit::Hawkbit;
use super::site::{Site, report, sealed};
use fullmetal::identity::Usage;
use fullmetal_proto::wire::local::FromPeer;
use fullmetal_proto::wire::{Announcement, Bundle, ExitStatus, Mode, Report, ReportState, SigningKey, open};
use fullmetal_proto::{Digest, Timestamp};

/// A device of the fleet that reports what the test says.
pub struct Device {
    pub name: String,
    key: SigningKey,
    certificate: Vec<u8>,
    counter: u64,
    /// Its newest report as it travels.
    newest: Vec<u8>,
}

/// A device's row in the newest announcement.
pub struct Told {
    /// The announcement's counter.
    counter: u64,
    pub action: u64,
    mode: Mode,
    until: Option<Timestamp>,
    bundle: Digest,
    what: Bundle,
}

impl Device {
    /// One that the server knows and the fleet hears.
    pub fn heard(site: &Site, hawkbit: &Hawkbit, name: &str) -> Self {
        let name = hawkbit.device(name);
        hawkbit.target(&name);
        let (key, certificate) = site.agent(&name, Usage::Agent);
        site.peer.say(&FromPeer::Heard(vec![(name.parse().unwrap(), 0)]), None);
        Device { name, key, certificate, counter: 0, newest: vec![] }
    }

    pub fn report(&mut self, site: &Site, action: u64, state: ReportState) {
        self.report_with(site, action, state, |_| {});
    }

    /// The same, with something said besides.
    pub fn report_with(&mut self, site: &Site, action: u64, state: ReportState, change: impl FnOnce(&mut Report)) {
        self.counter += 1;
        let bundle = self.row(site).unwrap().bundle;
        let mut report = report(&self.name, self.counter, action, Some(bundle), &self.certificate);
        report.state = state;
        if state == ReportState::Failed {
            report.reason = "web 2 was never healthy".into();
            report.exit = Some(ExitStatus::Code(3));
            report.log = vec!["recipe is missing".into()];
        }
        change(&mut report);
        self.newest = sealed(&report, &self.key);
        self.repeat(site);
    }

    /// The newest report reaches this site too.
    pub fn repeat(&self, site: &Site) {
        site.peer.report(self.newest.clone());
    }

    /// The device's row in the newest announcement.
    pub fn row(&self, site: &Site) -> Option<Told> {
        let newest = site.peer.with(|s| s.announced.last().cloned())?;
        told(&newest, &self.name)
    }

    /// Waits until the newest announcement has the device's row for `action` in this mode.
    pub fn told(&self, site: &Site, action: u64, wanted: Mode) -> Told {
        site.peer.wait(&format!("action {action} of {} as {wanted:?}", self.name), |shared| {
            told(shared.announced.last()?, &self.name).filter(|t| t.action == action && t.mode == wanted)
        })
    }

    /// Waits until the gateway has the device's newest report.
    pub fn receipt(&self, site: &Site) {
        let mine = |r: &fullmetal_proto::wire::Receipt| r.device.as_str() == self.name && r.counter == self.counter;
        site.peer.wait("the receipt", |s| s.receipts.iter().any(mine).then_some(()));
    }
}

pub fn told(announced: &[u8], device: &str) -> Option<Told> {
    let newest = open::<Announcement>(announced).unwrap().document;
    let row = newest.row(&device.parse().unwrap())?;
    let what = newest.bundle(row).unwrap().document;
    let bundle = Digest::of(&newest.bundles[usize::from(row.1)]);
    Some(Told { counter: newest.counter, action: row.2, mode: row.3, until: row.4, bundle, what })
}

/// A site with a server whose gateway runs, a release and a device.
fn site(confirm: &str) -> (Site, Hawkbit, Digest, Device) {
    let mut site = Site::new();
    let commit = site.publish("2");
    let hawkbit = Hawkbit::at(&site, confirm);
    site.start();
    let device = Device::heard(&site, &hawkbit, "press-1");
    (site, hawkbit, commit, device)
}
