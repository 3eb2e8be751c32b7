//! An OCI image that umoci made, published, checked out and run.

use super::{AppStatus, Site, wait_until};
use crate::site::run;
use fullmetal::host::{App, AppHost, Health};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

/// What the app does: tells who and where it is, writes to its volume and its data, and stays.
const SCRIPT: &str = "#!/bin/sh\n\
    echo \"$(id -u):$(id -g) $(id -G) $PWD $GREETING $(cat /srv/seed)\"\n\
    echo more > /srv/more && echo kept > /data/kept && echo wrote\n\
    exec sleep 1000\n";

fn fill(rootfs: &Path) {
    for dir in ["bin", "etc", "srv"] {
        fs::create_dir_all(rootfs.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for applet in ["sh", "sleep", "test", "cat", "id"] {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    super::script_file(&rootfs.join("bin/entry"), SCRIPT);
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/:\nweb:x:1033:1034::/:\n").unwrap();
    fs::write(rootfs.join("etc/group"), "www:x:1034:\nvideo:x:1044:web\n").unwrap();
    fs::write(rootfs.join("srv/seed"), "seed").unwrap();
    for owned in ["srv", "srv/seed"] {
        std::os::unix::fs::chown(rootfs.join(owned), Some(1033), Some(1034)).unwrap();
    }
}

/// The image `DIR:TAG` in `dir`.
fn image(dir: &Path) -> String {
    let (layout, bundle) = (dir.join("image").display().to_string(), dir.join("bundle"));
    let (image, at) = (format!("{layout}:latest"), bundle.display().to_string());
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["unpack", "--image", &image, &at]);
    fill(&bundle.join("rootfs"));
    run("umoci", &["repack", "--image", &image, &at]);
    let options =
        ["--config.user=web", "--config.env=PATH=/bin", "--config.env=GREETING=hello", "--config.entrypoint=entry"];
    let options = [&options[..], &["--config.workingdir=/srv/work", "--config.volume=/srv"]].concat();
    run("umoci", &[&["config", "--image", &image], &options[..]].concat());
    image
}

#[test]
fn an_app_from_an_oci_image_runs_as_the_image_says() {
    let site = Site::new();
    let (repo, arch) = (site.dir.path().join("central").display().to_string(), std::env::consts::ARCH);
    let args = ["publish", &image(site.dir.path()), "--repo", &repo, "--ref", "apps/web", "--arch", arch, "--unsigned"];
    let said = run(env!("CARGO_BIN_EXE_fullmetal"), &args);
    let (commit, rest) = said.split_once('\n').unwrap();
    assert!(rest.contains("note: volume /srv is scratch space"), "{said}");
    let checkout = site.dir.path().join(format!("var/lib/fullmetal/apps/web/{commit}"));
    fs::create_dir_all(checkout.parent().unwrap()).unwrap();
    run("ostree", &["checkout", "--repo", &repo, commit, &checkout.display().to_string()]);
    let app = App { name: "web".parse().unwrap(), commit: commit.parse().unwrap(), job: false };
    let mut host = site.host();
    host.start(&app).unwrap();
    let has = |line: &'static str| move |status: &AppStatus| status.log.iter().any(|l| l == line);
    let status = wait_until(&host, &app.name, has("wrote"));
    assert!(status.log.contains(&"1033:1034 1034 1044 /srv/work hello seed".to_owned()), "{:?}", status.log);
    let kept = ["test", "-e", "/data/kept"].map(str::to_owned);
    assert_eq!(host.health(&app.name, &kept, Duration::from_secs(10)).unwrap(), Health::Healthy);
    assert_eq!(fs::read_to_string(checkout.join("rootfs/srv/seed")).unwrap(), "seed");
    assert!(!checkout.join("rootfs/srv/more").exists());
}
