//! What the tests of the systemd host do on the device; each is run by its outer half, never by itself.

use super::conformance::{self, Fixture};
use super::site::check_out;
use super::App;
use fullmetal::host::{SystemdHost, SystemdOptions};
use std::path::Path;
use std::time::Duration;

fn host() -> SystemdHost {
    let mut options = SystemdOptions::new(Path::new("/"), &"press-1".parse().unwrap());
    options.grace = Duration::from_millis(1500);
    SystemdHost::new(options)
}

fn app(name: &str, script: &str) -> App {
    check_out(Path::new("/"), name, script, |_, _| {})
}

#[test]
#[ignore = "runs on a device"]
fn conformance() {
    let stays = check_out(Path::new("/"), "web", "exec sleep 1000", |rootfs, _| {
        std::fs::write(rootfs.join("well"), "").unwrap()
    });
    conformance::an_app_host(Fixture {
        host: Box::new(host()),
        stays,
        sick: app("web", "exec sleep 999"),
        job: App { job: true, ..app("job", "echo work done") },
        failing: app("bad", "echo no disk >&2; exit 3"),
        healthy: ["test", "-e", "/well"].map(str::to_owned).to_vec(),
    });
}
