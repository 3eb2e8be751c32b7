//! What can go wrong between us and Hawkbit, and what that means for the one who asked.

use super::answer::{ActionId, AnswerError};
use super::token::TokenError;
use fullmetal::https::HttpsError;
use fullmetal_proto::DeviceId;
use std::sync::Arc;
use std::time::Duration;

/// How much of a foreign text is shown.
const SHOWN_CHARS_MAX: usize = 200;

/// A foreign text that can be printed: no control characters, not endless.
pub(super) fn shown(text: &str) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut start: String = text.chars().take(SHOWN_CHARS_MAX).map(printable).collect();
    if start.len() < text.len() && text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        start.push('…');
    }
    start
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ask again, not before this time has passed where one is given.
    Retry(Option<Duration>),
    /// Asking again helps only after a person has changed something.
    Lasting,
    /// The action is over (410): what was to be said of it needs not be said any more.
    Gone,
    /// The server knows no such thing, or not yet: an action that waits for its confirmation, one of another device.
    NotFound,
    /// The action has taken all reports that it takes; only its last one may be tried again, after this time. Hawkbit
    /// 1.0.4 takes it at once, 0.3.0M7 never.
    Quota(Duration),
}

/// Why Hawkbit did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DdiError {
    /// CA certificates or TLS settings are not usable.
    #[error("setting up TLS for Hawkbit ([hawkbit] ca_file): {0}")]
    Https(#[from] HttpsError),
    /// A token file is not usable.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// The HTTP client could not be built.
    #[error("setting up the client for Hawkbit: {source}")]
    Client {
        /// reqwest's reason.
        source: reqwest::Error,
    },
    /// There is neither a gateway token nor one of this device.
    #[error("no token for device {device}: set [hawkbit] gateway_token_file, or put {device} into target_token_dir")]
    NoToken {
        /// Which device.
        device: DeviceId,
    },
    /// Something that Hawkbit would refuse, and that was therefore not sent.
    #[error("{what} has {found}, Hawkbit takes at most {max}")]
    Limit {
        /// What.
        what: &'static str,
        /// How much it has.
        found: usize,
        /// How much it may have.
        max: usize,
    },
    /// No answer: no route, refused, reset.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// The innermost reason.
        reason: String,
    },
    /// The server's certificate does not hold.
    #[error("{url}: {reason}; set [hawkbit] ca_file to the CA of this server, or mend its certificate")]
    Certificate {
        /// What was asked.
        url: String,
        /// rustls's reason.
        reason: String,
    },
    /// The answer did not come, or did not end, in time.
    #[error("{url}: no whole answer within {seconds} s")]
    TimedOut {
        /// What was asked.
        url: String,
        /// How long.
        seconds: u64,
    },
    /// Not asked at all, since the server failed shortly before.
    #[error("Hawkbit is not asked again for {} s, after: {reason}", after.as_secs())]
    Held {
        /// How long still.
        after: Duration,
        /// What had happened.
        reason: Arc<str>,
        /// Whether a person must change something.
        lasting: bool,
    },
    /// 401: a wrong token, or a wrong tenant.
    #[error(
        "{url}: Hawkbit refuses the {token} token or the tenant \"{tenant}\" (401); compare [hawkbit] tenant and the \
         token file with Hawkbit's System Configuration, where authentication by that kind of token must be enabled"
    )]
    Unauthorized {
        /// What was asked.
        url: String,
        /// The tenant.
        tenant: String,
        /// `gateway` or `target`.
        token: &'static str,
    },
    /// 429 without a quota: too many requests.
    #[error("{url}: Hawkbit is asked too often (429)")]
    Busy {
        /// What was asked.
        url: String,
        /// Its own wish.
        after: Option<Duration>,
    },
    /// Another status that may pass: 5xx, a conflict, a 304 that was not asked for.
    #[error("{url} answered with HTTP status {status}: {detail}")]
    Server {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// What the server says.
        detail: String,
        /// Its own wish.
        after: Option<Duration>,
    },
    /// An action has all reports that it takes.
    #[error("action {action} takes no more reports: {detail}")]
    Quota {
        /// Which action.
        action: ActionId,
        /// What the server says.
        detail: Arc<str>,
        /// How long its last report should wait.
        after: Duration,
    },
    /// 410: the action is over.
    #[error("{url}: the action is over (410)")]
    Gone {
        /// What was asked.
        url: String,
    },
    /// 404.
    #[error("{url} does not exist: {detail}{}", whose(code.as_deref()))]
    NotFound {
        /// What was asked.
        url: String,
        /// What the server says.
        detail: String,
        /// Hawkbit's own name of the error; `None` when something else answered.
        code: Option<String>,
    },
    /// 404 in answer to a poll, for which Hawkbit would have made a target.
    #[error("{url} does not exist: is [hawkbit] url the root of a Hawkbit server, and may devices register there?")]
    NoHawkbit {
        /// What was asked.
        url: String,
    },
    /// The server has no such function.
    #[error("this Hawkbit has no {what} ({url} answered with HTTP status {status})")]
    Unsupported {
        /// Which function.
        what: &'static str,
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// A redirect; the token goes nowhere else.
    #[error(
        "{url} redirects to \"{location}\", which is not followed; set [hawkbit] url to the address of the server itself"
    )]
    Redirected {
        /// What was asked.
        url: String,
        /// Where to.
        location: String,
    },
    /// Any other status.
    #[error("{url}: refused with HTTP status {status}: {detail}")]
    Refused {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// What the server says.
        detail: String,
        /// Hawkbit's own name of the error; `None` when something else answered.
        code: Option<String>,
    },
    /// More than such an answer may have.
    #[error("{url}: the answer is over the limit of {max} bytes")]
    TooLong {
        /// What was asked.
        url: String,
        /// The limit.
        max: usize,
    },
    /// Something before the server, or another server.
    #[error("{url}: the answer is \"{found}\", not JSON; is there something between us and Hawkbit?")]
    NotJson {
        /// What was asked.
        url: String,
        /// Its content type.
        found: String,
    },
    /// It came whole and makes no sense.
    #[error("{url}: {source}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        source: AnswerError,
    },
}

