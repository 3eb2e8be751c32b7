//! The unit file of an app's version: text from typed fields, and what is read back from it.
//!
//! runc stays in the foreground: it hands the exit status of the app on and forwards signals. Detached, an app that
//! ends before systemd has read its process id would end without a status. Keys: `systemd.service(5)`, `systemd.kill(5)`.
//!
//! **Control groups.** The container's is below the unit's. The second version gives a group below another one its own
//! limits only if no process is in the upper one, so that runc leaves it for a group beside the container's, as
//! systemd-nspawn does: <https://systemd.io/CGROUP_DELEGATION>. Limits then hold for the app alone, in both versions; weights are
//! the unit's ([`Shares`]).

use super::shares::Shares;
use super::{App, Layout, UnitOptions};
use fullmetal_proto::{AppName, Digest};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All apps that are started when the device is.
pub const APPS_TARGET: &str = "fullmetal-apps.target";
/// The section by which a unit is known as ours; systemd passes over those that begin with `X-`.
const MARK: &str = "[X-Fullmetal]";
/// The pause before an app that exited is started again, where it says nothing. There is no end to it: a device whose
/// agent does not run must not give an app up. How often it was is seen in `systemctl show -p NRestarts`.
const RESTART_PAUSE: Duration = Duration::from_secs(2);
/// How long an app may take to start, where it says nothing.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// Leaves the unit's control group and becomes the command that follows. Each start looks at the version: a unit outlives
/// an update of the system that changes it. `DelegateSubgroup=` does the same from systemd 254 on.
const ASIDE: &str = "[ ! -e /sys/fs/cgroup/cgroup.controllers ] || \
    { mkdir -p /sys/fs/cgroup$0 && echo 0 > /sys/fs/cgroup$0/cgroup.procs; }; exec \"$@\"";

/// The unit of an app.
pub fn unit_name(name: &AppName) -> String {
    format!("{name}.service")
}

/// The OCI bundle of a version, beside its checkout: it must be there before anything of us runs.
pub(super) fn bundle(layout: &Layout, commit: &Digest) -> PathBuf {
    layout.checkout(commit).with_extension("bundle")
}

/// The ready unit file of a version, beside its checkout.
pub fn stored(app_dir: &Path, commit: &Digest) -> PathBuf {
    app_dir.join(format!("{commit}.service"))
}

/// What a unit file of ours says about its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// What runs.
    pub commit: Digest,
    /// Whether as a job.
    pub job: bool,
}

/// Reads it back; `None` when the file is not ours.
pub fn marked(text: &str) -> Option<Marked> {
    let (_, mark) = text.split_once(MARK)?;
    let value = |key: &str| mark.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Some(Marked { commit: value("Commit")?.parse().ok()?, job: value("Job")? == "yes" })
}

/// What the text is made of.
pub(super) struct Unit<'a> {
    pub(super) layout: &'a Layout,
    pub(super) app: &'a App,
    pub(super) options: &'a UnitOptions,
    pub(super) shares: Shares,
    /// The container runtime, absolute.
    pub(super) runc: &'a Path,
    /// How long an app may take to end.
    pub(super) grace: Duration,
}

impl Unit<'_> {
    pub(super) fn text(&self) -> String {
        let mut text =
            String::from("# Made by the agent of Fullmetal from the app's release; changes are lost.\n[Unit]\n");
        self.unit_section(&mut text);
        text.push_str("\n[Service]\n");
        self.service_section(&mut text);
        let job = if self.app.job { "yes" } else { "no" };
        let _ = writeln!(text, "\n{MARK}\nCommit={}\nJob={job}", self.app.commit);
        text
    }

    fn unit_section(&self, text: &mut String) {
        let o = self.options;
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key}={value}");
        };
        line("Description", &format!("{} (app, {})", self.app.name, self.app.commit.short()));
        let units = |names: &BTreeSet<AppName>| names.iter().map(unit_name).collect::<Vec<_>>().join(" ");
        // Never `Requires=`: where what is required once fails to start, systemd would give this app up for good. So it is
        // tried without, and started again until both run.
        let pulled = o.requires.union(&o.wants).cloned().collect();
        for (key, names) in [("After", &o.needs()), ("Wants", &pulled), ("PartOf", &o.requires)] {
            if !names.is_empty() {
                line(key, &units(names));
            }
        }
        for target in &o.targets {
            line("After", target);
        }
        line("StartLimitIntervalSec", "0");
    }

    fn service_section(&self, text: &mut String) {
        let (o, layout) = (self.options, self.layout);
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key}={value}");
        };
        if o.notify {
            line("Type", "notify");
            line("NotifyAccess", "main");
        } else {
            line("Type", "exec");
        }
        let runc = format!("{} --root {}", word(self.runc), word(&layout.runc_root()));
        let (id, pid_file) = (layout.container(), word(&layout.pid_file()));
        let bundle = word(&bundle(layout, &self.app.commit));
        line("ExecStartPre", &format!("-{runc} delete --force {id}"));
        let aside = format!("/bin/sh -c {} {}", word(Path::new(ASIDE)), word(&layout.runc_cgroup()));
        line("ExecStart", &format!("{aside} {runc} run --bundle {bundle} --pid-file {pid_file} {id}"));
        line("ExecStopPost", &format!("-{runc} delete --force {id}"));
        // Not the name of what hands the app's output on.
        line("SyslogIdentifier", layout.name().as_str());
        line("RuntimeDirectory", &format!("fullmetal/apps/{}", layout.name()));
        line("RuntimeDirectoryPreserve", "yes");
        line("Slice", "system.slice");
        line("Delegate", "yes");
        for (key, weight) in [("CPUWeight", self.shares.cpu), ("IOWeight", self.shares.io)] {
            if let Some(weight) = weight {
                line(key, &weight.to_string());
            }
        }
        // Where the kernel counts them for systemd, an app that lost a process for want of memory is ended and started anew.
        line("OOMPolicy", "stop");
        line("KillMode", "mixed");
        line("TimeoutStartSec", &seconds(o.start_timeout.unwrap_or(START_TIMEOUT)));
        line("TimeoutStopSec", &seconds(o.stop_timeout.unwrap_or(self.grace)));
        line("Restart", if self.app.job { "on-failure" } else { "always" });
        line("RestartSec", &seconds(o.restart_pause.unwrap_or(RESTART_PAUSE)));
        if self.app.job {
            line("RemainAfterExit", "yes");
        }
    }
}

