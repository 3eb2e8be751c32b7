//! Recordings of Hawkbit servers: read, played against any server, compared, written.
//!
//! A recording is one JSON object a line: scenario, request, response. Not recorded is what set each scenario up: targets,
//! modules, sets and settings; `setup.jsonl` beside the recordings has that, to be done between the recorded requests.
//! Ids, ETags, times and versions of another server are its own; they are taken over where they first appear and have to
//! be used consistently from then on.

mod client;
mod compare;
mod exchange;
mod names;
mod play;
mod step;
mod timing;

pub use client::{Answer, Client, Credentials};
pub use exchange::{Exchange, Headers, Request, Response, read, write};
pub use play::{Played, Player};
pub use step::{Step, read_setup};

use anyhow::Context as _;
use std::path::Path;

/// Plays `recording` against a fresh server, writes what it answers to `out` and prints how that compares; fails when it
/// differs and `check` is set.
pub fn run(server: &str, recording: &Path, out: Option<&Path>, check: bool) -> anyhow::Result<()> {
    let recorded = read(recording)?;
    let setup = read_setup(&recording.with_file_name("setup.jsonl"))?;
    let mut played = Vec::new();
    let end = Player::new(server, &recorded)?.any_order().play(&recorded, &setup, &mut played);
    if let Some(out) = out {
        let exchanges: Vec<&Exchange> = played.iter().map(|p| &p.exchange).collect();
        write(out, &exchanges).with_context(|| format!("writing {}", out.display()))?;
    }
    let (text, wrong) = summary(&played);
    println!("{text}");
    end?;
    anyhow::ensure!(!check || wrong == 0, "{server} does not answer as {} says", recording.display());
    Ok(())
}

/// How many exchanges matched, and every difference; with the number of those that did not match.
pub fn summary(played: &[Played]) -> (String, usize) {
    let wrong: Vec<&Played> = played.iter().filter(|p| !p.differences.is_empty()).collect();
    let mut text = String::new();
    for one in &wrong {
        let request = &one.exchange.request;
        text += &format!("{}: {} {}\n", one.exchange.scenario, request.method, request.path);
        for difference in &one.differences {
            text += &format!("    {difference}\n");
        }
    }
    text += &format!("{} of {} exchanges matched", played.len() - wrong.len(), played.len());
    (text, wrong.len())
}
