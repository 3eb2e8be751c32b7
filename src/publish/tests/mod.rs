//! Publishing into real repos, judged by ostree's and OpenSSL's own programs.

mod devices;
mod frames;
mod harness;
mod images;
mod plan;
mod refusals;
mod repeats;
mod signatures;
mod systems;
mod trees;
