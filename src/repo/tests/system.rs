//! The repository of a sysroot, which others prune as they like.

use super::super::{Import, ImportError, Objects, StoreError, SystemStore, installed};
use super::{BIG_LEN, Fixture, feed_all, noise, pack, run};
use fullmetal_proto::Bitmap;
use fullmetal_proto::wire::{ObjectKind, Pieces};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A fresh sysroot in `dir`; gives the path of its repository.
pub(crate) fn sysroot(dir: &Path) -> PathBuf {
    let sysroot = dir.join("sysroot");
    fs::create_dir_all(&sysroot).unwrap();
    run("ostree", &["admin", "init-fs", "--modern", sysroot.to_str().unwrap()]);
    let option = format!("--sysroot={}", sysroot.display());
    run("ostree", &["admin", "os-init", &option, "fm"]);
    sysroot.join("ostree/repo")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What only root owns a file for.
const CAPABILITY: &str = "0x0100000200040000000000000000000000000000";

/// An operating system with all that a file can be.
pub(crate) fn system() -> Fixture {
    Fixture::of("os/press", &[], |tree| {
        for dir in ["usr/bin", "usr/lib/modules/6.1/", "usr/etc/ssl/private", "var"] {
            fs::create_dir_all(tree.join(dir)).unwrap();
        }
        let path = |name: &str| tree.join(name).to_str().unwrap().to_owned();
        let file = |name: &str, mode, owner: (u32, u32), bytes: &[u8]| {
            fs::write(path(name), bytes).unwrap();
            std::os::unix::fs::chown(path(name), Some(owner.0), Some(owner.1)).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        file("usr/bin/su", 0o4755, (0, 0), b"su");
        file("usr/bin/write", 0o2755, (0, 5), b"write");
        file("usr/bin/ping", 0o755, (0, 0), b"ping");
        file("usr/etc/ssl/private/key", 0o640, (1000, 117), b"key");
        file("usr/lib/os-release", 0o644, (0, 0), b"ID=fm\nPRETTY_NAME=fm\n");
        file("usr/lib/modules/6.1/vmlinuz", 0o644, (0, 0), &noise(BIG_LEN, 3));
        file("usr/etc/empty", 0o600, (33, 33), b"");
        std::os::unix::fs::symlink("/nowhere/at/all", path("usr/bin/dangling")).unwrap();
        std::os::unix::fs::lchown(path("usr/bin/dangling"), Some(7), Some(7)).unwrap();
        run("setfattr", &["-n", "security.capability", "-v", CAPABILITY, &path("usr/bin/ping")]);
    })
}

fn import(fixture: &Fixture, store: &mut SystemStore) {
    let (manifest, pieces) = pack(fixture, 1 << 20);
    let mut import = Import::plan(&Pieces::Frames(manifest), store).unwrap();
    feed_all(&mut import, store, &pieces, &all(pieces.len())).unwrap();
    assert!(import.is_complete());
}

fn all(count: usize) -> Bitmap {
    let mut all = Bitmap::new(count as u32);
    for piece in 0..count as u32 {
        all.set(piece);
    }
    all
}

/// Has others do what they do to a sysroot. Nothing that is deployed is made immutable.
fn admin(repo: &Path, args: &[&str]) {
    let option = format!("--sysroot={}", repo.parent().unwrap().parent().unwrap().display());
    run(
        "env",
        &[&["OSTREE_SYSROOT_DEBUG=mutable-deployments", "ostree", "admin", args[0], &option], &args[1..]].concat(),
    );
}

fn let_go(repo: &Path) {
    run("ostree", &["refs", &format!("--repo={}", repo.display()), "--delete", "fullmetal/keep"]);
}

#[test]
fn an_operating_system_is_imported_as_it_is_and_deployed() {
    if !is_root() {
        return;
    }
    let (fixture, dir) = (system(), tempfile::tempdir().unwrap());
    let repo = sysroot(dir.path());
    let mut store = SystemStore::open(&repo).unwrap();
    import(&fixture, &mut store);
    run("ostree", &["fsck", &format!("--repo={}", repo.display())]);
    assert_eq!(super::streams(&repo, &fixture.commit), fixture.objects);
    let commit = fixture.commit.to_string();
    admin(&repo, &["deploy", "--os=fm", &commit]);
    let_go(&repo);
    admin(&repo, &["cleanup"]);
    assert!(installed(&store, &fixture.commit).unwrap(), "the deployment holds it");
    let root = repo.parent().unwrap().join(format!("deploy/fm/deploy/{commit}.0"));
    let is = |name: &str| fs::symlink_metadata(root.join(name)).map(|m| (m.mode() & 0o7777, m.uid(), m.gid())).unwrap();
    assert_eq!(is("usr/bin/su"), (0o4755, 0, 0));
    assert_eq!(is("usr/bin/write"), (0o2755, 0, 5));
    assert_eq!(is("usr/etc/ssl/private/key"), (0o640, 1000, 117));
    assert_eq!(is("usr/bin/dangling"), (0o777, 7, 7));
    let ping = root.join("usr/bin/ping");
    let attributes = run("getfattr", &["-e", "hex", "-n", "security.capability", ping.to_str().unwrap()]);
    assert!(attributes.contains(CAPABILITY), "{attributes}");
    assert!(fs::metadata(ping).unwrap().nlink() > 1, "it is a link into the repository");
}

#[test]
fn others_prune_a_sysroot_of_what_is_not_whole_yet_and_not_of_what_is() {
    if !is_root() {
        return;
    }
    let (fixture, dir) = (system(), tempfile::tempdir().unwrap());
    let repo = sysroot(dir.path());
    let option = format!("--repo={}", repo.display());
    let prunes: [&dyn Fn(); 2] =
        [&|| admin(&repo, &["cleanup"]), &|| drop(run("ostree", &["prune", &option, "--refs-only"]))];
    let mut store = SystemStore::open(&repo).unwrap();
    let ids: Vec<_> = fixture.objects.iter().map(|(id, _)| *id).collect();
    let (manifest, pieces) = pack(&fixture, 1 << 20);
    let manifest = Pieces::Frames(manifest);
    for prune in prunes {
        fixture.write(&mut store, |kind| kind == ObjectKind::File).unwrap();
        let mut import = Import::plan(&manifest, &store).unwrap();
        prune();
        assert_eq!(store.missing(&ids).unwrap(), ids, "no ref names it");
        let failed = feed_all(&mut import, &mut store, &pieces, &all(pieces.len())).unwrap_err();
        assert!(
            matches!(&failed, ImportError::Lie { source, .. } if matches!(**source, StoreError::Missing { .. })),
            "{failed}"
        );
        self::import(&fixture, &mut store);
        prune();
        assert!(store.missing(&ids).unwrap().is_empty(), "a ref holds it");
        let_go(&repo);
        prune();
        assert_eq!(store.missing(&ids).unwrap(), ids);
        run("ostree", &["fsck", &option]);
    }
}

#[test]
fn a_repository_from_which_no_system_is_deployed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(SystemStore::open(&dir.path().join("none")).is_err());
    run("ostree", &["init", "--mode=bare-user", &format!("--repo={}", dir.path().display())]);
    let refused = SystemStore::open(dir.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Mode { .. }) && refused.to_string().contains("init-fs"), "{refused}");
    let repo = sysroot(dir.path());
    run("ostree", &["config", &format!("--repo={}", repo.display()), "set", "ex-fsverity.required", "true"]);
    let refused = SystemStore::open(&repo).unwrap_err();
    assert!(refused.to_string().contains("ex-fsverity.required"), "{refused}");
}
