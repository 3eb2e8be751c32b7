//! Writes image layouts, as wrong as wanted.

use super::super::harness::{Bench, key, name};
use crate::publish::{ImageSource, Options, Source, image_layout};
use fullmetal_proto::Digest;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layer in the making.
pub(super) struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Layer(tar::Builder::new(Vec::new()))
    }

    /// A member of user 7, group 8.
    pub fn add(mut self, name: &str, kind: EntryType, mode: u32, content: &[u8], link: &str) -> Self {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        if !link.is_empty() {
            header.set_link_name_literal(link).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        self.add(name, EntryType::Regular, 0o644, content.as_bytes(), "")
    }

    /// A script, which programs for every architecture can be.
    pub fn program(self, name: &str) -> Self {
        self.add(name, EntryType::Regular, 0o755, b"#!/bin/sh\n", "")
    }

    pub fn dir(self, name: &str) -> Self {
        self.add(name, EntryType::Directory, 0o750, b"", "")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.add(name, EntryType::Symlink, 0o777, b"", target)
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.add(name, EntryType::Link, 0o644, b"", target)
    }

    /// Hides `name`, or, with `.wh..opq`, what else is in its directory.
    pub fn hide(self, name: &str) -> Self {
        let (dir, name) = name.rsplit_once('/').map_or(("", name), |(dir, name)| (dir, name));
        let slash = if dir.is_empty() { "" } else { "/" };
        self.file(&format!("{dir}{slash}.wh.{name}"), "")
    }

    /// An attribute of the member that comes next.
    pub fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.0.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value)]).unwrap();
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layout on disk.
pub(super) struct Layout {
    pub dir: PathBuf,
    /// What its index lists.
    pub index: Vec<Value>,
}

impl Layout {
    pub fn new(bench: &Bench) -> Self {
        let dir = bench.path("img");
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Layout { dir, index: Vec::new() }
    }

    /// Writes a blob; its descriptor.
    pub fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.dir.join(format!("blobs/sha256/{digest}")), bytes).unwrap();
        json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    }

    /// Writes an image of those layers, packed in turn not at all, by gzip and by zstd; its manifest's descriptor.
    pub fn image(&self, arch: &str, config: &Value, layers: Vec<Layer>) -> Value {
        let layers: Vec<Vec<u8>> = layers.into_iter().map(Layer::bytes).collect();
        let diff_ids: Vec<String> = layers.iter().map(|l| format!("sha256:{}", Digest::of(l))).collect();
        let pack = |(i, bytes): (usize, &Vec<u8>)| match i % 3 {
            0 => self.blob(LAYER, bytes),
            1 => self.blob(&format!("{LAYER}+gzip"), &gzip(bytes)),
            _ => self.blob(&format!("{LAYER}+zstd"), &zstd::encode_all(&bytes[..], 3).unwrap()),
        };
        let layers: Vec<Value> = layers.iter().enumerate().map(pack).collect();
        let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
        let config = json!({ "architecture": arch, "os": "linux", "config": config, "rootfs": rootfs });
        self.manifest(&config, &layers)
    }

    pub fn manifest(&self, config: &Value, layers: &[Value]) -> Value {
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Lists `descriptor` in the index, tagged.
    pub fn list(&mut self, mut descriptor: Value, tag: &str) -> &mut Self {
        if !tag.is_empty() {
            descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        }
        self.index.push(descriptor);
        fs::write(self.dir.join("index.json"), json!({ "schemaVersion": 2, "manifests": self.index }).to_string())
            .unwrap();
        self
    }
}

/// A layout of one image for amd64 that runs /bin/app, with these layers over it.
pub(super) fn one_image(bench: &Bench, config: Value, layers: Vec<Layer>) -> Layout {
    let mut layout = Layout::new(bench);
    let base = Layer::new().dir("bin").program("bin/app");
    let mut config = config;
    if config["Entrypoint"].is_null() && config["Cmd"].is_null() {
        config["Entrypoint"] = json!(["/bin/app"]);
    }
    let image = layout.image("amd64", &config, std::iter::once(base).chain(layers).collect());
    layout.list(image, "latest");
    layout
}

/// Options to publish the image at `path` (`DIR` or `DIR:TAG`) for amd64.
pub(super) fn options(bench: &Bench, path: &Path) -> Options {
    let (layout, tag) = image_layout(path).unwrap();
    let source = ImageSource { layout, tag, arch: Some("amd64".parse().unwrap()), cmd: Vec::new() };
    let mut options = Options::new(bench.repo(), Source::Image(source));
    options.ref_name = Some(name("apps/web"));
    options.key = Some(key(1));
    options.level = 3;
    options
}

/// The source of those options, to be changed.
pub(super) fn source(options: &mut Options) -> &mut ImageSource {
    match &mut options.source {
        Source::Image(source) => source,
        other => panic!("{other:?}"),
    }
}
