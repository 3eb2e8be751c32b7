//! Copies over the uplink and the time of the last device, simulated for fleets from 10 to 10,000 devices, beside the time that no way
//! of distribution can beat.
//!
//! `cargo bench -p fullmetal-sim --bench curve -- --help`. Prints a line of JSON for each fleet, then a table.

#![allow(clippy::print_stdout, reason = "the figures")]

use anyhow::{Context as _, ensure};
use clap::Parser;
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

const UPLINK_MBIT: u32 = 100;
/// Of devices and of the gateway, each way.
const PORT_MBIT: u32 = 1_000;
const SIZE_MB: u32 = 90;
/// What packets add, in percent.
const OVERHEAD: u32 = 4;
/// When the release is announced, to a fleet that has found itself by then.
const ANNOUNCED_S: u32 = 60;

#[derive(Parser)]
struct Args {
    /// How many devices, one fleet after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 32, 100, 316, 1_000, 3_162, 10_000])]
    devices: Vec<u32>,
    /// What chance does.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The simulator; otherwise the one of this build.
    #[arg(default_value = env!("CARGO_BIN_EXE_fullmetal-sim"))]
    program: PathBuf,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Of one fleet; times in seconds from the announcement.
#[derive(Serialize)]
struct Figures {
    devices: u32,
    seed: u64,
    /// Bytes over the uplink by the bytes of one copy on the wire.
    copies: f64,
    /// When half of the devices, and the last one, had everything.
    half_s: f64,
    last_s: f64,
    /// What no way can beat.
    bound_s: f64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let dir = tempfile::tempdir()?;
    let mut all = Vec::new();
    for devices in &args.devices {
        let file = dir.path().join(format!("{devices}.toml"));
        std::fs::write(&file, scenario(*devices))?;
        let mut command = Command::new(&args.program);
        command.arg("run").arg(&file).args(["--json", "--seed", &args.seed.to_string()]);
        let output = command.output().with_context(|| format!("running {}", args.program.display()))?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        let figures = Figures::of(*devices, args.seed, &serde_json::from_slice(&output.stdout)?)?;
        println!("{}", serde_json::to_string(&figures)?);
        all.push(figures);
    }
    println!(
        "\n| devices | copies | half of them | the last | bound | the last by the bound |\n|---:|---:|---:|---:|---:|---:|"
    );
    for Figures { devices, copies, half_s, last_s, bound_s, .. } in &all {
        let ratio = last_s / bound_s;
        println!("| {devices} | {copies:.3} | {half_s:.2} s | {last_s:.2} s | {bound_s:.2} s | {ratio:.2} |");
    }
    Ok(())
}

fn scenario(devices: u32) -> String {
    format!(
        "name = \"{devices} devices\"\n\
         layers = \"announcement\"\n\
         [network]\n\
         uplink = \"{UPLINK_MBIT} Mbit/s\"\n\
         port = \"{PORT_MBIT} Mbit/s\"\n\
         overhead = \"{OVERHEAD} %\"\n\
         [[group]]\n\
         name = \"hall\"\n\
         devices = {devices}\n\
         on = \"over 5 s\"\n\
         [release]\n\
         kind = \"frames\"\n\
         size = \"{SIZE_MB} MB\"\n\
         announced = \"{ANNOUNCED_S} s\"\n\
         [expect]\n\
         everyone_converged = true\n"
    )
}

/// The least time in which `devices` can get one release of `W` bytes, whoever gives what to whom: the uplink `u` carries it once,
/// each device's port `d` takes all of what it lacks, `L`, and whatever all lack comes over the uplink or out of somebody's port `c`:
/// `T >= max(W/u, max L/d, sum L/(u + sum c))` (Kumar and Ross, Peer-Assisted File Distribution: The Minimum Distribution Time, 2006).
fn bound_s(devices: u32) -> f64 {
    let megabits = f64::from(SIZE_MB * 8) * f64::from(100 + OVERHEAD) / 100.0;
    let (uplink, port, devices) = (f64::from(UPLINK_MBIT), f64::from(PORT_MBIT), f64::from(devices));
    // The gateway's peer needs nothing and gives, too.
    let all = devices * megabits / (uplink + (devices + 1.0) * port);
    (megabits / uplink).max(megabits / port).max(all)
}

impl Figures {
    fn of(devices: u32, seed: u64, result: &Value) -> anyhow::Result<Self> {
        let seconds = |key: &str| {
            let ms = result["time_ms"][key].as_u64().context("the simulator tells no time")?;
            anyhow::Ok(ms.saturating_sub(u64::from(ANNOUNCED_S) * 1_000) as f64 / 1_000.0)
        };
        let copies = result["copies_thousandths"].as_f64().context("the simulator tells no copies")? / 1_000.0;
        let (half_s, last_s) = (seconds("50")?, seconds("100")?);
        Ok(Figures { devices, seed, copies, half_s, last_s, bound_s: bound_s(devices) })
    }
}
