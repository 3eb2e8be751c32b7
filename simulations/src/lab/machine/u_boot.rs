//! Debian's U-Boot for qemu's PC, and what a board has to bring: an environment in two copies on the disk, and how a kernel is booted.
//!
//! The 32-bit one: the other resets when it boots a kernel.

use crate::lab::output_of;
use anyhow::Context as _;
use std::fs;
use std::path::Path;
use std::process::Command;

const FIRMWARE: &str = "/usr/lib/u-boot/qemu-x86/u-boot.rom";
/// How long it waits for a key, of which there are none.
const DELAY: [&[u8; 12]; 2] = [b"bootdelay=2\0", b"bootdelay=0\0"];
/// The beginning of a board's script: reads the environment and sets `fullmetal_save`.
pub const ENVIRONMENT: &str = include_str!("environment.cmd");
const BOARD: &str = include_str!("board.cmd");
/// Where our package has its script, below the root.
const PACKAGED: &str = "usr/share/fullmetal/fullmetal.cmd";

/// What `/etc/fw_env.config` says of the copies on this disk.
pub fn config(disk: &Path) -> String {
    ["0x2000", "0x6000"].map(|offset| format!("{} {offset} 0x4000\n", disk.display())).concat()
}

/// Makes a firmware for qemu (`-bios`) that boots without waiting.
///
/// # Errors
/// Without Debian's u-boot-qemu.
pub fn firmware(to: &Path) -> anyhow::Result<()> {
    let mut bytes = fs::read(FIRMWARE).with_context(|| format!("reading {FIRMWARE} of u-boot-qemu"))?;
    let [from, instead] = DELAY;
    let at = bytes.windows(from.len()).position(|window| window == from).context("U-Boot's delay is not in it")?;
    bytes[at..at + instead.len()].copy_from_slice(instead);
    fs::write(to, bytes).with_context(|| format!("writing {}", to.display()))
}

/// Makes of a script what U-Boot runs.
///
/// # Errors
/// Without `mkimage`, or when it fails.
pub fn compile(script: &Path, to: &Path) -> anyhow::Result<()> {
    let mut mkimage = Command::new("mkimage");
    output_of(mkimage.args(["-A", "x86", "-T", "script", "-C", "none", "-d"]).arg(script).arg(to)).map(|_| ())
}

/// Prepares a new disk with a root as docs/integrators-os.md says; `root` is what was deployed.
pub(super) fn install(sysroot: &Path, root: &Path, scratch: &Path) -> anyhow::Result<()> {
    let (board, boot) = (scratch.join("board.cmd"), sysroot.join("boot"));
    fs::write(&board, [ENVIRONMENT, BOARD].concat())?;
    compile(&board, &boot.join("boot.scr"))?;
    compile(&root.join(PACKAGED), &boot.join("fullmetal.scr"))?;
    fs::write(root.join("etc/fw_env.config"), config(Path::new("/dev/vda"))).context("writing fw_env.config")
}
