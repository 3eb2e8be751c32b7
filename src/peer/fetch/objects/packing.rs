//! A batch that is being packed.

use crate::batch::BatchWriter;
use crate::peer::cache::{BatchDraft, CacheError};
use crate::peer::fetch::origin::Ended;
use crate::peer::transfer::{Data, Worked, off_reactor};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::PlainObject;
use std::io::{self, Write as _};
use std::sync::Arc;

/// Bytes that are packed between two words of progress.
const STEP_LEN: usize = 1 << 20;

/// Objects that are packed one after another.
pub(super) struct Packing {
    writer: BatchWriter<BatchDraft>,
    data: Arc<Data>,
    /// Bytes that came from central for its objects.
    pub(super) came: u64,
    /// Bytes that were packed or verified.
    pub(super) worked: Worked,
}

impl Packing {
    pub(super) async fn start(data: &Arc<Data>, id: Digest) -> Result<Self, CacheError> {
        let data = data.clone();
        off_reactor(move || {
            let writer = BatchWriter::new(data.batch_draft(id)?).map_err(|e| failed(&data, e))?;
            Ok(Packing { writer, data, came: 0, worked: Worked::default() })
        })
        .await
    }

    /// Begins an object whose stream has `length` bytes.
    pub(super) async fn begin(&mut self, length: u64) -> Result<(), CacheError> {
        // Eight bytes into the encoder's buffer.
        self.writer.object(length).map_err(|e| failed(&self.data, e))
    }

    /// Adds the next bytes of the object's stream.
    pub(super) async fn add(mut self, stream: Vec<u8>) -> Result<Self, CacheError> {
        off_reactor(move || {
            for step in stream.chunks(STEP_LEN) {
                self.writer.write_all(step).map_err(|e| failed(&self.data, e))?;
                self.worked.add(step.len() as u64);
            }
            Ok(self)
        })
        .await
    }

    /// Verifies and names it.
    pub(super) async fn finish(self, objects: Vec<PlainObject>, piece: u32) -> Result<(), Ended> {
        let finished = off_reactor(move || {
            let draft = self.writer.finish().map_err(|e| failed(&self.data, e))?;
            draft.finish(&objects, &|bytes| self.worked.add(bytes))
        });
        match finished.await {
            Ok(_) => Ok(()),
            Err(CacheError::Corrupt { .. }) => Err(Ended::Corrupt(piece)),
            Err(error) => Err(Ended::Cache(error)),
        }
    }
}

/// A draft that found no room says so through its writer's error.
fn failed(data: &Data, error: io::Error) -> CacheError {
    CacheError::within(error, |e| data.cache.scratch_error(e))
}
