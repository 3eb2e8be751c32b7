//! An OCI image that umoci made, published, checked out and run.

use super::{AppStatus, Site, wait_until};
use crate::site::run;
use fullmetal::host::{App, AppHost, Health};
use serde_json::json;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
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

/// A registry on loopback, over plain HTTP; it ends with this.
struct Registry {
    server: Child,
    address: String,
}

impl Registry {
    fn start(dir: &Path) -> Registry {
        let config = dir.join("registry.yml");
        let storage = dir.join("registry").display().to_string();
        let text = json!({ "version": 0.1, "storage": { "filesystem": { "rootdirectory": storage } },
                           "http": { "addr": "127.0.0.1:0" } });
        fs::write(&config, text.to_string()).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = command.spawn().expect("docker-registry is missing: apt-get install docker-registry");
        let said = BufReader::new(server.stderr.take().unwrap());
        let mut registry = Registry { server, address: String::new() };
        let mut lines = said.lines().map(Result::unwrap);
        registry.address =
            lines.find_map(|l| Some(l.split_once("listening on ")?.1.split('"').next()?.to_owned())).unwrap();
        // It goes on saying what it does.
        std::thread::spawn(move || lines.for_each(drop));
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn publish(site: &Site, image: &str) -> String {
    let (repo, arch) = (site.dir.path().join("central").display().to_string(), std::env::consts::ARCH);
    let args = ["publish", image, "--repo", &repo, "--ref", "apps/web", "--arch", arch, "--unsigned"];
    run(env!("CARGO_BIN_EXE_fullmetal"), &args)
}

/// As [docs/images.md](../../docs/images.md) has it.
#[test]
fn an_image_that_went_through_a_registry_is_the_same_app() {
    let site = Site::new();
    let (image, registry) = (image(site.dir.path()), Registry::start(site.dir.path()));
    let name = format!("docker://{}/web:1.36", registry.address);
    // As Docker pushes it.
    run("skopeo", &["copy", "--dest-tls-verify=false", "--format", "v2s2", &format!("oci:{image}"), &name]);
    let got = format!("{}:1.36", site.dir.path().join("web").display());
    run("skopeo", &["copy", "--override-arch", "amd64", "--src-tls-verify=false", &name, &format!("oci:{got}")]);
    let before = publish(&site, &image);
    let after = publish(&site, &got);
    assert_eq!(before.lines().next(), after.lines().next(), "{before}{after}");
    assert!(after.contains("unchanged at apps/web"), "{after}");
}

#[test]
fn an_app_from_an_oci_image_runs_as_the_image_says() {
    let site = Site::new();
    let repo = site.dir.path().join("central").display().to_string();
    let said = publish(&site, &image(site.dir.path()));
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
