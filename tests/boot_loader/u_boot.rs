use crate::grub::Mounted;
use crate::machine::{self, Boot};
use crate::sysroot::{self, Kernels};
use crate::{Device, Disk};
use fullmetal_sim::lab::machine::u_boot::{ENVIRONMENT, compile, config, firmware};
use fullmetal_sim::lab::output_of;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The board's part, after its environment: what would be booted is said.
const BOARD: &str = "\
setenv fullmetal_boot 'if test -e virtio 0:1 ${kernel_image}; then setenv bootargs \"${bootargs} tree=${fdt_file} own=${own}\"; echo BOOTS ${kernel_image}; printenv bootargs; echo END; reset; fi'
setenv fullmetal_addr 0x6100000
setenv devtype virtio; setenv devnum 0; setenv distro_bootpart 1
load virtio 0:1 ${scriptaddr} /boot/fullmetal.scr
source ${scriptaddr}
";

/// A device with U-Boot; its `uEnv.txt` is written by libostree.
pub struct UBoot {
    dir: tempfile::TempDir,
    kernels: Kernels,
}

impl UBoot {
    pub fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let kernels = sysroot::make(&dir.path().join("tree"), "uEnv.txt");
        let device = UBoot { dir, kernels };
        let boot = device.path("tree/boot");
        for made in ["root/etc", "root/proc"] {
            fs::create_dir_all(device.path(made)).unwrap();
        }
        fs::write(device.path("board.cmd"), [ENVIRONMENT, BOARD].concat()).unwrap();
        compile(&device.path("board.cmd"), &boot.join("boot.scr")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("boot/u-boot/fullmetal.cmd");
        compile(&script, &boot.join("fullmetal.scr")).unwrap();
        let disk = device.path("disk");
        machine::make_disk(&disk, &device.path("tree"));
        // As libostree left it: nobody deploys any more.
        symlink("../tree/boot", device.path("root/boot")).unwrap();
        fs::write(device.path("root/proc/cmdline"), "root=/dev/vda1\n").unwrap();
        let at = device.path("root/etc/fw_env.config");
        fs::write(&at, config(&disk)).unwrap();
        fs::write(device.path("initial"), "").unwrap();
        let mut setenv = Command::new("fw_setenv");
        output_of(setenv.arg("-c").arg(at).arg("-f").arg(device.path("initial")).args(["board", "press"])).unwrap();
        firmware(&device.path("u-boot.rom")).unwrap();
        device
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Removes the kernel of the first entry.
    pub fn lose_kernel(&self) {
        let mounted = Mounted::of(&self.path("disk"), self.path("mounted"));
        fs::remove_file(mounted.0.join(self.kernels.new.trim_start_matches('/'))).unwrap();
    }
}

impl Device for UBoot {
    fn boot(&self, disk: Disk) -> Boot {
        let firmware = self.path("u-boot.rom").display().to_string();
        let (entry, cmdline) = machine::run(&self.path("disk"), disk, ["-bios", &firmware], &self.kernels);
        assert!(cmdline.contains(" note=\"a b\" "), "{cmdline}");
        assert!(cmdline.ends_with(" own="), "variables of the system's own reach the board: {cmdline}");
        let kernel = if entry == Boot::First { &self.kernels.new } else { &self.kernels.old };
        let tree = kernel.replace("vmlinuz", "devicetree");
        assert!(cmdline.contains(&format!(" tree={tree} ")), "the device tree is that of the entry: {cmdline}");
        fs::write(self.path("root/proc/cmdline"), cmdline).unwrap();
        entry
    }

    fn off(&self, work: &mut dyn FnMut(&Path)) {
        work(&self.path("root"));
    }
}
