//! What every discrete-event simulation needs: virtual time, an ordered queue, seeded draws, a trace with a hash.

mod moment;
mod queue;
mod random;
mod trace;

pub use moment::Moment;
pub use queue::Queue;
pub use random::Random;
pub use trace::{Trace, TraceHash};
