//! The Debian packages on a device with a real systemd: they pass lintian, install, keep the bars of their units' exposure,
//! are upgraded below an app that runs, and leave nothing when they are purged. Needs root, debhelper and lintian.

#![allow(clippy::unwrap_used)]

#[path = "host/site.rs"]
#[allow(dead_code)]
mod site;

use fullmetal::config::Paths;
use fullmetal::current;
use fullmetal::host::{App, AppHost, SupervisorHost, SupervisorOptions, SystemdHost, SystemdOptions};
use fullmetal::journal::Journal;
use fullmetal_proto::deploy::{self, Installed, Record};
use fullmetal_proto::wire::StartOptions;
use fullmetal_proto::{AppName, Digest};
use fullmetal_sim::lab::device::{Device, Groups};
use fullmetal_sim::lab::wait_for;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PACKAGES: [&str; 2] = ["fullmetal", "fullmetal-gateway"];
/// The highest exposure of each unit, in tenths.
const BARS: [(&str, u32); 4] =
    [("fullmetal-peer", 15), ("fullmetal-agent", 30), ("fullmetal-gateway", 20), ("fullmetal-boot", 30)];
/// A version above all of ours.
const HIGHER: &str = "9999.0";
const LIMIT: Duration = Duration::from_secs(20);

/// A device with both versions of the packages, not installed.
struct Bench {
    device: Device,
    own: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let own = std::env::current_exe().unwrap();
        let sim = Path::new(env!("CARGO_BIN_EXE_fullmetal")).with_file_name("fullmetal-sim");
        let mut device = Device::new(&sim, Groups::AsHost, &[&own]).unwrap();
        for package in PACKAGES {
            let made = made(package);
            device.write(&format!("srv/{package}_old.deb"), &fs::read(&made).unwrap()).unwrap();
            device.write(&format!("srv/{package}_new.deb"), &newer(&made)).unwrap();
        }
        device.boot().unwrap();
        Bench { device, own }
    }

    fn sh(&self, script: &str) -> String {
        self.device.run(&["sh", "-euc", script]).unwrap().trim().to_owned()
    }

    fn install(&self, version: &str) {
        self.sh(&format!("DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /srv/*_{version}.deb 2>&1"));
    }

    fn property(&self, unit: &str, key: &str) -> String {
        self.sh(&format!("systemctl show --value -p {key} {unit}"))
    }

    fn wait(&self, what: &str, script: &str) {
        let is = || Ok(self.device.command(&["sh", "-euc", script])?.output()?.status.success().then_some(()));
        if let Err(error) = wait_for(what, LIMIT, is) {
            panic!(
                "{error:#}\n{}",
                self.sh("systemctl --no-pager status 'fullmetal*' web || true; journalctl -b --no-pager -n 60")
            );
        }
    }
}

/// What `make deb` has made.
fn made(package: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_BIN_EXE_fullmetal")).parent().unwrap().with_file_name("deb");
    let of = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{package}_"));
    let files = fs::read_dir(&dir).into_iter().flatten().flatten().map(|e| e.path());
    let mut packages = files.filter(|path| path.extension().is_some_and(|e| e == "deb") && of(path));
    packages.next().unwrap_or_else(|| panic!("{package} is not in {}; run `make deb`", dir.display()))
}

/// The same with a higher version, and other comments in its configuration.
fn newer(package: &Path) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (tree, file) = (dir.path().join("tree"), dir.path().join("new.deb"));
    let ran = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    ran(Command::new("dpkg-deb").arg("-R").arg(package).arg(&tree));
    let control = fs::read_to_string(tree.join("DEBIAN/control")).unwrap();
    let version = control.lines().find_map(|l| l.strip_prefix("Version: ")).unwrap();
    let higher = control.replace(&format!("Version: {version}"), &format!("Version: {HIGHER}"));
    let higher = higher.replace(&format!("fullmetal (= {version})"), &format!("fullmetal (= {HIGHER})"));
    fs::write(tree.join("DEBIAN/control"), higher).unwrap();
    for conffile in fs::read_dir(tree.join("etc/fullmetal/fullmetal.d")).unwrap().map(|e| e.unwrap().path()) {
        let text = fs::read_to_string(&conffile).unwrap();
        fs::write(&conffile, format!("# Of the release after.\n{text}")).unwrap();
    }
    ran(Command::new("dpkg-deb").args(["-Zgzip", "-z1", "-b"]).arg(&tree).arg(&file).stdout(Stdio::null()));
    fs::read(file).unwrap()
}

