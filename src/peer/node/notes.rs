//! Small files that the node keeps in the cache, and the cache's own directories: written in order, off the reactor.

use crate::peer::cache::{Cache, CacheError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tracing::warn;

/// What is to be written; a newer text of a note takes the place of an older one that was not written yet.
#[derive(Clone)]
pub(super) struct Notes {
    inner: Arc<Inner>,
}

struct Inner {
    cache: Cache,
    waiting: Mutex<BTreeMap<&'static str, Vec<u8>>>,
    wake: Notify,
    /// Held while writing, so that an older text never follows a newer one.
    writing: Mutex<()>,
}

impl Notes {
    pub fn new(cache: Cache) -> Self {
        let (waiting, wake, writing) = Default::default();
        Notes { inner: Arc::new(Inner { cache, waiting, wake, writing }) }
    }

    /// Leaves a note's new text to the next flush.
    pub fn write(&self, name: &'static str, text: Vec<u8>) {
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(name, text);
    }

    /// Wakes [`Notes::run`].
    pub fn flush_now(&self) {
        self.inner.wake.notify_one();
    }

    /// Flushes whenever it is woken.
    pub async fn run(self) {
        loop {
            self.inner.wake.notified().await;
            let notes = self.clone();
            match tokio::task::spawn_blocking(move || notes.flush()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "writing notes to the cache"),
                Err(_) => return,
            }
        }
    }

    /// Makes finished files durable, then the notes that may name them. Blocks.
    pub fn flush(&self) -> Result<(), CacheError> {
        let _writing = self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut *self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.inner.cache.sync()?;
        waiting.into_iter().try_for_each(|(name, text)| self.inner.cache.write_note(name, &text))
    }
}
