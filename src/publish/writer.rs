//! Writes objects on all cores: compressing `.filez` is most of what publishing costs.
//!
//! Each thread has its own handle of the repo and its own transaction; an object becomes visible only whole and
//! synced, and nothing refers to any of them yet.

use super::error::{Doing, PublishError, on};
use super::tree::Pending;
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use ostree::gio::{self, Cancellable};
use ostree::glib::{Variant, VariantTy};
use ostree::{ObjectType, Repo};
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

/// Writes those of `objects` that are missing in the repo at `path`, and syncs; `done` counts objects.
pub(super) fn write(
    path: &Path,
    objects: &[(&ObjectId, &Pending)],
    mut done: impl FnMut(u64),
) -> Result<(), PublishError> {
    let queue = Queue { path, objects, next: AtomicUsize::new(0) };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(objects.len());
    let (tell, told) = channel();
    done(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (queue, tell) = (&queue, tell.clone());
                scope.spawn(move || queue.work(&tell))
            })
            .collect();
        drop(tell);
        told.iter().zip(1..).for_each(|((), count)| done(count));
        workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
    })
}

struct Queue<'q> {
    path: &'q Path,
    objects: &'q [(&'q ObjectId, &'q Pending)],
    next: AtomicUsize,
}

impl Queue<'_> {
    fn work(&self, tell: &Sender<()>) -> Result<(), PublishError> {
        let worked = self.transaction(tell);
        if worked.is_err() {
            self.next.store(self.objects.len(), Ordering::Relaxed);
        }
        worked
    }

    fn transaction(&self, tell: &Sender<()>) -> Result<(), PublishError> {
        let doing = || on("writing objects to", self.path);
        let repo = Repo::new_for_path(self.path);
        repo.open(Cancellable::NONE).doing(doing)?;
        let transaction = repo.auto_transaction(Cancellable::NONE).doing(doing)?;
        while let Some((id, object)) = self.objects.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            write_one(&repo, id, object)?;
            // The other end stays until all workers are done.
            let _ = tell.send(());
        }
        transaction.commit(Cancellable::NONE).doing(doing)?;
        Ok(())
    }
}

fn write_one(repo: &Repo, id: &ObjectId, object: &Pending) -> Result<(), PublishError> {
    let (sum, kind) = (id.checksum.to_string(), object_type(id.kind));
    let doing = || format!("writing object {id}");
    if repo.has_object(kind, &sum, Cancellable::NONE).doing(doing)? {
        return Ok(());
    }
    match object {
        Pending::Metadata(bytes) => {
            let ty = VariantTy::new(variant_type(id.kind)).unwrap_or(VariantTy::VARIANT);
            let variant = Variant::from_data_with_type(bytes.clone(), ty);
            repo.write_metadata(kind, Some(&sum), &variant, Cancellable::NONE).doing(doing).map(drop)
        }
        Pending::File { path, header, content, length } => {
            let body = content.open(*length).doing(|| format!("reading {path} of the source"))?;
            let stream = gio::ReadInputStream::new(Cursor::new(header.clone()).chain(body));
            let total = header.len() as u64 + length;
            match repo.write_content(Some(&sum), &stream, total, Cancellable::NONE) {
                Ok(_) => Ok(()),
                Err(_) if object.checksum().ok() != Some(id.checksum) => Err(PublishError::Changed(path.clone())),
                Err(e) => Err(e).doing(|| format!("writing {path} to the repo")),
            }
        }
    }
}

/// libostree's number of an object type.
pub(super) fn object_type(kind: ObjectKind) -> ObjectType {
    match kind {
        ObjectKind::File => ObjectType::File,
        ObjectKind::DirTree => ObjectType::DirTree,
        ObjectKind::DirMeta => ObjectType::DirMeta,
        ObjectKind::Commit => ObjectType::Commit,
    }
}

fn variant_type(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::DirTree => "(a(say)a(sayay))",
        ObjectKind::DirMeta => "(uuua(ayay))",
        ObjectKind::Commit | ObjectKind::File => "(a{sv}aya(say)sstayay)",
    }
}
