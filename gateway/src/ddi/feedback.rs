//! What is told to Hawkbit, within its limits.

use super::answer::ActionId;
use super::error::DdiError;
use fullmetal_proto::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The most messages of one report (Hawkbit's quota; more are refused with 429, by 0.3.0M7 with 403).
pub const DETAILS_MAX: usize = 50;
/// The longest message in UTF-16 units: Hawkbit cuts longer ones into pieces of this length (recorded).
pub const DETAIL_LEN_MAX: usize = 512;
/// The most attributes of a device.
pub const ATTRIBUTES_MAX: usize = 100;
/// The longest key and the longest value of an attribute, in UTF-16 units (129 are refused, recorded).
pub const ATTRIBUTE_LEN_MAX: usize = 128;

/// How far an action has come, in Hawkbit's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Execution {
    /// It is over. With [`Finished::None`] it counts as a success.
    Closed,
    /// It goes on.
    Proceeding,
    /// A word of Hawkbit's that changes nothing: it accepts no cancellation (that is `Closed` with success).
    Canceled,
    /// It is to come.
    Scheduled,
    /// A cancellation comes too late. As feedback on a deployment it changes nothing.
    Rejected,
    /// It goes on again.
    Resumed,
    /// It is being fetched.
    Download,
    /// It is fetched, which ends a download-only action.
    Downloaded,
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finished {
    /// Well.
    Success,
    /// Not well.
    Failure,
    /// It did not end.
    None,
}

/// A report on a deployment or a cancellation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Feedback {
    /// In words, as Hawkbit wants it; 0.3.0M7 answers 404 without it.
    id: String,
    timestamp: u64,
    status: Status,
    #[serde(skip)]
    action: ActionId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Status {
    execution: Execution,
    result: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    details: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Outcome {
    finished: Finished,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Progress {
    cnt: u32,
    of: u32,
}

impl Feedback {
    /// A report as of `at`. For a cancellation `action` is the cancellation's own number.
    pub fn new(action: ActionId, at: Timestamp, execution: Execution, finished: Finished) -> Self {
        let result = Outcome { finished, progress: None };
        let status = Status { execution, result, code: None, details: Vec::new() };
        Feedback { id: action.to_string(), timestamp: at.as_millis(), status, action }
    }

    /// `count` of `of` steps are done.
    pub fn progress(mut self, count: u32, of: u32) -> Self {
        self.status.result.progress = Some(Progress { cnt: count.min(of), of });
        self
    }

    /// A number that Hawkbit shows and can filter by.
    pub fn code(mut self, code: i32) -> Self {
        self.status.code = Some(code);
        self
    }

    /// Texts for people, the most important one first: lines are split, control characters replaced, long lines cut into
    /// pieces; of more than [`DETAILS_MAX`] the first and the last stay.
    pub fn details<T: AsRef<str>>(mut self, texts: impl IntoIterator<Item = T>) -> Self {
        self.status.details = details(texts);
        self
    }

    /// Which action it is about.
    pub fn action(&self) -> ActionId {
        self.action
    }

    /// Whether it ends its action or answers its cancellation: the report for which one place is kept.
    pub fn is_last(&self) -> bool {
        matches!(self.status.execution, Execution::Closed | Execution::Downloaded | Execution::Rejected)
    }

    /// The body of the request.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

/// The answer to a deployment that waits for its confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confirmation {
    confirmation: &'static str,
    code: i32,
    details: Vec<String>,
}

impl Confirmation {
    /// It may begin.
    pub fn confirmed<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Confirmation { confirmation: "confirmed", code: 1, details: details(texts) }
    }

    /// It may not begin; it stays there, waiting.
    pub fn denied<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Confirmation { confirmation: "denied", code: -1, details: details(texts) }
    }

    /// The body of the request.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

/// What becomes of the attributes that a device has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AttributeMode {
    /// Those that are not named stay.
    Merge,
    /// Those that are not named go.
    Replace,
    /// Those that are named go.
    Remove,
}

/// Attributes of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attributes {
    mode: AttributeMode,
    data: BTreeMap<String, String>,
}

