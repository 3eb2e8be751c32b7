//! What is brought: a Debian root of about 8,000 files, in a repo with frames and in one without. Made once.

use anyhow::Context as _;
use fullmetal_sim::lab::{Fleet, Programs, output_of};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Beyond the least that Debian is.
const PACKAGES: &str = "g++,git,openssl,curl";
/// Nodes, what made it, and what no device needs.
const LEFT_OUT: [&str; 8] = [
    "dev",
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo",
];
const DEBIAN: &str = "bookworm";
/// A request for an object and the head of its answer, as nginx and curl have them.
const HEADER_BYTES: f64 = 439.0;
/// What the app of it is called.
const APP: &str = "root";
pub const REF: &str = "apps/root/x86_64";

/// Both repos, and the keys of the fleet that trusts them.
pub struct Repos {
    pub fleet: Fleet,
    pub commit: String,
    published: Value,
    /// All lies in here.
    _dir: tempfile::TempDir,
}

impl Repos {
    /// Makes them; the Debian root is kept for the next time.
    pub fn make() -> anyhow::Result<Self> {
        let root = debian_root()?;
        let dir = tempfile::Builder::new().prefix("fullmetal-ways-repos-").tempdir_in("/var/tmp")?;
        let fleet = Fleet::new(&Programs::find(None)?, dir.path(), "test-plant")?;
        let published = fleet.publish(&root, REF, 1, &["--name", APP, "--cmd", "/bin/true"])?;
        let commit = published["commit"].as_str().context("publish names no commit")?.to_owned();
        fleet.make_plain_repo()?;
        fleet.mirror_plainly(REF)?;
        Ok(Repos { fleet, commit, published, _dir: dir })
    }

    /// With frames.
    pub fn framed(&self) -> PathBuf {
        self.fleet.repo()
    }

    /// As other tools make it.
    pub fn plain(&self) -> PathBuf {
        self.fleet.plain_repo()
    }

    /// The fewest bytes that bring it over an uplink once, as they are counted: all objects that nobody has, with what requests add.
    pub fn fewest_bytes(&self, plain: bool) -> f64 {
        let figure = |key: &str| self.published[key].as_f64().unwrap_or_default();
        let (bytes, requests) =
            if plain { (figure("plain_bytes"), figure("objects")) } else { (figure("packed_bytes"), 0.0) };
        bytes + requests * HEADER_BYTES
    }

    /// What it is, in one line.
    pub fn told(&self) -> anyhow::Result<String> {
        let keys = ["objects", "raw_bytes", "plain_bytes", "packed_bytes", "manifest_bytes", "frames"];
        let figures: serde_json::Map<String, Value> =
            keys.map(|key| (key.to_owned(), self.published[key].clone())).into_iter().collect();
        Ok(serde_json::to_string(&figures)?)
    }
}

fn debian_root() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).context("HOME is not set")?;
    let root = cache.join("fullmetal/bench").join(format!("{DEBIAN}-{PACKAGES}"));
    if !root.is_dir() {
        make(&root)?;
    }
    Ok(root)
}

fn make(root: &Path) -> anyhow::Result<()> {
    eprintln!("making a Debian root in {} (once)", root.display());
    let new = root.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| format!("removing {}", new.display()))?;
    }
    fs::create_dir_all(&new)?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", &format!("--include={PACKAGES}"), DEBIAN]).arg(&new);
    output_of(&mut debootstrap).context("debootstrap (`.ci/install-tools run` installs it)")?;
    for dir in LEFT_OUT {
        fs::remove_dir_all(new.join(dir)).with_context(|| format!("removing {dir}"))?;
    }
    fs::create_dir(new.join("dev"))?;
    fs::rename(&new, root).context("naming the root")
}
