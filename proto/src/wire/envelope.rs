//! The envelope around every document: kind, format major, the exact body bytes and their signatures.
//!
//! A signature covers `fullmetal/<kind>/v<major>\0` and then the body, so that bytes signed as one kind
//! never count as another. An unknown major is refused; unknown fields within a major are ignored but signed.

use super::cbor::{self, CborError};
use super::keys::{self, KeyId, PublicKey, SigningKey};
use crate::Digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;

/// The most signatures that one envelope may carry.
pub const SIGNATURES_MAX: usize = 32;
/// What the envelope may add to the body's own limit.
const OVERHEAD_MAX: usize = 4096;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The fleet's trust file.
    Trust,
    /// The list of revoked keys and devices.
    Revocations,
    /// Parts that are deployed together.
    Bundle,
    /// The signed state of the fleet's wishes.
    Announcement,
    /// Frames and objects of one commit.
    Manifest,
    /// Batches and objects of one commit in a plain repo.
    PlainManifest,
    /// A device's word on one action.
    Report,
    /// The gateway's word that reports arrived.
    Receipt,
    /// A device's request for certificates.
    EnrolmentRequest,
    /// The certificates that answer it.
    EnrolmentAnswer,
}

impl Kind {
    /// The name used in signatures and shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Trust => "trust",
            Kind::Revocations => "revocations",
            Kind::Bundle => "bundle",
            Kind::Announcement => "announcement",
            Kind::Manifest => "manifest",
            Kind::PlainManifest => "plain-manifest",
            Kind::Report => "report",
            Kind::Receipt => "receipt",
            Kind::EnrolmentRequest => "enrolment-request",
            Kind::EnrolmentAnswer => "enrolment-answer",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One signature and the id of the key that made it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// Which key.
    pub key: KeyId,
    /// 64 bytes as of RFC 8032.
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
}

/// A document's bytes with their signatures.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What the body is.
    pub kind: Kind,
    /// Format major of the body.
    pub major: u16,
    /// The exact signed bytes, a CBOR map.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// Signatures in any order.
    pub signatures: Vec<EnvelopeSignature>,
}

impl Envelope {
    /// Decodes an envelope of any kind of at most `max` bytes.
    pub fn decode(bytes: &[u8], max: usize) -> Result<Self, OpenError> {
        let envelope: Envelope = cbor::from_slice(bytes, max)?;
        if envelope.signatures.len() > SIGNATURES_MAX {
            return Err(OpenError::TooManySignatures { count: envelope.signatures.len() });
        }
        Ok(envelope)
    }

    /// The bytes that are stored, sent and hashed.
    pub fn encode(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    /// The bytes that signatures cover.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut out = format!("fullmetal/{}/v{}\0", self.kind, self.major).into_bytes();
        out.extend_from_slice(&self.body);
        out
    }

    /// Adds the signature of `key`, replacing an older one of the same key.
    pub fn sign(&mut self, key: &SigningKey) {
        let id = PublicKey::of(key).id();
        let signature = keys::sign(key, &self.signed_bytes());
        self.signatures.retain(|s| s.key != id);
        self.signatures.push(EnvelopeSignature { key: id, signature });
    }

    /// Which of `keys` have a valid signature here, each at most once.
    pub fn signers<'k>(&self, keys: impl IntoIterator<Item = &'k PublicKey>) -> Vec<PublicKey> {
        let message = self.signed_bytes();
        let mut found: Vec<PublicKey> = Vec::new();
        for key in keys {
            let id = key.id();
            let good = |s: &EnvelopeSignature| s.key == id && key.verifies(&message, &s.signature);
            if !found.contains(key) && self.signatures.iter().any(good) {
                found.push(*key);
            }
        }
        found
    }
}

/// A typed body with its kind, format major and limits.
pub trait Document: Serialize + DeserializeOwned {
    /// What it is.
    const KIND: Kind;
    /// The newest format major that this build reads.
    const MAJOR: u16 = 1;
    /// The longest body in bytes.
    const LEN_MAX: usize;

