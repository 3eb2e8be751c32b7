//! A draft that is written off the reactor.

use crate::peer::cache::{CacheError, Draft};

/// Bytes that are gathered before they are hashed and written.
const GATHER_LEN: usize = 256 << 10;

/// Something of known length that comes in; its methods block.
pub trait Incoming: Send + 'static {
    /// Bytes that are still to come.
    fn missing(&self) -> u64;
    /// Adds the next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), CacheError>;
    /// Verifies and names it; gives its length.
    fn finish(self) -> Result<u64, CacheError>;
}

impl Incoming for Draft {
    fn missing(&self) -> u64 {
        self.missing()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.write(bytes)
    }

    fn finish(self) -> Result<u64, CacheError> {
        self.finish()
    }
}

/// Feeds an [`Incoming`] from an async task: hashing, writing and syncing happen on blocking threads, and at
/// most [`GATHER_LEN`] bytes and one block wait in memory.
#[derive(Debug)]
pub struct Inflow<D> {
    draft: Option<D>,
    gathered: Vec<u8>,
    missing: u64,
}

impl<D: Incoming> Inflow<D> {
    /// Nothing has come yet.
    pub fn new(draft: D) -> Self {
        let missing = draft.missing();
        Inflow { draft: Some(draft), gathered: Vec::new(), missing }
    }

    /// Bytes that are still to come.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Adds the next bytes, at most [`Inflow::missing`]; more is refused as corrupt when it is written.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.gathered.extend_from_slice(bytes);
        self.missing = self.missing.saturating_sub(bytes.len() as u64);
        if self.gathered.len() < GATHER_LEN {
            return Ok(());
        }
        let Some(mut draft) = self.draft.take() else { return Ok(()) };
        let mut gathered = std::mem::take(&mut self.gathered);
        let written = off_reactor(move || {
            draft.write(&gathered)?;
            gathered.clear();
            Ok((draft, gathered))
        });
        let (draft, gathered) = written.await?;
        self.draft = Some(draft);
        self.gathered = gathered;
        Ok(())
    }

    /// Writes the rest, verifies and names the file; gives its length.
    pub async fn finish(self) -> Result<u64, CacheError> {
        let Some(mut draft) = self.draft else { return Ok(0) };
        off_reactor(move || {
            draft.write(&self.gathered)?;
            draft.finish()
        })
        .await
    }
}

/// Runs `work` on a blocking thread; it is finished even when the waiting future is dropped.
pub async fn off_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(_) => Err(CacheError::Stopping),
    }
}
