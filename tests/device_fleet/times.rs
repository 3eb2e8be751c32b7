//! How long the steps of an update of the operating system take on a device, by its journal.

use crate::bench::Host;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A line of the journal.
struct Line {
    /// Since 1970.
    at: Duration,
    boot: String,
    words: String,
}

/// Says it of the newest deployment, which brought an operating system and was told at this time.
pub fn tell(host: &Host, told: SystemTime) {
    let lines = lines(host);
    let last = |words: &str| lines.iter().rposition(|line| line.words.contains(words)).unwrap();
    let next = |from: usize, words: &str| {
        let at = lines[from..].iter().position(|line| line.words.contains(words));
        from + at.unwrap_or_else(|| panic!("{}: nothing says {words:?}", host.name))
    };
    let judging = last(": judging ");
    let fetching = next(judging, ": fetching ");
    let staging = next(last(": fetching "), ": staging ");
    let staged = next(staging, " state=Staged ");
    let arming = next(staged, " step=Arm ");
    let goes_down = next(arming, ": rebooting ");
    let is_down = lines.iter().rposition(|line| line.boot == lines[goes_down].boot).unwrap();
    let up = next(is_down, ": agent started ");
    let clearing = next(up, " step=Clear(");
    let proven = next(clearing, " state=Succeeded ");
    let seconds = |from: usize, to: usize| (lines[to].at - lines[from].at).as_secs_f64();
    let steps = [
        ("judge", judging, fetching),
        ("fetch", fetching, staging),
        ("stage", staging, staged),
        ("arm", arming, goes_down),
        ("shutdown", goes_down, is_down),
        ("boot until the agent runs", is_down + 1, up),
        ("proof", up, clearing),
        ("clear", clearing, proven),
    ];
    let steps: String = steps.iter().map(|(name, from, to)| format!("{name} {:.2} s, ", seconds(*from, *to))).collect();
    let report = told.duration_since(UNIX_EPOCH).unwrap().saturating_sub(lines[proven].at).as_secs_f64();
    let startup = &lines[next(is_down, "Startup finished in")].words;
    println!("{}: the operating system's update: {steps}report {report:.2} s; systemd: {startup}", host.name);
}

fn lines(host: &Host) -> Vec<Line> {
    let argv = ["journalctl", "--no-pager", "-o", "json", "--output-fields=MESSAGE,_BOOT_ID"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let at = Duration::from_micros(text(&entry["__REALTIME_TIMESTAMP"]).parse().unwrap());
        Line { at, boot: text(&entry["_BOOT_ID"]), words: text(&entry["MESSAGE"]) }
    };
    host.device.run(&argv).unwrap().lines().map(line).collect()
}
