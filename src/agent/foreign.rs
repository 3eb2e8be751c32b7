//! What an app that was made for FullMetalUpdate says about its start and its end: its `systemd.service`, which lies in
//! its commit. One that cannot be understood is refused when it is checked out, so that it says nothing here.

use crate::config::Paths;
use crate::host::foreign_unit;
use fullmetal_proto::deploy::ForeignUnit;
use fullmetal_proto::{AppName, Digest};

/// Whether the checkout has a unit that does not ask to be started again: then exit 0 is a success, as it was for
/// FullMetalUpdate. That it goes on running is one, too.
pub fn ends_by_itself(paths: &Paths, name: &AppName, commit: &Digest) -> bool {
    unit(paths, name, commit).is_some_and(|unit| !unit.stays)
}

/// Whether the checkout's unit has a command for when its app has started. FullMetalUpdate's say `success` on the notify
/// socket with it. No command of a unit is run here, so the agent stands in for it.
pub fn tells_its_start(paths: &Paths, name: &AppName, commit: &Digest) -> bool {
    unit(paths, name, commit).is_some_and(|unit| unit.tells_start)
}

fn unit(paths: &Paths, name: &AppName, commit: &Digest) -> Option<ForeignUnit> {
    foreign_unit(paths, name, commit).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_units_word_counts_for_its_app_and_what_is_no_unit_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (paths, web, commit) = (Paths::new(dir.path()), "web".parse().unwrap(), Digest::of(b"1"));
        let says = || (ends_by_itself(&paths, &web, &commit), tells_its_start(&paths, &web, &commit));
        let path = paths.checkout(&web, &commit).join("systemd.service");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(says(), (false, false));
        for (text, expected) in [
            ("[Service]\nExecStart=/usr/bin/runc run hello\n", (true, false)),
            ("[Service]\nRestart=always\nExecStartPost=/bin/sh /x\n", (false, true)),
            ("[Service]\nTimeoutSec=soon\nExecStartPost=/bin/sh /x\n", (false, false)),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(says(), expected, "{text}");
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert_eq!(says(), (false, false));
    }
}
