//! Who asks over the bus, and whether they may.
//!
//! The bus says who; root may all; whether others may is for polkit to say, whose rules are the integrator's. Where there
//! is no polkit only root may. `org.freedesktop.PolicyKit1.Authority`: polkit(8), its reference manual.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;
use zbus::fdo::{self, ConnectionCredentials};
use zbus::message::{Flags, Header};
use zbus::names::UniqueName;
use zbus::zvariant::Value;
use zbus::{Connection, Message};

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const POLKIT: &str = "org.freedesktop.PolicyKit1";
const POLKIT_PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const AUTHORITY: &str = "org.freedesktop.PolicyKit1.Authority";
/// How long the bus may take to say who asks.
const CALLER_MAX: Duration = Duration::from_secs(10);
/// How long polkit may take; a person may be asked for a password meanwhile.
const POLKIT_MAX: Duration = Duration::from_secs(120);
/// Calls of one connection at a time, and of all.
const OF_CALLER_MAX: usize = 4;
const CALLS_MAX: usize = 256;
/// Calls of one user that read, or that polkit is asked about, at a time, and of all.
const OF_USER_MAX: usize = 4;
const CHECKS_MAX: usize = 32;

/// What may be asked by whom polkit lets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Inhibit,
    Check,
    RollBack,
    Lock,
}

impl Action {
    /// Its name in the policy file.
    pub fn id(self) -> &'static str {
        match self {
            Action::Inhibit => "org.fullmetal.agent1.inhibit",
            Action::Check => "org.fullmetal.agent1.check",
            Action::RollBack => "org.fullmetal.agent1.rollback",
            Action::Lock => "org.fullmetal.agent1.lock",
        }
    }
}

/// Who asks.
pub struct Caller {
    pub name: UniqueName<'static>,
    pub uid: u32,
    pub pid: u32,
    /// Until the answer.
    _place: Place,
}

impl Caller {
    /// Its place among all calls is free again; it has one of its user's.
    fn moved_to(self, places: &Places) -> fdo::Result<Caller> {
        let Caller { name, uid, pid, _place } = self;
        drop(_place);
        Ok(Caller { name, uid, pid, _place: places.take(&uid.to_string(), OF_USER_MAX, CHECKS_MAX)? })
    }
}

/// Bounds what is under way. Calls that have no place are refused at once.
#[derive(Default)]
pub struct Access {
    callers: Places,
    readers: Places,
    users: Places,
}

impl Access {
    /// Who sent a call.
    pub async fn caller(&self, connection: &Connection, header: &Header<'_>) -> fdo::Result<Caller> {
        let name = header.sender().ok_or_else(|| denied("a call without a sender"))?.to_owned();
        let place = self.callers.take(name.as_str(), OF_CALLER_MAX, CALLS_MAX)?;
        let asked = connection.call_method(Some(BUS), BUS_PATH, Some(BUS), "GetConnectionCredentials", &name);
        let answer = timeout(CALLER_MAX, asked).await.map_err(|_| denied("the bus does not say who asks"))??;
        let body = answer.body();
        let credentials: ConnectionCredentials = body.deserialize()?;
        let uid = credentials.unix_user_id().ok_or_else(|| denied("the bus does not know who asks"))?;
        Ok(Caller { name: name.to_owned(), uid, pid: credentials.process_id().unwrap_or(0), _place: place })
    }

    /// Who sent a call that reads, with a place among those of their user: what takes long must not use up the others'.
    pub async fn reader(&self, connection: &Connection, header: &Header<'_>) -> fdo::Result<Caller> {
        let caller = self.caller(connection, header).await?;
        if caller.uid == 0 {
            return Ok(caller);
        }
        caller.moved_to(&self.readers)
    }

    /// Who sent a call, if they may have this done.
    pub async fn allow(&self, connection: &Connection, header: &Header<'_>, action: Action) -> fdo::Result<Caller> {
        let caller = self.caller(connection, header).await?;
        if caller.uid == 0 {
            return Ok(caller);
        }
        // What a person takes to answer must not use up the others' places.
        let caller = caller.moved_to(&self.users)?;
        let is_interactive = header.primary().flags().contains(Flags::AllowInteractiveAuth);
        match timeout(POLKIT_MAX, check(connection, &caller.name, action, is_interactive)).await {
            Ok(Ok(())) => Ok(caller),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(denied("polkit does not answer")),
        }
    }
}

async fn check(connection: &Connection, name: &UniqueName<'_>, action: Action, interactive: bool) -> fdo::Result<()> {
    let subject = ("system-bus-name", HashMap::from([("name", Value::from(name.as_str()))]));
    let details = HashMap::<&str, &str>::new();
    let body = (subject, action.id(), details, u32::from(interactive), "");
    let asked = connection.call_method(Some(POLKIT), POLKIT_PATH, Some(AUTHORITY), "CheckAuthorization", &body).await;
    let answer: Message = asked.map_err(|error| {
        let only_root = format!("only root may do this here: {error}");
        match &error {
            zbus::Error::MethodError(name, ..) if name.ends_with(".ServiceUnknown") => {
                denied("only root may do this: there is no polkit")
            }
            _ => denied(&only_root),
        }
    })?;
    let (is_authorized, is_challenge, _): (bool, bool, HashMap<String, String>) = answer.body().deserialize()?;
    match (is_authorized, is_challenge) {
        (true, _) => Ok(()),
        (false, true) => Err(fdo::Error::InteractiveAuthorizationRequired(format!("{} needs a password", action.id()))),
        (false, false) => Err(denied(&format!("{} is not allowed to this user by polkit", action.id()))),
    }
}

fn denied(why: &str) -> fdo::Error {
    fdo::Error::AccessDenied(why.to_owned())
}

/// How many calls are under way, by whose they are.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<BTreeMap<String, usize>>>);

/// One of them; it is free again when this is dropped.
struct Place {
    of: Places,
    whose: String,
}

impl Places {
    fn take(&self, whose: &str, of_one_max: usize, of_all_max: usize) -> fdo::Result<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        if all >= of_all_max || taken.get(whose).is_some_and(|own| *own >= of_one_max) {
            return Err(fdo::Error::LimitsExceeded("too many calls at a time: try again".to_owned()));
        }
        *taken.entry(whose.to_owned()).or_default() += 1;
        Ok(Place { of: self.clone(), whose: whose.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.whose) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_each_and_for_all_and_come_back() {
        let places = Places::default();
        let take = |whose: &str| places.take(whose, 2, 3);
        let first = take("a").unwrap();
        let _second = take("a").unwrap();
        assert!(take("a").is_err());
        let _third = take("b").unwrap();
        assert!(take("c").is_err());
        drop(first);
        let _fourth = take("c").unwrap();
        assert_eq!(places.0.lock().unwrap().len(), 3);
        assert!(take("a").is_err());
    }

    #[test]
    fn each_action_is_in_the_policy_file() {
        let policy = include_str!("../../../dbus/org.fullmetal.agent1.policy");
        let all = [Action::Inhibit, Action::Check, Action::RollBack, Action::Lock];
        for action in all {
            assert!(policy.contains(&format!("<action id=\"{}\">", action.id())), "{action:?}");
        }
        assert_eq!(policy.matches("<action ").count(), all.len());
    }
}
