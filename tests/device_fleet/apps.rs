//! Apps whose behaviour files in their `/data` decide: `hold-N` keeps release N from being ready, `fail-N` ends it.

use fullmetal_proto::Digest;
use fullmetal_sim::lab::device::Device;
use fullmetal_sim::lab::{SmallApp, output_of};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const SCRIPT: &str = r#"#!/bin/sh
echo "release N starts"
if [ -e /data/fail-N ]; then echo "cannot start: /data/fail-N is there"; exit 3; fi
while [ -e /data/hold-N ]; do sleep 0.05; done
[ -x /bin/systemd-notify ] && /bin/systemd-notify --ready
exec httpd -f -p 127.0.0.1:$(cat /data/port) -h /www
"#;

/// The root file system of a release; `ready` is the device whose `systemd-notify` it takes along.
pub fn build(dir: &Path, release: u64, ready: Option<&Device>) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    let root = SmallApp::new(dir).build(release).unwrap();
    let _ = symlink("busybox", root.join("bin/sleep"));
    fs::write(
        root.join("app/run"),
        SCRIPT.replace("-N", &format!("-{release}")).replace(" N ", &format!(" {release} ")),
    )
    .unwrap();
    if let Some(device) = ready {
        let tool = "/usr/bin/systemd-notify";
        let base = device.base_file("/");
        let libraries = output_of(Command::new("chroot").arg(base).args(["ldd", tool])).unwrap();
        for file in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = root.join(file.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(device.base_file(file), to).unwrap();
        }
        fs::copy(device.base_file(tool), root.join("bin/systemd-notify")).unwrap();
    }
    root
}

/// Bytes that do not compress, others for each seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let digests = (0u64..).flat_map(|n| *Digest::of(format!("{seed} {n}").as_bytes()).as_bytes());
    digests.take(bytes).collect()
}
