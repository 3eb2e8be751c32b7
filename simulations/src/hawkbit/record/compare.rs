//! Whether an answer is the recorded one, but for names and times.

use super::names::{Kind, Names};
use super::timing::Timing;
use super::{Request, Response};
use serde_json::{Map, Value};

/// Moments at which the server did something.
const TIMES: [&str; 5] = ["createdAt", "lastModifiedAt", "reportedAt", "timestamp", "activatedAt"];

/// Compares one answer with the recorded one and learns names from it.
pub struct Comparison<'a> {
    pub names: &'a mut Names,
    pub timing: &'a Timing,
    /// Whether metadata and the sentences of an error may come in any order, which no Hawkbit promises.
    pub any_order: bool,
    pub differences: Vec<String>,
}

impl Comparison<'_> {
    /// Compares status, headers and body.
    pub fn responses(&mut self, request: &Request, recorded: &Response, here: &Response) {
        if recorded.status != here.status {
            self.differs("status", &recorded.status.into(), &here.status.into());
        }
        let names: Vec<&String> = recorded.headers.keys().chain(here.headers.keys()).collect();
        for name in names.iter().enumerate().filter(|(at, n)| !names[..*at].contains(n)).map(|(_, n)| *n) {
            let pair = (recorded.headers.get(name), here.headers.get(name));
            let same = match pair {
                (Some(a), Some(b)) if name == "ETag" => self.names.bind(Kind::ETag, a, b),
                (a, b) => a == b,
            };
            if !same {
                let value = |v: Option<&String>| v.map_or(Value::Null, |v| Value::String(v.clone()));
                self.differs(name, &value(pair.0), &value(pair.1));
            }
        }
        self.values(&request.path, "", &recorded.body, &here.body);
    }

    fn differs(&mut self, at: &str, recorded: &Value, here: &Value) {
        self.differences.push(format!("{at}: recorded {recorded}, here {here}"));
    }

    fn values(&mut self, path: &str, at: &str, recorded: &Value, here: &Value) {
        match (recorded, here) {
            (Value::Object(a), Value::Object(b)) => self.objects(path, at, a, b),
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                let (mut a, mut b): (Vec<&Value>, Vec<&Value>) = (a.iter().collect(), b.iter().collect());
                if self.any_order && at.ends_with("/metadata") {
                    a.sort_by_key(|item| item["key"].to_string());
                    b.sort_by_key(|item| item["key"].to_string());
                }
                for (number, (a, b)) in a.into_iter().zip(b).enumerate() {
                    self.values(path, &format!("{at}/{number}"), a, b);
                }
            }
            (Value::Number(a), Value::Number(b)) if a.as_u64().is_some() && b.as_u64().is_some() => {
                if !self.numbers(path, at, a.as_u64().unwrap_or(0), b.as_u64().unwrap_or(0)) {
                    self.differs(at, recorded, here);
                }
            }
            (Value::String(a), Value::String(b)) => {
                if !self.texts(path, at, a, b) {
                    self.differs(at, recorded, here);
                }
            }
            (a, b) if a == b => {}
            _ => self.differs(at, recorded, here),
        }
    }

    fn objects(&mut self, path: &str, at: &str, recorded: &Map<String, Value>, here: &Map<String, Value>) {
        for (key, value) in recorded {
            match here.get(key) {
                Some(other) => self.values(path, &format!("{at}/{key}"), value, other),
                None => self.differs(&format!("{at}/{key}"), value, &Value::Null),
            }
        }
        for (key, value) in here.iter().filter(|(key, _)| !recorded.contains_key(*key)) {
            self.differs(&format!("{at}/{key}"), &Value::Null, value);
        }
        // What never changed since it was made must not look changed.
        let unchanged = |map: &Map<String, Value>| map.get("createdAt") == map.get("lastModifiedAt");
        if unchanged(recorded) && !unchanged(here) {
            self.differs(&format!("{at}/lastModifiedAt"), &"createdAt".into(), &"another".into());
        }
    }

    fn numbers(&mut self, path: &str, at: &str, recorded: u64, here: u64) -> bool {
        let key = at.rsplit('/').next().unwrap_or_default();
        let kind = match key {
            "id" => kind_of_id(path, at),
            "distributionSetId" => Some(Kind::Set),
            _ => None,
        };
        match kind {
            Some(kind) => self.names.bind(kind, &recorded.to_string(), &here.to_string()),
            None if TIMES.contains(&key) => self.timing.same(recorded, here),
            None if key == "forceTime" => self.timing.moved(recorded) == here,
            None => recorded == here,
        }
    }

    fn texts(&mut self, path: &str, at: &str, recorded: &str, here: &str) -> bool {
        let key = at.rsplit('/').next().unwrap_or_default();
        let device = path.contains("/controller/v1/");
        match key {
            "id" | "stopId" if device => self.names.bind(Kind::Action, recorded, here),
            "version" => self.names.bind(Kind::Version, recorded, here),
            // The moment in an error page of the web server.
            "timestamp" => recorded.len() == here.len(),
            "message" if self.any_order && sentences(recorded) == sentences(here) => true,
            // A set is shown as name and version.
            "name" if at.contains("distributionset") => match (recorded.rsplit_once(':'), here.rsplit_once(':')) {
                (Some((a, v)), Some((b, w))) => a == b && self.names.bind(Kind::Version, v, w),
                _ => recorded == here,
            },
            _ => self.names.bind_texts(recorded, here) && self.names.rewrite(recorded) == here,
        }
    }
}

fn sentences(text: &str) -> Vec<&str> {
    let mut sentences: Vec<&str> = text.trim_end_matches('.').split(". ").collect();
    sentences.sort_unstable();
    sentences
}

/// What an id in an answer names.
fn kind_of_id(path: &str, at: &str) -> Option<Kind> {
    let path = path.split('?').next().unwrap_or_default();
    Some(match () {
        () if at.contains("/assignedActions/") => Kind::Action,
        () if path.ends_with("/status") => Kind::Entry,
        () if path.contains("/actions/") => Kind::Action,
        () if at.contains("/modules/") => Kind::Module,
        () if path.ends_with("/installedDS") => Kind::Set,
        () if path.contains("/rollouts") => Kind::Rollout,
        () => return None,
    })
}
