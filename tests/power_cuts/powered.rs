//! What a site's one device is: a machine in qemu, or in namespaces with a disk that loses what was not flushed.

use crate::bench::Host;
use fullmetal_sim::lab::machine::Machine;
use fullmetal_sim::lab::{Lost, Mark, Said};
use fullmetal_sim::sim::engine::Random;
use std::fs::{self, File};
use std::process::{Child, Stdio};

/// `host` is the site's device, of which a machine has only the network.
pub trait Powered {
    /// Switches it on and waits until it is up; the release that runs.
    fn boots(&mut self, host: &mut Host) -> anyhow::Result<u64>;
    /// Has it go on where it has gone down to reboot; whether it was so, with nothing waited for.
    fn begins_to_reboot(&mut self, host: &mut Host) -> anyhow::Result<bool>;
    /// The same, and it may be waited until it is up.
    fn follow(&mut self, host: &mut Host) -> anyhow::Result<()>;
    /// The release that runs, as far as that is known.
    fn release(&self, host: &Host) -> Option<u64>;
    /// Its power goes; it is off then, and its disk was looked at.
    fn loses_power(&mut self, host: &mut Host, draw: &mut Random) -> anyhow::Result<Lost>;
    /// Has what it says now be heard, if it is not yet.
    fn hear(&mut self, host: &Host);
    fn mark(&self) -> Mark;
    /// What it has said since, boot by boot.
    fn since(&self, mark: Mark) -> Vec<String>;
}

impl Powered for Machine {
    fn boots(&mut self, _: &mut Host) -> anyhow::Result<u64> {
        self.boot()
    }

    fn begins_to_reboot(&mut self, _: &mut Host) -> anyhow::Result<bool> {
        Machine::follow(self)
    }

    fn follow(&mut self, _: &mut Host) -> anyhow::Result<()> {
        Machine::follow(self).map(drop)
    }

    fn release(&self, _: &Host) -> Option<u64> {
        Machine::release(self)
    }

    fn loses_power(&mut self, _: &mut Host, draw: &mut Random) -> anyhow::Result<Lost> {
        let lost = self.cut_power(draw)?;
        self.check_disk().map(|()| lost)
    }

    /// Its console is heard from the beginning.
    fn hear(&mut self, _: &Host) {}

    fn mark(&self) -> Mark {
        Machine::mark(self)
    }

    fn since(&self, mark: Mark) -> Vec<String> {
        self.boots_since(mark)
    }
}

/// A device in namespaces: what it says is what its journal says.
pub struct Namespaced {
    said: Said,
    reader: Option<Child>,
}

impl Namespaced {
    pub fn new(said: Said) -> Self {
        Namespaced { said, reader: None }
    }

    /// Reads the journal of the boot that has begun.
    fn listen(&mut self, host: &Host) -> anyhow::Result<()> {
        self.end_reader();
        let to = File::create(self.said.begin_boot())?;
        let mut reader = host.device.command(&["journalctl", "-b", "--no-tail", "-f", "-o", "cat"])?;
        self.reader = Some(reader.stdout(to).stderr(Stdio::null()).spawn()?);
        Ok(())
    }

    /// It has ended with the device, if that went down.
    fn end_reader(&mut self) {
        if let Some(mut reader) = self.reader.take() {
            let _ = reader.kill();
            let _ = reader.wait();
        }
    }
}

impl Drop for Namespaced {
    fn drop(&mut self) {
        self.end_reader();
    }
}

impl Powered for Namespaced {
    fn boots(&mut self, host: &mut Host) -> anyhow::Result<u64> {
        host.device.boot()?;
        self.listen(host).map(|()| host.system())
    }

    fn begins_to_reboot(&mut self, host: &mut Host) -> anyhow::Result<bool> {
        let begins = host.device.begin_reboot()?;
        if begins {
            self.end_reader();
        }
        Ok(begins)
    }

    fn follow(&mut self, host: &mut Host) -> anyhow::Result<()> {
        if host.device.follow()? {
            self.listen(host)?;
        }
        Ok(())
    }

    fn release(&self, host: &Host) -> Option<u64> {
        Some(host.system())
    }

    fn loses_power(&mut self, host: &mut Host, draw: &mut Random) -> anyhow::Result<Lost> {
        host.device.lose_power(draw)
    }

    /// So early in a boot that there is no journal yet, nothing.
    fn hear(&mut self, host: &Host) {
        if self.reader.is_some() {
            return;
        }
        let said = host.device.command(&["journalctl", "-b", "-o", "cat"]).and_then(|mut read| Ok(read.output()?));
        let _ = fs::write(self.said.begin_boot(), said.map(|said| said.stdout).unwrap_or_default());
    }

    fn mark(&self) -> Mark {
        self.said.mark()
    }

    fn since(&self, mark: Mark) -> Vec<String> {
        self.said.since(mark)
    }
}
