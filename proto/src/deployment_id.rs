//! Names of operating systems' deployments.

use crate::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A deployment of an operating system as libostree names its directory: `<commit>.<serial>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeploymentId {
    /// Its commit.
    pub commit: Digest,
    /// Which deployment of this commit.
    pub serial: u32,
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.commit, self.serial)
    }
}

/// Not `<commit>.<serial>`.
#[derive(Debug, thiserror::Error)]
#[error("not a commit, a dot and a number")]
pub struct ParseDeploymentError;

impl FromStr for DeploymentId {
    type Err = ParseDeploymentError;

    fn from_str(text: &str) -> Result<Self, ParseDeploymentError> {
        let (commit, serial) = text.split_once('.').ok_or(ParseDeploymentError)?;
        let commit = commit.parse().map_err(|_| ParseDeploymentError)?;
        let serial: u32 = serial.parse().map_err(|_| ParseDeploymentError)?;
        // `+1` and `01` parse too, but nobody is named so.
        let deployment = DeploymentId { commit, serial };
        if deployment.to_string() == text { Ok(deployment) } else { Err(ParseDeploymentError) }
    }
}

/// As text.
impl Serialize for DeploymentId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeploymentId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}
