//! Releases of an app that runs and has many files, made from nothing: the same bytes each time, half of which are left when packed.

use anyhow::Context as _;
use fullmetal_sim::lab::{Fleet, Programs, SmallApp};
use std::fs;
use std::path::PathBuf;

const APP: &str = "app";
pub const REF: &str = "apps/app/x86_64";
const COMMAND: &str = r#"["/bin/busybox","sleep","1000000"]"#;
const PROBATION_S: &str = "2";
/// How many files of a release are others than in the one before.
const CHANGED: u32 = 5;
/// Files of one directory.
const DIR_FILES: u32 = 1_000;

/// How many there are, and how long each is.
#[derive(Clone, Copy)]
pub struct Files {
    pub count: u32,
    pub bytes: u64,
}

/// Makes releases in a fleet of its own.
pub struct Publisher {
    pub fleet: Fleet,
    files: Files,
    releases: u64,
    /// All lies in here.
    dir: tempfile::TempDir,
}

/// What devices are told to take.
pub struct Release {
    pub commit: String,
    /// Bytes of what it adds at central: frames and manifest.
    pub one_copy: u64,
}

impl Publisher {
    pub fn new(programs: &Programs, files: Files) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("fullmetal-cases-").tempdir_in("/var/tmp")?;
        let fleet = Fleet::new(programs, dir.path(), "test-plant")?;
        Ok(Publisher { fleet, files, releases: 0, dir })
    }

    /// The next release: the files of the one before, but for a few of them and a page.
    pub fn publish(&mut self) -> anyhow::Result<Release> {
        self.releases += 1;
        let root = SmallApp::new(self.dir.path()).build(self.releases)?;
        for number in 0..self.files.count {
            let file = root.join(format!("www/{}/{number}", number / DIR_FILES));
            fs::create_dir_all(file.parent().context("a file without a directory")?)?;
            let is_new = number.is_multiple_of(self.files.count.div_ceil(CHANGED));
            let release = if is_new { self.releases } else { 1 };
            fs::write(&file, contents(release << 32 | u64::from(number), self.files.bytes))
                .with_context(|| format!("writing {}", file.display()))?;
        }
        let more = ["--name", APP, "--cmd", COMMAND, "--probation", PROBATION_S];
        let published = self.fleet.publish(&root, REF, self.releases, &more)?;
        fs::remove_dir_all(root)?;
        let figure = |key: &str| published[key].as_u64().with_context(|| format!("publish tells no {key}"));
        let one_copy = figure("new_packed_bytes")? + figure("manifest_bytes")?;
        let commit = published["commit"].as_str().context("publish names no commit")?.to_owned();
        Ok(Release { commit, one_copy })
    }

    /// Where central's repo is.
    pub fn repo(&self) -> PathBuf {
        self.fleet.repo()
    }
}

/// Words of which one half is drawn from the seed, and the other is the same in all.
fn contents(seed: u64, bytes: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let word = || {
        // xorshift64*, <https://doi.org/10.18637/jss.v008.i14>
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32 | 0x2d2d_2d2d << 32).to_le_bytes()
    };
    let mut all: Vec<u8> = std::iter::repeat_with(word).take(bytes.div_ceil(8) as usize).flatten().collect();
    all.truncate(bytes as usize);
    all
}
