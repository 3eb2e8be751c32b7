//! What the system says about the gateway's process and its files.

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ticks a second in `/proc`, whatever the kernel's own; proc(5).
const USER_HZ: f64 = 100.0;

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
}

/// Seconds of CPU time so far, user and system.
pub fn cpu_s(pid: u32) -> f64 {
    let stat = read(pid, "stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|f| f.parse::<u64>().unwrap()).sum();
    ticks as f64 / USER_HZ
}

/// A figure of `status` or `smaps_rollup`, in MiB.
pub fn mib(pid: u32, file: &str, key: &str) -> f64 {
    let text = read(pid, file);
    let line = text.lines().find_map(|l| l.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// Files that got their name below the gateway's directory.
#[derive(Clone, Default)]
pub struct Written(Arc<Counts>);

#[derive(Default)]
struct Counts {
    states: AtomicU64,
    state_bytes: AtomicU64,
    reports: AtomicU64,
}

impl Written {
    /// Watches until the directory is gone.
    pub fn watch(dir: &Path) -> Self {
        let spool = dir.join("spool");
        std::fs::create_dir_all(&spool).unwrap();
        let fd = inotify::init(CreateFlags::CLOEXEC).unwrap();
        let [_, of_spool] = [dir, spool.as_path()].map(|d| inotify::add_watch(&fd, d, WatchFlags::MOVED_TO).unwrap());
        let (written, state) = (Written::default(), dir.join("state"));
        let counts = written.0.clone();
        std::thread::spawn(move || {
            let mut space = [MaybeUninit::uninit(); 1 << 16];
            let mut reader = Reader::new(fd, &mut space);
            while let Ok(event) = reader.next() {
                let is_state = event.file_name().is_some_and(|n| n.to_bytes() == b"state");
                if event.events().contains(ReadFlags::IGNORED) {
                    return;
                } else if event.wd() == of_spool {
                    counts.reports.fetch_add(1, Ordering::Relaxed);
                } else if is_state {
                    counts.states.fetch_add(1, Ordering::Relaxed);
                    let length = std::fs::metadata(&state).map_or(0, |m| m.len());
                    counts.state_bytes.fetch_add(length, Ordering::Relaxed);
                }
            }
        });
        written
    }

    /// Snapshots of the state, and their bytes; reports.
    pub fn so_far(&self) -> (u64, u64, u64) {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (of(&self.0.states), of(&self.0.state_bytes), of(&self.0.reports))
    }
}
