//! What happens to a fleet while a release comes, and releases of unusual shape: with Fullmetal alone, from a repo with frames. Each
//! case prints one line of JSON with what it cost; a table of all follows.
//!
//! `cargo bench -p fullmetal-sim --bench cases -- --help`, as root: network namespaces, control groups, nginx, runc, busybox-static.
//!
//! A copy is what one device without neighbours would fetch: the frames that the release adds, and its manifest. What packets add is
//! hardly counted: the kernel hands over up to 64 KiB at once, with one header.

#![allow(clippy::print_stdout, reason = "the figures")]

mod events;
#[allow(dead_code, reason = "shared with the ways")]
#[path = "../ways/figures.rs"]
mod figures;
mod release;
#[allow(dead_code, reason = "shared with the ways")]
#[path = "../ways/room.rs"]
mod room;
#[allow(dead_code, reason = "shared with the ways")]
#[path = "../ways/site.rs"]
mod site;

use clap::{Parser, ValueEnum};
use figures::{Figures, table};
use fullmetal_sim::lab::Programs;
use release::{Files, Publisher};
use room::Setting;
use std::path::PathBuf;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Nothing: 4,000 files of 40 kB come to all devices.
    Calm,
    /// All devices are at release 1; of the files of release 2 five are others, and one is new.
    SmallChange,
    /// The last device is switched on when all others are done and the uplink is cut.
    LateJoiner,
    /// The gateway's programs are killed for good when half a copy has crossed the uplink.
    GatewayKilled,
    /// So are those of the device that has fetched most from central.
    FetcherGone,
    /// The same, but they are started again at once.
    FetcherBack,
    /// 100,000 files of 1 kB.
    SmallFiles,
    /// One file of 500 MB.
    OneFile,
}

#[derive(Parser)]
struct Args {
    /// Which cases.
    #[arg(long = "case", value_enum, value_delimiter = ',', default_values_t = Case::value_variants().to_vec())]
    cases: Vec<Case>,
    /// Which site.
    #[arg(long, value_enum, default_value_t = Setting::Eight)]
    setting: Setting,
    /// By how much releases are smaller, to try whether a case works.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    shrink: u32,
    /// Where fullmetal and fullmetal-gateway are; otherwise beside this program.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Case {
    fn files(self, shrink: u32) -> Files {
        match self {
            Case::SmallFiles => Files { count: 100_000 / shrink, bytes: 1_000 },
            Case::OneFile => Files { count: 1, bytes: 500_000_000 / u64::from(shrink) },
            _ => Files { count: 4_000 / shrink, bytes: 40_000 },
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    fullmetal_sim::lab::on_interrupt()?;
    let programs = Programs::find(args.programs)?;
    let mut all: Vec<Figures> = Vec::new();
    for case in args.cases {
        let mut publisher = Publisher::new(&programs, case.files(args.shrink))?;
        let (mut figures, one_copy) = events::run(case, args.setting, &mut publisher)?;
        figures.setting = args.setting;
        figures.way = case.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let figures = figures.of_copies(one_copy);
        println!("{}", serde_json::to_string(&figures)?);
        all.push(figures);
    }
    print!("{}", table(&all));
    Ok(())
}
