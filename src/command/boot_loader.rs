//! `fullmetal boot-loader`: which boot loader a device has, whether it can count boots, and what it counts. Changes nothing.

use super::Context;
use anyhow::Context as _;
use fullmetal::boot_loader::{self, Counted, DeploymentId, Entry, Places, State};
use fullmetal::console;
use serde_json::{Value, json};

pub fn run(context: &Context) -> anyhow::Result<()> {
    let places = Places::below(context.paths.root());
    let found = boot_loader::detect(&places).context("operating systems cannot be updated on trial here")?;
    let advice = found.loader.check().context("operating systems cannot be updated on trial here")?;
    let booted = boot_loader::booted(&places);
    // Whether what is counted was armed before this boot nobody knows here.
    let (state, entry) = (State::of(found.loader.counted()?, booted.as_ref(), None), boot_loader::entry(&places)?);
    if context.json {
        let (name, counted) = parts(&state);
        return console::print_json(&json!({
            "boot_loader": found.kind.to_string(),
            "advice": advice,
            "booted": booted.as_ref().map(DeploymentId::to_string),
            "entry": entry,
            "state": name,
            "trial": counted.and_then(|c| c.trial.as_ref()).map(DeploymentId::to_string),
            "tries_left": counted.map_or(Value::Null, |c| c.tries_left.into()),
        }));
    }
    let booted = booted.map_or("not a deployment of OSTree".into(), |id| id.to_string());
    let from = match entry {
        Some(Entry::First) => ", the loader's first entry",
        Some(Entry::Second) => ", the loader's second entry",
        None => "",
    };
    let mut text = format!("boot loader: {}, counts boots\nbooted: {booted}{from}\n{}\n", found.kind, sentence(&state));
    if let Some(advice) = advice {
        text.push_str(&format!("better: {advice}\n"));
    }
    console::print(&text)
}

fn parts(state: &State) -> (&'static str, Option<&Counted>) {
    match state {
        State::Cleared => ("cleared", None),
        State::Armed(counted) => ("armed", Some(counted)),
        State::OnTrial(counted) => ("on-trial", Some(counted)),
        State::FellBack(counted) => ("fell-back", Some(counted)),
    }
}

fn sentence(state: &State) -> String {
    let trial = |counted: &Counted| counted.trial.as_ref().map_or("the first entry".into(), DeploymentId::to_string);
    let next = |counted: &Counted| match counted.tries_left {
        0 => "the next boot is of the second entry".to_owned(),
        1 => "1 boot is left before it is given up".to_owned(),
        left => format!("{left} boots are left before it is given up"),
    };
    match state {
        State::Cleared => "nothing is on trial".into(),
        State::Armed(counted) => format!("armed for {}: {}", trial(counted), next(counted)),
        State::OnTrial(counted) => format!("this is on trial: {}", next(counted)),
        State::FellBack(counted) => format!("{} was given up by the boot loader", trial(counted)),
    }
}
