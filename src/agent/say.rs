//! What local people say of deployments: the lock, inhibitors, local windows.

use super::door::Id;
use super::lock;
use crate::config::{LocalTime, Windows};
use fullmetal_proto::Timestamp;
use fullmetal_proto::deploy::Local;
use fullmetal_proto::wire::asking::{INHIBITORS_MAX, INHIBITORS_OF_USER_MAX, Inhibitor, LockNote};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// All of it.
#[derive(Debug)]
pub struct Say {
    file: PathBuf,
    windows: Windows,
    pub lock: Option<LockNote>,
    inhibitors: BTreeMap<Id, Inhibitor>,
    /// Somebody holds reboots back by logind, when it was last asked.
    pub reboot_held: bool,
    /// The minute in which it was looked when a window opens, and what was seen.
    opens: Cell<Option<(u64, Option<Timestamp>)>>,
}

/// So many places of inhibitors are for root alone.
const OF_ROOT: usize = 8;

impl Say {
    /// The lock is not read yet.
    pub fn new(file: PathBuf, windows: Windows) -> Self {
        Say { file, windows, lock: None, inhibitors: BTreeMap::new(), reboot_held: false, opens: Cell::default() }
    }

    /// Reads the lock.
    pub fn look(&mut self) {
        self.lock = lock::get(&self.file);
    }

    /// Holds an inhibitor until [`Say::release`]; says why not when there are too many.
    pub fn hold(&mut self, id: Id, inhibitor: Inhibitor) -> Result<(), String> {
        if self.inhibitors.len() >= INHIBITORS_MAX && !self.inhibitors.contains_key(&id) {
            return Err(format!("{INHIBITORS_MAX} inhibitors are held, which is the limit; see `fullmetal status`"));
        }
        let uid = inhibitor.uid;
        if uid != 0 && self.inhibitors.len() >= INHIBITORS_MAX - OF_ROOT {
            return Err("the places of inhibitors are taken but for those of root; see `fullmetal status`".to_owned());
        }
        if uid != 0 && self.inhibitors.values().filter(|held| held.uid == uid).count() >= INHIBITORS_OF_USER_MAX {
            return Err(format!("user {uid} holds {INHIBITORS_OF_USER_MAX} inhibitors, which is the limit"));
        }
        self.inhibitors.insert(id, inhibitor);
        Ok(())
    }

    /// Lets one go.
    pub fn release(&mut self, id: Id) {
        self.inhibitors.remove(&id);
    }

    /// Those that are held, oldest first.
    pub fn inhibitors(&self) -> Vec<Inhibitor> {
        self.inhibitors.values().cloned().collect()
    }

    /// What it comes to.
    pub fn local(&self, now: Timestamp) -> Local {
        let inhibited = !self.inhibitors.is_empty() || !self.windows.is_open(LocalTime::here(now));
        Local { locked: self.lock.is_some(), inhibited }
    }

    /// When the next local window opens, if none is open. Looked for once a minute: it is asked again and again.
    pub fn opens(&self, now: Timestamp) -> Option<Timestamp> {
        let minute = now.as_secs() / 60;
        match self.opens.get() {
            Some((at, opens)) if at == minute => opens,
            _ => {
                let opens = self.windows.opens(now, LocalTime::here);
                self.opens.set(Some((minute, opens)));
                opens
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_528_440);

    fn held(why: &str) -> Inhibitor {
        Inhibitor { who: String::new(), why: why.into(), uid: 0, pid: 1, since: NOW }
    }

    #[test]
    fn lock_inhibitors_and_windows_hold_back_each_in_its_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lock");
        let mut say = Say::new(file.clone(), Windows::default());
        let of = |say: &Say| (say.local(NOW).locked, say.local(NOW).inhibited);
        assert_eq!(of(&say), (false, false));
        lock::set(&file, &LockNote { reason: String::new(), since: NOW }).unwrap();
        assert_eq!(of(&say), (false, false), "not looked at");
        say.look();
        assert_eq!(of(&say), (true, false));
        lock::clear(&file).unwrap();
        say.look();
        say.hold(1, held("a")).unwrap();
        say.hold(2, held("b")).unwrap();
        say.release(1);
        assert_eq!(of(&say), (false, true));
        say.release(2);
        assert_eq!(of(&say), (false, false));
    }

    #[test]
    fn so_many_inhibitors_are_held_and_no_more() {
        let mut say = Say::new("lock".into(), Windows::default());
        for id in 0..INHIBITORS_MAX as Id {
            say.hold(id, held("a")).unwrap();
        }
        assert!(say.hold(1_000, held("b")).unwrap_err().contains("limit"));
        say.hold(0, held("b")).unwrap();
        assert_eq!(say.inhibitors().len(), INHIBITORS_MAX);
    }

    #[test]
    fn a_user_other_than_root_holds_some_of_them_only() {
        let mut say = Say::new("lock".into(), Windows::default());
        let of = |uid| Inhibitor { uid, ..held("a") };
        for id in 0..INHIBITORS_OF_USER_MAX as Id {
            say.hold(id, of(7)).unwrap();
        }
        assert!(say.hold(1_000, of(7)).unwrap_err().contains("user 7"));
        say.hold(1_001, of(8)).unwrap();
        say.release(0);
        say.hold(1_000, of(7)).unwrap();
    }

    #[test]
    fn many_users_together_leave_root_some_of_them() {
        let mut say = Say::new("lock".into(), Windows::default());
        let of = |uid| Inhibitor { uid, ..held("a") };
        for id in 0..(INHIBITORS_MAX - OF_ROOT) as Id {
            say.hold(id, of(1 + id as u32 % 8)).unwrap();
        }
        assert!(say.hold(1_000, of(9)).unwrap_err().contains("root"));
        say.hold(1_001, of(0)).unwrap();
    }

    #[test]
    fn windows_follow_the_wall_clock_of_this_device() {
        let wall = LocalTime::here(NOW);
        let hour = wall.minute / 60;
        let window = |from: u16| format!("{:02}:00-{:02}:00", from % 24, from % 24 + 1).parse().unwrap();
        let say = |from| Say::new("lock".into(), Windows::new(vec![window(from)]));
        assert!(!say(hour).local(NOW).inhibited);
        assert_eq!(say(hour).opens(NOW), None);
        let closed = say(hour + 2);
        assert!(closed.local(NOW).inhibited);
        let opens = closed.opens(NOW).unwrap();
        assert!(!closed.local(opens).inhibited && closed.local(Timestamp::from_secs(opens.as_secs() - 60)).inhibited);
    }
}
