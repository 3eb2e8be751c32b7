//! A device as an integrator ships it: the programs and units of Fullmetal where the package has them, its peer a user of
//! its own, enrolled, with a network.

use super::{Device, Groups};
use crate::lab::net::{LAN, Net};
use crate::lab::{Fleet, PEER_UID};
use anyhow::Context as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// The units that are shipped, and whether they are enabled.
const UNITS: [(&str, &str, bool); 4] = [
    ("fullmetal-boot.service", include_str!("../../../../systemd/fullmetal-boot.service"), true),
    ("fullmetal-peer.service", include_str!("../../../../systemd/fullmetal-peer.service"), true),
    ("fullmetal-agent.service", include_str!("../../../../systemd/fullmetal-agent.service"), true),
    ("fullmetal-apps.target", include_str!("../../../../systemd/fullmetal-apps.target"), false),
];

impl Device {
    /// Makes a device of `fleet` that is off; it lives in the host `name` of `net`, which must be there, and has the
    /// programs that lie beside those of the fleet.
    ///
    /// # Errors
    /// Without root or the means to make the base.
    pub fn installed(fleet: &Fleet, net: &Net, name: &str, central: Option<&str>) -> anyhow::Result<Self> {
        let built = crate::lab::Programs::find(None)?.fullmetal;
        let mut device = Device::new(&built.with_file_name("fullmetal-sim"), Groups::AsHost, &[])?;
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
        device.install(&built, "/usr/bin/fullmetal")?;
        device.install(&built.with_file_name("fullmetal-boot"), "/usr/lib/fullmetal/fullmetal-boot")?;
        for (unit, text, enabled) in UNITS {
            device.write(&format!("/usr/lib/systemd/system/{unit}"), text.as_bytes())?;
            if enabled {
                device.enable(unit)?;
            }
        }
        Ok(device)
    }

    fn install(&self, program: &Path, at: &str) -> anyhow::Result<()> {
        let bytes = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
        self.write(at, &bytes)?;
        Ok(fs::set_permissions(self.file(at), fs::Permissions::from_mode(0o755))?)
    }

    fn enable(&self, unit: &str) -> anyhow::Result<()> {
        let wants = self.file("/etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants)?;
        let target = format!("/usr/lib/systemd/system/{unit}");
        symlink(target, wants.join(unit)).with_context(|| format!("enabling {unit}"))
    }
}
