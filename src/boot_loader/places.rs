//! Where boot loaders keep what is read and written here.

use std::path::{Path, PathBuf};

/// The files of a device, below one directory: `/`, but in tests.
#[derive(Clone, Debug)]
pub struct Places {
    root: PathBuf,
}

impl Places {
    /// Everything below `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Places { root: root.into() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// How the kernel was started.
    pub(super) fn cmdline(&self) -> PathBuf {
        self.root.join("proc/cmdline")
    }

    /// The kernel's name of this boot.
    pub(crate) fn boot_id(&self) -> PathBuf {
        self.root.join("proc/sys/kernel/random/boot_id")
    }

    /// Where U-Boot's environment lies, as `fw_setenv` reads it.
    pub(super) fn fw_env_config(&self) -> PathBuf {
        self.root.join("etc/fw_env.config")
    }

    /// GRUB's environment block: in its prefix, which Debian and Fedora name differently.
    pub(super) fn grub_env(&self) -> PathBuf {
        let fedora = self.root.join("boot/grub2");
        let dir = if fedora.is_dir() { fedora } else { self.root.join("boot/grub") };
        dir.join("grubenv")
    }

    /// The directory or link to a directory where libostree keeps the entries.
    pub(super) fn loader(&self) -> PathBuf {
        self.root.join("boot/loader")
    }

    /// The sysroot's repo's configuration.
    pub(super) fn repo_config(&self) -> PathBuf {
        self.root.join("ostree/repo/config")
    }

    /// What the EFI boot loader says of itself: systemd's vendor id.
    ///
    /// Source: <https://systemd.io/BOOT_LOADER_INTERFACE>.
    pub(super) fn loader_info(&self) -> PathBuf {
        self.root.join("sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
    }
}
