//! The space check asks the peer what it has, and fetches nothing.

use super::*;
use crate::agent::link::{Expected, Link};
use crate::agent::worker::{FetchEvent, Wanted};
use crate::agent::{Event, cached};
use crate::local::{Connection, Listener};
use fullmetal_proto::Bitmap;
use fullmetal_proto::wire::local::{FromPeer, ToPeer, VERSION};
use fullmetal_proto::wire::{BlobRef, Frame, Manifest, Pieces};
use std::sync::mpsc::{Receiver, channel};

/// A part of three frames.
fn wanted() -> Wanted {
    let frame =
        |i: u8| Frame { pack: 0, offset: u64::from(i) * 10, length: 10, raw_length: 10, sha256: Digest::of(&[i]) };
    let frames = (0..3).map(frame).collect();
    let manifest =
        Manifest { commit: Digest::of(b"c"), packs: Vec::new(), frames, objects: Vec::new(), boot: Vec::new() };
    let blob = BlobRef { sha256: Digest::of(b"m"), length: 1, chunks: Vec::new() };
    Wanted { commit: manifest.commit, blob, pieces: Arc::new(Pieces::Frames(manifest)) }
}

/// A peer that has the first two frames; it answers the second wish only.
fn peer(connection: &Connection, need: &Mutex<Vec<Bitmap>>) {
    let hello = FromPeer::Hello { version: VERSION, device: "press-1".parse().unwrap() };
    connection.send(&hello, None).unwrap();
    while let Ok(Some(packet)) = connection.receive::<ToPeer>() {
        let ToPeer::Want { manifest, need: wish, .. } = packet.message else { continue };
        let mut all = need.lock().unwrap();
        all.push(wish);
        let mut have = Bitmap::new(3);
        have.set(0);
        have.set(1);
        let have = FromPeer::Have { manifest: manifest.sha256, have, bytes_from_peers: 0, bytes_from_central: 0 };
        if all.len() == 2 {
            connection.send(&have, None).unwrap();
        }
    }
}

fn forward(events: &Receiver<Event>, to: &std::sync::mpsc::Sender<FetchEvent>) {
    while let Ok(event) = events.recv() {
        let event = match event {
            Event::Peer(packet) => FetchEvent::Peer(packet),
            Event::Connected => FetchEvent::PeerIsBack,
            _ => continue,
        };
        if to.send(event).is_err() {
            return;
        }
    }
}

#[test]
fn a_peer_is_asked_again_when_it_is_back_and_never_for_a_frame() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("peer.sock");
    let listener = Listener::bind(&socket).unwrap();
    let needs = Arc::new(Mutex::new(Vec::new()));
    let seen = needs.clone();
    std::thread::spawn(move || {
        let _ = listener.accept().map(|c| peer(&c, &seen));
    });
    let (sender, events) = channel();
    let link = Link::start(Expected { socket, owner: None, device: "press-1".parse().unwrap() }, sender);
    match events.recv_timeout(Duration::from_secs(20)) {
        Ok(Event::Connected) => {}
        _ => panic!("not connected"),
    }
    let (to, fetch_events) = channel();
    to.send(FetchEvent::PeerIsBack).unwrap();
    std::thread::spawn(move || forward(&events, &to));
    let frames = cached::pieces(&link, &fetch_events, &[wanted()]).unwrap();
    assert_eq!(frames[&Digest::of(b"m")].iter().collect::<Vec<_>>(), [0, 1]);
    let needs = needs.lock().unwrap();
    assert!(needs.len() == 2 && needs.iter().all(|need| need.count() == 0), "{needs:?}");
}

#[test]
fn a_look_that_is_cancelled_ends() {
    let dir = tempfile::tempdir().unwrap();
    let expected = Expected { socket: dir.path().join("none"), owner: None, device: "press-1".parse().unwrap() };
    let link = Link::start(expected, channel().0);
    let (to, events) = channel();
    to.send(FetchEvent::Cancel).unwrap();
    assert_eq!(cached::pieces(&link, &events, &[wanted()]), Err(cached::Unknown::Cancelled));
}
