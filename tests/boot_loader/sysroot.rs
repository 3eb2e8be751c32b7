use fullmetal_sim::lab::output_of;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// How both versions are started.
const KARGS: [&str; 3] = ["--karg=root=/dev/vda1", "--karg=rw", "--karg=note=\"a b\""];

/// What a loader would start, by its path in the file system of `/boot`.
pub struct Kernels {
    pub new: String,
    pub old: String,
}

/// Has the real libostree deploy two versions of a system without contents into `sysroot`; `loader_file` below `boot/loader` is
/// by what it knows the boot loader. Returns the kernels of the entries that it wrote.
pub fn make(sysroot: &Path, loader_file: &str) -> Kernels {
    let ostree = |args: &[&str]| {
        let mut command = Command::new("ostree");
        let generator = Path::new(env!("CARGO_MANIFEST_DIR")).join("boot/grub/fullmetal-grub");
        // Else it makes deployments immutable, which nobody removes.
        command.env("OSTREE_SYSROOT_DEBUG", "mutable-deployments").env("OSTREE_GRUB2_EXEC", generator);
        output_of(command.args(args)).unwrap()
    };
    let root = sysroot.to_str().unwrap();
    fs::create_dir_all(sysroot).unwrap();
    ostree(&["admin", "init-fs", "--modern", root]);
    ostree(&["admin", "os-init", &format!("--sysroot={root}"), "fm"]);
    fs::create_dir_all(sysroot.join("boot/loader.0")).unwrap();
    symlink("loader.0", sysroot.join("boot/loader")).unwrap();
    fs::write(sysroot.join("boot/loader").join(loader_file), "").unwrap();
    if loader_file == "grub.cfg" {
        fs::create_dir(sysroot.join("boot/grub")).unwrap();
        symlink("../loader/grub.cfg", sysroot.join("boot/grub/grub.cfg")).unwrap();
    }
    let tree = sysroot.with_extension("tree");
    for version in ["old", "new"] {
        system(&tree, version);
        let repo = format!("--repo={root}/ostree/repo");
        ostree(&[&repo, "commit", "-b", "fm/os", &format!("--tree=dir={}", tree.display())]);
        // The second is merged from the first; libostree 2022.7 breaks a quoted argument that it is given again.
        let new: &[&str] = if version == "old" { &KARGS } else { &[] };
        let args = ["admin", "deploy", &format!("--sysroot={root}"), "--os=fm", "--retain", "fm/os"];
        ostree(&[&args, new].concat());
    }
    // The newest entry has the highest number.
    let kernel = |number: u32| {
        let entry = fs::read_to_string(sysroot.join(format!("boot/loader/entries/ostree-{number}-fm.conf"))).unwrap();
        entry.lines().find_map(|line| line.strip_prefix("linux ")).unwrap().to_owned()
    };
    let (new, old) = (kernel(2), kernel(1));
    assert_ne!(new, old);
    let content = |kernel: &str| fs::read_to_string(sysroot.join("boot").join(kernel.trim_start_matches('/'))).unwrap();
    assert_eq!((content(&new), content(&old)), ("kernel of new".into(), "kernel of old".into()));
    Kernels { new: format!("/boot{new}"), old: format!("/boot{old}") }
}

/// What libostree wants of a system.
fn system(tree: &Path, version: &str) {
    let _ = fs::remove_dir_all(tree);
    for dir in ["usr/lib/modules/6.1", "usr/etc", "boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
    }
    let release = format!("ID=fm\nVERSION_ID={version}\nPRETTY_NAME=\"FM's {version}\"\n");
    fs::write(tree.join("usr/lib/os-release"), release).unwrap();
    fs::write(tree.join("usr/lib/modules/6.1/vmlinuz"), format!("kernel of {version}")).unwrap();
    fs::write(tree.join("usr/lib/modules/6.1/initramfs.img"), "").unwrap();
    fs::write(tree.join("usr/lib/modules/6.1/devicetree"), format!("tree of {version}")).unwrap();
    // libostree adds this to what U-Boot reads.
    fs::create_dir_all(tree.join("usr/lib/ostree-boot")).unwrap();
    fs::write(tree.join("usr/lib/ostree-boot/uEnv.txt"), "own=1\nfullmetal_boot=reset\n").unwrap();
}
