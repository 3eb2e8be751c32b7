//! The last lines of a stream.

use fullmetal_proto::wire::report::{LOG_LINE_LEN_MAX, LOG_LINES_MAX};
use std::collections::VecDeque;

/// Keeps the last [`LOG_LINES_MAX`] lines; what a line has over [`LOG_LINE_LEN_MAX`] bytes is dropped.
#[derive(Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    open: Vec<u8>,
}

impl Tail {
    /// Adds bytes as they come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.close();
            } else if self.open.len() < LOG_LINE_LEN_MAX {
                self.open.push(byte);
            }
        }
    }

    /// Adds one whole line of our own.
    pub(super) fn line(&mut self, text: &str) {
        self.end();
        self.push(text.as_bytes());
        self.end();
    }

    /// No more will come: an unfinished line is a line.
    pub(super) fn end(&mut self) {
        if !self.open.is_empty() {
            self.close();
        }
    }

    /// The lines so far, the unfinished one too.
    pub(super) fn lines(&self) -> Vec<String> {
        let open = (!self.open.is_empty()).then(|| readable(&self.open));
        let surplus = (self.lines.len() + usize::from(open.is_some())).saturating_sub(LOG_LINES_MAX);
        self.lines.iter().cloned().chain(open).skip(surplus).collect()
    }

    fn close(&mut self) {
        self.lines.push_back(readable(&self.open));
        self.open.clear();
        if self.lines.len() > LOG_LINES_MAX {
            self.lines.pop_front();
        }
    }
}

/// Text that fits a report and does nothing to a terminal.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes));
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > LOG_LINE_LEN_MAX {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_lines_are_kept_and_an_unfinished_one_shows() {
        let mut tail = Tail::default();
        for n in 0..30 {
            tail.push(format!("line {n}\r\n").as_bytes());
        }
        tail.push(b"and \x1b[1mmore");
        let lines = tail.lines();
        assert_eq!(lines.len(), LOG_LINES_MAX);
        assert_eq!(lines[0], "line 11");
        assert_eq!(lines[19], "and  [1mmore");
    }

    proptest! {
        #[test]
        fn any_bytes_give_lines_that_a_report_takes(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 0..40)) {
            let mut tail = Tail::default();
            chunks.iter().for_each(|c| tail.push(c));
            tail.line("end");
            let lines = tail.lines();
            prop_assert!(lines.len() <= LOG_LINES_MAX);
            prop_assert!(lines.iter().all(|l| l.len() <= LOG_LINE_LEN_MAX && !l.chars().any(char::is_control)));
            prop_assert_eq!(lines.last().map(String::as_str), Some("end"));
        }
    }
}
