//! Why Hawkbit does not have what it should.

use crate::https::HttpsError;
use fullmetal_proto::Digest;
use std::path::PathBuf;

/// Why a release was not made known to Hawkbit. What was made before is found again by the next try.
#[derive(Debug, thiserror::Error)]
pub enum HawkbitError {
    /// No address of a server.
    #[error("{url} is no http or https address of a Hawkbit server")]
    Address {
        /// As given.
        url: String,
    },
    /// User and password cannot be read.
    #[error("login {}: {problem}", .path.display())]
    Login {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A name that Hawkbit would not take.
    #[error(
        "{text:?} cannot name a {what}: 1 to {max} characters, none of them a control character or one of < > \" ' \\ *"
    )]
    Name {
        /// Of what.
        what: &'static str,
        /// The name or version.
        text: String,
        /// Its longest.
        max: usize,
    },
    /// CA certificates or TLS settings are not usable.
    #[error("setting up TLS for Hawkbit: {0}")]
    Https(#[from] HttpsError),
    /// The HTTP client could not be built.
    #[error("setting up the client for Hawkbit: {0}")]
    Client(#[source] reqwest::Error),
    /// The thread that waits for answers could not be set up.
    #[error("setting up the client for Hawkbit: {0}")]
    Runtime(#[source] std::io::Error),
    /// No answer: no route, refused, a certificate that does not hold, nothing in time.
    #[error("cannot reach Hawkbit at {url}: {reason}; the same command later completes what was begun")]
    Unreachable {
        /// What was asked.
        url: String,
        /// The innermost reason.
        reason: String,
    },
    /// 401.
    #[error("Hawkbit at {url} does not know this user and password: see {}", .login.display())]
    Unknown {
        /// What was asked.
        url: String,
        /// Where they are from.
        login: PathBuf,
    },
    /// 403.
    #[error(
        "Hawkbit at {url} does not let user {user} do that{said}: give the user the rights of a build server there"
    )]
    Forbidden {
        /// What was asked.
        url: String,
        /// Who asked.
        user: String,
        /// The server's words, after a colon.
        said: String,
    },
    /// It answers, but not as Hawkbit does.
    #[error(
        "{url} does not answer as Hawkbit's Management API ({problem}): give the address below which /rest/v1 lies"
    )]
    NoHawkbit {
        /// What was asked.
        url: String,
        /// What is odd.
        problem: String,
    },
    /// Any other refusal.
    #[error("Hawkbit refused {method} {url} with HTTP status {status}{said}")]
    Refused {
        /// `GET` and so on.
        method: String,
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// The server's words, after a colon.
        said: String,
    },
    /// A module of this name and version is something else.
    #[error(
        "software module {module} is at Hawkbit already with {key} = {there:?}, and this is {ours:?}: give what is new \
         another version"
    )]
    OtherModule {
        /// Name and version.
        module: String,
        /// Metadata.
        key: String,
        /// Its value there.
        there: String,
        /// The one it should have.
        ours: String,
    },
    /// A module of the right name brings another commit by FullMetalUpdate's metadata.
    #[error(
        "software module {module} names commit {there} as rev, and this is {ours}: give what is new another version"
    )]
    OtherRev {
        /// Name and version.
        module: String,
        /// What it says.
        there: String,
        /// The commit.
        ours: Digest,
    },
    /// The set has the module in another version.
    #[error("distribution set {set} has software module {there} in place of {ours}: give the set another version")]
    OtherSet {
        /// Name and version.
        set: String,
        /// The module in it.
        there: String,
        /// The one that it should have.
        ours: String,
    },
    /// The set's type has no place for it.
    #[error(
        "distribution set {set} is of the type app, which takes no operating system such as {ours}: give the set another \
         version, and publish the operating system into it before the apps"
    )]
    SetOfApps {
        /// Name and version.
        set: String,
        /// The module.
        ours: String,
    },
    /// The set cannot be changed any more.
    #[error("distribution set {set} was assigned before and lacks {ours}{said}: give the set another version")]
    Locked {
        /// Name and version.
        set: String,
        /// The module.
        ours: String,
        /// The server's words, after a colon.
        said: String,
    },
    /// A device that Hawkbit does not know; nothing was assigned.
    #[error(
        "Hawkbit knows no target {device}; nothing was assigned. A device appears there once its gateway has heard it; \
         until then an operator can make it"
    )]
    NoTarget {
        /// Its id.
        device: String,
    },
    /// The server took the assignment and left targets out.
    #[error("Hawkbit took the assignment for {taken} of {asked} targets: see there what became of the others")]
    LeftOut {
        /// Assigned now or before.
        taken: u64,
        /// Asked for.
        asked: u64,
    },
    /// A rollout of this name is another one.
    #[error("rollout {name:?} is at Hawkbit already with another {what}: give what is new another name")]
    OtherRollout {
        /// Its name.
        name: String,
        /// What differs.
        what: &'static str,
    },
    /// A rollout cannot be started.
    #[error("rollout {name:?} is {status} and cannot be started{hint}")]
    NotReady {
        /// Its name.
        name: String,
        /// The server's word.
        status: String,
        /// What may help, after a colon.
        hint: &'static str,
    },
}

impl HawkbitError {
    /// Whether the caller's words or files are to blame, which no other try changes.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Address { .. } | Self::Login { .. } | Self::Name { .. } | Self::Https(_))
    }
}
