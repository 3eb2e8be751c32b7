//! What became of all cuts, by phase.

use std::collections::BTreeMap;
use std::fmt;

/// How often it was so in one phase.
#[derive(Default)]
struct Counts {
    cuts: u32,
    lossy: u32,
    up_on_new: u32,
}

/// All phases; to be printed.
#[derive(Default)]
pub struct Table(BTreeMap<&'static str, Counts>);

impl Table {
    /// One more cut: whether the disk lost anything, whether the device came up on the new release.
    pub fn add(&mut self, phase: &'static str, lossy: bool, up_on_new: bool) {
        let counts = self.0.entry(phase).or_default();
        counts.cuts += 1;
        counts.lossy += u32::from(lossy);
        counts.up_on_new += u32::from(up_on_new);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| power cut in | cuts | writes lost | up on old | up on new |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for (phase, Counts { cuts, lossy, up_on_new }) in &self.0 {
            let old = cuts - up_on_new;
            writeln!(f, "| {phase} | {cuts} | {lossy} | {old} | {up_on_new} |")?;
        }
        Ok(())
    }
}
