//! What a program said when it ended.

use std::path::Path;
use std::process::Command;

/// Exit status, standard error and standard output.
pub struct Said {
    status: Option<i32>,
    pub out: String,
    pub text: String,
}

/// Runs a program to its end.
pub fn run(program: &Path, args: &[&str]) -> Said {
    let output = Command::new(program).args(args).env("FULLMETAL_LOG", "info").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { status: output.status.code(), out: text(&output.stdout), text: text(&output.stderr) }
}

impl Said {
    /// It ended with `status` and its message has all of `words`.
    #[track_caller]
    pub fn fails(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status, Some(status), "{}", self.text);
        has(&self.text, words);
    }

    /// It ended well and printed all of `words`.
    #[track_caller]
    pub fn prints(&self, words: &[&str]) {
        self.succeeds();
        has(&self.out, words);
    }

    #[track_caller]
    pub fn succeeds(&self) {
        assert_eq!(self.status, Some(0), "{}", self.text);
    }
}

/// A message has all of `words`, and nothing in it is a panic or a debugging picture.
#[track_caller]
pub fn has(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{message:?} lacks {word:?}");
    }
    for word in ["panicked", "RUST_BACKTRACE", "Error {", "Some(", "Os {"] {
        assert!(!message.contains(word), "{message:?} has {word:?}");
    }
}