impl DdiError {
    /// What to do about it.
    pub fn verdict(&self) -> Verdict {
        use DdiError as E;
        match self {
            E::Held { lasting: true, .. } => Verdict::Lasting,
            E::Held { after, .. } => Verdict::Retry(Some(*after)),
            E::Busy { after, .. } | E::Server { after, .. } => Verdict::Retry(*after),
            E::Unreachable { .. } | E::Certificate { .. } | E::TimedOut { .. } => Verdict::Retry(None),
            E::TooLong { .. } | E::NotJson { .. } | E::Answer { .. } => Verdict::Retry(None),
            E::Quota { after, .. } => Verdict::Quota(*after),
            E::Gone { .. } => Verdict::Gone,
            E::NotFound { .. } | E::Unsupported { .. } => Verdict::NotFound,
            E::Https(_) | E::Token(_) | E::Client { .. } | E::NoToken { .. } | E::Limit { .. } => Verdict::Lasting,
            E::Unauthorized { .. } | E::NoHawkbit { .. } | E::Redirected { .. } | E::Refused { .. } => Verdict::Lasting,
        }
    }

    /// Whether Hawkbit itself said so, as its name of the error shows; else it may be a web server on the way.
    pub fn is_hawkbits_word(&self) -> bool {
        match self {
            DdiError::NotFound { code, .. } | DdiError::Refused { code, .. } => is_hawkbits(code.as_deref()),
            _ => false,
        }
    }

    /// Whether the next request, for whichever device, would fail alike.
    pub(super) fn is_the_servers(&self) -> bool {
        match self {
            DdiError::Unauthorized { token, .. } => *token == "gateway",
            DdiError::Server { status, .. } => *status >= 500,
            DdiError::Unreachable { .. } | DdiError::Certificate { .. } | DdiError::TimedOut { .. } => true,
            DdiError::Busy { .. } | DdiError::NotJson { .. } | DdiError::Redirected { .. } => true,
            _ => false,
        }
    }

    /// The server's own wish when to be asked again.
    pub(super) fn wish(&self) -> Option<Duration> {
        match self {
            DdiError::Busy { after, .. } | DdiError::Server { after, .. } => *after,
            _ => None,
        }
    }

    /// From what reqwest says.
    pub(super) fn of_request(url: &str, error: &reqwest::Error, timeout: Duration) -> Self {
        let url = url.to_owned();
        if error.is_timeout() {
            return DdiError::TimedOut { url, seconds: timeout.as_secs() };
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let reason = shown(&cause.to_string());
        if reason.contains("certificate") {
            return DdiError::Certificate { url, reason };
        }
        DdiError::Unreachable { url, reason }
    }
}

/// Hawkbit's names of errors (`SpServerError`).
fn is_hawkbits(code: Option<&str>) -> bool {
    code.is_some_and(|code| code.starts_with("hawkbit."))
}

fn whose(code: Option<&str>) -> &'static str {
    if is_hawkbits(code) {
        ""
    } else {
        ", without a word of Hawkbit's; is [hawkbit] url its root, and nothing in between?"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_cut_and_loses_its_control_characters() {
        assert_eq!(shown("a\r\nb\u{1b}[0m"), "a\u{fffd}\u{fffd}b\u{fffd}[0m");
        assert_eq!(shown(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(shown(&"é".repeat(201)), format!("{}…", "é".repeat(200)));
    }
}
