//! `fullmetal inspect --plan`: what a device fetches of a release, given which others it has.

use super::{FILE_LEN_MAX, line};
use crate::command::Context;
use anyhow::{Context as _, ensure};
use fullmetal::console;
use fullmetal_proto::wire::{FetchPlan, ObjectId, Pieces};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub fn show(context: &Context, file: &Path, having: &[PathBuf]) -> anyhow::Result<()> {
    let release = read(file)?;
    let mut there: BTreeSet<ObjectId> = BTreeSet::new();
    for other in having {
        there.extend(read(other)?.objects().into_iter().map(|(id, _)| id));
    }
    let plan = release.plan(|id| !there.contains(id));
    if context.json {
        return console::print_json(&serde_json::json!({
            "commit": release.commit(), "objects": plan.objects, "object_bytes": plan.object_bytes, "pieces": plan.pieces,
            "bytes": plan.bytes, "fewest": plan.fewest,
        }));
    }
    console::print(&text(&release, &plan, having.len()))
}

fn text(release: &Pieces, plan: &FetchPlan, having: usize) -> String {
    let has = match having {
        0 => "nothing".to_owned(),
        1 => "the other commit".to_owned(),
        n => format!("the {n} other commits"),
    };
    let mut text = format!("what a device that has {has} fetches of commit {}\n", release.commit());
    let all = release.objects().len();
    line(
        &mut text,
        "objects",
        &format!("{} of {all}, {} on the device", plan.objects, console::bytes(plan.object_bytes)),
    );
    let kind = if matches!(release, Pieces::Frames(_)) { "frames" } else { "batches" };
    line(&mut text, kind, &format!("{} of {}, {}", plan.pieces, release.count(), console::bytes(plan.bytes)));
    let beside = 100.0 * (plan.bytes.saturating_sub(plan.fewest)) as f64 / plan.bytes.max(1) as f64;
    let fewest = console::bytes(plan.fewest);
    line(&mut text, "of these", &format!("{fewest} for what is missing, {beside:.1} % for what lies beside it"));
    text
}

/// A manifest of either kind.
fn read(file: &Path) -> anyhow::Result<Pieces> {
    let shown = file.display();
    let meta = std::fs::metadata(file).with_context(|| format!("reading {shown}"))?;
    ensure!(meta.len() <= FILE_LEN_MAX, "{shown} has {} bytes; no manifest is longer than {FILE_LEN_MAX}", meta.len());
    let bytes = std::fs::read(file).with_context(|| format!("reading {shown}"))?;
    let is_none = || format!("{shown} is no manifest: name a file of REPO/fullmetal/manifests");
    Pieces::open(&bytes).with_context(is_none)
}
