//! Operating systems: what is checked before anything is written, and what the commit says then.

use super::harness::{Bench, command, key, name, publish};
use crate::publish::{Arch, ImageSource, Options, PublishError, ReleaseInfo, Source};
use fullmetal_proto::ostree::{Asks, Commit};
use fullmetal_proto::wire::PartKind;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const VERSION: &str = "6.1.0-50-cloud-amd64";
const CHECKSUM: &str = "8e9ce7b90dcb7988782af22d431bdf2ea3e447a21fcad634c3c024483b020880";

/// The least that is an operating system.
fn system(bench: &Bench) -> PathBuf {
    let root = bench.path("system");
    let modules = root.join("usr/lib/modules").join(VERSION);
    let usr = ["usr/etc", "usr/bin", "usr/lib/ostree"].map(|dir| root.join(dir));
    let mounts = ["boot", "dev", "proc", "run", "sys", "sysroot", "var"].map(|dir| root.join(dir));
    usr.iter().chain(&mounts).chain([&modules]).for_each(|dir| fs::create_dir_all(dir).unwrap());
    let files = ["usr/lib/os-release", "usr/lib/ostree/ostree-prepare-root", "usr/bin/fullmetal"];
    let kernel = [modules.join("vmlinuz"), modules.join("initramfs.img")];
    files.map(|file| root.join(file)).iter().chain(&kernel).for_each(|file| fs::write(file, b"x").unwrap());
    symlink("../lib/os-release", root.join("usr/etc/os-release")).unwrap();
    symlink("sysroot/ostree", root.join("ostree")).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    root
}

fn options(bench: &Bench, path: PathBuf) -> Options {
    let mut options = bench.options_of(path.clone());
    options.source = Source::Tree { path, cmd: Vec::new() };
    options.ref_name = Some(name("os/floor"));
    options.os = true;
    options
}

fn lacks(options: &Options) -> String {
    let error = publish(options).unwrap_err();
    assert!(matches!(error, PublishError::NotBootable { .. }) && error.is_usage(), "{error}");
    error.to_string()
}

