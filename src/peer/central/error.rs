//! What can go wrong between us and the central repo.

use reqwest::Url;

/// Why central did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CentralError {
    /// The configured address cannot be used.
    #[error("central address {url} is no http or https URL of a repo")]
    Scheme {
        /// The address.
        url: String,
    },
    /// CA certificates or TLS settings are not usable.
    #[error("setting up TLS for central: {0}")]
    Https(#[from] crate::https::HttpsError),
    /// The HTTP client could not be built.
    #[error("setting up the client for central: {source}")]
    Client {
        /// reqwest's reason.
        source: reqwest::Error,
    },
    /// No answer: no route, refused, a certificate that does not hold, a redirect elsewhere.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// The innermost reason.
        reason: String,
    },
    /// The server says that it does not exist.
    #[error("{url} does not exist")]
    Missing {
        /// What was asked.
        url: String,
    },
    /// Any other status.
    #[error("{url} answered with HTTP status {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// A whole file in answer to a Range.
    #[error("{url}: this server has no Range; serve the repo with one that has (nginx, Apache, any object store)")]
    NoRange {
        /// What was asked.
        url: String,
    },
    /// A range that was not asked for.
    #[error("{url}: asked for bytes {wanted}, the server answered with \"{found}\"")]
    WrongRange {
        /// What was asked.
        url: String,
        /// The bytes.
        wanted: String,
        /// Its Content-Range.
        found: String,
    },
    /// The pack ends before the range.
    #[error("{url} is shorter than its manifest says (byte {last} is missing)")]
    PackTooShort {
        /// What was asked.
        url: String,
        /// The last byte asked for.
        last: u64,
    },
    /// The body ended early.
    #[error("{url}: the connection ended with {missing} bytes missing")]
    Short {
        /// What was asked.
        url: String,
        /// How many.
        missing: u64,
    },
    /// More than such an object may have.
    #[error("{url} is over the limit of {max} bytes")]
    TooLong {
        /// What was asked.
        url: String,
        /// The limit.
        max: u64,
    },
    /// No byte came for a while.
    #[error("{url}: nothing came for {seconds} s")]
    Stalled {
        /// What was asked.
        url: String,
        /// How long.
        seconds: u64,
    },
}

impl CentralError {
    pub(super) fn of_request(url: &Url, error: reqwest::Error) -> Self {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        CentralError::Unreachable { url: url.to_string(), reason: cause.to_string() }
    }

    /// Whether central was there and said that it has no such thing.
    pub fn is_missing(&self) -> bool {
        matches!(self, CentralError::Missing { .. } | CentralError::PackTooShort { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_denies_counts_as_missing() {
        let url = String::from("http://c/x");
        assert!(CentralError::Missing { url: url.clone() }.is_missing());
        assert!(!CentralError::Stalled { url: url.clone(), seconds: 1 }.is_missing());
        assert!(!CentralError::NoRange { url }.is_missing());
    }
}
