use super::conformance::{Bed, conforms};
use super::fixture::{Device, deployment};
use crate::boot_loader::entries::{self, Counters};
use crate::boot_loader::{BootLoader, BootLoaderError, DeploymentId, Kind, SystemdBoot, Tries, detect};
use std::fs;
use std::os::unix::fs::symlink;

struct SystemdBootBed {
    device: Device,
    loader: SystemdBoot,
}

fn bed() -> SystemdBootBed {
    let device = Device::new();
    let info: Vec<u8> = "systemd-boot 257\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let info = [&[6, 0, 0, 0], info.as_slice()].concat();
    device.write("sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", info);
    device.write("ostree/repo/config", "[core]\nmode=bare\n\n[sysroot]\nbootloader=none\nboot-counting-tries=3\n");
    device.entry("ostree-1", 1, &deployment("old"));
    SystemdBootBed { loader: SystemdBoot::new(device.places()), device }
}

impl SystemdBootBed {
    fn names(&self) -> Vec<String> {
        let dir = fs::read_dir(self.device.path("boot/loader/entries")).unwrap();
        let mut names: Vec<_> = dir.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Bed for SystemdBootBed {
    fn loader(&self) -> &dyn BootLoader {
        &self.loader
    }

    /// Writes all entries anew, as a libostree that counts does.
    fn deploy(&self, new: &DeploymentId) {
        fs::remove_dir_all(self.device.path("boot/loader/entries")).unwrap();
        self.device.entry("ostree-1", 1, &deployment("old"));
        self.device.entry("ostree-2+3", 2, new);
    }

    /// The specification's "Boot counting" and "Sorting".
    fn boot(&self) -> bool {
        let mut entries = entries::read(&self.device.places(), &self.device.path("boot/loader/entries")).unwrap();
        entries.sort_by_key(|entry| entry.counters.is_some_and(|c| c.left == 0));
        let chosen = &entries[0];
        if let Some(Counters { left, done }) = chosen.counters.filter(|c| c.left > 0) {
            let counted = Some(Counters { left: left - 1, done: done + 1 });
            fs::rename(&chosen.path, chosen.named(counted)).unwrap();
        }
        chosen.id == "ostree-2" || entries.len() == 1
    }
}

#[test]
fn systemd_boot_is_a_boot_loader() {
    conforms(&bed());
}

#[test]
fn entries_are_named_as_systemd_boot_reads_them() {
    let bed = bed();
    let new = deployment("new");
    bed.deploy(&new);
    assert!(bed.boot());
    assert_eq!(bed.names(), ["ostree-1.conf", "ostree-2+2-1.conf"]);
    bed.loader.give_up(&new).unwrap();
    assert_eq!(bed.names(), ["ostree-1.conf", "ostree-2+0-3.conf"]);
    bed.loader.clear().unwrap();
    assert_eq!(bed.names(), ["ostree-1.conf", "ostree-2.conf"]);
    bed.loader.give_up(&new).unwrap();
    assert_eq!(bed.names(), ["ostree-1.conf", "ostree-2+0-1.conf"]);
    let error = bed.loader.give_up(&deployment("gone")).unwrap_err();
    assert!(matches!(error, BootLoaderError::NoEntry { .. }), "{error}");
}

#[test]
fn systemd_boot_is_refused_with_a_libostree_that_does_not_count() {
    let bed = bed();
    assert_eq!(detect(&bed.device.places()).unwrap().kind, Kind::SystemdBoot);
    assert_eq!(bed.loader.check().unwrap(), None);
    bed.loader.arm(&deployment("new"), Tries::new(3).unwrap()).unwrap();
    let error = bed.loader.arm(&deployment("new"), Tries::new(2).unwrap()).unwrap_err();
    assert!(error.to_string().contains("boot-counting-tries"), "{error}");
    for config in
        ["[sysroot]\nbootloader=none\n", "[sysroot]\nboot-counting-tries=0\n", "[other]\nboot-counting-tries=3\n"]
    {
        bed.device.write("ostree/repo/config", config);
        assert!(matches!(bed.loader.check(), Err(BootLoaderError::Unprepared { .. })), "{config}");
        assert!(bed.loader.arm(&deployment("new"), Tries::default()).is_err(), "{config}");
    }
    // As libostree 2022.7 has it.
    fs::rename(bed.device.path("boot/loader"), bed.device.path("boot/loader.0")).unwrap();
    symlink("loader.0", bed.device.path("boot/loader")).unwrap();
    let error = bed.loader.check().unwrap_err().to_string();
    assert!(error.contains("a link"), "{error}");
}
