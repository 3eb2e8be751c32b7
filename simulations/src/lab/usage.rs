//! What a program has cost so far, from /proc (proc(5)).

use anyhow::Context as _;

/// Ticks of /proc/PID/stat a second; fixed on Linux as user space sees it.
const TICKS_PER_S: f64 = 100.0;

/// CPU time and memory of one program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time in seconds.
    pub cpu_s: f64,
    /// Proportional set size now, in KiB.
    pub pss_kib: u64,
    /// Peak resident set size, in KiB.
    pub peak_rss_kib: u64,
}

impl Usage {
    /// Of a running process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))
        };
        let stat = read("stat")?;
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        // Fields 14 and 15 of the line, 12 and 13 after the name and a blank.
        let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().to_owned();
            line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        let pss_kib = field(&read("smaps_rollup")?, "Pss:");
        let peak_rss_kib = field(&read("status")?, "VmHWM:");
        Ok(Usage { cpu_s: ticks / TICKS_PER_S, pss_kib, peak_rss_kib })
    }
}
