//! Objects from batches, whose objects are each their own proof.

use super::{Import, ImportError, Packed};
use crate::batch::{BatchError, BatchReader};
use crate::repo::{Objects, StoreError};
use fullmetal_proto::wire::{PlainManifest, PlainObject};
use std::io::{self, Read};
use std::ops::RangeInclusive;

impl Import {
    pub(super) fn feed_batches<E>(
        &mut self,
        store: &mut dyn Objects,
        manifest: &PlainManifest,
        run: RangeInclusive<u32>,
        due: &[usize],
        read: &mut dyn FnMut(u32) -> Result<Packed, E>,
    ) -> Result<(), ImportError<E>> {
        for batch in run {
            let packed = read(batch).map_err(|source| ImportError::Read { piece: batch, source })?;
            let (packed, length) = packed.stream();
            let wrong = |why| ImportError::Batch { batch, id: manifest.id(batch), why };
            let mut reader = BatchReader::new(packed, length).map_err(wrong)?;
            for (object, number) in manifest.batch(batch).iter().zip(manifest.range(batch)) {
                let length = reader.object(object).map_err(wrong)?;
                match due.iter().copied().find(|i| self.wanted[*i].start == number as u64) {
                    Some(index) => self.write_from(store, (index, length), object, &mut reader, &wrong)?,
                    None => skip(&mut reader, length).map_err(wrong)?,
                }
            }
        }
        Ok(())
    }

    fn write_from<E>(
        &mut self,
        store: &mut dyn Objects,
        (index, length): (usize, u64),
        object: &PlainObject,
        reader: &mut BatchReader<Box<dyn Read>>,
        wrong: &dyn Fn(BatchError) -> ImportError<E>,
    ) -> Result<(), ImportError<E>> {
        let mut stream = Watched { inner: reader.by_ref().take(length), failure: None };
        if let Err(error) = store.write(&object.id, length, &mut stream) {
            self.drop_slice();
            return Err(match (stream.failure, error) {
                (Some(failure), _) => wrong(failure.into()),
                (None, StoreError::Corrupt { .. }) => wrong(BatchError::Object(object.id)),
                (None, error @ (StoreError::Refused { .. } | StoreError::Missing { .. })) => {
                    ImportError::Unfit { commit: self.commit, object: object.id, source: Box::new(error) }
                }
                (None, error) => ImportError::Store(error),
            });
        }
        // What is there already is left unread.
        let left = stream.inner.limit();
        skip(reader, left).map_err(wrong)?;
        self.written(store, index, length)
    }
}

fn skip(reader: &mut impl Read, length: u64) -> Result<(), BatchError> {
    let skipped = io::copy(&mut reader.take(length), &mut io::sink())?;
    if skipped == length { Ok(()) } else { Err(BatchError::Damaged("it ends early".into())) }
}

/// Keeps the error that its reader saw.
struct Watched<R> {
    inner: R,
    failure: Option<io::Error>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buf).map_err(|error| {
            self.failure = Some(error);
            io::Error::other("the batch could not be read")
        })
    }
}