fn seconds(span: Duration) -> String {
    format!("{}ms", span.as_millis().max(1))
}

/// A path as a word of a command line of systemd: `systemd.service(5)`, "Command lines".
fn word(path: &Path) -> String {
    let mut out = String::from("\"");
    for c in path.to_string_lossy().chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' | '$' => out.extend([c, c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(options: &UnitOptions, job: bool) -> String {
        let app = App { name: "web".parse().unwrap(), commit: Digest::of(b"1"), job };
        let layout = Layout::systemd(Path::new("/"), &"press-7".parse().unwrap(), &app.name);
        let unit = Unit {
            layout: &layout,
            app: &app,
            options,
            shares: Shares { cpu: None, io: Some(500).filter(|_| job) },
            runc: Path::new("/usr/bin/runc"),
            grace: Duration::from_secs(10),
        };
        let text = unit
            .text()
            .replace(&app.commit.to_string(), "COMMIT")
            .replace(word(Path::new(ASIDE)).as_str(), "\"ASIDE\"");
        text.replace(&app.commit.short().to_string(), "SHORT")
    }

    #[test]
    fn a_service_without_wishes_has_this_unit() {
        assert_eq!(
            text(&UnitOptions::default(), false),
            "# Made by the agent of Fullmetal from the app's release; changes are lost.\n\
             [Unit]\nDescription=web (app, SHORT)\nStartLimitIntervalSec=0\n\n\
             [Service]\nType=exec\n\
             ExecStartPre=-\"/usr/bin/runc\" --root \"/run/fullmetal/runc/press-7\" delete --force fm-press-7+web\n\
             ExecStart=/bin/sh -c \"ASIDE\" \"/system.slice/web.service/runc\" \"/usr/bin/runc\" --root \"/run/fullmetal/runc/press-7\" run \
             --bundle \"/var/lib/fullmetal/apps/web/COMMIT.bundle\" \
             --pid-file \"/run/fullmetal/apps/web/container.pid\" fm-press-7+web\n\
             ExecStopPost=-\"/usr/bin/runc\" --root \"/run/fullmetal/runc/press-7\" delete --force fm-press-7+web\n\
             SyslogIdentifier=web\nRuntimeDirectory=fullmetal/apps/web\nRuntimeDirectoryPreserve=yes\nSlice=system.slice\nDelegate=yes\n\
             OOMPolicy=stop\nKillMode=mixed\nTimeoutStartSec=90000ms\nTimeoutStopSec=10000ms\nRestart=always\nRestartSec=2000ms\n\n\
             [X-Fullmetal]\nCommit=COMMIT\nJob=no\n"
        );
    }

    #[test]
    fn wishes_and_jobs_are_told_to_systemd() {
        let names = |text: &str| text.split(' ').map(|n| n.parse().unwrap()).collect();
        let options = UnitOptions {
            after: names("a"),
            requires: names("db"),
            wants: names("log"),
            targets: ["network.target".to_owned()].into(),
            notify: true,
            start_timeout: Some(Duration::from_millis(1500)),
            ..UnitOptions::default()
        };
        let text = text(&options, true);
        for line in [
            "After=a.service db.service log.service",
            "Wants=db.service log.service",
            "PartOf=db.service",
            "After=network.target",
            "Type=notify",
            "NotifyAccess=main",
            "TimeoutStartSec=1500ms",
            "Restart=on-failure",
            "RemainAfterExit=yes",
            "IOWeight=500",
        ] {
            assert!(text.lines().any(|l| l == line), "{text} lacks {line}");
        }
    }

    #[test]
    fn our_units_are_known_by_their_mark_and_no_other_is() {
        let commit = Digest::of(b"1");
        assert_eq!(
            marked(&text(&UnitOptions::default(), true).replace("COMMIT", &commit.to_string())),
            Some(Marked { commit, job: true })
        );
        assert_eq!(marked("[Unit]\nDescription=sshd\n"), None);
        assert_eq!(marked("[X-Fullmetal]\nCommit=x\nJob=no\n"), None);
    }

    #[test]
    fn a_path_is_one_word_to_systemd_whatever_is_in_it() {
        assert_eq!(word(Path::new("/a b/%h$X\\\"\n")), r#""/a b/%%h$$X\\\"\u000a""#);
    }
}
