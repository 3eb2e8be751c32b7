//! A line on the terminal that tells how far something is; nothing where standard error is none.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// How often it is drawn.
const DRAWN_MS: u64 = 200;
/// Characters of the bar.
const WIDTH: u64 = 40;

/// The line.
pub struct Bar {
    shown: bool,
    drawn_at: Instant,
}

impl Bar {
    /// Nothing is drawn yet.
    pub fn new() -> Self {
        Bar { shown: std::io::stderr().is_terminal(), drawn_at: Instant::now() }
    }

    /// Draws what `text` says, if it is time to.
    pub fn draw(&mut self, text: impl FnOnce() -> String) {
        if self.drawn_at.elapsed() >= Duration::from_millis(DRAWN_MS) {
            self.draw_now(text);
        }
    }

    /// Draws what `text` says before something that takes long.
    pub fn draw_now(&mut self, text: impl FnOnce() -> String) {
        if self.shown {
            self.drawn_at = Instant::now();
            eprint!("\r{:80}\r{} ", "", text());
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if self.shown {
            eprint!("\r{:80}\r", "");
        }
    }
}

impl Default for Bar {
    fn default() -> Self {
        Bar::new()
    }
}

/// A bar of which `done` of `all` is full.
pub fn bar(done: u64, all: u64) -> String {
    let full = WIDTH * done.min(all) / all.max(1);
    format!("[{:<width$}]", "#".repeat(full as usize), width = WIDTH as usize)
}
