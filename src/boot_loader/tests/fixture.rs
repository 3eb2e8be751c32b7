use crate::boot_loader::{DeploymentId, Places};
use fullmetal_proto::Digest;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A device's files: its root directory is the deployment that is booted, as libostree has it.
pub(super) struct Device {
    sysroot: tempfile::TempDir,
    root: PathBuf,
}

pub(super) fn deployment(name: &str) -> DeploymentId {
    DeploymentId { commit: Digest::of(name.as_bytes()), serial: 0 }
}

impl Device {
    /// `old` is booted.
    pub(super) fn new() -> Self {
        let sysroot = tempfile::tempdir().unwrap();
        let root = sysroot.path().join("ostree/deploy/fm/deploy").join(deployment("old").to_string());
        let device = Device { root, sysroot };
        for dir in ["proc", "etc", "sys/firmware/efi/efivars"] {
            fs::create_dir_all(device.root.join(dir)).unwrap();
        }
        symlink(device.sysroot.path().join("ostree"), device.root.join("ostree")).unwrap();
        device.cmdline("root=/dev/vda1 rw ostree=/ostree/boot.1/fm/aaaa/0");
        device
    }

    pub(super) fn places(&self) -> Places {
        Places::below(&self.root)
    }

    pub(super) fn cmdline(&self, text: &str) {
        self.write("proc/cmdline", format!("{text}\n"));
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// An entry as libostree writes it, and the link that its `ostree=` leads through.
    pub(super) fn entry(&self, name: &str, version: u32, of: &DeploymentId) {
        let argument = format!("ostree/boot.1/fm/kernel-of-{version}/0");
        let link = self.sysroot.path().join(&argument);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&link);
        symlink(format!("../../../deploy/fm/deploy/{of}"), link).unwrap();
        let text = format!("title FM\nversion {version}\noptions rw ostree=/{argument}\nlinux /vmlinuz\n");
        self.write(&format!("boot/loader/entries/{name}.conf"), text);
    }
}

/// Runs one of the boot loader's own tools, with `input`, and returns what it printed.
pub(super) fn tool(program: &str, args: &[&str], path: &Path, input: &str) -> String {
    let mut command = Command::new(program);
    let at = usize::from(program.starts_with("fw_"));
    command.args(&args[..at]).arg(path).args(&args[at..]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|e| {
        panic!("{program}: {e} (`.ci/install-tools run` installs it)");
    });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
