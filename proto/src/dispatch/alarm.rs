//! Why a gateway stops until a person has looked.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why the gateway has stopped acting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alarm {
    /// An announcement of our own counter says something else.
    Conflict {
        /// Which counter.
        rank: (u64, u64),
    },
    /// Somebody else announced after us.
    Superseded {
        /// Their counter.
        rank: (u64, u64),
    },
    /// The fleet follows a newer generation of the gateway role than our trust file names.
    OldTrust {
        /// Their counter.
        rank: (u64, u64),
    },
    /// No counter is left in this epoch.
    Exhausted,
    /// The state came from a backup: what was announced since is not known until the fleet tells it.
    Restored,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = "make sure that only one gateway runs, then `fullmetal-gateway resume`";
        match self {
            Alarm::Conflict { rank: (e, c) } => {
                write!(f, "announcement {e}.{c} exists with other content than ours: another gateway acts; {again}")
            }
            Alarm::Superseded { rank: (e, c) } => {
                write!(f, "another gateway acts: it made announcement {e}.{c}; {again}")
            }
            Alarm::OldTrust { rank: (e, c) } => write!(
                f,
                "the fleet follows announcement {e}.{c}, of a newer gateway role than our trust file names; \
                 install the newest trust file, then `fullmetal-gateway resume`"
            ),
            Alarm::Exhausted => f.write_str("the counter of this epoch is used up; rotate the gateway role"),
            Alarm::Restored => f.write_str(
                "the state came from a backup, and the gateway waits until its peer has the fleet's newest announcement; \
                 where no device has one any more: `fullmetal-gateway resume`",
            ),
        }
    }
}
