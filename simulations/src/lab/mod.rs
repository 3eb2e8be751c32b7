//! Fleets of the real programs: a central web server, a gateway, devices; each with its own directory, users and,
//! where asked, network namespace. Whatever was started is ended and removed when its value is dropped.

mod app;
mod cable;
mod central;
mod cgroup;
mod corrupt;
pub mod device;
mod disk;
pub mod enact;
mod fleet;
pub mod machine;
pub mod net;
mod node;
mod operator;
mod process;
mod programs;
mod relay;
mod said;
mod site;
mod small;
mod usage;

pub use app::{DemoApp, Release};
pub use cable::{Impairment, Tally};
pub use central::{Answers, Central};
pub use cgroup::Cgroup;
pub use disk::{Lost, Mounted};
pub use fleet::Fleet;
pub use node::{ActionState, Node, NodeOptions};
pub use operator::{Entry, Operator};
pub use process::{Process, interrupted, on_interrupt, wait_for};
pub use programs::{Programs, output_of, pull_with_ostree};
pub use said::{Mark, Said};
pub use site::{APP, APP_REF, Site, SiteOptions};
pub use small::SmallApp;
pub use usage::Usage;

/// The user that peers run as: nobody else's, without a name.
pub const PEER_UID: u32 = 61_616;
