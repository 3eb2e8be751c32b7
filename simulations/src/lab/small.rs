//! A tiny application for tests that deploy many releases: busybox and one page, fewer than 30 objects.

use anyhow::Context as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Builds root file systems of the tiny application below one directory.
#[derive(Debug)]
pub struct SmallApp {
    dir: PathBuf,
}

impl SmallApp {
    /// Puts the root file systems into `dir`.
    pub fn new(dir: &Path) -> Self {
        SmallApp { dir: dir.to_owned() }
    }

    /// Makes the root file system of a release; its page says `release <number>`.
    pub fn build(&self, release: u64) -> anyhow::Result<PathBuf> {
        let root = self.dir.join(format!("small-{release}"));
        for sub in ["app", "bin", "www", "data", "proc", "sys", "dev", "tmp"] {
            fs::create_dir_all(root.join(sub))?;
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).context("copying busybox (package busybox-static)")?;
        for tool in ["cat", "httpd", "sh", "wget"] {
            let _ = symlink("busybox", root.join("bin").join(tool));
        }
        fs::write(root.join("www/index.html"), format!("release {release}\n"))?;
        let script = root.join("app/run");
        fs::write(&script, "#!/bin/sh\nexec httpd -f -p 127.0.0.1:$(cat /data/port) -h /www\n")?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(root)
    }

    /// The same with `bytes` that do not compress, new in each release.
    pub fn build_with(&self, release: u64, bytes: usize) -> anyhow::Result<PathBuf> {
        let root = self.build(release)?;
        fs::write(root.join("noise"), noise(release, bytes))?;
        Ok(root)
    }
}

/// Bytes that do not compress, others for each seed.
pub(super) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = Vec::with_capacity(bytes + 8);
    let mut state = seed;
    while noise.len() < bytes {
        // xorshift64*, <https://doi.org/10.18637/jss.v008.i14>
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        noise.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}
