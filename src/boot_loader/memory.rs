//! A boot loader in memory, for tests of whoever drives one.

use super::{BootLoader, BootLoaderError, Counted, DeploymentId, Tries};
use std::cell::RefCell;

/// Counts like the others, and boots when it is told to.
#[derive(Debug, Default)]
pub struct MemoryLoader {
    counted: RefCell<Option<Counted>>,
}

impl MemoryLoader {
    /// Boots: true for the first entry, false for the second.
    pub fn boot(&self) -> bool {
        match &mut *self.counted.borrow_mut() {
            Some(Counted { tries_left: 0, .. }) => false,
            Some(counted) => {
                counted.tries_left -= 1;
                true
            }
            None => true,
        }
    }

    fn count(&self, trial: &DeploymentId, tries_left: u8) {
        self.counted.replace(Some(Counted { trial: Some(*trial), tries_left }));
    }
}

impl BootLoader for MemoryLoader {
    fn check(&self) -> Result<Option<&'static str>, BootLoaderError> {
        Ok(None)
    }

    fn arm(&self, trial: &DeploymentId, tries: Tries) -> Result<(), BootLoaderError> {
        self.count(trial, tries.get());
        Ok(())
    }

    fn counted(&self) -> Result<Option<Counted>, BootLoaderError> {
        Ok(self.counted.borrow().clone())
    }

    fn give_up(&self, trial: &DeploymentId) -> Result<(), BootLoaderError> {
        self.count(trial, 0);
        Ok(())
    }

    fn clear(&self) -> Result<(), BootLoaderError> {
        self.counted.replace(None);
        Ok(())
    }
}