    /// The oldest format major that says all of it, and in which it is written: what older programs can read they shall.
    fn major(&self) -> u16 {
        Self::MAJOR
    }

    /// Checks what the type system does not: counts, ranges, references within the document.
    fn check(&self) -> Result<(), DocumentError>;
}

/// A field holds something that the format does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct DocumentError {
    /// Where.
    pub field: &'static str,
    /// What is wrong.
    pub problem: String,
}

impl DocumentError {
    /// Shorthand for `Err` with a formatted problem.
    pub fn err<T>(field: &'static str, problem: impl Into<String>) -> Result<T, Self> {
        Err(DocumentError { field, problem: problem.into() })
    }
}

/// Why bytes are not an acceptable document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not an envelope, or the body is not of its kind's shape.
    #[error("{0}")]
    Cbor(#[from] CborError),
    /// Another kind of document than expected.
    #[error("this is a {found}, expected a {expected}")]
    WrongKind {
        /// What was expected.
        expected: Kind,
        /// What it is.
        found: Kind,
    },
    /// Written by a newer release.
    #[error("this program is too old for {kind} format {major} (it reads up to {known}); update Fullmetal")]
    UnknownMajor {
        /// Which document.
        kind: Kind,
        /// Its major.
        major: u16,
        /// The newest known major.
        known: u16,
    },
    /// More signatures than anybody needs.
    #[error("{count} signatures are over the limit of {SIGNATURES_MAX}")]
    TooManySignatures {
        /// How many.
        count: usize,
    },
    /// A field is out of its range.
    #[error("{0}")]
    Field(#[from] DocumentError),
}

/// A decoded document with the envelope and the digest that names it.
#[derive(Clone)]
pub struct Opened<D> {
    /// The typed body.
    pub document: D,
    /// The envelope, for its signatures.
    pub envelope: Envelope,
    /// SHA-256 of the whole envelope bytes.
    pub digest: Digest,
}

impl<D: fmt::Debug> fmt::Debug for Opened<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({:?} {:?})", self.digest, self.document)
    }
}

/// The longest whole envelope of a `D` in bytes.
pub const fn envelope_len_max<D: Document>() -> usize {
    D::LEN_MAX + OVERHEAD_MAX
}

/// Encodes `document` in an envelope signed by `signers`.
///
/// # Errors
/// When the document breaks its own rules: what we write, we must be able to read.
pub fn seal<D: Document>(document: &D, signers: &[&SigningKey]) -> Result<Vec<u8>, OpenError> {
    document.check()?;
    let body = cbor::to_vec(document);
    if body.len() > D::LEN_MAX {
        return Err(CborError::TooLong { len: body.len(), max: D::LEN_MAX }.into());
    }
    let mut envelope = Envelope { kind: D::KIND, major: document.major(), body, signatures: Vec::new() };
    for key in signers {
        envelope.sign(key);
    }
    Ok(envelope.encode())
}

/// Decodes a document and checks its shape; signatures are for the trust file to judge.
pub fn open<D: Document>(bytes: &[u8]) -> Result<Opened<D>, OpenError> {
    read(Envelope::decode(bytes, envelope_len_max::<D>())?, bytes)
}

/// Decodes the document in an envelope that was decoded from `bytes`.
pub(super) fn read<D: Document>(envelope: Envelope, bytes: &[u8]) -> Result<Opened<D>, OpenError> {
    if envelope.kind != D::KIND {
        return Err(OpenError::WrongKind { expected: D::KIND, found: envelope.kind });
    }
    if envelope.major == 0 || envelope.major > D::MAJOR {
        let (kind, major) = (envelope.kind, envelope.major);
        return Err(OpenError::UnknownMajor { kind, major, known: D::MAJOR });
    }
    let document: D = cbor::from_slice(&envelope.body, D::LEN_MAX)?;
    document.check()?;
    if document.major() > envelope.major {
        // Older programs pass the field over: it must mean the same to all.
        let problem = format!("holds what only format {} may", document.major());
        return Err(DocumentError { field: "major", problem }.into());
    }
    Ok(Opened { document, envelope, digest: Digest::of(bytes) })
}