#[test]
fn the_packages_pass_lintian() {
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error"]).args(PACKAGES.map(made));
    let said = lintian.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
}

#[test]
fn a_device_is_installed_upgraded_below_an_app_and_purged() {
    let bench = Bench::new();
    bench.install("old");
    what_is_installed_is_there(&bench);
    nothing_runs_before_enrolment(&bench);
    units_keep_their_bars(&bench);
    enrolled_it_runs(&bench);
    the_agent_sees_what_it_needs(&bench);
    an_upgrade_leaves_the_app_alone(&bench);
    a_gateway_takes_the_agents_place(&bench);
    an_upgrade_starts_the_gateway_anew(&bench);
    without_the_gateways_package_it_is_a_device_again(&bench);
    removed_it_keeps_state_and_comes_back(&bench);
    purged_nothing_is_left(&bench);
}

fn what_is_installed_is_there(bench: &Bench) {
    bench.sh("getent passwd fullmetal fullmetal-gateway
         test -d /tmp/fullmetalupdate
         test -s /usr/share/man/man1/fullmetal-app-stop.1.gz
         test -s /usr/share/man/man1/fullmetal-gateway-deploy.1.gz
         grep -q rollback /usr/share/bash-completion/completions/fullmetal
         grep -q withdraw /usr/share/zsh/vendor-completions/_fullmetal-gateway
         grep -q withdraw /usr/share/fish/vendor_completions.d/fullmetal-gateway.fish
         test -s /usr/share/doc/fullmetal/at-the-device.md
         fullmetal --version; fullmetal-gateway --version; test -x /usr/lib/fullmetal/fullmetal-boot");
    for package in PACKAGES {
        let depends = bench.sh(&format!("dpkg-query -W -f '${{Depends}}' {package}"));
        assert!(depends.contains("libc6"), "{package}: {depends}");
    }
}

fn nothing_runs_before_enrolment(bench: &Bench) {
    for unit in ["fullmetal-boot", "fullmetal-peer", "fullmetal-agent", "fullmetal-gateway"] {
        assert_eq!(bench.property(unit, "ActiveState"), "inactive", "{unit}");
        assert_eq!(bench.property(unit, "UnitFileState"), "enabled", "{unit}");
        bench.sh(&format!("systemctl start {unit}"));
        assert_eq!(bench.property(unit, "ConditionResult"), "no", "{unit}");
    }
}

fn units_keep_their_bars(bench: &Bench) {
    for (unit, bar) in BARS {
        let file = format!("/lib/systemd/system/{unit}.service");
        let said = bench.sh(&format!("systemd-analyze security --offline=yes --no-pager {file} 2>&1 | tail -n1"));
        let exposure = said.split(": ").nth(1).unwrap().split(' ').next().unwrap();
        println!("{unit}: exposure {exposure}");
        let tenths: u32 = exposure.replace('.', "").parse().unwrap();
        assert!(tenths <= bar, "{unit}: {said}");
    }
}

fn enrolled_it_runs(bench: &Bench) {
    bench.sh("cd /root
         fullmetal keys generate --fleet plant-7 --out keys
         fullmetal enroll --fleet plant-7 --device press-1 --peer-uid $(id -u fullmetal) --request r
         fullmetal keys certify r --keys keys --out a
         fullmetal enroll --answer a
         printf '\\n[peer]\\ndiscovery = false\\n' >> /etc/fullmetal/fullmetal.d/40-mine.toml
         sed -i 's/^#probation_s = 30/probation_s = 31/' /etc/fullmetal/fullmetal.d/10-device.toml");
    let inside = ["--exact", "an_app_is_in_force", "--ignored", "--nocapture"];
    let said = bench.device.serve(&bench.own, &inside).unwrap();
    assert!(said.contains("1 passed"), "{said}");
    // The agent makes the data directory, and gives it to the app's user.
    bench.sh("rm -r /var/lib/fullmetal/data/web; systemctl start fullmetal-agent");
    bench.wait("the agent starts the app", "systemctl is-active web && fullmetal app list | grep running");
    for unit in ["fullmetal-peer", "fullmetal-agent"] {
        assert_eq!(bench.property(unit, "ActiveState"), "active", "{unit}");
    }
    assert_eq!(bench.sh("stat -c %u /var/lib/fullmetal/data/web"), "1000");
    bench.wait("agent and peer answer", "fullmetal --json status | grep '\"peer\"'");
    assert_eq!(bench.sh("ps -o user= -p $(systemctl show --value -p MainPID fullmetal-peer)"), "fullmetal");
}

/// What the lines of the agent's unit are to mean, seen from inside of it.
fn the_agent_sees_what_it_needs(bench: &Bench) {
    bench.sh("agent=$(systemctl show --value -p MainPID fullmetal-agent)
         inside() { nsenter -t $agent -m -n -- sh -c \"$1\"; }
         inside 'touch /tmp/fullmetalupdate/seen'; rm /tmp/fullmetalupdate/seen
         inside 'touch /tmp/unseen'; test ! -e /tmp/unseen
         for dir in /usr /etc /etc/fullmetal /var/cache/fullmetal /home; do
             if inside \"touch $dir/x\" 2>/dev/null; then exit 1; fi
         done
         for dir in /var/lib/fullmetal /run/fullmetal /run/systemd/system; do inside \"test -w $dir\"; done
         inside 'test -w /sys/fs/cgroup/system.slice || test -w /sys/fs/cgroup/freezer/system.slice'
         inside 'test -c /dev/null'
         if inside 'tail -n +3 /proc/net/dev' | grep -v ' lo:'; then exit 1; fi
         grep -q 'NoNewPrivs:.1' /proc/$agent/status");
}

fn an_upgrade_leaves_the_app_alone(bench: &Bench) {
    let state = || {
        let pids = ["fullmetal-peer", "fullmetal-agent", "web"].map(|unit| bench.property(unit, "MainPID"));
        (pids, bench.sh("cat /run/fullmetal/apps/web/container.pid"))
    };
    let (before, app_before) = state();
    bench.install("new");
    let (after, app_after) = state();
    assert_eq!(app_before, app_after, "the container");
    assert_eq!(before[2], after[2], "its runc");
    bench.sh(&format!("kill -0 {app_after}"));
    for (index, unit) in ["fullmetal-peer", "fullmetal-agent"].iter().enumerate() {
        assert_ne!(before[index], after[index], "{unit} is restarted");
        assert_eq!(bench.property(unit, "NRestarts"), "0", "{unit}");
        assert_eq!(bench.sh(&format!("readlink /proc/{}/exe", after[index])), "/usr/bin/fullmetal");
    }
    assert!(bench.sh("dpkg-query -W fullmetal").ends_with(HIGHER));
    bench.sh("grep -qx 'probation_s = 31' /etc/fullmetal/fullmetal.d/10-device.toml");
    bench.wait("the agent has adopted the app", "fullmetal app list | grep running");
    assert_eq!(bench.sh("cat /run/fullmetal/apps/web/container.pid"), app_before);
}

fn a_gateway_takes_the_agents_place(bench: &Bench) {
    bench.sh("install -o fullmetal-gateway -m 0400 /root/keys/gateway.key /etc/fullmetal/gateway.key
         systemctl restart fullmetal-agent
         systemctl start fullmetal-gateway");
    assert_eq!(bench.property("fullmetal-agent", "ActiveState"), "inactive");
    bench.wait("the gateway has its peer", "fullmetal-gateway --json status | grep '\"connected\": *true'");
    assert_eq!(bench.property("fullmetal-gateway", "NRestarts"), "0");
    assert_eq!(bench.property("web", "ActiveState"), "active", "apps need no agent");
}

/// The packages of the same version: to their scripts that is an upgrade like any other.
fn an_upgrade_starts_the_gateway_anew(bench: &Bench) {
    let app = bench.sh("cat /run/fullmetal/apps/web/container.pid");
    let kept =
        || bench.sh("cd /var/lib/fullmetal/gateway; find . -type f ! -name audit.jsonl -exec sha256sum {} + | sort");
    let spooled = "cd /var/lib/fullmetal/gateway; test -s state && test -z \"$(find spool -type f)\"";
    bench.wait("the gateway has taken the device's report", spooled);
    let (before, pid) = (kept(), bench.property("fullmetal-gateway", "MainPID"));
    bench.install("new");
    bench.wait("the gateway has its peer", "fullmetal-gateway --json status | grep '\"connected\": *true'");
    let now = bench.property("fullmetal-gateway", "MainPID");
    assert_ne!(now, pid, "it is restarted");
    assert_eq!(bench.sh(&format!("readlink /proc/{now}/exe")), "/usr/bin/fullmetal-gateway");
    assert_eq!(bench.property("fullmetal-gateway", "NRestarts"), "0");
    assert_eq!(kept(), before, "its state");
    assert_eq!(bench.property("fullmetal-agent", "ActiveState"), "inactive", "the agent has no place beside it");
    assert_eq!(bench.sh("cat /run/fullmetal/apps/web/container.pid"), app, "the container");
}

fn without_the_gateways_package_it_is_a_device_again(bench: &Bench) {
    let app = bench.sh("cat /run/fullmetal/apps/web/container.pid");
    let kept = || {
        bench.sh("sha256sum /etc/fullmetal/identity/* /etc/fullmetal/trust /etc/fullmetal/fullmetal.d/[14]0-*
             find /var/lib/fullmetal -maxdepth 2 ! -name gateway ! -path '*/gateway/*' -printf '%p %U %m\n' | sort
             ls /var/cache/fullmetal
             getent passwd fullmetal fullmetal-gateway
             systemctl show -p MainPID web fullmetal-peer")
    };
    let before = kept();
    bench.sh("dpkg -P fullmetal-gateway 2>&1");
    assert_eq!(kept(), before);
    bench.sh("for gone in /var/lib/fullmetal/gateway /run/fullmetal/gateway /etc/fullmetal/gateway.key \
             /etc/fullmetal/fullmetal.d/05-gateway-user.toml /etc/fullmetal/fullmetal.d/30-gateway.toml \
             /lib/systemd/system/fullmetal-gateway.service; do test ! -e $gone; done
         ! pgrep -f fullmetal-gateway
         systemctl start fullmetal-agent");
    bench.wait("the agent has adopted the app", "fullmetal app list | grep running");
    assert_eq!(bench.sh("cat /run/fullmetal/apps/web/container.pid"), app, "the container");
}

fn removed_it_keeps_state_and_comes_back(bench: &Bench) {
    bench.sh("dpkg -r fullmetal 2>&1");
    bench.sh("! pgrep -f '[s]leep 1000' && ! pgrep fullmetal && test ! -e /run/systemd/system/web.service && test ! -e /run/fullmetal");
    bench.sh("ls -d /var/lib/fullmetal/apps/web /etc/fullmetal/identity");
    bench.install("new");
    bench.wait("the app is started again", "systemctl is-active web && pgrep -f '[s]leep 1000'");
}

/// The gateway's package is only removed at first: what it has is its own until it is purged, too.
fn purged_nothing_is_left(bench: &Bench) {
    a_gateway_takes_the_agents_place(bench);
    let kept = "find /etc/fullmetal /var/lib/fullmetal -printf '%p %U %m\n' | grep gateway | sort";
    bench.sh("dpkg -r fullmetal-gateway 2>&1");
    let before = bench.sh(kept);
    assert!(["/var/lib/fullmetal/gateway/", "gateway.key", "30-gateway.toml"].iter().all(|part| before.contains(part)));
    bench.sh("dpkg -P fullmetal 2>&1");
    assert_eq!(bench.sh(kept), before);
    assert_eq!(bench.sh("find /etc/fullmetal /var/lib/fullmetal -type f | grep -v gateway || true"), "");
    bench.sh("dpkg -P fullmetal-gateway 2>&1");
    let left = bench.sh("find / -xdev \\( -path /proc -o -path /sys -o -path /srv -o -path /root \\) -prune -o -name '*fullmetal*' -print");
    assert_eq!(left, "");
    // The device itself is of the lab.
    assert_eq!(bench.sh("find /run /tmp /sys/fs/cgroup \\( -path /run/lab -o -path /run/systemd/system.control \\) -prune -o -name '*fullmetal*' -print -o -name 'web.service' -print"), "");
    bench.sh("! pgrep -f '[s]leep 1000' && ! pgrep fullmetal");
}

/// What an agent left behind: an app that is checked out and in force.
#[test]
#[ignore = "runs on a device"]
fn an_app_is_in_force() {
    let paths = Paths::new("/");
    let web =
        site::check_out(Path::new("/"), "web", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done", |_, _| {});
    let start = StartOptions { autostart: true, job: false };
    let version = Installed { commit: web.commit, version: "1".into(), manifest: web.commit, start, unsigned: false };
    SystemdHost::new(SystemdOptions::new(Path::new("/"), &"press-1".parse().unwrap())).prepare(&web).unwrap();
    current::set(&paths.app_dir(&web.name), &version).unwrap();
    let mut record = Record::default();
    let app = deploy::App { current: version, previous: None, floor: 0, lost: false };
    record.apps.insert(web.name, app);
    Journal::open(&paths.journal_dir()).unwrap().save(&record).unwrap();
}
