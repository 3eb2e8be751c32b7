//! Strangers, certificates that ran out, announcements of yesterday.

use super::bench::{Bench, LIMIT, is_calm, nothing_half_written};
use super::said::{has, run};
use fullmetal_sim::lab::net::LAN;
use fullmetal_sim::lab::{Fleet, Node, NodeOptions, PEER_UID, Programs, output_of, wait_for};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn neighbours(node: &Node) -> Vec<String> {
    let status = node.status().unwrap();
    let list = status["peer"]["neighbours"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn log(node: &Node, program: &str) -> String {
    std::fs::read_to_string(node.log(program)).unwrap_or_default()
}

#[test]
fn a_stranger_has_no_neighbours_and_disturbs_nobody() {
    let mut bench = Bench::new(2);
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    // The same fleet by name, but not by keys.
    let others = Fleet::new(&Programs::find(None).unwrap(), dir.path(), "test-plant").unwrap();
    bench.site.net.host("stranger", 99, true, false).unwrap();
    let netns = Some(bench.site.net.netns("stranger"));
    let options = NodeOptions { interface: LAN.into(), netns, ..NodeOptions::default() };
    let mut stranger = others.enroll("press-3", &options).unwrap();
    let logs = |bench: &Bench| -> String { bench.site.devices.iter().map(|d| log(d, "peer")).collect() };
    let before = logs(&bench).matches("neighbour gone").count();
    stranger.start_peer().unwrap();
    wait_for("somebody to meet the stranger", LIMIT, || {
        stranger.check()?;
        let met = logs(&bench) + &log(&bench.site.gateway, "peer") + &log(&stranger, "peer");
        Ok(met.contains("stranger refused").then_some(()))
    })
    .unwrap();
    bench.publish();
    bench.deploys();
    assert_eq!(neighbours(&stranger), Vec::<String>::new());
    for node in bench.site.devices.iter().chain([&bench.site.gateway]) {
        assert_eq!(neighbours(node).len(), 2, "{}", node.name());
        assert!(!neighbours(node).contains(&"press-3".to_owned()));
    }
    assert_eq!(logs(&bench).matches("neighbour gone").count(), before, "members lost each other");
    let cached = std::fs::read_dir(stranger.root().join("var/cache/fullmetal/blobs")).unwrap().count();
    assert_eq!(cached, 0, "the stranger learned something");
    is_calm(&stranger);
}

#[test]
fn an_expired_certificate_ends_the_peer_and_not_the_app() {
    let mut bench = Bench::new(1);
    let keys = bench.site.fleet.keys();
    let device = &mut bench.site.devices[0];
    device.end();
    let identity = device.root().join("etc/fullmetal/identity");
    let good = std::fs::read(identity.join("peer.crt")).unwrap();
    expire(bench.dir.path(), &keys, &identity, "urn:fullmetal:test-plant:device:press-1");
    let root = device.root().to_string_lossy().into_owned();
    let program = bench.site.fleet.programs().fullmetal.to_string_lossy().into_owned();
    let (uid, gid) = (format!("--reuid={PEER_UID}"), format!("--regid={PEER_UID}"));
    let said = run(Path::new("setpriv"), &[&uid, &gid, "--clear-groups", &program, "--root", &root, "peer"]);
    said.fails(2, &["identity/peer.crt", "certificate refused", "expired on 2020-01-01", "enroll the device again"]);
    bench.site.devices[0].start_agent().unwrap();
    bench.check();
    std::fs::write(identity.join("peer.crt"), good).unwrap();
    bench.site.devices[0].start_peer().unwrap();
    bench.publish();
    bench.deploys();
}

/// Gives the peer's key a certificate of the fleet's CA that ran out in 2020.
fn expire(dir: &Path, keys: &Path, identity: &Path, uri: &str) {
    let configuration = format!(
        "[ca]\ndefault_ca = fleet\n[fleet]\ndatabase = {0}/index\nnew_certs_dir = {0}\nrand_serial = yes\n\
         default_md = sha256\npolicy = any\nx509_extensions = member\n[any]\ncommonName = supplied\n\
         [member]\nextendedKeyUsage = serverAuth, clientAuth\nsubjectAltName = URI:{uri}\n",
        dir.display()
    );
    std::fs::write(dir.join("ca.cnf"), configuration).unwrap();
    std::fs::write(dir.join("index"), "").unwrap();
    let openssl = |words: &str, files: &[&Path]| {
        let mut files = files.iter();
        let mut command = Command::new("openssl");
        for word in words.split_whitespace() {
            match word {
                "FILE" => command.arg(files.next().unwrap()),
                word => command.arg(word),
            };
        }
        output_of(&mut command).unwrap();
    };
    let (request, certificate) = (dir.join("csr"), identity.join("peer.crt"));
    openssl("req -new -key FILE -subj /CN=press-1 -out FILE", &[&identity.join("peer.key"), &request]);
    let ca = [&dir.join("ca.cnf"), &keys.join("device-ca.crt"), &keys.join("device-ca.key"), &request, &certificate];
    openssl(
        "ca -batch -notext -config FILE -cert FILE -keyfile FILE -in FILE -out FILE \
         -startdate 19700101000000Z -enddate 20200101000000Z",
        &ca.map(|p| p.as_path()),
    );
}

#[test]
fn an_announcement_that_is_played_again_takes_nothing_back() {
    let mut bench = Bench::new(1);
    let cache = bench.device().root().join("var/cache/fullmetal");
    let old = newest(bench.device());
    let note = std::fs::read(cache.join("newest")).unwrap();
    let body = std::fs::read(cache.join("blobs").join(&old.1)).unwrap();
    bench.publish();
    bench.deploys();
    let new = newest(bench.device());
    assert!(new.0 > old.0, "{new:?} {old:?}");
    bench.site.gateway.end();
    bench.site.devices[0].end();
    std::fs::write(cache.join("newest"), &note).unwrap();
    std::fs::write(cache.join("blobs").join(&old.1), &body).unwrap();
    std::fs::remove_file(cache.join("blobs").join(&new.1)).unwrap();
    let device = &mut bench.site.devices[0];
    device.start_peer().unwrap();
    device.start_agent().unwrap();
    let refusal = wait_for("the agent to see it", LIMIT, || {
        let log = log(device, "agent");
        Ok(log.lines().find(|l| l.contains("announcement not followed")).map(str::to_owned))
    });
    has(&refusal.unwrap(), &[&format!("counter={}", old.0), "a newer one was seen", "old or played back"]);
    assert_eq!(newest(bench.device()), old, "the fault was not injected");
    std::thread::sleep(Duration::from_secs(2));
    bench.check();
    bench.site.gateway.start_peer().unwrap();
    bench.site.gateway.start_gateway().unwrap();
    bench.gateway_acts();
    bench.publish();
    bench.deploys();
    nothing_half_written(bench.device());
}

/// Counter and digest of the newest announcement that a peer has.
fn newest(node: &Node) -> (u64, String) {
    let status = node.status().unwrap();
    let hint = &status["peer"]["newest"];
    (hint["counter"].as_u64().unwrap(), hint["digest"].as_str().unwrap().to_owned())
}
