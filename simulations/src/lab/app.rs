//! The demo's application: a root file system of tens of MB from Debian packages with a web server in it.

use super::output_of;
use anyhow::{Context as _, bail};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every release holds: a C library, an interpreter and the web server.
const PACKAGES: [&str; 6] =
    ["busybox-static", "libc6", "libpython3.11-minimal", "libpython3.11-stdlib", "perl-base", "python3.11-minimal"];
/// What release 2 brings in addition.
const PACKAGES_NEW: [&str; 2] = ["libssl3", "perl-modules-5.36"];
const TOOLS: [&str; 6] = ["cat", "httpd", "ls", "sh", "sleep", "wget"];

/// One release of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Serves a page.
    One,
    /// Serves another page, and needs `/data/recipe`.
    Two,
}

impl Release {
    /// Its number, as published and as its page says.
    pub fn number(self) -> u64 {
        match self {
            Release::One => 1,
            Release::Two => 2,
        }
    }
}

/// Builds the application's root file systems.
#[derive(Debug)]
pub struct DemoApp {
    packages: PathBuf,
}

impl DemoApp {
    /// Fetches the packages once into the user's cache.
    pub fn prepare() -> anyhow::Result<Self> {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from);
        let packages = cache.unwrap_or_else(|| home.join(".cache")).join("fullmetal/packages");
        fs::create_dir_all(&packages).with_context(|| format!("creating {}", packages.display()))?;
        let app = DemoApp { packages };
        let missing: Vec<&str> =
            PACKAGES.into_iter().chain(PACKAGES_NEW).filter(|p| app.package(p).is_none()).collect();
        if !missing.is_empty() {
            // apt fetches as user _apt, who may not write here: it warns and fetches as root.
            let fetched = output_of(Command::new("apt-get").arg("download").args(&missing).current_dir(&app.packages));
            fetched.context("fetching Debian packages for the demo's app (try `apt-get update`)")?;
        }
        Ok(app)
    }

    fn package(&self, name: &str) -> Option<PathBuf> {
        let files = fs::read_dir(&self.packages).ok()?.flatten().map(|e| e.path());
        files.into_iter().find(|p| {
            let file = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
            file.starts_with(&format!("{name}_")) && file.ends_with(".deb")
        })
    }

    /// Makes the root file system of `release` at `root`.
    pub fn build(&self, release: Release, root: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(root)?;
        let new = if release == Release::Two { &PACKAGES_NEW[..] } else { &[] };
        for name in PACKAGES.iter().chain(new) {
            let Some(package) = self.package(name) else { bail!("package {name} was not fetched") };
            output_of(Command::new("dpkg-deb").arg("-x").arg(package).arg(root))?;
        }
        for dir in ["app", "www", "data", "proc", "sys", "dev", "tmp", "run"] {
            fs::create_dir_all(root.join(dir))?;
        }
        for tool in TOOLS {
            let _ = symlink("busybox", root.join("bin").join(tool));
        }
        fs::write(root.join("www/index.html"), format!("release {}\n", release.number()))?;
        let script = root.join("app/run");
        fs::write(&script, script_of(release))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }
}

fn script_of(release: Release) -> String {
    let needs = match release {
        Release::One => "",
        Release::Two => {
            "if [ ! -f /data/recipe ]; then\n  echo \"cannot start: /data/recipe is missing\" >&2\n  exit 3\nfi\n"
        }
    };
    format!(
        "#!/bin/sh\necho \"release {} starts on port $(cat /data/port)\"\n{needs}\
         exec httpd -f -p 127.0.0.1:$(cat /data/port) -h /www\n",
        release.number()
    )
}
