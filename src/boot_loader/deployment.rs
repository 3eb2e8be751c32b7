//! Deployments of the operating system, and which of them runs.

use super::places::Places;
use fullmetal_proto::DeploymentId;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The deployment whose directory is the root directory; `None` where the root is no deployment.
///
/// By device and inode, as libostree does: the path on the kernel's command line may name another one after the next deploy.
/// A root on composefs is not found so.
pub fn booted(places: &Places) -> Option<DeploymentId> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let root = identity(places.root())?;
    for os in fs::read_dir(places.root().join("ostree/deploy")).ok()?.flatten() {
        for deployment in fs::read_dir(os.path().join("deploy")).into_iter().flatten().flatten() {
            if identity(&deployment.path()) == Some(root) {
                return deployment.file_name().to_str()?.parse().ok();
            }
        }
    }
    None
}

/// The deployment that a kernel's `ostree=` argument leads to, as things are now.
pub(super) fn of_argument(places: &Places, argument: &str) -> Option<DeploymentId> {
    let link = fs::read_link(places.root().join(argument.trim_start_matches('/'))).ok()?;
    link.file_name()?.to_str()?.parse().ok()
}
