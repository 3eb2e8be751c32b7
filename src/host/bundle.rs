//! The OCI bundle of a run: the checked `config.json`, and the app's data directory.

use super::oci::{self, Adapted, CONFIG_LEN_MAX, Controllers, Place, Refusal, Terms};
use super::{App, HostError, Layout, asked};
use crate::untrusted;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// What would run, or why it will not; changes nothing.
pub(super) fn check(layout: &Layout, app: &App) -> Result<Adapted, HostError> {
    let refused = |source| HostError::Refused { name: app.name.clone(), source };
    let checkout = layout.checkout(&app.commit);
    let place = Place {
        rootfs: checkout.join("rootfs"),
        data: layout.data(),
        data_by_default: layout.data_by_default(),
        cgroup: layout.cgroup(),
    };
    if !fs::symlink_metadata(&place.rootfs).is_ok_and(|m| m.is_dir()) {
        return Err(refused(Refusal::NoRoot(place.rootfs)));
    }
    let path = checkout.join("config.json");
    let json = untrusted::read(&path, CONFIG_LEN_MAX);
    let json = json.map_err(|e| refused(Refusal::NoConfig { path, why: e.to_string() }))?;
    let policy = layout.policy().map_err(|source| HostError::Policy { name: app.name.clone(), source })?;
    let terms = Terms {
        name: &app.name,
        asks: &asked::in_checkout(layout.paths(), &app.name, &app.commit),
        policy: policy.of(&app.name),
        nodes: &oci::scan(Path::new("/dev")),
        controllers: Controllers::of_kernel(),
    };
    oci::adapt(&json, &place, &terms).map_err(refused)
}

/// Makes the bundle and the app's data directory. Gives what the app asks for, is allowed and cannot have on this device, a line each.
pub(super) fn prepare(layout: &Layout, app: &App) -> Result<Vec<String>, HostError> {
    let (json, Adapted { lacks, .. }) = adapted(layout, app)?;
    let bundle = layout.bundle();
    fs::create_dir_all(&bundle).map_err(HostError::io("making", &bundle))?;
    let path = bundle.join("config.json");
    fs::write(&path, json).map_err(HostError::io("writing", &path))?;
    Ok(lacks)
}

/// The `config.json` to run, and what is in it. The app's data directory is made, which belongs to the app's user.
pub(super) fn adapted(layout: &Layout, app: &App) -> Result<(Vec<u8>, Adapted), HostError> {
    let adapted = check(layout, app)?;
    let spec = &adapted.spec;
    let (uid, gid) = spec.process().as_ref().map_or((0, 0), |p| (p.user().uid(), p.user().gid()));
    make_data(&layout.data(), uid, gid)?;
    let encoded = serde_json::to_vec_pretty(spec).map_err(io::Error::from);
    let json = encoded.map_err(HostError::io("encoding the configuration of", &layout.checkout(&app.commit)))?;
    Ok((json, adapted))
}

/// Its parents are root's, so that no app can put a link in the place of its directory.
fn make_data(path: &Path, uid: u32, gid: u32) -> Result<(), HostError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(HostError::io("making", parent))?;
    }
    match DirBuilder::new().mode(0o750).create(path) {
        // What the app syncs in it must not be lost with the directory's own name.
        Ok(()) => path
            .ancestors()
            .skip(1)
            .take(2)
            .try_for_each(|dir| File::open(dir).and_then(|d| d.sync_all()).map_err(HostError::io("syncing", dir)))?,
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(HostError::io("making", path)(e)),
        Err(_) => {}
    }
    let found = fs::symlink_metadata(path).map_err(HostError::io("looking at", path))?;
    if !found.is_dir() {
        return Err(HostError::io("using", path)(io::Error::other("not a directory")));
    }
    if (found.uid(), found.gid()) != (uid, gid) {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(HostError::io("giving away", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::Digest;

    fn refused(prepare: impl FnOnce(&Path)) -> String {
        let root = tempfile::tempdir().unwrap();
        let app = App { name: "web".parse().unwrap(), commit: Digest::of(b"1"), job: false };
        let layout = Layout::new(root.path(), &"d".parse().unwrap(), &app.name);
        let checkout = layout.checkout(&app.commit);
        fs::create_dir_all(&checkout).unwrap();
        prepare(&checkout);
        let error = check(&layout, &app).unwrap_err();
        assert!(matches!(error, HostError::Refused { .. }));
        error.to_string().replace(checkout.to_str().unwrap(), "CHECKOUT")
    }

    fn with_root(checkout: &Path) {
        fs::create_dir(checkout.join("rootfs")).unwrap();
    }

    #[test]
    fn a_root_that_is_a_link_out_of_the_checkout_is_no_root() {
        let text = refused(|at| std::os::unix::fs::symlink("/", at.join("rootfs")).unwrap());
        assert_eq!(text, "web is not started: the app has no root file system: CHECKOUT/rootfs is not a directory");
    }

    #[test]
    fn only_a_regular_config_of_sensible_length_is_read() {
        let path = |at: &Path| at.join("config.json");
        assert!(refused(with_root).contains("CHECKOUT/config.json cannot be used (No such file"));
        let text = refused(|at| {
            with_root(at);
            std::os::unix::fs::symlink("/etc/passwd", path(at)).unwrap();
        });
        assert!(text.contains("CHECKOUT/config.json cannot be used (Too many levels of symbolic links"), "{text}");
        let text = refused(|at| {
            with_root(at);
            fs::create_dir(path(at)).unwrap();
        });
        assert!(text.contains("(not a regular file)"), "{text}");
        let text = refused(|at| {
            with_root(at);
            File::create(path(at)).unwrap().set_len(CONFIG_LEN_MAX + 1).unwrap();
        });
        assert!(text.contains("(over 1048576 bytes)"), "{text}");
    }
}
