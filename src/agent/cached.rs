//! Asks the peer which pieces lie in its cache, without fetching any.

use super::link::Link;
use super::worker::{FetchEvent, Wanted};
use fullmetal_proto::wire::local::{FromPeer, ToPeer};
use fullmetal_proto::{Bitmap, Digest};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long the peer may take to say what it has.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Why it is not known.
#[derive(Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Nobody wants to know any more.
    Cancelled,
    /// The peer does not say.
    Silent,
}

/// The pieces of each manifest that the peer has, by the manifest's digest.
pub fn pieces(
    link: &Link,
    events: &Receiver<FetchEvent>,
    wanted: &[Wanted],
) -> Result<BTreeMap<Digest, Bitmap>, Unknown> {
    let answers = ask(link, events, wanted, Instant::now() + ANSWER_MAX);
    for part in wanted {
        link.send(&ToPeer::Unwant { manifest: part.blob.sha256 });
    }
    answers
}

fn ask(
    link: &Link,
    events: &Receiver<FetchEvent>,
    wanted: &[Wanted],
    end: Instant,
) -> Result<BTreeMap<Digest, Bitmap>, Unknown> {
    let pieces_of: BTreeMap<Digest, u32> = wanted.iter().map(|w| (w.blob.sha256, w.pieces.count())).collect();
    let mut answers = BTreeMap::new();
    want_nothing(link, wanted);
    while answers.len() < pieces_of.len() {
        match events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(FetchEvent::Peer(packet)) => match packet.message {
                FromPeer::Have { manifest, have, .. } if pieces_of.get(&manifest) == Some(&have.len()) => {
                    answers.insert(manifest, have);
                }
                _ => {}
            },
            Ok(FetchEvent::PeerIsBack) => want_nothing(link, wanted),
            Ok(FetchEvent::Cancel) | Err(RecvTimeoutError::Disconnected) => return Err(Unknown::Cancelled),
            Err(RecvTimeoutError::Timeout) => return Err(Unknown::Silent),
        }
    }
    Ok(answers)
}

/// A wish for no piece is answered with what there is.
fn want_nothing(link: &Link, wanted: &[Wanted]) {
    for part in wanted {
        let need = Bitmap::new(part.pieces.count());
        link.send(&ToPeer::Want { manifest: part.blob.clone(), commit: part.commit, need });
    }
}
