//! What an app that was made for FullMetalUpdate says about itself: its `systemd.service`, which lies in its commit.

use crate::untrusted;
use std::path::Path;

/// The unit's name in a checkout.
const UNIT: &str = "systemd.service";
/// The longest unit that is read.
const UNIT_LEN_MAX: u64 = 64 << 10;

/// Whether the checkout has a unit that does not ask to be started again: then exit 0 is a success, as it was for
/// FullMetalUpdate. That it goes on running is one, too.
pub fn ends_by_itself(checkout: &Path) -> bool {
    unit(checkout).is_some_and(|text| !asks_for_restart(&text))
}

/// Whether the checkout's unit has a command for when its app has started. FullMetalUpdate's say `success` on the notify
/// socket with it. No command of a unit is run here, so the agent stands in for it.
pub fn tells_its_start(checkout: &Path) -> bool {
    unit(checkout).is_some_and(|text| setting(&text, "ExecStartPost").is_some())
}

fn unit(checkout: &Path) -> Option<String> {
    String::from_utf8(untrusted::read(&checkout.join(UNIT), UNIT_LEN_MAX).ok()?).ok()
}

fn asks_for_restart(unit: &str) -> bool {
    setting(unit, "Restart").is_some_and(|value| value != "no")
}

/// What the section `Service` says last of that; an empty value takes it back. Source: systemd.service(5).
fn setting<'u>(unit: &'u str, name: &str) -> Option<&'u str> {
    let (mut service, mut found) = (false, None);
    for line in unit.lines().map(str::trim) {
        if line.starts_with('[') {
            service = line == "[Service]";
        } else if let Some((key, value)) = line.split_once('=').filter(|_| service)
            && key.trim_end() == name
        {
            found = Some(value.trim()).filter(|value| !value.is_empty());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_unit_with_a_command_after_the_start_tells_it() {
        let dir = tempfile::tempdir().unwrap();
        for (line, tells) in [("ExecStartPost=/bin/sh /x", true), ("ExecStopPost=/bin/sh /x", false), ("", false)] {
            fs::write(dir.path().join(UNIT), format!("[Service]\n{line}\n")).unwrap();
            assert_eq!(tells_its_start(dir.path()), tells, "{line}");
        }
    }

    #[test]
    fn a_unit_that_asks_for_no_restart_may_end() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!ends_by_itself(dir.path()));
        let sample =
            "[Unit]\nDescription=hello\nAfter=network.target\n\n[Service]\nExecStart=/usr/bin/runc run hello\n";
        for (more, ends) in [
            ("", true),
            ("Restart=no\n", true),
            (" Restart = always\n", false),
            ("#Restart=always\n", true),
            ("Restart=always\nRestart=\n", true),
            ("Restart=no\nRestart=on-failure\n", false),
            ("[Install]\nRestart=always\n", true),
        ] {
            fs::write(dir.path().join(UNIT), format!("{sample}{more}")).unwrap();
            assert_eq!(ends_by_itself(dir.path()), ends, "{more:?}");
        }
        fs::write(dir.path().join(UNIT), " ".repeat(UNIT_LEN_MAX as usize + 1)).unwrap();
        assert!(!ends_by_itself(dir.path()));
        fs::remove_file(dir.path().join(UNIT)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(UNIT)).unwrap();
        assert!(!ends_by_itself(dir.path()));
    }
}
