//! A fleet in network namespaces: what crosses the uplink, who fetched it, what is left after a kill.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "fleet/hello_world.rs"]
mod hello_world;

use fullmetal_sim::lab::net::WAN;
use fullmetal_sim::lab::{Release, Site, SiteOptions, Usage, wait_for};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);
const OPTIONS: SiteOptions = SiteOptions { wan_mbit: Some(100), ..SiteOptions::of(5) };

fn all_run(site: &mut Site, release: Release) {
    let ends = site.wait_for_ends(LIMIT).unwrap();
    assert!(ends.values().all(|a| a.state == "succeeded"), "{ends:?}");
    for device in &site.devices {
        assert_eq!(site.page(device).unwrap(), format!("release {}", release.number()));
        site.fsck(device).unwrap();
    }
}

#[test]
fn a_release_crosses_the_uplink_once_when_only_the_gateway_reaches_central() {
    let mut site = Site::start(SiteOptions { devices_reach_wan: false, ..OPTIONS }).unwrap();
    site.publish(Release::One).unwrap();
    let one = site.one_copy().unwrap();
    let before = site.net.sent_by("central").unwrap();
    site.deploy().unwrap();
    all_run(&mut site, Release::One);
    let copies = (site.net.sent_by("central").unwrap() - before) as f64 / one as f64;
    println!("only the gateway has origin: {copies:.3} copies of {one} bytes");
    for device in &site.devices {
        let [peer, agent] = [device.peer_pid(), device.agent_pid()].map(|pid| Usage::of(pid.unwrap()).unwrap());
        println!("{}: peer {peer:?}, agent {agent:?}", device.name());
        assert!(peer.cpu_s > 0.0 && agent.pss_kib > 0, "nothing measured");
    }
    assert!(copies <= 0.95, "{copies:.3} copies");
}

#[test]
fn those_not_elected_get_nothing_from_central() {
    let mut site = Site::start(OPTIONS).unwrap();
    site.publish(Release::One).unwrap();
    let one = site.one_copy().unwrap();
    let before = site.net.sent_by("central").unwrap();
    let at = |site: &Site| -> Vec<u64> {
        let names = site.devices.iter().map(|d| d.name());
        names.map(|n| site.net.received(n, WAN).unwrap()).collect()
    };
    let devices_before = at(&site);
    site.deploy().unwrap();
    all_run(&mut site, Release::One);
    let copies = (site.net.sent_by("central").unwrap() - before) as f64 / one as f64;
    let mut quiet = 0;
    for ((device, before), after) in site.devices.iter().zip(devices_before).zip(at(&site)) {
        let wan = after - before;
        let content = site_bytes_from_central(&device.status().unwrap());
        println!("{}: {wan} bytes at its WAN interface, {content} of pieces", device.name());
        if content == 0 {
            quiet += 1;
            assert!(wan < one / 100, "{} got {wan} bytes from the WAN without being elected", device.name());
        }
    }
    println!("all may ask central: {copies:.3} copies of {one} bytes, {quiet} of 5 devices asked for nothing");
    assert!(copies <= 0.95, "{copies:.3} copies");
    assert!(quiet >= 1, "at most four are elected");
}

#[test]
fn a_plain_repo_costs_the_uplink_about_one_copy_too() {
    for devices_reach_wan in [true, false] {
        let mut site = Site::start(SiteOptions { plain: true, devices_reach_wan, ..OPTIONS }).unwrap();
        site.publish(Release::One).unwrap();
        assert!(!site.fleet.plain_repo().join("fullmetal").exists(), "there is something to fetch frames from");
        let one = site.one_copy().unwrap();
        let before = site.net.sent_by("central").unwrap();
        site.deploy().unwrap();
        all_run(&mut site, Release::One);
        let copies = (site.net.sent_by("central").unwrap() - before) as f64 / one as f64;
        println!("plain, devices reach the WAN: {devices_reach_wan}: {copies:.3} copies of {one} bytes");
        assert!(copies <= 1.15, "{copies:.3} copies");
    }
}

