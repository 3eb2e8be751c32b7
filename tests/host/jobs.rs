//! Jobs of systemd that wait for those of other apps, on the device.

use super::*;

/// Ends a good second after it is told to.
const SLOW_TO_END: &str = "trap 'sleep 1.5; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done";

#[test]
#[ignore = "runs on a device"]
fn a_job_may_take_as_long_as_those_before_it() {
    let options = SystemdOptions::new(Path::new("/"), &"press-1".parse().unwrap());
    let mut host = SystemdHost::new(SystemdOptions { margin: Duration::ZERO, ..options });
    // Starts after one that takes longer than it may take itself.
    let base = notifying("slow", "sleep 1.5; /usr/bin/systemd-notify --ready; exec sleep 1000");
    let top = app("quick", SLOW_TO_END);
    with_unit(&base, "[Service]\nType=notify\nTimeoutStartSec=20\nTimeoutStopSec=400ms\n");
    with_unit(&top, "[Unit]\nRequires=slow.service\n[Service]\nTimeoutStartSec=400ms\nTimeoutStopSec=20\n");
    host.prepare(&base).unwrap();
    host.place(&base).unwrap();
    host.start(&top).unwrap();
    assert_eq!(property("slow", "ActiveState"), "active", "it was started with the other");
    wait_until(&host, &top.name, |s| s.log == ["up"]);
    // Stops after one that takes longer than it may take itself; nobody ends it before its turn, though it is deaf.
    let (base_pid, top_pid) = (main_pid("slow"), main_pid("quick"));
    let runs = |pid: i32| Path::new(&format!("/proc/{pid}")).exists();
    std::thread::scope(|scope| {
        let watched = scope.spawn(|| {
            while runs(base_pid) {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(!runs(top_pid), "what it requires ended before it");
        });
        host.stop(&base.name).unwrap();
        watched.join().unwrap();
    });
    assert_eq!(host.status(&top.name).unwrap().unwrap().phase, Phase::Halted);
    for app in [&top, &base] {
        host.remove(&app.name).unwrap();
    }
}

/// Runs without systemd between it and the outer half: the bus goes away and comes back.
#[test]
#[ignore = "runs on a device"]
fn a_health_command_is_answered_though_the_bus_goes_away() {
    let (mut host, app) = (host(), app("patient", POLITE));
    host.start(&app).unwrap();
    wait_until(&host, &app.name, |s| s.log == ["up"]);
    let asked = |script: &str| {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        host.health(&app.name, &argv, Duration::from_secs(10))
    };
    let bus = ["dbus.socket", "dbus.service"];
    let health = std::thread::scope(|scope| {
        let asking = scope.spawn(|| asked("touch /data/asked; while [ -e /data/asked ]; do sleep 0.1; done"));
        let mark = Path::new("/var/lib/fullmetal/data/patient/asked");
        let end = Instant::now() + Duration::from_secs(20);
        while !mark.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        said(&[&["systemctl", "stop"][..], &bus].concat());
        fs::remove_file(mark).unwrap();
        asking.join().unwrap()
    });
    let unasked = asked("exit 0");
    said(&[&["systemctl", "start"][..], &bus].concat());
    assert_eq!(health.unwrap(), fullmetal::host::Health::Healthy);
    assert!(matches!(&unasked, Err(HostError::Bus(error)) if error.is_away()), "{unasked:?}");
    assert_eq!(asked("exit 0").unwrap(), fullmetal::host::Health::Healthy);
    host.remove(&app.name).unwrap();
}
