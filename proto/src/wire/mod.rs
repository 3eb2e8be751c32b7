//! Wire and file formats: documents in signed envelopes, gossip hints, peer transfer, the local sockets.
//!
//! Every format has a version and a size limit; unknown fields are ignored, duplicate fields refused.

pub mod announcement;
pub mod asking;
pub mod bundle;
pub mod cbor;
pub mod enrolment;
pub mod envelope;
pub mod gossip;
pub mod keys;
pub mod local;
pub mod manifest;
mod pieces;
pub mod plain;
mod plan;
mod records;
pub mod report;
pub mod revocation;
pub mod starts;
#[cfg(test)]
mod tests;
pub mod transfer;
pub mod trust;

pub use announcement::{Announcement, Mode, Row};
pub use bundle::{BlobRef, Bundle, Part, PartKind, Proof, StartOptions};
pub use cbor::CborError;
pub use enrolment::{EnrolmentAnswer, EnrolmentRequest};
pub use envelope::{Document, DocumentError, Envelope, Kind, OpenError, Opened, open, seal};
pub use gossip::Hint;
pub use keys::{KeyId, PublicKey, SigningKey};
pub use manifest::{Frame, Manifest, ObjectEntry, ObjectId, ObjectKind, Pack};
pub use pieces::Pieces;
pub use plain::{Encoding, PlainManifest, PlainObject};
pub use plan::FetchPlan;
pub use report::{ExitStatus, PartState, Receipt, Report, ReportState};
pub use revocation::Revocations;
pub use starts::FrameStarts;
pub use trust::{BuildKey, Refusal, Trust};
