//! What the whole site may take of central, by the hours of the week.

use super::rate::Rate;
use super::windows::{self, Window};
use super::{ConfigError, LocalTime, value};

/// A rate that the site keeps to, unless another holds at some hours. By default there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CentralBudget {
    always: Option<Rate>,
    /// The first that is open counts.
    at: Vec<(Window, Rate)>,
}

impl CentralBudget {
    /// One that always holds.
    pub fn of(rate: Rate) -> Self {
        CentralBudget { always: Some(rate), at: Vec::new() }
    }

    /// What the site may take in these hours; `None` is as much as comes.
    pub fn at(&self, time: LocalTime) -> Option<Rate> {
        let open = self.at.iter().find(|(window, _)| window.is_open(time));
        open.map(|(_, rate)| *rate).or(self.always)
    }

    /// The least of all its rates; `None` when it has none.
    pub fn least(&self) -> Option<Rate> {
        self.rates().min()
    }

    /// The most that it allows at any time; `None` when it does not always bound.
    pub fn most(&self) -> Option<Rate> {
        self.always.and(self.rates().max())
    }

    fn rates(&self) -> impl Iterator<Item = Rate> + '_ {
        self.always.into_iter().chain(self.at.iter().map(|(_, rate)| *rate))
    }
}

/// `[peer] central_rate` and `central_rate_at`.
pub(super) fn budget(always: Option<&str>, at: &[String]) -> Result<CentralBudget, ConfigError> {
    let always = always.map(|text| value("[peer] central_rate", text, text.parse())).transpose()?;
    Ok(CentralBudget { always, at: windows::each("[peer] central_rate_at", at, rate_at)? })
}

/// `Mon..Fri 06:00-22:00 2 Mbit/s`: a window, then its rate.
fn rate_at(text: &str) -> Result<(Window, Rate), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let hours = words.iter().position(|word| word.contains(':'));
    let Some(hours) = hours.filter(|hours| hours + 1 < words.len()) else {
        return Err("it is days, hours and a rate, such as \"Mon..Fri 06:00-22:00 2 Mbit/s\"".to_owned());
    };
    let (window, rate) = words.split_at(hours + 1);
    Ok((window.join(" ").parse()?, rate.join(" ").parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows::WINDOWS_MAX;

    fn of(always: Option<&str>, at: &[&str]) -> Result<CentralBudget, String> {
        let at: Vec<String> = at.iter().map(ToString::to_string).collect();
        budget(always, &at).map_err(|e| e.to_string())
    }

    fn at(budget: &CentralBudget, weekday: u8, hour: u16) -> Option<String> {
        budget.at(LocalTime { weekday, minute: hour * 60 }).map(|rate| rate.to_string())
    }

    #[test]
    fn the_first_window_that_is_open_wins_over_what_always_holds() {
        let days = of(Some("20 Mbit/s"), &["Wed 12:00-13:00 64 kbit/s", "Mon..Fri 06:00-22:00 2 Mbit/s"]).unwrap();
        let seen = [(2, 12), (2, 13), (2, 22), (5, 12)].map(|(day, hour)| at(&days, day, hour).unwrap());
        assert_eq!(seen, ["64 kbit/s", "2 Mbit/s", "20 Mbit/s", "20 Mbit/s"]);
        let bounds = |budget: &CentralBudget| [budget.least(), budget.most()].map(|rate| rate.map(|r| r.to_string()));
        assert_eq!(bounds(&days), [Some("64 kbit/s".to_owned()), Some("20 Mbit/s".to_owned())]);
        let nights_free = of(None, &["06:00-22:00 2Mbit/s"]).unwrap();
        assert_eq!((at(&nights_free, 0, 6).as_deref(), at(&nights_free, 0, 23)), (Some("2 Mbit/s"), None));
        assert_eq!(bounds(&nights_free), [Some("2 Mbit/s".to_owned()), None]);
        assert_eq!(bounds(&CentralBudget::default()), [None, None]);
    }

    #[test]
    fn a_mistake_is_told_with_its_key_and_what_would_be_right() {
        let many = ["06:00-07:00 1 Mbit/s"; WINDOWS_MAX + 1];
        let cases: [(Option<&str>, &[&str], &[&str]); 6] = [
            (Some("0 bit/s"), &[], &["[peer] central_rate = \"0 bit/s\"", "origin = false"]),
            (None, &["2 Mbit/s"], &["[peer] central_rate_at", "Mon..Fri 06:00-22:00 2 Mbit/s"]),
            (None, &["Mon..Fri 06:00-22:00"], &["days, hours and a rate"]),
            (None, &["Mo 06:00-22:00 2 Mbit/s"], &["did you mean Mon?"]),
            (None, &["06:00-22:00 1 kbit/s"], &["the least is 64 kbit/s"]),
            (None, &many, &["at most 64"]),
        ];
        for (always, at, words) in cases {
            let refused = of(always, at).unwrap_err();
            assert!(words.iter().all(|word| refused.contains(word)), "{at:?}: {refused}");
        }
    }
}
