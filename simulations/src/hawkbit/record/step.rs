//! What is done between recorded requests: the setup of the scenarios.

use super::exchange::lines;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// A request that was not recorded.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The scenario it belongs to.
    pub scenario: String,
    /// How many recorded requests of the scenario come before it.
    pub at: usize,
    /// `GET` and so on.
    pub method: String,
    /// Path and query, with the ids of the recording.
    pub path: String,
    /// The body, with the ids of the recording.
    pub body: Option<Value>,
    /// What is made, in the order of the answer: `module 10`, with the id of the recording.
    #[serde(default)]
    pub gives: Vec<String>,
    /// How often it is done.
    #[serde(default = "once")]
    pub times: u32,
    /// It is done again until the answer has these values, by JSON pointer.
    #[serde(default)]
    pub until: Vec<(String, Value)>,
}

fn once() -> u32 {
    1
}

/// Reads a setup.
pub fn read_setup(file: &Path) -> anyhow::Result<Vec<Step>> {
    lines(file)
}
