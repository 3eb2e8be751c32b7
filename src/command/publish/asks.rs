//! The options of `fullmetal publish` that say what an app asks of the device that runs it.

use clap::Args;
use fullmetal::publish::{PublishError, parse_cpu, parse_size};
use fullmetal_proto::AppName;
use fullmetal_proto::ostree::{Asks, Grant, Limits};

#[derive(Args)]
#[command(next_help_heading = "On the device")]
pub struct AsksArgs {
    /// Start it after this app, where that is there; several times for several.
    #[arg(long, value_name = "NAME")]
    after: Vec<AppName>,
    /// Run it only with this app; several times for several.
    #[arg(long, value_name = "NAME")]
    requires: Vec<AppName>,
    /// Start this app with it, and mind nothing if that ends; several times for several.
    #[arg(long, value_name = "NAME")]
    wants: Vec<AppName>,
    /// The app says itself when it is ready, in systemd's protocol (sd_notify).
    #[arg(long)]
    notify: bool,
    /// Seconds until it must be ready, 1 to 3600.
    #[arg(long, value_name = "SECONDS")]
    start_timeout: Option<u32>,
    /// The most memory that it may use, such as 64M.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// The most CPU time that it may use, in CPUs, such as 0.5.
    #[arg(long, value_name = "CPUS")]
    cpu: Option<String>,
    /// The most processes and threads that it may have.
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    /// Weight of its disk I/O against other apps', 10 to 1000.
    #[arg(long, value_name = "WEIGHT")]
    io: Option<u32>,
    /// Devices that it needs and that the policy of a device must allow it: screen, gpu, sound, serial:NAME, device:PATH;
    /// several times for several.
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<Grant>,
}

impl AsksArgs {
    /// What was asked for, each by itself as it was given; `Options::check` bounds it.
    pub fn asks(self) -> Result<Asks, PublishError> {
        let limits = Limits {
            memory: self.memory.map(|text| parse_size("--memory", &text)).transpose()?,
            cpu: self.cpu.map(|text| parse_cpu("--cpu", &text)).transpose()?,
            pids: self.pids,
            io: self.io,
        };
        Ok(Asks {
            after: self.after,
            requires: self.requires,
            wants: self.wants,
            notify: self.notify,
            start_timeout: self.start_timeout,
            limits,
            grants: self.grants,
        })
    }
}
