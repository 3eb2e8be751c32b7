//! What the models of a simulation take from real machines: constants with defaults, and a file that sets them.

use super::section::{self, Section, Source};
use super::{Scenario, ScenarioError, units};
use std::path::Path;
use std::time::Duration;

/// The longest calibration file in bytes.
const FILE_LEN_MAX: u64 = 64 << 10;

/// Constants of the models. Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// From the start of a device's programs until its peer can be met.
    pub start: u64,
    /// From a decision until the gateway works on it: how long its server is not asked.
    pub decision: u64,
    /// Round trips of a new connection to central before its first request: TCP 1, with TLS 2.
    pub connect_trips: u64,
    /// Checking the signatures of a deployment.
    pub judge: u64,
    /// Making the checkout of a new version.
    pub checkout: u64,
    /// Stopping the old version and starting the new one.
    pub switch: u64,
    /// Removing what is old.
    pub prune: u64,
    /// How long a new version is watched.
    pub probation: Duration,
    /// Instead of the scenario's `overhead`, in millionths.
    pub overhead: Option<u32>,
    /// Instead of each group's `disk`, in bytes a second.
    pub disk: Option<u64>,
    /// Instead of each group's `sync`.
    pub sync: Option<u64>,
}

impl Default for Calibration {
    fn default() -> Self {
        Calibration {
            start: 0,
            decision: 0,
            connect_trips: 2,
            judge: 20_000,
            checkout: 2_000_000,
            switch: 1_000_000,
            prune: 200_000,
            probation: Duration::from_secs(30),
            overhead: None,
            disk: None,
            sync: None,
        }
    }
}

impl Calibration {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        Calibration::parse(&section::read(path, FILE_LEN_MAX)?, path)
    }

    /// Reads `text`; errors name `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ScenarioError> {
        let source = Source { file, text };
        let table = source.table()?;
        let mut root = Section::root(source, table.get_ref());
        let mut calibration = Calibration::default();
        let c = &mut calibration;
        let times = [
            ("start", &mut c.start),
            ("decision", &mut c.decision),
            ("judge", &mut c.judge),
            ("checkout", &mut c.checkout),
            ("switch", &mut c.switch),
            ("prune", &mut c.prune),
        ];
        for (key, value) in times {
            *value = root.text(key, units::time)?.unwrap_or(*value);
        }
        c.connect_trips = root.number("connect_trips", 0, 10)?.unwrap_or(c.connect_trips);
        c.probation = root.text("probation", units::time)?.map_or(c.probation, Duration::from_micros);
        c.overhead = root.text("overhead", units::share)?;
        c.disk = root.text("disk", units::rate)?;
        c.sync = root.text("sync", units::time)?;
        root.finish()?;
        Ok(calibration)
    }
}

impl Scenario {
    /// The same scenario on machines as `calibration` knows them.
    pub fn calibrated(mut self, calibration: Calibration) -> Self {
        self.network.overhead = calibration.overhead.unwrap_or(self.network.overhead);
        for group in self.groups.iter_mut().chain([&mut self.gateway]) {
            group.disk = calibration.disk.unwrap_or(group.disk);
            group.sync = calibration.sync.unwrap_or(group.sync);
        }
        self.calibration = calibration;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Calibration, String> {
        Calibration::parse(text, Path::new("c.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_file_does_not_say_stays_as_it_is() {
        assert_eq!(read(""), Ok(Calibration::default()));
        let read = read("decision = \"500 ms\"\noverhead = \"4.7 %\"\nprobation = \"2 s\"").unwrap();
        assert_eq!((read.decision, read.overhead, read.probation), (500_000, Some(47_000), Duration::from_secs(2)));
        assert_eq!(read.checkout, Calibration::default().checkout);
    }

    #[test]
    fn a_mistake_is_answered_with_its_line_and_the_nearest_key() {
        let error = read("start = \"1 s\"\nchekout = \"1 s\"").unwrap_err();
        assert!(error.contains("c.toml:2") && error.contains("`checkout`?"), "{error}");
    }

    #[test]
    fn overhead_and_disks_are_those_of_the_calibration() {
        let text = "name = \"t\"\n[network]\nuplink = \"1 Mbit/s\"\noverhead = \"9 %\"\n[[group]]\nname = \"a\"\n[release]\nsize = \"1 MB\"";
        let scenario = Scenario::parse(text, Path::new("t.toml")).unwrap();
        let with = |text: &str| scenario.clone().calibrated(read(text).unwrap());
        assert_eq!(with("").network.overhead, 90_000);
        assert_eq!(with("overhead = \"5 %\"").network.overhead, 50_000);
        assert_eq!(with("disk = \"1 MB/s\"").groups[0].disk, 1_000_000);
    }
}
