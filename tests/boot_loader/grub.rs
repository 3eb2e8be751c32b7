use crate::machine::{self, Boot, PARTITION};
use crate::sysroot::{self, Kernels};
use crate::{Device, Disk};
use fullmetal_sim::lab::output_of;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's modules for machines with a BIOS.
const MODULES: &str = "/usr/lib/grub/i386-pc";
/// Before GRUB has its own shell.
const EARLY: &str = "\
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set root=(hd0,msdos1)
set prefix=(hd0,msdos1)/test
";
/// In place of `linux` and `initrd`, which this GRUB does not have.
const COMMANDS: &str = "\
set prefix=(hd0,msdos1)/boot/grub
function linux {
  set loaded=0
  if [ -f $1 ]; then set loaded=1; echo BOOTS $@ END; else false; fi
}
function initrd {
  if [ $loaded = 1 ]; then reboot; else false; fi
}
configfile /boot/grub/grub.cfg
";

/// A device with GRUB; its grub.cfg is made by our generator, which libostree has called.
pub struct Grub {
    dir: tempfile::TempDir,
    pub kernels: Kernels,
}

/// A file system that is mounted until it is dropped.
pub struct Mounted(pub PathBuf);

impl Mounted {
    /// Mounts the partition of a disk at `at`.
    pub fn of(disk: &Path, at: PathBuf) -> Self {
        fs::create_dir_all(&at).unwrap();
        let options = format!("loop,offset={PARTITION}");
        output_of(Command::new("mount").args(["-o", &options]).arg(disk).arg(&at)).unwrap();
        Mounted(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = output_of(Command::new("umount").arg(&self.0)) {
            eprintln!("{error:#}");
        }
    }
}

impl Grub {
    pub fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let tree = dir.path().join("tree");
        let boot = tree.join("boot");
        let kernels = sysroot::make(&tree, "grub.cfg");
        for made in ["proc", "test"] {
            fs::create_dir_all(tree.join(made)).unwrap();
        }
        output_of(Command::new("grub-editenv").arg(boot.join("grub/grubenv")).arg("create")).unwrap();
        fs::write(tree.join("test/grub.cfg"), COMMANDS).unwrap();
        fs::write(tree.join("proc/cmdline"), "root=/dev/vda1\n").unwrap();
        let device = Grub { dir, kernels };
        machine::make_disk(&device.path("disk"), &tree);
        device.make_image();
        device
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// GRUB as a kernel, which qemu starts: no boot sector is needed.
    fn make_image(&self) {
        fs::write(self.path("early.cfg"), EARLY).unwrap();
        let mut mkimage = Command::new("grub-mkimage");
        mkimage.args(["-d", MODULES, "-O", "i386-pc", "-p", "(hd0,msdos1)/test", "-c"]).arg(self.path("early.cfg"));
        mkimage.arg("-o").arg(self.path("core.img"));
        mkimage.args([
            "biosdisk",
            "part_msdos",
            "ext2",
            "loadenv",
            "serial",
            "terminal",
            "normal",
            "configfile",
            "echo",
        ]);
        output_of(mkimage.args(["test", "true", "reboot"])).unwrap();
        let head = fs::read(Path::new(MODULES).join("lnxboot.img")).unwrap();
        fs::write(self.path("grub"), [head, fs::read(self.path("core.img")).unwrap()].concat()).unwrap();
    }
}

impl Device for Grub {
    fn boot(&self, disk: Disk) -> Boot {
        let kernel = self.path("grub").display().to_string();
        let (entry, cmdline) = machine::run(&self.path("disk"), disk, ["-kernel", &kernel], &self.kernels);
        self.off(&mut |root| fs::write(root.join("proc/cmdline"), &cmdline).unwrap());
        assert!(cmdline.contains(" note=a b "), "one word for GRUB, which quotes it for the kernel: {cmdline}");
        entry
    }

    fn off(&self, work: &mut dyn FnMut(&Path)) {
        work(&Mounted::of(&self.path("disk"), self.path("root")).0);
    }
}
