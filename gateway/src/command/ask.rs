//! Commands that ask the running gateway.

use anyhow::Context as _;
use fullmetal::config::{Paths, Settings};
use fullmetal::console::{print, print_json};
use fullmetal::identity::Clock;
use fullmetal_gateway::control::{ControlError, Request, Response, ask, socket_path};
use fullmetal_gateway::status::Status;
use fullmetal_gateway::{decision, disk};
use fullmetal_proto::dispatch::{Outcome, Wish};
use std::path::Path;

/// The gateway said no, or not yet.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

pub fn deploy(paths: &Paths, file: &Path, json: bool) -> anyhow::Result<()> {
    let wish = decision::load(file)?;
    answered(paths, &Request::Deploy, Some(&wish), json)
}

pub fn withdraw(paths: &Paths, action: u64, json: bool) -> anyhow::Result<()> {
    answered(paths, &Request::Withdraw { action }, None, json)
}

pub fn confirm(paths: &Paths, action: u64, yes: bool, json: bool) -> anyhow::Result<()> {
    ask(&socket_path(paths), &Request::Confirm { action, yes }, None)?;
    if json {
        return print_json(&serde_json::json!({ "action": action, "confirmed": yes }));
    }
    print(&format!("action {action}: {}; Hawkbit is being told\n", if yes { "confirmed" } else { "denied" }))
}

pub fn resume(paths: &Paths, json: bool) -> anyhow::Result<()> {
    answered(paths, &Request::Resume, None, json)
}

pub fn status(paths: &Paths, json: bool) -> anyhow::Result<()> {
    let status = match ask(&socket_path(paths), &Request::Status, None) {
        Ok((_, Some(status))) => *status,
        Ok(_) => anyhow::bail!("the gateway's answer has no status; are command and gateway of the same release?"),
        Err(ControlError::NotRunning(_)) => kept(paths)?,
        Err(error) => return Err(error.into()),
    };
    if json { print_json(&status) } else { print(&status.to_string()) }
}

/// What a gateway left behind that does not run.
fn kept(paths: &Paths) -> anyhow::Result<Status> {
    let settings = Settings::load(paths.clone())?;
    let state = disk::read_state(&settings.paths.gateway_dir())?.unwrap_or_default();
    let clock = Clock::new();
    Ok(Status::kept(&state, &settings.device.fleet, clock.now()))
}

fn answered(paths: &Paths, request: &Request, wish: Option<&Wish>, json: bool) -> anyhow::Result<()> {
    let (response, _) = ask(&socket_path(paths), request, wish)?;
    let Response::Answer { action, outcome } = response else {
        anyhow::bail!("the gateway gave an answer to another question; are command and gateway of the same release?");
    };
    if json {
        print_json(&serde_json::json!({ "action": action, "outcome": outcome })).context("printing the answer")?;
    }
    let text = told(action, &outcome);
    match outcome {
        Outcome::Refused { .. } | Outcome::Pending { .. } => Err(Failed(text).into()),
        _ if json => Ok(()),
        _ => print(&format!("{text}\n")),
    }
}

/// The outcome for a person.
fn told(action: Option<u64>, outcome: &Outcome) -> String {
    let number = action.map_or("action".to_owned(), |n| format!("action {n}"));
    match outcome {
        Outcome::Announced { rank: (epoch, counter), unheard } if unheard.is_empty() => {
            format!("{number}: announced ({epoch}.{counter})")
        }
        Outcome::Announced { rank: (epoch, counter), unheard } => {
            let unheard: Vec<String> = unheard.iter().map(ToString::to_string).collect();
            format!("{number}: announced ({epoch}.{counter}); never heard of yet: {}", unheard.join(", "))
        }
        Outcome::Pending { reason } => format!(
            "{number}: nothing is announced yet: {reason}; the gateway goes on trying, `fullmetal-gateway withdraw {}` \
             ends it",
            action.unwrap_or_default()
        ),
        Outcome::Refused { reason } if action.is_some() => format!("{number}: refused: {reason}"),
        Outcome::Refused { reason } => format!("refused: {reason}"),
        Outcome::Withdrawn { devices } => format!("{number}: withdrawn; {devices} devices are being told"),
        Outcome::Resumed => "the gateway listens for the newest announcement, then acts again".to_owned(),
    }
}
