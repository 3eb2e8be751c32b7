//! Which boot loader booted this device, by what it says of itself rather than by files that lie around.

use super::{BootLoader, BootLoaderError, Grub, Places, Script, SystemdBoot, UBoot, cmdline};
use std::fmt;
use std::fs;

/// A boot loader that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GRUB with our script.
    Grub,
    /// U-Boot with our script.
    UBoot,
    /// U-Boot with FullMetalUpdate's script.
    FullMetalUpdate,
    /// systemd-boot.
    SystemdBoot,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Grub => "GRUB",
            Kind::UBoot => "U-Boot",
            Kind::FullMetalUpdate => "U-Boot with FullMetalUpdate's script",
            Kind::SystemdBoot => "systemd-boot",
        })
    }
}

/// What was found.
pub struct Found {
    /// Which it is.
    pub kind: Kind,
    /// Itself; whether it can count is yet to be checked.
    pub loader: Box<dyn BootLoader>,
}

/// The boot loader of this device; an error says what is missing.
pub fn detect(places: &Places) -> Result<Found, BootLoaderError> {
    let own = places.clone();
    match cmdline::loader(places)?.as_deref() {
        Some("grub") => return Ok(Found { kind: Kind::Grub, loader: Box::new(Grub::new(own)) }),
        Some("u-boot") => {
            return Ok(Found { kind: Kind::UBoot, loader: Box::new(UBoot::new(own, Script::Fullmetal)) });
        }
        _ => {}
    }
    if is_systemd_boot(places) {
        return Ok(Found { kind: Kind::SystemdBoot, loader: Box::new(SystemdBoot::new(own)) });
    }
    if places.fw_env_config().exists() {
        if UBoot::is_full_metal_updates(places)? {
            let loader = Box::new(UBoot::new(own, Script::FullMetalUpdate));
            return Ok(Found { kind: Kind::FullMetalUpdate, loader });
        }
        return Err(BootLoaderError::Unprepared {
            loader: "U-Boot",
            problem: "this boot went neither through fullmetal.cmd nor through FullMetalUpdate's script".into(),
            remedy: "install it as docs/integrators-os.md says, and reboot",
        });
    }
    if places.grub_env().parent().is_some_and(|dir| dir.is_dir()) {
        return Err(BootLoaderError::Unprepared {
            loader: "GRUB",
            problem: "this boot did not go through a configuration of fullmetal-grub".into(),
            remedy: "have libostree call it as docs/integrators-os.md says (OSTREE_GRUB2_EXEC), deploy again, and reboot",
        });
    }
    Err(BootLoaderError::Unknown { remedy: "boot with GRUB, U-Boot or systemd-boot as docs/integrators-os.md says" })
}

/// Source: `LoaderInfo` of <https://systemd.io/BOOT_LOADER_INTERFACE>: UTF-16 after four bytes of the variable's attributes.
fn is_systemd_boot(places: &Places) -> bool {
    let info = fs::read(places.loader_info()).unwrap_or_default();
    let units: Vec<u16> =
        info.get(4..).unwrap_or_default().chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
    String::from_utf16_lossy(&units).starts_with("systemd-boot")
}
