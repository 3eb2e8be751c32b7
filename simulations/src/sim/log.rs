//! The file of `--trace`: what keeps it from being whole is told at the end, and changes nothing of the run.

use anyhow::Context as _;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What went wrong first, if anything did.
#[derive(Debug)]
pub struct Whole {
    path: PathBuf,
    trouble: Rc<RefCell<Option<io::Error>>>,
}

impl Whole {
    /// To be asked when the log is gone.
    ///
    /// # Errors
    /// Why the file is not whole.
    pub fn check(&self) -> anyhow::Result<()> {
        let trouble = self.trouble.take();
        trouble.map_or(Ok(()), Err).with_context(|| format!("writing {}, which is not whole", self.path.display()))
    }
}

struct Log {
    file: BufWriter<File>,
    trouble: Rc<RefCell<Option<io::Error>>>,
}

/// A log in a new file, and who knows whether it is whole.
///
/// # Errors
/// When the file cannot be made.
pub fn create(path: &Path) -> anyhow::Result<(Box<dyn Write>, Whole)> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let trouble = Rc::default();
    let whole = Whole { path: path.to_owned(), trouble: Rc::clone(&trouble) };
    Ok((Box::new(Log { file: BufWriter::new(file), trouble }), whole))
}

impl Log {
    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            self.trouble.borrow_mut().get_or_insert(error);
            kind.into()
        })
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.file.write(bytes);
        self.noted(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.flush();
        self.noted(result)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_on_a_full_disk_is_told_of_and_one_that_is_whole_is_not() {
        for (path, is_whole) in [("/dev/full", false), ("/dev/null", true)] {
            let (mut log, whole) = create(Path::new(path)).unwrap();
            log.write_all(b"a line\n").unwrap();
            drop(log);
            assert_eq!(whole.check().is_ok(), is_whole, "{path}");
        }
    }
}
