//! What the peer says: hints, until signatures and hashes prove them.

use super::trouble::Kind;
use super::{Agent, bundles, judge, verify, worker};
use crate::local::{Packet, read_descriptor};
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::{Input, Ticket};
use fullmetal_proto::wire::Hint;
use fullmetal_proto::wire::local::{FromPeer, ToPeer};
use std::os::fd::OwnedFd;
use tracing::warn;

impl Agent {
    /// A peer that was started anew knows nothing of what we asked its predecessor.
    pub(super) fn connected(&mut self) {
        self.troubles.tell(Kind::Peer, None);
        self.link.send(&ToPeer::Retain { manifests: self.machine.manifests() });
        if let Some(judging) = &self.judging {
            judging.ask(&self.link);
        }
        if let Some(fetch) = &self.fetch {
            fetch.tell(worker::FetchEvent::PeerIsBack);
        }
        for report in self.spool.pending() {
            self.link.send(&ToPeer::Report(report.into()));
        }
        self.keeping.resend.start(self.now().steady);
    }

    pub(super) fn peer_says(&mut self, packet: Packet<FromPeer>) {
        match (packet.message, packet.descriptor) {
            (FromPeer::Announcement(hint), Some(fd)) => {
                match read_descriptor(&fd, verify::LEN_MAX.min(hint.length.into())) {
                    Ok(bytes) => self.announced(hint, bytes),
                    Err(error) => warn!(%error, counter = hint.counter, "announcement not read"),
                }
            }
            (FromPeer::Blob { sha256 }, Some(fd)) => self.blob(sha256, Ok(fd)),
            (FromPeer::BlobFailed { sha256, reason }, _) => self.blob(sha256, Err(reason)),
            (FromPeer::Receipt(bytes), _) => {
                self.refresh_trust();
                match verify::receipt(self, &bytes) {
                    Ok(counter) => self.spool.received(counter),
                    Err(error) => warn!(%error, "receipt refused"),
                }
            }
            (message @ (FromPeer::Have { .. } | FromPeer::Frame { .. } | FromPeer::WantFailed { .. }), fd) => {
                if let Some(fetch) = &self.fetch {
                    fetch.tell(worker::FetchEvent::Peer(Packet { message, descriptor: fd }));
                }
            }
            _ => {}
        }
    }

    /// Judges an announcement; one whose bundle the disk does not take is judged again later.
    pub(super) fn announced(&mut self, hint: Hint, bytes: Vec<u8>) {
        self.postponed = None;
        self.refresh_trust();
        match verify::announcement(self, &hint, &bytes) {
            Ok(input) => self.input(input),
            Err(error) if error.is::<bundles::NotStored>() => {
                warn!(error = format!("{error:#}"), counter = hint.counter, "announcement postponed");
                let at = self.now().steady.after(bundles::RETRY);
                self.postponed = Some(bundles::Postponed { at, hint, bytes });
            }
            Err(error) => warn!(%error, counter = hint.counter, "announcement refused"),
        }
    }

    fn blob(&mut self, sha256: Digest, got: Result<OwnedFd, String>) {
        let Some(judging) = &mut self.judging else { return };
        let Some(done) = judging.take(sha256, got, &self.link) else { return };
        let ticket = judging.ticket;
        self.judging = None;
        if let Some(input) = self.verdict(ticket, done) {
            self.input(input);
        }
    }

    /// Judges a bundle once all that it needs is here. What holds the worker answers, which looks at the operating system.
    pub(super) fn verdict(&mut self, ticket: Ticket, blobs: Result<judge::Blobs, judge::Verdict>) -> Option<Input> {
        self.refresh_trust();
        match blobs.and_then(|blobs| judge::judge(self, &blobs)) {
            Ok(judge::Judged { candidates, removed, parts }) => {
                self.judged = parts;
                self.worker.look(ticket, candidates, removed);
                None
            }
            Err(judge::Verdict { retry, reason }) => Some(Input::Failed { ticket, retry, reason }),
        }
    }
}
