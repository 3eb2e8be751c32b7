//! What an operator does with the gateway itself: back-up and restore, a new machine in its place, figures.

use super::announcements;
use super::site::{REF, Site};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

const STATE: &str = "var/lib/fullmetal/gateway";

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// Everything in the gateway's directory, by name.
fn kept(site: &Site) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(site.path(STATE))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_file())
        .map(|p| (p.clone(), std::fs::read(p).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_restored_gateway_goes_on_under_new_counters_and_numbers() {
    let mut site = Site::new();
    site.publish("1");
    site.start();
    site.deploy_web("[\"press-1\"]").expect(0, &[]);
    let file = site.path("gateway.backup");
    let ran = site.run(&["backup", text(&file)]);
    assert!(ran.code == 0 && ran.out.contains("fleet plant") && ran.out.contains("1 actions"), "{ran:?}");
    site.run(&["restore", text(&file)]).expect(1, &["another gateway runs on"]);
    let second = site.publish("2");
    site.deploy_web("[\"press-1\", \"press-2\"]").expect(0, &[]);

    // The disk of the gateway is lost; what was decided after the back-up is in no file.
    site.kill();
    std::fs::remove_dir_all(site.path(STATE)).unwrap();
    let ran = site.run(&["--json", "restore", text(&file)]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&told["rank"], &told["actions"]), (&serde_json::json!([1, 1]), &1.into()));
    assert_eq!(site.audit().last().unwrap()["restore"]["rank"], serde_json::json!([1, 1]));
    let before = announcements(&site).len();
    site.start();
    assert_eq!(site.status()["alarm"], serde_json::Value::Null);
    let third = site.publish("3");
    let ran = site.deploy_web("[\"press-1\"]");
    assert!(ran.code == 0 && ran.out.contains("announced (1."), "{ran:?}");
    let all = announcements(&site);
    assert!(all[before..].iter().all(|a| a.rank() > (1, 2)), "a counter was used again");
    let newest = all.last().unwrap();
    let row = |device: &str| newest.row(&device.parse().unwrap()).unwrap();
    let commit = |device: &str| newest.bundle(row(device)).unwrap().document.parts[0].commit;
    assert!(row("press-1").2 > 1000, "the number {} may have been given by the lost state", row("press-1").2);
    assert_eq!((commit("press-1"), commit("press-2")), (third, second), "the row decided after the back-up is kept");
}

#[test]
fn a_damaged_back_up_and_one_of_another_fleet_change_nothing() {
    let mut site = Site::new();
    site.publish("1");
    site.run(&["backup", "/nowhere/at/all"]).expect(1, &["no gateway has run here yet"]);
    site.start();
    site.deploy_web("[\"press-1\"]").expect(0, &[]);
    let file = site.path("gateway.backup");
    assert_eq!(site.run(&["backup", text(&file)]).code, 0);
    site.kill();
    let before = kept(&site);
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let cases: [(&[u8], &str); 4] = [
        (&bad, "damaged"),
        (&good[..good.len() / 2], "damaged"),
        (b"a letter", "not a back-up"),
        (b"", "not a back-up"),
    ];
    for (bytes, word) in cases {
        std::fs::write(&file, bytes).unwrap();
        site.run(&["restore", text(&file)]).expect(1, &["gateway.backup", word]);
        assert_eq!(kept(&site), before);
    }
    std::fs::write(&file, &good).unwrap();
    let config = site.path("etc/fullmetal/fullmetal.toml");
    std::fs::write(&config, "[device]\nid = \"gateway\"\nfleet = \"mill\"\n").unwrap();
    site.run(&["restore", text(&file)]).expect(1, &["of fleet plant", "of fleet mill"]);
    assert_eq!(kept(&site), before);
}

#[test]
fn a_gateway_with_an_empty_disk_takes_the_place_of_a_dead_one() {
    let mut site = Site::new();
    let first = site.publish("1");
    site.start();
    site.deploy_web("[\"press-1\", \"press-2\"]").expect(0, &[]);
    site.kill();
    std::fs::remove_dir_all(site.path(STATE)).unwrap();
    let before = announcements(&site).len();
    site.start_settling("1");
    let second = site.publish("2");
    let ran = site.deploy_web("[\"press-2\"]");
    assert!(ran.code == 0 && ran.out.starts_with("action 2: announced (1.2)"), "{ran:?}");
    let all = announcements(&site);
    let newest = &all[before..].last().unwrap();
    let commit = |device: &str| {
        let row = newest.row(&device.parse().unwrap()).unwrap();
        (row.2, newest.bundle(row).unwrap().document.parts[0].commit)
    };
    assert_eq!((commit("press-1"), commit("press-2")), ((1, first), (2, second)));
    assert!(site.status()["devices"]["press-1"]["action"] == 1, "what was announced is known again");
}

/// An answer: its head and its body.
fn get(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

#[test]
fn prometheus_reads_what_the_status_says() {
    let mut site = Site::new();
    site.publish("1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = site.path("etc/fullmetal/fullmetal.toml");
    let before = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{before}[gateway]\nmetrics = \"{address}\"\n")).unwrap();
    site.run(&["run"]).expect(1, &["serving metrics at 127.0.0.1:", "[gateway] metrics"]);
    drop(taken);
    site.start();
    site.deploy_web("[\"press-1\", \"press-2\"]").expect(0, &[]);
    site.deploy(&format!("devices = [\"press-3\"]\n[[part]]\nref = \"{REF}/other\"\n")).expect(1, &[]);
    let (head, body) = get(address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    for line in [
        "fullmetal_gateway_connected 1.0",
        "fullmetal_gateway_stopped 0.0",
        "fullmetal_gateway_announcement_counter 1.0",
        "fullmetal_gateway_devices 2.0",
        "fullmetal_gateway_devices_by_state{state=\"announced\"} 2",
        "fullmetal_gateway_actions{phase=\"announced\"} 1",
        "fullmetal_gateway_actions{phase=\"refused\"} 1",
        "# EOF",
    ] {
        assert!(body.lines().any(|l| l == line), "no {line:?} in\n{body}");
    }
    assert!(get(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").0.starts_with("HTTP/1.1 404"));
    assert!(
        get(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").0.starts_with("HTTP/1.1 405")
    );
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    // It ends the connection, with an answer or without.
    let mut stream = TcpStream::connect(address).unwrap();
    let _ = stream.write_all(long.as_bytes());
    let _ = stream.read_to_string(&mut String::new());
    assert!(get(address, "GET /metrics HTTP/1.0\r\n\r\n").0.starts_with("HTTP/1.0 200"), "it serves on");
}
