//! Turns a directory, a tarball, an OCI image or an existing commit into a signed, framed release of a central repo.
//!
//! The central repo is an ordinary OSTree repo in archive mode with a folder `fullmetal/` beside its
//! objects, which ostree's own tools ignore: `packs/<sha256>.pack` holds frames one after another,
//! `manifests/<commit>` says which frames a commit needs. Any static web server can serve it.
//!
//! Order of writing: objects, commit, signature, pack, manifest, ref. Each is synced before the next, so
//! a crash between any two leaves the repo as it was for every reader, and publishing again completes it.

mod bundle_config;
mod central;
mod closure;
mod commit;
mod earlier;
mod error;
mod frames;
mod framing;
mod manifest;
mod members;
mod oci;
mod options;
mod os_tree;
mod pack;
mod program;
mod run;
mod sign;
mod signer;
mod source;
mod streams;
mod tarball;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

pub use error::PublishError;
pub use oci::{Arch, ImageSource, image_layout};
pub use options::{FRAME_LEN_DEFAULT, LEVEL_DEFAULT, Options, ReleaseInfo, Source, parse_argv, parse_cpu, parse_size};
pub use run::{Published, Stage, run};
pub use sign::read_key;
pub use signer::Judge;
