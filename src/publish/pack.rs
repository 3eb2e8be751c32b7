//! Writes a pack: streams are read and hashed in order, frames compressed on all cores, written in order.
//!
//! The same objects, frame length, level and zstd version give the same bytes.

use super::central::Central;
use super::error::{Doing, PublishError, on};
use super::frames::Plan;
use super::manifest::{Placed, pack_path};
use crate::durable::NewFile;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{Frame, ObjectId, Pack};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Frames in memory per worker thread: one that it compresses, one that waits.
const FRAMES_PER_WORKER: usize = 2;

/// A finished pack.
#[derive(Debug)]
pub(super) struct Packed {
    pub pack: Pack,
    pub frames: Vec<Frame>,
}

impl Packed {
    /// Where the streams lie that were packed by `plan`, given their lengths.
    pub fn places(&self, plan: &Plan, lengths: &[u64]) -> Vec<Placed> {
        let place = |(&(frame, offset), &length): (&(u32, u32), &u64)| {
            let mut frames = Vec::new();
            let mut end = u64::from(offset) + length;
            for frame in &self.frames[frame as usize..] {
                frames.push((self.pack.clone(), *frame));
                end = end.saturating_sub(u64::from(frame.raw_length));
                if end == 0 {
                    break;
                }
            }
            Placed { frames, offset, length }
        };
        plan.starts.iter().zip(lengths).map(place).collect()
    }
}

/// Packs `objects` by `plan`; `done` counts raw bytes.
pub(super) fn write(
    central: &Central,
    objects: &[ObjectId],
    plan: &Plan,
    level: i32,
    mut done: impl FnMut(u64),
) -> Result<Packed, PublishError> {
    let dir = central.packs();
    let mut file = NewFile::in_dir(&dir)?;
    let mut out = Output { file: file.file(), hash: Sha256::new(), frames: Vec::new(), at: 0 };
    let mut reader = ObjectReader { central, objects: objects.iter(), current: None };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let (jobs, queue) = channel();
        let (give, results) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..workers {
            let (queue, give) = (queue.clone(), give.clone());
            scope.spawn(move || compress(&queue, &give, level));
        }
        drop(give);
        let mut pipeline = Pipeline { jobs, results, waiting: BTreeMap::new(), sent: 0 };
        for raw_length in &plan.frames {
            let mut raw = vec![0; *raw_length as usize];
            reader.fill(&mut raw)?;
            pipeline.feed(raw, workers * FRAMES_PER_WORKER, &mut out)?;
            done(out.raw());
        }
        pipeline.finish(&mut out)
        // The queue closes here, which ends the workers.
    })?;
    done(out.raw());
    let Output { hash, frames, at, .. } = out;
    let pack = Pack { sha256: Digest(hash.finalize().into()), length: at };
    central.keep(file, &pack_path(&dir, &pack.sha256))?;
    Ok(Packed { pack, frames })
}

/// A frame's number, raw length and compressed bytes.
type Compressed = (usize, usize, io::Result<Vec<u8>>);

fn compress(queue: &Mutex<Receiver<(usize, Vec<u8>)>>, give: &Sender<Compressed>, level: i32) {
    let mut compressor = zstd::bulk::Compressor::new(level);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((index, raw)) = job else { return };
        let bytes = match &mut compressor {
            Ok(compressor) => compressor.compress(&raw),
            Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
        };
        if give.send((index, raw.len(), bytes)).is_err() {
            return;
        }
    }
}

/// Keeps the workers busy and puts their results back into order.
struct Pipeline {
    jobs: Sender<(usize, Vec<u8>)>,
    results: Receiver<Compressed>,
    waiting: BTreeMap<usize, (usize, Vec<u8>)>,
    sent: usize,
}

impl Pipeline {
    /// Gives a frame to the workers; first waits until fewer than `most` are in memory.
    fn feed(&mut self, raw: Vec<u8>, most: usize, out: &mut Output<'_>) -> Result<(), PublishError> {
        while self.sent - out.frames.len() >= most {
            self.take(out)?;
        }
        // Fails only when all workers are gone, which `take` then reports.
        let _ = self.jobs.send((self.sent, raw));
        self.sent += 1;
        Ok(())
    }

    fn finish(&mut self, out: &mut Output<'_>) -> Result<(), PublishError> {
        while out.frames.len() < self.sent {
            self.take(out)?;
        }
        Ok(())
    }

    fn take(&mut self, out: &mut Output<'_>) -> Result<(), PublishError> {
        let gone = || io::Error::other("the compressing threads ended early");
        let (index, raw_length, bytes) = self.results.recv().map_err(|_| gone()).doing(|| "compressing".into())?;
        self.waiting.insert(index, (raw_length, bytes.doing(|| format!("compressing frame {index}"))?));
        while let Some((raw_length, bytes)) = self.waiting.remove(&out.frames.len()) {
            out.frame(raw_length, &bytes)?;
        }
        Ok(())
    }
}

struct Output<'f> {
    file: &'f mut std::fs::File,
    hash: Sha256,
    frames: Vec<Frame>,
    at: u64,
}

impl Output<'_> {
    fn frame(&mut self, raw_length: usize, bytes: &[u8]) -> Result<(), PublishError> {
        self.file.write_all(bytes).doing(|| "writing a pack".into())?;
        self.hash.update(bytes);
        let (length, raw_length) = (bytes.len() as u32, raw_length as u32);
        self.frames.push(Frame { pack: 0, offset: self.at, length, raw_length, sha256: Digest::of(bytes) });
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn raw(&self) -> u64 {
        self.frames.iter().map(|f| u64::from(f.raw_length)).sum()
    }
}

/// The streams of objects as one, each hashed against its name on the way.
struct ObjectReader<'c, I> {
    central: &'c Central,
    objects: I,
    current: Option<Open>,
}

struct Open {
    id: ObjectId,
    stream: Box<dyn Read>,
    left: u64,
    hash: Sha256,
}

impl<'o, I: Iterator<Item = &'o ObjectId>> ObjectReader<'_, I> {
    fn fill(&mut self, mut buf: &mut [u8]) -> Result<(), PublishError> {
        while !buf.is_empty() {
            let mut open = match self.current.take() {
                Some(open) => open,
                None => self.open_next()?,
            };
            let corrupt = || self.central.corrupt(&open.id);
            let want = buf.len().min(usize::try_from(open.left).unwrap_or(usize::MAX));
            // libostree reports a damaged file as an error of the stream, or ends it early.
            open.stream.read_exact(&mut buf[..want]).map_err(|_| corrupt())?;
            open.hash.update(&buf[..want]);
            open.left -= want as u64;
            buf = &mut buf[want..];
            if open.left > 0 {
                self.current = Some(open);
            } else if Digest(open.hash.finalize_reset().into()) != open.id.checksum {
                return Err(corrupt());
            }
        }
        Ok(())
    }

    fn open_next(&mut self) -> Result<Open, PublishError> {
        let missing = || io::Error::other("the plan is longer than its objects");
        let id = *self.objects.next().ok_or_else(missing).doing(|| on("packing", self.central.path()))?;
        let (stream, left) = self.central.stream(&id)?;
        Ok(Open { id, stream: Box::new(stream), left, hash: Sha256::new() })
    }
}