/// Everything that OSTree knows of the files in a repo: mode, owner, checksum, name, xattrs.
fn listing(repo: &Path, commit: &str) -> String {
    let option = format!("--repo={}", repo.display());
    let output = Command::new("ostree").args(["ls", "-R", "-C", "-X", &option, commit]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// What FullMetalUpdate's servers have: commits of other tools, unsigned, with whatever a build left in them.
#[test]
fn an_unsigned_commit_of_other_tools_arrives_with_its_setuid_files_owners_and_xattrs() {
    const REF: &str = "legacy/web/x86_64";
    let options = SiteOptions { plain: true, unsigned: &["legacy/*"], ..OPTIONS };
    let mut site = Site::start(SiteOptions { devices: 3, ..options }).unwrap();
    site.publish(Release::One).unwrap();
    let tree = site.fleet.dir().join("foreign");
    let checkout = format!("--repo={}", site.fleet.plain_repo().display());
    run(Command::new("ostree").args(["checkout", &checkout, "apps/web/x86_64"]).arg(&tree));
    let place = |name: &str| tree.join("rootfs").join(name);
    for (name, owner, mode) in
        [("root-tool", (0, 0), 0o4755), ("group-tool", (1000, 1000), 0o2755), ("odd", (12_345, 54_321), 0o600)]
    {
        std::fs::write(place(name), name).unwrap();
        std::os::unix::fs::chown(place(name), Some(owner.0), Some(owner.1)).unwrap();
        std::fs::set_permissions(place(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    run(Command::new("setfattr").args(["-n", "user.origin", "-v", "press hall"]).arg(place("odd")));
    run(Command::new("setcap").arg("cap_net_raw+ep").arg(place("root-tool")));
    std::os::unix::fs::lchown(place("bin/sh"), Some(7), Some(7)).unwrap();
    site.commit_foreign(&tree, REF).unwrap();
    let one = site.one_copy_of(REF).unwrap();
    let before = site.net.sent_by("central").unwrap();
    site.deploy_ref(REF).unwrap();
    all_run(&mut site, Release::One);
    let copies = (site.net.sent_by("central").unwrap() - before) as f64 / one as f64;
    println!("unsigned and plain: {copies:.3} copies of {one} bytes");
    assert!(copies <= 1.15, "{copies:.3} copies");
    let expected = listing(&site.fleet.plain_repo(), REF);
    for words in
        ["-04755 0 0", "-02755 1000 1000", "-00600 12345 54321", "l00777 7 7", "security.capability", "user.origin"]
    {
        assert!(expected.contains(words), "no {words} in the commit:\n{expected}");
    }
    for device in &site.devices {
        let status = device.status().unwrap();
        let (commit, unsigned) = (status["apps"][0]["commit"].as_str().unwrap(), &status["apps"][0]["unsigned"]);
        assert_eq!(*unsigned, true, "{status}");
        assert_eq!(listing(&device.root().join("var/lib/fullmetal/repo"), commit), expected, "{}", device.name());
    }
}

fn site_bytes_from_central(status: &serde_json::Value) -> u64 {
    status["peer"]["bytes_from_central"].as_u64().unwrap()
}

fn cached_bytes(root: &Path) -> (u64, u64) {
    let frames = std::fs::read_dir(root.join("var/cache/fullmetal/frames"));
    let lengths = frames.into_iter().flatten().flatten().filter(|e| e.file_name().len() == 64);
    lengths.filter_map(|e| Some(e.metadata().ok()?.len())).fold((0, 0), |(n, sum), len| (n + 1, sum + len))
}

/// Kills `press-1` when it has `percent` of the frames, starts it again and counts what it fetches then.
fn killed_at(percent: u64) {
    let mut site =
        Site::start(SiteOptions { devices_reach_wan: false, wan_mbit: Some(20), ..SiteOptions::of(2) }).unwrap();
    let published = site.publish(Release::One).unwrap();
    let total = published["packed_bytes"].as_u64().unwrap_or_else(|| panic!("no packed_bytes in {published}"));
    site.deploy().unwrap();
    let root = site.devices[0].root().to_owned();
    wait_for("frames", LIMIT, || Ok((cached_bytes(&root).1 * 100 >= total * percent).then_some(()))).unwrap();
    site.devices[0].kill();
    let (_, kept) = cached_bytes(&root);
    site.devices[0].start_peer().unwrap();
    site.devices[0].start_agent().unwrap();
    all_run(&mut site, Release::One);
    let status = site.devices[0].status().unwrap();
    let fetched = site_bytes_from_central(&status) + status["peer"]["bytes_from_peers"].as_u64().unwrap();
    let largest = 4 << 20;
    println!("killed at {percent} %: {kept} of {total} bytes kept, {fetched} fetched afterwards");
    assert!(kept < total, "the fault was injected too late to bite");
    assert!(fetched <= total - kept + largest, "{fetched} bytes fetched, only {} were missing", total - kept);
}

#[test]
fn a_device_killed_halfway_fetches_only_what_is_missing() {
    killed_at(50);
}

#[test]
fn a_device_killed_near_the_end_fetches_only_what_is_missing() {
    killed_at(90);
}

#[test]
fn the_agent_opens_no_sockets_but_unix_ones() {
    let mut site = Site::start(SiteOptions { devices: 2, ..OPTIONS }).unwrap();
    let device = &mut site.devices[0];
    device.kill();
    device.start_peer().unwrap();
    let prefix = device.root().join("strace");
    let mut args: Vec<std::ffi::OsString> =
        ["-ff", "-e", "trace=socket,socketpair,execve", "-o"].map(Into::into).into();
    args.push(prefix.clone().into());
    args.push(site.fleet.programs().fullmetal.clone().into());
    args.extend(["--root".into(), device.root().as_os_str().to_owned(), "agent".into()]);
    let netns = device.netns().map(str::to_owned);
    let strace = fullmetal_sim::lab::Process::start(
        Path::new("/usr/bin/strace"),
        args,
        &device.log("agent"),
        None,
        netns.as_deref(),
    );
    device.set_agent(strace.unwrap()).unwrap();
    site.publish(Release::One).unwrap();
    site.deploy().unwrap();
    all_run(&mut site, Release::One);
    site.devices[0].end();
    let sockets = sockets_of_agent(&prefix);
    println!("{} sockets opened by the agent", sockets.len());
    assert!(!sockets.is_empty(), "strace saw no socket at all, not even the peer's");
    let others: Vec<&String> = sockets.iter().filter(|s| !s.contains("AF_UNIX")).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// The socket calls of the agent's threads. A thread never calls execve; the programs that the agent starts do.
fn sockets_of_agent(prefix: &Path) -> Vec<String> {
    let name = prefix.file_name().unwrap().to_str().unwrap().to_owned();
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir(prefix.parent().unwrap()).unwrap().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(&format!("{name}.")) {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let executed: Vec<&str> = text.lines().filter(|l| l.contains("execve(")).collect();
        if executed.is_empty() || executed.iter().all(|l| l.contains("\"agent\"")) {
            sockets.extend(text.lines().filter(|l| l.contains("socket")).map(str::to_owned));
        }
    }
    sockets
}
