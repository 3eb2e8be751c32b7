//! Limits of units, on the device: what the policy says, that they hold, and how the control groups are.

use super::*;

#[test]
#[ignore = "runs on a device"]
fn the_policy_holds() {
    let file = Path::new("/etc/fullmetal/fullmetal.d/policy.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let policy = |text: &str| fs::write(file, text).unwrap();
    let (mut host, web) = (host(), app("web", POLITE));
    let limit = |host: &SystemdHost| {
        wait_until(host, &web.name, |s| s.phase == Phase::Running && s.log.contains(&"up".to_owned()));
        let second = fs::read_to_string("/sys/fs/cgroup/system.slice/web.service/ctr/memory.max");
        let first = "/sys/fs/cgroup/memory/system.slice/web.service/ctr/memory.limit_in_bytes";
        second.unwrap_or_else(|_| fs::read_to_string(first).unwrap())
    };
    policy("[policy]\nmemory_max = \"24M\"\n");
    host.start(&web).unwrap();
    assert_eq!(limit(&host).trim(), (24 << 20).to_string());
    // Who runs is not touched; systemd starts it with what was stored, the agent with what is allowed now.
    policy("[policy]\nmemory_max = \"32M\"\n");
    said(&["systemctl", "restart", "web"]);
    assert_eq!(limit(&host).trim(), (24 << 20).to_string());
    host.stop(&web.name).unwrap();
    host.start(&web).unwrap();
    assert_eq!(limit(&host).trim(), (32 << 20).to_string());
    host.stop(&web.name).unwrap();
    policy("[policy]\nmemory_max = 7\n");
    assert!(matches!(host.prepare(&web), Err(HostError::Policy { .. })));
    fs::remove_file(file).unwrap();
}

#[test]
#[ignore = "runs on a device"]
fn limits_are_held() {
    let file = Path::new("/etc/fullmetal/fullmetal.d/policy.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, "[policy]\nmemory_max = \"24M\"\npids_max = 6\ncpu_max = \"0.2\"\n").unwrap();
    let second = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let mut host = host();
    let greedy = app("greedy", "echo up; exec busybox tail -n 1 /dev/zero");
    host.start(&greedy).unwrap();
    let ended = wait_until(&host, &greedy.name, |s| s.phase == Phase::Exited);
    assert_eq!(ended.last_exit, Some(ExitStatus::Signal(9)), "killed for its memory: {ended:?}");
    let told = ended.log.iter().any(|line| line.contains("(oom-kill)"));
    assert_eq!(told, second, "only there systemd hears of it: {ended:?}");
    wait_until(&host, &greedy.name, |s| s.restarts > 0);
    host.remove(&greedy.name).unwrap();

    let many = app("many", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo all; wait");
    host.start(&many).unwrap();
    let held = wait_until(&host, &many.name, |s| s.log.iter().any(|line| line.contains("can't fork")));
    assert!(!held.log.contains(&"all".to_owned()), "{held:?}");
    host.remove(&many.name).unwrap();

    let busy = app("busy", "echo up; while :; do :; done");
    host.start(&busy).unwrap();
    let top = if second { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/cpu" };
    wait_until(&host, &busy.name, |_| {
        let said = fs::read_to_string(format!("{top}/system.slice/busy.service/ctr/cpu.stat")).unwrap_or_default();
        let throttled = said.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        throttled.is_some_and(|n| n.parse::<u64>().unwrap() > 3)
    });
    host.remove(&busy.name).unwrap();
    fs::remove_file(file).unwrap();
}

/// Writes past the page cache for ever.
const WRITES: &str = "echo up; while :; do busybox dd if=/dev/zero of=/data/file bs=64k count=64 oflag=direct conv=notrunc 2>/dev/null; done";

/// A weight is no bound, and what comes of it hangs on the disk; so what the scheduler has, and that it serves these groups.
#[test]
#[ignore = "runs on a device"]
fn the_scheduler_of_the_disk_has_the_weights() {
    let weighing = |name: &str, weight: u16| {
        let config = |_: &Path, config: &mut serde_json::Value| {
            config["linux"]["resources"] = serde_json::json!({ "blockIO": { "weight": weight } });
        };
        check_out(Path::new("/"), name, &format!("{WRITES} # {name}"), config)
    };
    let mut host = host();
    let apps = [weighing("light", 10), weighing("heavy", 1000)];
    for app in &apps {
        host.start(app).unwrap();
    }
    for app in &apps {
        wait_until(&host, &app.name, |_| served(app.name.as_str()) > 0);
    }
    assert_eq!(["light", "heavy"].map(|app| property(app, "IOWeight")), ["10", "10000"]);
    // In the first version systemd makes 1 to 3.6 of a weight of 1 to 100.
    let [light, heavy] = ["light", "heavy"].map(weight);
    assert!(heavy > 3 * light, "{heavy} and {light}");
    for app in &apps {
        host.remove(&app.name).unwrap();
    }
}

/// Of a unit: what BFQ weighs it by. Neighbours are compared, and a container has none below its unit.
fn weight(app: &str) -> u64 {
    let files = ["blkio/system.slice/APP.service/blkio.bfq.weight", "system.slice/APP.service/io.bfq.weight"];
    let files = files.map(|file| format!("/sys/fs/cgroup/{}", file.replace("APP", app)));
    let said = files.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap();
    said.split_whitespace().last().unwrap().parse().unwrap()
}

/// Bytes that an app's container has had written; with the first version as BFQ counts them.
fn served(app: &str) -> u64 {
    let group = format!("system.slice/{app}.service/ctr");
    let read = |file: String| fs::read_to_string(format!("/sys/fs/cgroup/{file}")).unwrap_or_default();
    let (first, second) = (read(format!("blkio/{group}/blkio.bfq.io_service_bytes")), read(format!("{group}/io.stat")));
    let of_first = first.lines().filter_map(|line| Some(line.split_once(" Write ")?.1));
    let of_second = second.split_whitespace().filter_map(|field| field.strip_prefix("wbytes="));
    of_first.chain(of_second).map(|bytes| bytes.parse::<u64>().unwrap()).sum()
}

/// The kernel gives controllers to the container's group only if the unit's own has no process.
#[test]
#[ignore = "runs on a device"]
fn limits_find_the_unit_without_a_process_of_its_own() {
    let file = Path::new("/etc/fullmetal/fullmetal.d/policy.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, "[policy]\nmemory_max = \"24M\"\npids_max = 50\ncpu_max = \"0.5\"\n").unwrap();
    let (mut host, limited) = (host(), app("limited", POLITE));
    host.start(&limited).unwrap();
    let group = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/system.slice/limited.service/{file}")).unwrap();
    for restarts in 0..2 {
        wait_until(&host, &limited.name, |s| s.phase == Phase::Running && s.restarts == restarts);
        assert_eq!(group("cgroup.procs"), "");
        assert_eq!(group("runc/cgroup.procs").trim(), property("limited", "MainPID"));
        assert_eq!(group("ctr/cgroup.type").trim(), "domain");
        let contained = group("ctr/cgroup.procs");
        assert!(contained.lines().any(|pid| pid == main_pid("limited").to_string()), "{contained}");
        kill(main_pid("limited"), "KILL");
    }
    assert_eq!(property("limited", "OOMPolicy"), "stop");
    host.remove(&limited.name).unwrap();
    assert_eq!(said(&["find", "/sys/fs/cgroup", "-name", "limited.service"]), "");
    fs::remove_file(file).unwrap();
}
