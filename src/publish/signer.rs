//! Who may sign a release, by the fleet's trust file: what no device would take is not published.

use super::error::PublishError;
use super::options::Options;
use crate::identity::FleetTrust;
use fullmetal_proto::RefName;
use fullmetal_proto::wire::{BuildKey, KeyId, PublicKey};
use std::path::PathBuf;

/// What to judge a signature by.
#[derive(Clone, Debug)]
pub struct Judge {
    /// The trust file, for messages.
    pub path: PathBuf,
    /// What it says.
    pub trust: FleetTrust,
}

/// Refuses a key that may not sign `name`, and none where one is needed. Without a trust file all is taken.
///
/// Where no ref is named, the key must be good for one at least.
pub(super) fn check(options: &Options, name: Option<&RefName>) -> Result<(), PublishError> {
    let Some(judge) = &options.judge else { return Ok(()) };
    let Some(key) = &options.key else {
        let may = name.is_none_or(|name| judge.trust.trust.allows_unsigned(name));
        let trust = &judge.path;
        return if may { Ok(()) } else { Err(PublishError::Unsigned { name: named(name), trust: trust.clone() }) };
    };
    let id = PublicKey::of(key).id();
    let live = |b: &&BuildKey| !judge.trust.revoked.has_key(&b.key.id());
    let allowed = |b: &&BuildKey| name.is_none_or(|name| b.refs.iter().any(|pattern| name.matches(pattern)));
    let builders: Vec<&BuildKey> = judge.trust.trust.build.iter().filter(live).collect();
    if builders.iter().filter(|b| allowed(b)).any(|b| b.key.id() == id) {
        return Ok(());
    }
    let able: Vec<KeyId> = builders.iter().filter(|b| allowed(b)).map(|b| b.key.id()).collect();
    Err(PublishError::Signer { key: id, is: is(judge, &id), name: named(name), trust: judge.path.clone(), able })
}

fn named(name: Option<&RefName>) -> String {
    name.map_or_else(|| "any ref".to_owned(), RefName::to_string)
}

/// What the key is instead.
fn is(judge: &Judge, id: &KeyId) -> String {
    let trust = &judge.trust.trust;
    if let Some(own) = trust.build.iter().find(|b| b.key.id() == *id)
        && !judge.trust.revoked.has_key(id)
    {
        return format!("may sign {} only", own.refs.join(", "));
    }
    match &judge.trust.roles(id)[..] {
        [] => "is in no role of it".to_owned(),
        roles => format!("is its {} key", roles.join(" and ")),
    }
}
