//! Lines on the terminal with the seconds since the start.

use std::time::Instant;

/// Tells what happens.
pub struct Teller {
    start: Instant,
}

impl Teller {
    /// The clock starts now.
    pub fn new() -> Self {
        Teller { start: Instant::now() }
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// A headline.
    pub fn chapter(&self, text: &str) {
        println!("\n{:6.1} s  {text}", self.seconds());
    }

    /// One thing that happened.
    pub fn line(&self, text: &str) {
        println!("{:6.1} s    {text}", self.seconds());
    }
}

/// Bytes for people.
pub fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
