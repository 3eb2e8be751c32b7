//! Faults bite, and only where they are meant to.

use super::bench::{Bench, report};
use fullmetal_sim::hawkbit::record::{Client, Credentials, Headers};
use fullmetal_sim::hawkbit::{Fault, Rule};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Long enough for any answer on a busy machine, and long enough to tell that none comes.
const SOON: Duration = Duration::from_secs(20);
const A_MOMENT: Duration = Duration::from_millis(300);

/// Sends a poll over a bare connection and reads until something comes.
fn raw_poll(bench: &Bench, patience: Duration) -> std::io::Result<usize> {
    let address = bench.server.url().replace("http://", "");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET /DEFAULT/controller/v1/press-1 HTTP/1.1\r\nHost: hawkbit\r\n\r\n")?;
    stream.read(&mut [0; 64])
}

#[test]
fn a_status_comes_as_often_as_asked_for_and_only_on_its_path() {
    let bench = Bench::new(&["press-1", "press-2"]);
    for status in [500, 429, 403] {
        bench.server.faults().add(Rule::new(Fault::Status(status), "/press-1").times(2).method("GET"));
        assert_eq!(bench.get("press-2").status, 200);
        assert_eq!((bench.get("press-1").status, bench.get("press-1").status), (status, status));
        assert_eq!(bench.get("press-1").status, 200);
    }
    bench.server.faults().add(Rule::new(Fault::Status(503), ""));
    assert_eq!(bench.get("press-2").status, 503);
    bench.server.faults().clear();
    assert_eq!(bench.get("press-2").status, 200);
}

#[test]
fn a_connection_hangs_or_is_reset() {
    let bench = Bench::new(&["press-1"]);
    assert!(raw_poll(&bench, SOON).unwrap() > 0, "without a fault something comes");
    bench.server.faults().add(Rule::new(Fault::Hang, "").times(1));
    assert_eq!(raw_poll(&bench, A_MOMENT).unwrap_err().kind(), ErrorKind::WouldBlock);
    bench.server.faults().add(Rule::new(Fault::Reset, "").times(1));
    assert_eq!(raw_poll(&bench, SOON).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(raw_poll(&bench, SOON).unwrap() > 0);
    let statuses: Vec<_> = bench.server.faults().requests().iter().rev().take(3).map(|r| r.status).collect();
    assert_eq!(statuses, [Some(401), None, Some(401)], "what hangs has no status yet");
}

#[test]
fn bodies_are_garbage_or_huge() {
    let bench = Bench::new(&["press-1"]);
    bench.server.faults().add(Rule::new(Fault::Garbage, "").times(1));
    let answer = bench.get("press-1");
    assert!(answer.status == 200 && answer.body.is_string(), "garbage is no JSON");
    bench.server.faults().add(Rule::new(Fault::Megabyte, "").times(1));
    assert!(bench.get("press-1").body.to_string().len() > 1 << 20);
    bench.server.faults().add(Rule::new(Fault::Late(50), "").times(1));
    assert_eq!(bench.get("press-1").body["config"]["polling"]["sleep"], "00:05:00");
}

#[test]
fn another_device_is_answered_in_place_of_the_one_that_asks() {
    let mut bench = Bench::new(&["press-1", "press-2"]);
    let other = bench.assign("press-2", json!({}));
    bench.server.faults().add(Rule::new(Fault::OtherAction, "").times(2));
    let link = bench.get("press-1").body["_links"]["deploymentBase"]["href"].as_str().unwrap().to_owned();
    assert!(link.contains(&format!("/press-2/deploymentBase/{other}?")), "{link}");
    assert_eq!(bench.get("press-1/deploymentBase/77").body["id"], other.to_string());
    assert_eq!(bench.status("press-2", other), "running", "nobody fetched it in earnest");
    assert_eq!(bench.get("press-1/deploymentBase/77").status, 404);
}

#[test]
fn a_lost_answer_leaves_its_effect_and_is_counted_once() {
    let mut bench = Bench::new(&["press-1"]);
    let action = bench.assign("press-1", json!({}));
    bench.server.faults().add(Rule::new(Fault::LoseAnswer, "/feedback").times(1));
    let body = report(action, ("closed", "success"));
    let lost = bench.ask("POST", &format!("press-1/deploymentBase/{action}/feedback"), Some(&body));
    assert!(lost.is_err(), "the answer is lost");
    assert_eq!(bench.status("press-1", action), "finished");
    assert_eq!(bench.feedback("press-1", "deploymentBase", action, ("closed", "success")), 410);
    assert_eq!(bench.server.faults().terminal_feedbacks(action), 1);
}

#[test]
fn feedbacks_that_end_an_action_are_counted_and_others_are_not() {
    let mut bench = Bench::new(&["press-1"]);
    let action = bench.assign("press-1", json!({}));
    for said in [("proceeding", "none"), ("downloaded", "none"), ("canceled", "none"), ("rejected", "none")] {
        assert_eq!(bench.feedback("press-1", "deploymentBase", action, said), 200);
    }
    assert_eq!(bench.server.faults().terminal_feedbacks(action), 0);
    bench.operate("DELETE", &format!("/rest/v1/targets/press-1/actions/{action}"), Value::Null);
    assert_eq!(bench.feedback("press-1", "cancelAction", action, ("rejected", "none")), 200);
    assert_eq!(bench.server.faults().terminal_feedbacks(action), 0);
    bench.operate("DELETE", &format!("/rest/v1/targets/press-1/actions/{action}"), Value::Null);
    // Hawkbit takes the second one too, which is why somebody has to count.
    for accepted in [1, 2] {
        assert_eq!(bench.feedback("press-1", "cancelAction", action, ("closed", "success")), 200);
        assert_eq!(bench.server.faults().terminal_feedbacks(action), accepted);
    }
    let only_download = bench.assign("press-1", json!({ "type": "downloadonly" }));
    assert_eq!(bench.feedback("press-1", "deploymentBase", only_download, ("downloaded", "none")), 200);
    assert_eq!(bench.server.faults().all_terminal_feedbacks(), [(action, 2), (only_download, 1)].into());
}

#[test]
fn another_process_injects_faults_and_sees_what_was_asked_below_standin() {
    let bench = Bench::new(&["press-1"]);
    let rule = json!({ "fault": { "status": 429 }, "path": "press-1", "times": 1 });
    bench.operate("POST", "/standin/faults", rule.clone());
    assert_eq!(bench.look("/standin/faults"), json!([rule]));
    assert_eq!((bench.get("press-1").status, bench.get("press-1").status), (429, 200));
    let seen = bench.look("/standin/requests");
    let last = seen.as_array().unwrap().last().unwrap();
    assert_eq!((&last["path"], &last["status"]), (&json!("/DEFAULT/controller/v1/press-1"), &json!(200)));
    bench.operate("POST", "/standin/faults", json!({ "fault": "reset" }));
    bench.operate("DELETE", "/standin/faults", Value::Null);
    assert_eq!(bench.get("press-1").status, 200);
    assert_eq!(bench.look("/standin/feedbacks"), json!({}));
    let stranger = bench.client.send(("GET", "/standin/requests"), &Credentials::None, &Headers::new(), None).unwrap();
    assert_eq!(stranger.status, 401);
}

#[test]
fn a_dropped_server_is_gone_and_its_port_free() {
    let bench = Bench::new(&["press-1"]);
    let url = bench.server.url();
    drop(bench);
    let client = Client::new(&url).unwrap();
    assert!(client.operate("GET", "/rest/v1/targets", None).is_err());
    assert!(std::net::TcpListener::bind(url.replace("http://", "")).is_ok());
}
