//! A device as an integrator ships it: with the files of the Debian package, its peer a user of its own, enrolled, with a
//! network.

use super::{Device, Groups};
use crate::lab::net::{LAN, Net};
use crate::lab::{Fleet, PEER_UID, output_of};
use anyhow::Context as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The units that an installed package enables.
const ENABLED: [&str; 3] = ["fullmetal-boot.service", "fullmetal-peer.service", "fullmetal-agent.service"];

impl Device {
    /// Makes a device of `fleet` that is off; it lives in the host `name` of `net`, which must be there, and has what
    /// the package holds that `make deb` has made last.
    ///
    /// # Errors
    /// Without root, the package, or the means to make the base.
    pub fn installed(fleet: &Fleet, net: &Net, name: &str, central: Option<&str>) -> anyhow::Result<Self> {
        let built = crate::lab::Programs::find(None)?.fullmetal;
        let sim = built.with_file_name("fullmetal-sim");
        let mut device = Device::new(&sim, Groups::AsHost, &[&sim])?;
        device.stage.netns = Some(net.netns(name));
        fleet.enroll_at(name, &device.files())?;
        let users = [("passwd", format!("fullmetal:x:{PEER_UID}:{PEER_UID}::/nonexistent:/usr/sbin/nologin\n"))];
        let groups = [("group", format!("fullmetal:x:{PEER_UID}:\n"))];
        for (file, line) in users.into_iter().chain(groups) {
            let before =
                fs::read_to_string(device.stage.base.join("etc").join(file)).context("reading who there is")?;
            device.write(&format!("/etc/{file}"), format!("{before}{line}").as_bytes())?;
        }
        let origin = central.map(|url| format!("origin = true\ncentral = {url:?}")).unwrap_or("origin = false".into());
        let settings =
            format!("[peer]\ninterfaces = [{LAN:?}]\n{origin}\n[agent]\nprobation_s = 3\nstop_timeout_s = 2\n");
        device.write("/etc/fullmetal/fullmetal.d/10-lab.toml", settings.as_bytes())?;
        device.unpack(&package(&built)?)?;
        ENABLED.iter().try_for_each(|unit| device.enable(unit))?;
        Ok(device)
    }

    /// Debian's `/lib` is a link, which a package that is unpacked beside dpkg would replace.
    fn unpack(&self, package: &Path) -> anyhow::Result<()> {
        let files = self.dir.join("package");
        output_of(Command::new("dpkg-deb").arg("-x").arg(package).arg(&files))?;
        for (from, to) in [("usr", "/usr"), ("lib", "/usr/lib"), ("etc", "/etc")] {
            let to = self.file(to);
            fs::create_dir_all(&to)?;
            output_of(Command::new("cp").arg("-a").arg(files.join(from).join(".")).arg(&to))?;
        }
        fs::remove_dir_all(&files).with_context(|| format!("removing {}", files.display()))
    }

    fn enable(&self, unit: &str) -> anyhow::Result<()> {
        let wants = self.file("/etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants)?;
        let target = format!("/lib/systemd/system/{unit}");
        symlink(target, wants.join(unit)).with_context(|| format!("enabling {unit}"))
    }
}

/// The package of devices beside the programs.
fn package(built: &Path) -> anyhow::Result<PathBuf> {
    let dir = built.parent().unwrap_or(built).with_file_name("deb");
    let files = fs::read_dir(&dir).into_iter().flatten().flatten().map(|e| e.path());
    let is_it = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with("fullmetal_") && name.ends_with(".deb")
    };
    files.into_iter().find(is_it).with_context(|| format!("no package in {}; run `make deb`", dir.display()))
}
