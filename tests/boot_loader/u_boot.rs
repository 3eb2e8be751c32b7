use crate::grub::Mounted;
use crate::machine::{self, Boot};
use crate::sysroot::{self, Kernels};
use crate::{Device, Disk};
use fullmetal_sim::lab::output_of;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's U-Boot for qemu's PC. It saves no environment by itself.
const FIRMWARE: &str = "/usr/lib/u-boot/qemu-x86/u-boot.rom";
/// The board's part: the environment lies before the partition, in the format that `fw_setenv` writes, and is saved there.
const BOARD: &str = "\
virtio read 0x6000000 0x10 0x20
env import -c 0x6000000 0x4000
setenv fullmetal_save 'env export -c -s 0x4000 0x6000000 && virtio write 0x6000000 0x10 0x20'
setenv fullmetal_boot 'if test -e virtio 0:1 ${kernel_image}; then setenv bootargs \"${bootargs} tree=${fdt_file} own=${own}\"; echo BOOTS ${kernel_image}; printenv bootargs; echo END; reset; fi'
setenv fullmetal_addr 0x6100000
setenv devtype virtio; setenv devnum 0; setenv distro_bootpart 1
load virtio 0:1 0x6000000 /boot/fullmetal.scr
source 0x6000000
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
        fs::write(device.path("board.cmd"), BOARD).unwrap();
        device.compile(&device.path("board.cmd"), &boot.join("boot.scr"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("boot/u-boot/fullmetal.cmd");
        device.compile(&script, &boot.join("fullmetal.scr"));
        let disk = device.path("disk");
        machine::make_disk(&disk, &device.path("tree"));
        fs::write(device.path("root/proc/cmdline"), "root=/dev/vda1\n").unwrap();
        let config = device.path("root/etc/fw_env.config");
        fs::write(&config, format!("{} 0x2000 0x4000\n", disk.display())).unwrap();
        fs::write(device.path("initial"), "").unwrap();
        let mut setenv = Command::new("fw_setenv");
        output_of(setenv.arg("-c").arg(config).arg("-f").arg(device.path("initial")).args(["board", "press"])).unwrap();
        // Nobody is there to press a key.
        let text = fs::read(FIRMWARE).unwrap();
        let at = text.windows(12).position(|w| w == b"bootdelay=2\0").expect("the delay");
        let firmware = [&text[..at], b"bootdelay=0\0", &text[at + 12..]].concat();
        fs::write(device.path("u-boot.rom"), firmware).unwrap();
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

    fn compile(&self, script: &Path, out: &Path) {
        let mut mkimage = Command::new("mkimage");
        output_of(mkimage.args(["-A", "x86", "-T", "script", "-C", "none", "-d"]).arg(script).arg(out)).unwrap();
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
