//! What layers become, as ostree's own program sees the commit.

use super::super::harness::{Bench, publish};
use super::layout::{Layer, one_image, options};
use serde_json::json;
use tar::EntryType;

/// Publishes an image of these layers over a /bin/app; what is in the root file system then.
fn flat(layers: Vec<Layer>) -> (Bench, Vec<String>) {
    let bench = Bench::new();
    let layout = one_image(&bench, json!({}), layers);
    publish(&options(&bench, &layout.dir)).unwrap();
    let own = ["bin", "bin/app", "data", "dev", "proc", "run", "sys", "tmp"];
    let listed = bench.ostree(&["ls", "-R", "--nul-filenames-only", "apps/web", "/rootfs"]);
    let paths = listed.split('\0').filter_map(|path| path.strip_prefix("/rootfs/")).map(str::to_owned);
    let mut paths: Vec<_> = paths.filter(|path| !own.contains(&path.as_str())).collect();
    paths.sort();
    (bench, paths)
}

fn cat(bench: &Bench, path: &str) -> String {
    bench.ostree(&["cat", "apps/web", &format!("/rootfs/{path}")])
}

fn names(layers: Vec<Layer>) -> String {
    flat(layers).1.join(" ")
}

#[test]
fn whiteouts_hide_what_lower_layers_have_and_nothing_of_their_own() {
    let base = || Layer::new().dir("etc").file("etc/a", "1").file("etc/b", "1").dir("etc/d").file("etc/d/x", "1");
    assert_eq!(names(vec![base(), Layer::new().hide("etc/a").hide("etc/d")]), "etc etc/b");
    // Wherever the whiteout stands in its layer.
    let (bench, listed) = flat(vec![base(), Layer::new().file("etc/a", "2").hide("etc/a").hide("etc/none")]);
    assert_eq!(listed.join(" "), "etc etc/a etc/b etc/d etc/d/x");
    assert_eq!(cat(&bench, "etc/a"), "2");
    let above = Layer::new().dir("etc/d").file("etc/d/y", "2").hide("etc/d");
    assert_eq!(names(vec![base(), above]), "etc etc/a etc/b etc/d etc/d/y");
    assert_eq!(names(vec![base(), Layer::new().hide("etc"), Layer::new().file("etc/c", "3")]), "etc etc/c");
}

#[test]
fn an_opaque_directory_has_only_what_its_own_layer_and_those_above_put_there() {
    let base = || Layer::new().dir("etc").file("etc/a", "1").dir("etc/d").file("etc/d/x", "1");
    let opaque = |layer: Layer| layer.file("etc/.wh..wh..opq", "");
    assert_eq!(names(vec![base(), opaque(Layer::new().dir("etc"))]), "etc");
    for above in [opaque(Layer::new().dir("etc")).file("etc/d/y", ""), opaque(Layer::new().file("etc/d/y", ""))] {
        assert_eq!(names(vec![base(), above, Layer::new().file("etc/z", "")]), "etc etc/d etc/d/y etc/z");
    }
    let aufs = Layer::new().file(".wh..wh.plnk", "").file(".wh..wh.aufs", "");
    assert_eq!(names(vec![base(), aufs]), "etc etc/a etc/d etc/d/x");
}

#[test]
fn owners_modes_attributes_and_links_are_those_of_the_layers() {
    let capability = b"\x01\0\0\x02\0\x04\0\0\n\0\0\0\0\0\0\0\0\0\0\0";
    let base = Layer::new()
        .add("su", EntryType::Regular, 0o4755, b"x", "")
        .xattr("security.capability", capability)
        .xattr("trusted.overlay.opaque", b"y")
        .file("ping", "x")
        .symlink("sh", "/bin/app")
        .add("dev/console", EntryType::Char, 0o600, b"", "");
    // A hard link to a file of the layer below, which then changes.
    let above = Layer::new().link("twin", "su").file("su", "new").link("sh2", "sh");
    let (bench, _) = flat(vec![base, above]);
    let listed = bench.ostree(&["ls", "-RX", "apps/web", "/rootfs"]);
    let line = |name: &str| {
        let line = listed.lines().find(|line| line.contains(&format!("/rootfs/{name}"))).unwrap_or_default();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(line("twin").starts_with("-04755 7 8 1 "), "{listed}");
    assert!(line("su").starts_with("-00644 7 8 3 "), "{listed}");
    assert!(line("ping").contains("security.capability") && !line("ping").contains("overlay"), "{listed}");
    assert!(line("sh2").ends_with("/rootfs/sh2 -> /bin/app"), "{listed}");
    assert!(line("bin").starts_with("d00750 7 8 "), "{listed}");
    assert_eq!((cat(&bench, "twin"), line("dev/console")), ("x".to_owned(), String::new()));
}

#[test]
fn a_layer_may_put_another_kind_of_thing_in_a_place() {
    let base = || Layer::new().dir("d").file("d/x", "1").file("f", "1");
    assert_eq!(names(vec![base(), Layer::new().file("d", "2")]), "d f");
    assert_eq!(names(vec![base(), Layer::new().dir("f").file("f/y", "2")]), "d d/x f f/y");
    assert_eq!(names(vec![base(), Layer::new().symlink("d", "f")]), "d f");
    // A directory that comes again keeps what is in it.
    assert_eq!(names(vec![base(), Layer::new().add("d", EntryType::Directory, 0o700, b"", "")]), "d d/x f");
    // A symlink's place is taken by the directory, not where it leads.
    let linked = Layer::new().dir("e").file("e/x", "").symlink("l", "e");
    assert_eq!(names(vec![linked, Layer::new().dir("l").file("l/y", "")]), "e e/x l l/y");
}

#[test]
fn what_is_written_through_a_symlink_goes_where_it_leads_inside_the_image() {
    let usr = || Layer::new().dir("usr/lib").symlink("lib", "usr/lib").symlink("lib64", "/lib");
    let (_, listed) = flat(vec![usr(), Layer::new().file("lib/a.so", "").file("lib64/b.so", "")]);
    assert_eq!(listed.join(" "), "lib lib64 usr usr/lib usr/lib/a.so usr/lib/b.so");
    let hidden = vec![usr(), Layer::new().file("usr/lib/a.so", ""), Layer::new().hide("lib/a.so")];
    assert_eq!(names(hidden), "lib lib64 usr usr/lib");
    // Up and away stays inside.
    let (bench, listed) =
        flat(vec![Layer::new().symlink("up", "../../../etc"), Layer::new().file("up/passwd", "mine")]);
    assert_eq!(listed.join(" "), "etc etc/passwd up");
    assert_eq!(cat(&bench, "etc/passwd"), "mine");
    // A directory of the lower layer that the upper one turns into a symlink, and then writes through.
    let turned = Layer::new().symlink("d", "/etc").file("d/shadow", "");
    assert_eq!(names(vec![Layer::new().dir("d").file("d/x", ""), turned]), "d etc etc/shadow");
}
