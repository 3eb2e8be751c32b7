//! Which image of a layout is published: by tag and architecture.

use super::super::harness::{Bench, name, publish};
use super::layout::{INDEX, Layer, Layout, MANIFEST, options, source};
use crate::publish::{Options, image_layout};
use serde_json::{Value, json};
use std::path::PathBuf;

fn app(text: &str) -> Vec<Layer> {
    vec![Layer::new().program("app").file("which", text)]
}

fn run() -> Value {
    json!({ "Cmd": ["/app"] })
}

/// Two tags; one of them an index of three architectures and an attestation.
fn layout(bench: &Bench) -> Layout {
    let mut layout = Layout::new(bench);
    let mut below = Vec::new();
    for (arch, variant) in [("amd64", None), ("arm64", Some("v8")), ("arm", Some("v7"))] {
        let mut image = layout.image(arch, &run(), app(arch));
        image["platform"] = json!({ "os": "linux", "architecture": arch });
        if let Some(variant) = variant {
            image["platform"]["variant"] = json!(variant);
        }
        below.push(image);
    }
    let mut attestation = layout.blob(MANIFEST, b"not even JSON");
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    below.push(attestation);
    let many = layout.blob(INDEX, json!({ "schemaVersion": 2, "manifests": below }).to_string().as_bytes());
    let old = layout.image("amd64", &run(), app("old"));
    layout.list(many, "docker.io/web:2").list(old, "1");
    layout
}

fn of(bench: &Bench, layout: &Layout, tag: &str, arch: &str) -> Options {
    let mut path = layout.dir.clone().into_os_string();
    if !tag.is_empty() {
        path.push(format!(":{tag}"));
    }
    let mut options = options(bench, &PathBuf::from(path));
    source(&mut options).arch = (!arch.is_empty()).then(|| arch.parse().unwrap());
    options
}

#[test]
fn the_image_with_the_tag_and_the_architecture_is_published() {
    for (tag, arch, expected) in [
        ("1", "x86_64", "old"),
        ("docker.io/web:2", "amd64", "amd64"),
        ("docker.io/web:2", "aarch64", "arm64"),
        ("docker.io/web:2", "arm/v7", "arm"),
    ] {
        let bench = Bench::new();
        publish(&of(&bench, &layout(&bench), tag, arch)).unwrap();
        assert_eq!(bench.ostree(&["cat", "apps/web", "/rootfs/which"]), expected);
    }
}

#[test]
fn another_architecture_is_refused_with_both() {
    let bench = Bench::new();
    let layout = layout(&bench);
    for (tag, arch, expected) in [
        ("1", "arm64", "is for amd64, but arm64 is to be published"),
        ("docker.io/web:2", "riscv64", "is for amd64, arm64, arm/v7, but riscv64 is to be published"),
        ("docker.io/web:2", "arm/v6", "but arm/v6 is to be published"),
        ("3", "amd64", "has no image tagged \"3\"; it has 1, docker.io/web:2"),
        ("", "amd64", "has several images; name one as DIR:TAG: it has 1, docker.io/web:2"),
    ] {
        let said = publish(&of(&bench, &layout, tag, arch)).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
    assert!(!bench.repo().exists());
}

#[test]
fn the_architecture_is_given_or_what_the_ref_ends_with() {
    let bench = Bench::new();
    let layout = layout(&bench);
    let mut options = of(&bench, &layout, "docker.io/web:2", "");
    let error = publish(&options).unwrap_err();
    assert!(error.is_usage() && error.to_string().starts_with("--arch: say for which"), "{error}");
    options.ref_name = Some(name("apps/web/aarch64"));
    publish(&options).unwrap();
    assert_eq!(bench.ostree(&["cat", "apps/web/aarch64", "/rootfs/which"]), "arm64");
    source(&mut options).arch = Some("amd64".parse().unwrap());
    let error = publish(&options).unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert_eq!(error.to_string(), "--arch: amd64 is given, but apps/web/aarch64 is for arm64");
}

#[test]
fn what_an_index_says_of_an_image_must_be_what_that_says_of_itself() {
    let bench = Bench::new();
    let mut layout = Layout::new(&bench);
    let mut image = layout.image("arm64", &run(), app("arm64"));
    image["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    layout.list(image, "");
    let said = publish(&of(&bench, &layout, "", "amd64")).unwrap_err().to_string();
    assert!(said.contains("is listed for amd64, but its configuration says linux/arm64"), "{said}");
}

#[test]
fn a_program_for_another_machine_is_refused_whatever_the_image_says() {
    let bench = Bench::new();
    let mut layout = Layout::new(&bench);
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[18] = 183;
    let layer = Layer::new().add("app", tar::EntryType::Regular, 0o755, &elf, "");
    let image = layout.image("amd64", &run(), vec![layer]);
    layout.list(image, "");
    let said = publish(&of(&bench, &layout, "", "amd64")).unwrap_err().to_string();
    assert!(said.contains("says that it is for amd64, but its program /app is one for arm64"), "{said}");
}

#[test]
fn indexes_are_followed_to_a_bounded_depth() {
    let bench = Bench::new();
    let mut layout = Layout::new(&bench);
    let mut below = layout.image("amd64", &run(), app("deep"));
    for _ in 0..5 {
        below = layout.blob(INDEX, json!({ "schemaVersion": 2, "manifests": [below] }).to_string().as_bytes());
    }
    layout.list(below, "");
    let said = publish(&of(&bench, &layout, "", "amd64")).unwrap_err().to_string();
    assert!(said.contains("indexes nest deeper than 4"), "{said}");
}

#[test]
fn only_a_layout_is_taken_for_one() {
    let bench = Bench::new();
    let layout = layout(&bench);
    let shown = layout.dir.display();
    assert_eq!(image_layout(&layout.dir), Some((layout.dir.clone(), None)));
    let tagged = image_layout(format!("{shown}:docker.io/web:2").as_ref());
    assert_eq!(tagged, Some((layout.dir.clone(), Some("docker.io/web:2".into()))));
    assert_eq!(image_layout(bench.dir.path()), None);
    assert_eq!(image_layout("no:where".as_ref()), None);
}