impl Attributes {
    /// Values are cut to what Hawkbit takes; too many attributes and too long keys are an error.
    pub fn new<K: Into<String>, V: AsRef<str>>(
        mode: AttributeMode,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, DdiError> {
        let mut data = BTreeMap::new();
        for (key, value) in pairs {
            let (key, value) = (key.into(), printable(value.as_ref()));
            let found = key.encode_utf16().count();
            if found > ATTRIBUTE_LEN_MAX {
                return Err(DdiError::Limit { what: "the key of an attribute", found, max: ATTRIBUTE_LEN_MAX });
            }
            let value = pieces(&value, ATTRIBUTE_LEN_MAX).next().unwrap_or_default().to_owned();
            data.insert(key, value);
        }
        let found = data.len();
        if found > ATTRIBUTES_MAX {
            return Err(DdiError::Limit { what: "a device's set of attributes", found, max: ATTRIBUTES_MAX });
        }
        Ok(Attributes { mode, data })
    }

    /// The body of the request.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

/// A value made of texts, numbers and maps with text keys always has a JSON form.
pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

fn details<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut all = Vec::new();
    for text in texts {
        for line in text.as_ref().lines().filter(|line| !line.trim().is_empty()) {
            all.extend(pieces(&printable(line), DETAIL_LEN_MAX).map(str::to_owned));
        }
    }
    if all.len() > DETAILS_MAX {
        let left_out = all.len() - (DETAILS_MAX - 1);
        all.splice(1..=left_out, [format!("({left_out} lines left out)")]);
    }
    all
}

/// `text` in pieces of at most `max` UTF-16 units, no character cut.
fn pieces(text: &str, max: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut units = 0;
        let over = |(at, c): (usize, char)| {
            units += c.len_utf16();
            (units > max).then_some(at)
        };
        let end = rest.char_indices().find_map(over).unwrap_or(rest.len());
        let (piece, left) = rest.split_at(end);
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feedback() -> Feedback {
        Feedback::new(ActionId(8), Timestamp::from_millis(5), Execution::Proceeding, Finished::None)
    }

    #[test]
    fn a_report_has_the_recorded_shape_and_always_its_id() {
        let full = feedback().progress(2, 5).code(200).details(["fetching"]);
        let expected = r#"{"id":"8","timestamp":5,"status":{"execution":"proceeding","result":{"finished":"none","progress":{"cnt":2,"of":5}},"code":200,"details":["fetching"]}}"#;
        assert_eq!(String::from_utf8(full.encode()).unwrap(), expected);
        let bare =
            r#"{"id":"8","timestamp":5,"status":{"execution":"proceeding","result":{"finished":"none"},"details":[]}}"#;
        assert_eq!(String::from_utf8(feedback().encode()).unwrap(), bare);
    }

    #[test]
    fn confirmations_and_attributes_have_the_recorded_shape() {
        let yes = Confirmation::confirmed(["by the shift lead"]).encode();
        assert_eq!(yes, br#"{"confirmation":"confirmed","code":1,"details":["by the shift lead"]}"#);
        let no = Confirmation::denied(["the line\nis running"]).encode();
        assert_eq!(no, br#"{"confirmation":"denied","code":-1,"details":["the line","is running"]}"#);
        let data = Attributes::new(AttributeMode::Merge, [("hardware", "rpi3"), ("agent", "0.1.0")]).unwrap();
        assert_eq!(data.encode(), br#"{"mode":"merge","data":{"agent":"0.1.0","hardware":"rpi3"}}"#);
    }

    #[test]
    fn reports_that_end_an_action_are_known() {
        use Execution as E;
        let last = |e| Feedback::new(ActionId(8), Timestamp::ZERO, e, Finished::None).is_last();
        assert!([E::Closed, E::Downloaded, E::Rejected].into_iter().all(last));
        assert!(![E::Proceeding, E::Scheduled, E::Resumed, E::Download, E::Canceled].into_iter().any(last));
    }

    #[test]
    fn of_too_many_lines_the_reason_and_the_last_ones_stay() {
        let lines: Vec<String> = (0..70).map(|i| format!("line {i}")).collect();
        let found = details(&lines);
        assert_eq!((found.len(), found[0].as_str(), found[1].as_str()), (50, "line 0", "(21 lines left out)"));
        assert_eq!((found[2].as_str(), found[49].as_str()), ("line 22", "line 69"));
        assert_eq!(details(&lines[..50]), &lines[..50]);
    }

    #[test]
    fn long_lines_are_cut_where_hawkbit_would_and_no_character_is_torn() {
        let lengths = |text: &str| details([text]).iter().map(|p| p.encode_utf16().count()).collect::<Vec<_>>();
        assert_eq!(lengths(&"y".repeat(2000)), [512, 512, 512, 464]);
        assert_eq!(lengths(&format!("y{}", "😀".repeat(300))), [511, 90]);
        assert_eq!(details(["a\u{0}b\n\n \nc\td"]), ["a\u{fffd}b", "c\td"]);
    }

    #[test]
    fn attributes_keep_hawkbits_limits() {
        let long = Attributes::new(AttributeMode::Merge, [("k", "v".repeat(200))]).unwrap();
        assert_eq!(long.data["k"].len(), ATTRIBUTE_LEN_MAX);
        let key = Attributes::new(AttributeMode::Merge, [("k".repeat(129), "v")]).unwrap_err();
        assert_eq!(key.to_string(), "the key of an attribute has 129, Hawkbit takes at most 128");
        let many = (0..101).map(|i| (i.to_string(), "v"));
        assert!(Attributes::new(AttributeMode::Merge, many).is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_limits(texts in prop::collection::vec("(?s).{0,700}", 0..6), times in 1usize..20) {
            let found = details(texts.iter().cycle().take(texts.len() * times));
            prop_assert!(found.len() <= DETAILS_MAX);
            let fits = |d: &String| !d.is_empty() && d.encode_utf16().count() <= DETAIL_LEN_MAX;
            prop_assert!(found.iter().all(fits));
            prop_assert!(!found.iter().any(|d| d.chars().any(|c| c.is_control() && c != '\t')));
        }
    }
}
