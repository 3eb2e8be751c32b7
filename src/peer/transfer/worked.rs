//! Long work on blocking threads that is told of while it lasts.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Between two tellings.
const TELL_MS: u64 = 1_000;

/// Bytes that were worked on and not told of yet; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Worked(Arc<AtomicU64>);

impl Worked {
    /// Some more were done.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits for `work` and tells meanwhile of what was done, if anything was.
    pub async fn told<T, F: Future<Output = ()>>(
        &self,
        work: impl Future<Output = T>,
        mut tell: impl FnMut(u64) -> F,
    ) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(Duration::from_millis(TELL_MS)) => {
                    let bytes = self.0.swap(0, Ordering::Relaxed);
                    if bytes > 0 {
                        tell(bytes).await;
                    }
                }
            }
        }
    }
}