fn parsed(bench: &Bench, commit: &str) -> Commit {
    let path = bench.repo().join(format!("objects/{}/{}.commit", &commit[..2], &commit[2..]));
    Commit::parse(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn an_operating_system_says_what_it_is_as_libostrees_own_tools_do() {
    let bench = Bench::new();
    let root = system(&bench);
    let mut options = options(&bench, root.clone());
    options.info = ReleaseInfo { release: Some(7), version: Some("2026.11".into()), ..ReleaseInfo::default() };
    let published = publish(&options).unwrap();
    assert_eq!((published.kind, published.kernel.as_deref()), (PartKind::Os, Some(VERSION)));
    assert!(published.notes.is_empty(), "{:?}", published.notes);
    let commit = published.commit.to_string();
    let tree = format!("--tree=dir={}", root.display());
    bench.ostree(&["commit", "-b", "theirs", "--bootable", "--add-metadata-string=version=2026.11", &tree]);
    for key in ["ostree.bootable", "ostree.linux", "version"] {
        let said = |rev: &str| bench.ostree(&["show", &format!("--print-metadata-key={key}"), rev]);
        assert_eq!(said(&commit), said("theirs"), "{key}");
    }
    let said = parsed(&bench, &commit).metadata;
    assert_eq!(
        (said.version.as_deref(), said.release, said.kernel.as_deref()),
        (Some("2026.11"), Some(7), Some(VERSION))
    );
    assert!(publish(&options).unwrap().unchanged);
    // A tarball is looked at in the same way.
    let tar = bench.path("system.tar");
    command("tar", &["-C", &root.display().to_string(), "-cf", &tar.display().to_string(), "."]);
    options.source = Source::Tree { path: tar.clone(), cmd: Vec::new() };
    assert!(publish(&options).unwrap().unchanged);
}

#[test]
fn what_a_device_could_not_boot_is_refused_with_what_to_do_and_makes_no_repo() {
    let modules = format!("usr/lib/modules/{VERSION}");
    let remove = |path: &str| {
        let path = path.to_owned();
        move |root: &Path| fs::remove_file(root.join(&path)).unwrap()
    };
    type Change<'c> = Box<dyn Fn(&Path) + 'c>;
    let cases: Vec<(Change<'_>, &str)> = vec![
        (
            Box::new(remove(&format!("{modules}/vmlinuz"))),
            "there is no kernel: it must be usr/lib/modules/VERSION/vmlinuz",
        ),
        (
            Box::new(|root| {
                fs::create_dir(root.join("usr/lib/modules/7.0")).unwrap();
                fs::write(root.join("usr/lib/modules/7.0/vmlinuz"), b"x").unwrap();
            }),
            "there are several kernels, 6.1.0-50-cloud-amd64, 7.0: leave one",
        ),
        (
            Box::new(|root| {
                fs::remove_file(root.join(&modules).join("vmlinuz")).unwrap();
                symlink("/boot/vmlinuz", root.join(&modules).join("vmlinuz")).unwrap();
            }),
            "there is no kernel",
        ),
        (Box::new(remove(&format!("{modules}/initramfs.img"))), "there is no initramfs beside the kernel"),
        (Box::new(|root| fs::rename(root.join("usr/etc"), root.join("etc")).unwrap()), "there is no usr/etc"),
        (Box::new(|root| fs::create_dir(root.join("etc")).unwrap()), "there are etc and usr/etc"),
        // The link to it, which every Debian has, is none.
        (Box::new(remove("usr/lib/os-release")), "there is no usr/lib/os-release"),
        (
            Box::new(|root| ["proc", "var"].iter().for_each(|dir| fs::remove_dir(root.join(dir)).unwrap())),
            "make proc, var",
        ),
        (Box::new(remove("ostree")), "ostree must be a symlink to sysroot/ostree"),
        (
            Box::new(|root| fs::set_permissions(root, fs::Permissions::from_mode(0o700)).unwrap()),
            "its root has mode 700",
        ),
    ];
    for (change, expected) in &cases {
        let bench = Bench::new();
        let root = system(&bench);
        change(&root);
        let said = lacks(&options(&bench, root));
        assert!(said.contains(expected) && said.matches("; ").count() <= 2, "{said}");
        assert!(!bench.repo().exists());
    }
    let bench = Bench::new();
    let said = lacks(&options(&bench, bench.rootfs()));
    assert!(["no kernel", "no usr/etc", "os-release", "sysroot", "symlink"].iter().all(|w| said.contains(w)), "{said}");
}

#[test]
fn a_kernel_where_older_tools_put_it_and_one_without_an_initramfs_are_found() {
    let bench = Bench::new();
    let root = system(&bench);
    let modules = root.join("usr/lib/modules").join(VERSION);
    let mut options = options(&bench, root.clone());
    fs::remove_file(modules.join("initramfs.img")).unwrap();
    options.needs_initramfs = false;
    assert_eq!(publish(&options).unwrap().kernel.as_deref(), Some(VERSION));
    options.needs_initramfs = true;
    // As dracut names it: libostree would take it for nothing.
    fs::write(modules.join(format!("initramfs-{VERSION}.img")), b"x").unwrap();
    assert!(lacks(&options).contains("there is no initramfs beside the kernel"));
    fs::write(modules.join("initramfs"), b"x").unwrap();
    publish(&options).unwrap();
    fs::remove_dir_all(&modules).unwrap();
    for dir in ["boot", "usr/lib/ostree-boot"] {
        fs::create_dir_all(root.join(dir)).unwrap();
        // A kernel as Debian installs it is none that OSTree would find.
        fs::write(root.join(dir).join(format!("vmlinuz-{VERSION}")), b"x").unwrap();
        assert!(lacks(&options).contains("there is no kernel"));
        let of = |part: &str| root.join(dir).join(format!("{part}-{CHECKSUM}"));
        fs::write(of("vmlinuz"), b"x").unwrap();
        assert!(lacks(&options).contains("there is no initramfs"));
        fs::write(of("initramfs"), b"x").unwrap();
        let published = publish(&options).unwrap();
        assert_eq!((published.kind, published.kernel), (PartKind::Os, None));
        fs::remove_file(of("vmlinuz")).unwrap();
    }
}

#[test]
fn a_manifest_says_which_files_go_to_boot() {
    let bench = Bench::new();
    let root = system(&bench);
    let modules = Path::new("usr/lib/modules").join(VERSION);
    let files = ["dtb/vendor/press.dtb", "initramfs.img", "vmlinuz", "modules.dep"].map(|file| modules.join(file));
    for file in &files {
        fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        fs::write(root.join(file), file.to_str().unwrap()).unwrap();
    }
    let commit = publish(&options(&bench, root)).unwrap().commit;
    let (manifest, commit) = (bench.manifest(&commit), commit.to_string());
    let boot: Vec<_> = manifest.boot.iter().map(|at| manifest.objects[*at as usize].id.checksum.to_string()).collect();
    let of = |file: &PathBuf| bench.ostree(&["ls", "-C", &commit, &format!("/{}", file.display())]);
    let is_told = files.map(|file| boot.iter().any(|checksum| of(&file).contains(checksum)));
    assert_eq!((boot.len(), is_told), (3, [true, true, true, false]));
}

#[test]
fn what_is_odd_about_an_operating_system_is_told() {
    let bench = Bench::new();
    let root = system(&bench);
    for file in ["usr/lib/ostree/ostree-prepare-root", "usr/bin/fullmetal"] {
        fs::remove_file(root.join(file)).unwrap();
    }
    fs::write(root.join("var/lost"), b"x").unwrap();
    let notes = publish(&options(&bench, root)).unwrap().notes;
    let [prepare, agent, var] = &notes[..] else { panic!("{notes:?}") };
    assert!(
        prepare.contains("ostree-prepare-root") && agent.contains("usr/bin/fullmetal") && var.contains("var is not")
    );
}

#[test]
fn a_commit_of_other_tools_is_looked_at_signed_as_it_is_or_made_anew() {
    let bench = Bench::new();
    let root = system(&bench);
    bench.ostree(&["init", "--mode=archive"]);
    let tree = format!("--tree=dir={}", root.display());
    bench.ostree(&["commit", "-b", "poky", "--no-bindings", &tree]);
    let mut options =
        Options { os: true, key: Some(key(1)), ..Options::new(bench.repo(), Source::Commit("poky".into())) };
    let signed = publish(&options).unwrap();
    assert_eq!((signed.kind, signed.kernel.as_deref(), signed.signatures), (PartKind::Os, Some(VERSION), 1));
    assert!(!parsed(&bench, &signed.commit.to_string()).metadata.bootable, "as it is");
    options.source = Source::Recommit("poky".into());
    options.ref_name = Some(name("os/floor"));
    options.info.release = Some(3);
    let made = publish(&options).unwrap();
    let said = parsed(&bench, &made.commit.to_string()).metadata;
    assert_eq!((said.bootable, said.release, said.kernel.as_deref()), (true, Some(3), Some(VERSION)));
    // What says itself what it is stays so, and is looked at without being told.
    options.os = false;
    options.source = Source::Recommit("os/floor".into());
    assert!(publish(&options).unwrap().unchanged);
    fs::remove_file(root.join("usr/lib/modules").join(VERSION).join("vmlinuz")).unwrap();
    bench.ostree(&["commit", "-b", "broken", "--add-metadata=ostree.bootable=true", &tree]);
    for source in [Source::Commit("broken".into()), Source::Recommit("broken".into())] {
        let options = Options { key: Some(key(1)), ..Options::new(bench.repo(), source) };
        let said = lacks(&options);
        assert!(said.starts_with("commit ") && said.contains("there is no kernel"), "{said}");
    }
}

#[test]
fn what_only_apps_have_is_refused_for_an_operating_system() {
    let bench = Bench::new();
    let refused = |change: &dyn Fn(&mut Options), expected: &str| {
        let mut options = options(&bench, bench.path("nowhere"));
        change(&mut options);
        let error = publish(&options).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains(expected), "{error}");
    };
    refused(&|o| o.info.health = vec!["/bin/true".into()], "--health: is for apps");
    refused(
        &|o| o.info.asks = Asks { notify: true, ..Asks::default() },
        "--os: an operating system asks for no devices",
    );
    refused(&|o| o.source = Source::Tree { path: "x".into(), cmd: vec!["/bin/x".into()] }, "--cmd: is for apps");
    let arch: Option<Arch> = None;
    let image = ImageSource { layout: "x".into(), tag: None, arch, cmd: Vec::new() };
    refused(&|o| o.source = Source::Image(image.clone()), "--os: an OCI image is an app");
}
