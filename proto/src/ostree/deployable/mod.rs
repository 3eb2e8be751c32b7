//! The one rule by which gateway and agent judge whether a commit may be deployed.
//!
//! * It carries signatures of enough build keys that the trust file allows for the ref, or the trust file allows the
//!   ref unsigned commits.
//! * If its builder bound it to refs (`ostree.ref-binding`), the wanted one is among them. A commit of other tools need
//!   not be bound: it has no release either, and only the order of announcements keeps an old one from coming back.
//! * If its builder said that it is an operating system (`ostree.bootable`), it is deployed as one. A commit of other tools
//!   need not say so.
//! * If its builder named its app, the part has that name: floors and data belong to a name.

#[cfg(test)]
mod tests;

use super::{Commit, OstreeError, signatures};
use crate::wire::{PartKind, Refusal, Revocations, Trust};
use crate::{AppName, RefName};

/// Why a commit may not be deployed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitRefusal {
    /// Not a commit object.
    #[error("is not acceptable: {0}")]
    Malformed(#[from] OstreeError),
    /// Made for other refs.
    #[error("is bound to {}, not to ref {ref_name}", .bound.join(", "))]
    NotBound {
        /// The wanted ref.
        ref_name: RefName,
        /// What it is bound to.
        bound: Vec<String>,
    },
    /// Not signed by build keys that the fleet trusts for the ref, and the ref must be.
    #[error("is {0}")]
    Unsigned(#[from] Refusal),
    /// Made for another app.
    #[error("is app {made_for}, not {wanted}")]
    OtherName {
        /// What its builder called it.
        made_for: AppName,
        /// The part's name.
        wanted: AppName,
    },
    /// An operating system that is wanted as an app.
    #[error("is an operating system, not an app")]
    NoApp,
}

/// A commit of `ref_name` from outside, and who is believed.
#[derive(Clone, Copy, Debug)]
pub struct Deployable<'a> {
    /// The trust file in force.
    pub trust: &'a Trust,
    /// Who is believed no more.
    pub revoked: &'a Revocations,
    /// The ref under which it is wanted.
    pub ref_name: &'a RefName,
}

impl Deployable<'_> {
    /// Judges a commit object with its `.commitmeta` (empty when there is none) by everything but its name.
    pub fn judge(&self, object: &[u8], commitmeta: &[u8]) -> Result<Commit, CommitRefusal> {
        let commit = Commit::parse(object)?;
        if !commit.allows_ref(self.ref_name) {
            let bound = commit.metadata.refs;
            return Err(CommitRefusal::NotBound { ref_name: self.ref_name.clone(), bound });
        }
        if !self.trust.allows_unsigned(self.ref_name) {
            self.check_signatures(object, commitmeta)?;
        }
        Ok(commit)
    }

    /// Whether enough build keys signed it, whatever the ref allows.
    pub fn is_signed(&self, object: &[u8], commitmeta: &[u8]) -> bool {
        self.check_signatures(object, commitmeta).is_ok()
    }

    fn check_signatures(&self, object: &[u8], commitmeta: &[u8]) -> Result<(), Refusal> {
        self.trust.check_commit(self.ref_name, object, &signatures(commitmeta), self.revoked)
    }
}

impl Commit {
    /// Whether it may be deployed as `name`: bound to it, or not bound at all.
    pub fn allows_ref(&self, name: &RefName) -> bool {
        let refs = &self.metadata.refs;
        refs.is_empty() || refs.iter().any(|r| r == name.as_str())
    }

    /// Whether its builder made it for something else than a part of this kind.
    pub fn check_kind(&self, wanted: PartKind) -> Result<(), CommitRefusal> {
        if self.metadata.bootable && wanted == PartKind::App { Err(CommitRefusal::NoApp) } else { Ok(()) }
    }

    /// Whether its builder called it something else than `wanted`.
    pub fn check_name(&self, wanted: &AppName) -> Result<(), CommitRefusal> {
        match &self.metadata.name {
            Some(made_for) if made_for != wanted => {
                Err(CommitRefusal::OtherName { made_for: made_for.clone(), wanted: wanted.clone() })
            }
            _ => Ok(()),
        }
    }
}
