//! Where everything lies below one root directory.

use fullmetal_proto::{AppName, Digest};
use std::path::{Path, PathBuf};

/// The file layout of a device or gateway; `/` in production, a folder each in the demo and in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Everything below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Paths { root: root.into() }
    }

    /// The root directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn etc(&self, name: &str) -> PathBuf {
        self.root.join("etc/fullmetal").join(name)
    }

    /// The main configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.etc("fullmetal.toml")
    }

    /// The directory of configuration fragments.
    pub fn config_dir(&self) -> PathBuf {
        self.etc("fullmetal.d")
    }

    /// Programs that say whether the operating system is well.
    pub fn health_dir(&self) -> PathBuf {
        self.etc("health.d")
    }

    /// Keys and certificates of the device.
    pub fn identity_dir(&self) -> PathBuf {
        self.etc("identity")
    }

    /// The trust file's envelope as it was enrolled.
    pub fn trust_file(&self) -> PathBuf {
        self.etc("trust")
    }

    /// The revocation list's envelope; absent before the first one.
    pub fn revocations_file(&self) -> PathBuf {
        self.etc("revocations")
    }

    /// The default place of the gateway's signing key.
    pub fn gateway_key(&self) -> PathBuf {
        self.etc("gateway.key")
    }

    /// State that survives reboots and OS roll backs.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join("var/lib/fullmetal")
    }

    /// The object store.
    pub fn repo(&self) -> PathBuf {
        self.state_dir().join("repo")
    }

    /// The repository from which the operating system is deployed, where libostree does that.
    pub fn system_repo(&self) -> PathBuf {
        self.root.join("sysroot/ostree/repo")
    }

    /// Checkouts of all apps.
    pub fn apps_dir(&self) -> PathBuf {
        self.state_dir().join("apps")
    }

    /// Checkouts of one app, and its `current` link.
    pub fn app_dir(&self, app: &AppName) -> PathBuf {
        self.apps_dir().join(app.as_str())
    }

    /// The checkout of one version of an app.
    pub fn checkout(&self, app: &AppName, commit: &Digest) -> PathBuf {
        self.app_dir(app).join(commit.to_string())
    }

    /// The link to the version in force.
    pub fn current(&self, app: &AppName) -> PathBuf {
        self.app_dir(app).join("current")
    }

    /// What an app sees as `/data`.
    pub fn data_dir(&self, app: &AppName) -> PathBuf {
        self.state_dir().join("data").join(app.as_str())
    }

    /// Exists while an app is stopped by hand: it stays stopped until it is started again or deployed anew.
    pub fn stopped(&self, app: &AppName) -> PathBuf {
        self.state_dir().join("stopped").join(app.as_str())
    }

    /// Bundles that are still to be deployed.
    pub fn bundles_dir(&self) -> PathBuf {
        self.state_dir().join("bundles")
    }

    /// A bundle by its hash.
    pub fn bundle(&self, digest: &Digest) -> PathBuf {
        self.bundles_dir().join(digest.to_string())
    }

    /// The deployment journal.
    pub fn journal_dir(&self) -> PathBuf {
        self.state_dir().join("journal")
    }

    /// Reports that no gateway has acknowledged yet.
    pub fn reports_dir(&self) -> PathBuf {
        self.state_dir().join("reports")
    }

    /// Exists while local root has locked the device: no switch begins.
    pub fn lock_file(&self) -> PathBuf {
        self.state_dir().join("lock")
    }

    /// How past deployments ended, a line of JSON each.
    pub fn history_file(&self) -> PathBuf {
        self.state_dir().join("history.jsonl")
    }

    /// The gateway's state.
    pub fn gateway_dir(&self) -> PathBuf {
        self.state_dir().join("gateway")
    }

    /// The peer's cache, the only place where it writes.
    pub fn cache_dir(&self) -> PathBuf {
        self.root.join("var/cache/fullmetal")
    }

    /// There once an agent sees to the operating system of this boot, which may be on trial.
    pub fn trial_taken(&self) -> PathBuf {
        self.run_dir().join("trial-taken")
    }

    /// There once the boot loader counts nothing any more.
    pub fn trial_over(&self) -> PathBuf {
        self.run_dir().join("trial-over")
    }

    /// State that ends with a reboot.
    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run/fullmetal")
    }

    /// The agent's socket, for people and programs on the device.
    pub fn agent_socket(&self) -> PathBuf {
        self.run_dir().join("agent.sock")
    }

    /// The socket of the system bus; elsewhere than below `/` there is one in tests only.
    pub fn system_bus(&self) -> PathBuf {
        self.root.join("run/dbus/system_bus_socket")
    }

    /// What keeps the agent from its work, a line each; empty when nothing does.
    pub fn agent_trouble(&self) -> PathBuf {
        self.run_dir().join("agent.trouble")
    }

    /// While a probation is under way: its action, and when it began by the clock that counts from boot.
    pub fn probation_file(&self) -> PathBuf {
        self.run_dir().join("probation")
    }

    /// What an app said on its notify socket.
    pub fn notified(&self, app: &AppName) -> PathBuf {
        self.run_dir().join("notified").join(app.as_str())
    }

    /// Where an app of FullMetalUpdate says whether it is well; the place is that of FullMetalUpdate's client.
    pub fn notify_socket(&self, app: &AppName) -> PathBuf {
        self.root.join("tmp/fullmetalupdate").join(format!("fullmetalupdate_notify_{app}.sock"))
    }

    /// The peer's directory for its socket.
    pub fn peer_run_dir(&self) -> PathBuf {
        self.run_dir().join("peer")
    }

    /// The peer's local socket.
    pub fn peer_socket(&self) -> PathBuf {
        self.peer_run_dir().join("peer.sock")
    }

    /// The gateway's directory for its socket: it runs as a user of its own.
    pub fn gateway_run_dir(&self) -> PathBuf {
        self.run_dir().join("gateway")
    }

    /// What a supervisor keeps about its app.
    pub fn app_run_dir(&self, app: &AppName) -> PathBuf {
        self.run_dir().join("apps").join(app.as_str())
    }
}
