//! When to leave the server alone: one pause for all devices where the server is at fault, one an action for quotas.

use super::answer::ActionId;
use super::random::Random;
use fullmetal_proto::DeviceId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first pause after a failure.
pub const PAUSE_MS_MIN: u64 = 1_000;
/// The longest pause, however often it failed.
pub const PAUSE_MS_MAX: u64 = 300_000;
/// The longest pause that a server may ask for.
pub const RETRY_AFTER_S_MAX: u64 = 3_600;
/// The first pause of an action's last report, and the longest.
const QUOTA_S_MIN: u64 = 60;
const QUOTA_S_MAX: u64 = 3_600;
/// How many actions without quota are remembered; the one that may go on first is forgotten first.
const ACTIONS_MAX: usize = 1_024;

/// `first` doubled `times` times, at most `most`.
fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    1u32.checked_shl(times).and_then(|factor| first.checked_mul(factor)).unwrap_or(most).min(most)
}

/// The pause of the whole server.
#[derive(Debug)]
pub(super) struct BackOff {
    random: Random,
    failures: u32,
    pause: Option<Pause>,
}

#[derive(Clone, Debug)]
struct Pause {
    since: Instant,
    until: Instant,
    reason: Arc<str>,
    lasting: bool,
}

impl BackOff {
    pub(super) fn new(random: Random) -> Self {
        BackOff { random, failures: 0, pause: None }
    }

    /// How long still, why, and whether that is lasting; `None` when the server may be asked.
    pub(super) fn held(&self, now: Instant) -> Option<(Duration, Arc<str>, bool)> {
        let pause = self.pause.as_ref().filter(|p| p.until > now)?;
        Some((pause.until - now, pause.reason.clone(), pause.lasting))
    }

    /// The server answered a request that began then. What began before the last failure proves nothing.
    pub(super) fn succeeded(&mut self, began: Instant) {
        if self.pause.as_ref().is_none_or(|p| began > p.since) {
            (self.failures, self.pause) = (0, None);
        }
    }

    /// A request that began then has failed. Requests that were under way together count as one failure.
    pub(super) fn failed(&mut self, began: Instant, now: Instant, why: (String, bool), wish: Option<Duration>) {
        if self.pause.as_ref().is_none_or(|p| began > p.since) {
            self.failures = self.failures.saturating_add(1);
        }
        let most = Duration::from_millis(PAUSE_MS_MAX);
        let own = doubled(Duration::from_millis(PAUSE_MS_MIN), self.failures.saturating_sub(1), most);
        let wish = wish.unwrap_or_default().min(Duration::from_secs(RETRY_AFTER_S_MAX));
        // Its own pause is drawn from the upper half; what the server wishes is never cut short.
        let pause = (own / 2 + self.random.up_to(own / 2)).max(wish + self.random.up_to(wish / 10));
        let until = (now + pause).max(self.pause.as_ref().map_or(now, |p| p.until));
        self.pause = Some(Pause { since: now, until, reason: why.0.into(), lasting: why.1 });
    }
}

/// The actions that have all the reports that they take.
#[derive(Debug, Default)]
pub(super) struct Quotas(BTreeMap<(DeviceId, ActionId), Full>);

#[derive(Debug)]
struct Full {
    detail: Arc<str>,
    /// How often a last report was refused.
    refused: u32,
    /// A last report waits until then.
    until: Instant,
}

impl Quotas {
    /// How long a report must wait, and why; `None` when it may be sent. Only the `last` one is ever tried again.
    pub(super) fn held(&self, key: &(DeviceId, ActionId), last: bool, now: Instant) -> Option<(Duration, Arc<str>)> {
        let full = self.0.get(key)?;
        let left = full.until.saturating_duration_since(now);
        (!last || !left.is_zero()).then(|| (left, full.detail.clone()))
    }

    /// A report was refused; returns how long the last one waits, which is not at all before one was refused.
    pub(super) fn refused(&mut self, key: (DeviceId, ActionId), last: bool, now: Instant, detail: &str) -> Duration {
        if self.0.len() >= ACTIONS_MAX && !self.0.contains_key(&key) {
            let first = self.0.iter().min_by_key(|(_, full)| full.until).map(|(key, _)| key.clone());
            first.map(|first| self.0.remove(&first));
        }
        let full = self.0.entry(key).or_insert(Full { detail: detail.into(), refused: 0, until: now });
        if last {
            let most = Duration::from_secs(QUOTA_S_MAX);
            full.until = now + doubled(Duration::from_secs(QUOTA_S_MIN), full.refused, most);
            full.refused = full.refused.saturating_add(1);
        }
        full.until.saturating_duration_since(now)
    }

