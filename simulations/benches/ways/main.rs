//! Ways to bring one release to every device of a site, side by side: the same files, the same wires, one after another in an order that
//! rotates. Each run prints one line of JSON with what it was and what it cost; a table of all follows.
//!
//! `cargo bench -p fullmetal-sim --bench ways -- --help`, as root: network namespaces, control groups, debootstrap, nginx, aria2.

#![allow(clippy::print_stdout, reason = "the figures")]

mod each;
mod figures;
mod ours;
mod release;
#[allow(dead_code, reason = "shared with the cases")]
mod room;
mod site;
mod torrent;

use clap::{Parser, ValueEnum};
use figures::{Figures, table};
use release::Repos;
use room::{Room, Setting};

/// A way to bring a release to devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Each device pulls from central with `ostree pull`.
    Each,
    /// The same through nginx at the gateway, which caches.
    Cache,
    /// aria2 moves the same files by BitTorrent; it stores them, and imports nothing.
    Torrent,
    /// Fullmetal, from a repo as other tools make it.
    Plain,
    /// Fullmetal, from a repo that `fullmetal publish` has framed.
    Frames,
}

#[derive(Parser)]
struct Args {
    /// Which site.
    #[arg(long, value_enum, default_values_t = [Setting::Eight])]
    setting: Vec<Setting>,
    /// Which ways, in the order of the first round.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Way::Each, Way::Cache, Way::Torrent, Way::Plain, Way::Frames])]
    ways: Vec<Way>,
    /// How often; each round begins with another way.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    fullmetal_sim::lab::on_interrupt()?;
    let repos = Repos::make()?;
    println!("{}", repos.told()?);
    let mut all: Vec<Figures> = Vec::new();
    for setting in &args.setting {
        let one_copy = one_copy(&repos, *setting)?;
        for (way, plain) in [("limit of plain", true), ("limit of frames", false)] {
            all.push(Figures::limit(*setting, way.to_owned(), repos.fewest_bytes(plain)).of_copies(one_copy));
        }
        for round in 0..args.rounds {
            let mut ways = args.ways.clone();
            ways.rotate_left(round % args.ways.len().max(1));
            for way in ways {
                let figures = run(&repos, *setting, way)?.of_copies(one_copy);
                println!("{}", serde_json::to_string(&figures)?);
                all.push(figures);
            }
        }
    }
    print!("{}", table(&all));
    Ok(())
}

fn run(repos: &Repos, setting: Setting, way: Way) -> anyhow::Result<Figures> {
    let plain = way != Way::Frames;
    let mut room = Room::new(setting, &if plain { repos.plain() } else { repos.framed() })?;
    let mut figures = match way {
        Way::Each => each::pull(&mut room, repos, false),
        Way::Cache => each::pull(&mut room, repos, true),
        Way::Torrent => torrent::move_files(&mut room, repos),
        Way::Plain | Way::Frames => ours::deploy(&mut room, repos),
    }?;
    figures.setting = setting;
    figures.way = way.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    Ok(figures)
}

/// Bytes of one cold pull of one device over the same wires.
fn one_copy(repos: &Repos, setting: Setting) -> anyhow::Result<u64> {
    let mut room = Room::with(setting, 1, &repos.plain())?;
    Ok(each::pull(&mut room, repos, false)?.uplink)
}
