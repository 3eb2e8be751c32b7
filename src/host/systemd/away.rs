//! Whether something is systemd's word, or nobody's.

use super::BusError;
use zbus::Error::{Connection, FDO, Failure, Handshake, InputOutput, MethodError};

/// What the bus says of somebody who is not there.
const NOBODY: [&str; 4] = ["NoReply", "Disconnected", "ServiceUnknown", "NameHasNoOwner"];

impl BusError {
    /// Nobody was there to answer: the bus is away, or systemd is not on it. That says nothing about what was asked.
    pub fn is_away(&self) -> bool {
        match self {
            BusError::Silent { .. } => true,
            BusError::Loop(_) | BusError::Unended { .. } => false,
            BusError::Call { source, .. } => match &**source {
                MethodError(name, ..) => {
                    name.strip_prefix("org.freedesktop.DBus.Error.").is_some_and(|name| NOBODY.contains(&name))
                }
                error => matches!(error, InputOutput(_) | Connection(..) | Handshake(_) | FDO(_) | Failure(_)),
            },
        }
    }
}
