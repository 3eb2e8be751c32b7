//! Deployments of others while libostree finalizes ours: it lets go of all in the stateroot that neither run nor are pinned. So
//! they are pinned for so long, each with a mark of ours.
//!
//! What runs then is in our hands from now on, whoever deployed it: else a device's first system would stay for ever, and take
//! the room in `/boot` that its third one needs. And what follows the same ref as what runs, such as what an updater before
//! us left to go back to, is replaced as that updater would have done.

use super::view::View;
use super::{OURS, OsDeployment, Sysroot, SysrootError};
use ostree::gio;
use ostree::glib::KeyFile;

/// The group of an origin that libostree hands on to no other deployment.
const TRANSIENT: &str = "libostree-transient";
/// Of libostree: it is pinned.
const PINNED: &str = "pinned";
/// We pinned it.
const HELD: &str = "fullmetal-held";

impl Sysroot {
    /// Pins those of others that are not, and makes what runs ours.
    ///
    /// # Errors
    /// When an origin cannot be written.
    pub(super) fn hold_others(&self) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        let followed = view.booted.origin().and_then(refspec);
        for deployment in view.entries() {
            let told = self.told(&view, &deployment)?;
            let origin = deployment.origin().unwrap_or_else(KeyFile::new);
            match told {
                OsDeployment { ours: true, .. } => continue,
                OsDeployment { booted: true, .. } => origin.set_string(OURS, "commit", &deployment.csum()),
                OsDeployment { pinned: true, .. } => continue,
                _ if followed.is_some() && refspec(origin.clone()) == followed => continue,
                _ => {
                    origin.set_boolean(TRANSIENT, PINNED, true);
                    origin.set_boolean(TRANSIENT, HELD, true);
                }
            }
            self.write_origin(&view, &deployment, &origin)?;
        }
        Ok(())
    }

    /// Ends that, also where a power cut came in between.
    ///
    /// # Errors
    /// When an origin cannot be written.
    pub(super) fn let_go_of_others(&self) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        for deployment in view.entries() {
            let Some(origin) = deployment.origin().filter(|origin| origin.boolean(TRANSIENT, HELD).unwrap_or(false))
            else {
                continue;
            };
            for key in [PINNED, HELD] {
                // It may be gone: somebody has unpinned it since.
                let _ = origin.remove_key(TRANSIENT, key);
            }
            self.write_origin(&view, &deployment, &origin)?;
        }
        Ok(())
    }

    fn write_origin(&self, view: &View, deployment: &ostree::Deployment, origin: &KeyFile) -> Result<(), SysrootError> {
        let written = view.sysroot.write_origin_file(deployment, Some(origin), gio::Cancellable::NONE);
        written.map_err(self.failed("writing an origin"))
    }
}

/// What an origin says that its deployment follows: a ref, or a commit.
fn refspec(origin: KeyFile) -> Option<String> {
    origin.string("origin", "refspec").ok().map(|refspec| refspec.to_string())
}
