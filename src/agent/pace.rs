//! When something is tried again: first soon, then ever later, never later than a limit.

use fullmetal_proto::Timestamp;
use std::time::Duration;

/// The time of one kind of retry, on the steady clock.
#[derive(Debug)]
pub struct Pace {
    first: Duration,
    longest: Duration,
    wait: Duration,
    at: Option<Timestamp>,
}

impl Pace {
    /// Nothing is to be tried yet. Waits double from `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Pace { first, longest, wait: first, at: None }
    }

    /// When it is tried next.
    pub fn at(&self) -> Option<Timestamp> {
        self.at
    }

    /// Whether it is time.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// Begins with the shortest wait.
    pub fn start(&mut self, now: Timestamp) {
        self.wait = self.first;
        self.at = Some(now.after(self.wait));
    }

    /// It was in vain: waits twice as long as before.
    pub fn again(&mut self, now: Timestamp) {
        if self.at.is_none() {
            return self.start(now);
        }
        self.wait = self.wait.saturating_mul(2).min(self.longest);
        self.at = Some(now.after(self.wait));
    }

    /// Nothing is to be tried any more.
    pub fn stop(&mut self) {
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew_after_a_success() {
        let mut pace = Pace::new(Duration::from_secs(1), Duration::from_secs(6));
        let mut now = Timestamp::ZERO;
        assert!(!pace.is_due(now));
        let mut waits = Vec::new();
        for round in 0..6 {
            if round == 5 {
                pace.stop();
            }
            pace.again(now);
            let at = pace.at().unwrap();
            waits.push(at.since(now).as_secs());
            assert!(!pace.is_due(now) && pace.is_due(at));
            now = at;
        }
        assert_eq!(waits, [1, 2, 4, 6, 6, 1]);
    }
}