    /// The action is over.
    pub(super) fn forget(&mut self, key: &(DeviceId, ActionId)) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why() -> (String, bool) {
        ("it failed".to_owned(), false)
    }

    #[test]
    fn pauses_double_up_to_their_limit_and_end_with_a_success() {
        let mut backoff = BackOff::new(Random::new(1));
        let mut now = Instant::now();
        assert!(backoff.held(now).is_none());
        let mut pauses = Vec::new();
        for _ in 0..20 {
            backoff.failed(now, now, why(), None);
            let (pause, reason, lasting) = backoff.held(now).unwrap();
            assert_eq!((&*reason, lasting), ("it failed", false));
            pauses.push(pause);
            now += pause;
            assert!(backoff.held(now).is_none());
        }
        for (i, pause) in pauses.iter().enumerate() {
            let most = Duration::from_secs((1u64 << i.min(10)).min(300));
            assert!(*pause <= most && *pause >= most / 2, "pause {i}: {pause:?}");
        }
        backoff.succeeded(now);
        backoff.failed(now, now, why(), None);
        assert!(backoff.held(now).unwrap().0 <= Duration::from_secs(1));
    }

    #[test]
    fn requests_that_fail_together_count_once_and_older_successes_prove_nothing() {
        let mut backoff = BackOff::new(Random::new(1));
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        for i in 0..16 {
            backoff.failed(began, at(i), why(), None);
        }
        assert!(backoff.held(at(15)).unwrap().0 <= Duration::from_secs(1), "no 16 failures");
        backoff.succeeded(began);
        assert!(backoff.held(at(15)).is_some());
        backoff.succeeded(at(16));
        assert!(backoff.held(at(15)).is_none());
    }

    #[test]
    fn the_servers_wish_is_honoured_within_bounds() {
        let now = Instant::now();
        for (wish, least, most) in [(120, 120, 132), (0, 0, 1), (1_000_000, 3600, 3960)] {
            let mut backoff = BackOff::new(Random::new(1));
            backoff.failed(now, now, why(), Some(Duration::from_secs(wish)));
            let pause = backoff.held(now).unwrap().0;
            assert!(pause >= Duration::from_secs(least) && pause <= Duration::from_secs(most), "{wish}: {pause:?}");
        }
        let mut backoff = BackOff::new(Random::new(1));
        backoff.failed(now, now, why(), Some(Duration::from_secs(120)));
        backoff.failed(now, now, why(), None);
        assert!(backoff.held(now).unwrap().0 >= Duration::from_secs(120), "a later failure shortens nothing");
    }

    #[test]
    fn an_action_without_quota_waits_alone_and_only_its_last_report_is_tried() {
        let mut quotas = Quotas::default();
        let key = |n| ("p1".parse().unwrap(), ActionId(n));
        let now = Instant::now();
        assert_eq!(quotas.refused(key(1), false, now, "full"), Duration::ZERO);
        assert!(quotas.held(&key(1), false, now).is_some() && quotas.held(&key(1), true, now).is_none());
        assert!(quotas.held(&key(2), false, now).is_none());
        let waits: Vec<u64> = (0..8).map(|_| quotas.refused(key(1), true, now, "full").as_secs()).collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert!(quotas.held(&key(1), true, now).is_some());
        assert!(quotas.held(&key(1), true, now + Duration::from_secs(3600)).is_none());
        assert!(quotas.held(&key(1), false, now + Duration::from_secs(3600)).is_some());
        quotas.forget(&key(1));
        assert!(quotas.held(&key(1), false, now).is_none());
    }

    #[test]
    fn the_memory_of_quotas_is_bounded() {
        let mut quotas = Quotas::default();
        let (device, now): (DeviceId, _) = ("p1".parse().unwrap(), Instant::now());
        for n in 0..ACTIONS_MAX as u64 + 10 {
            quotas.refused((device.clone(), ActionId(n)), false, now, "full");
        }
        assert_eq!(quotas.0.len(), ACTIONS_MAX);
        assert!(quotas.held(&(device, ActionId(ACTIONS_MAX as u64 + 9)), false, now).is_some());
    }
}
