//! Whole peers over loopback: real quinn, gossip, sockets, files, and nginx as central.

mod documents;
mod faults;
mod fleet;
mod lab;
mod plain;
mod release;
mod trust;
