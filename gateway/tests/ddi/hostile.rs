//! Servers that fail, lie, stall, or want the token.

use super::server::{Reply, Server, empty, json};
use super::{TIMEOUT, action, changed, client, device, options, secret};
use fullmetal_gateway::ddi::{
    BASE_LEN_MAX, DEPLOYMENT_LEN_MAX, Ddi, DdiError, Execution, Feedback, Finished, IN_FLIGHT_MAX, Verdict,
};
use fullmetal_proto::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

async fn poll(server: &Server) -> DdiError {
    client(server).poll(&device("p1"), None).await.unwrap_err()
}

fn with(status: u16, header: &'static str, value: &str, body: &[u8]) -> Reply {
    Reply::Answer(status, vec![(header, value.to_owned())], body.to_vec())
}

#[tokio::test]
async fn each_failure_of_the_server_is_a_retry_that_says_what_happened() {
    type Case = (fn() -> Reply, &'static str);
    let cases: [Case; 9] = [
        (|| json(500, r#"{"message": "it broke\u001b[0m"}"#), "HTTP status 500: it broke\u{fffd}[0m"),
        (|| empty(503), "HTTP status 503"),
        (|| Reply::Reset, "cannot reach"),
        (|| Reply::Raw(b"garbage\r\n\r\n".to_vec()), "cannot reach"),
        (|| Reply::Raw(vec![]), "cannot reach"),
        (|| Reply::Hang, "no whole answer within 0 s"),
        (|| Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()), "cannot reach"),
        (|| with(200, "Content-Type", "text/html", b"<html>log in</html>"), "the answer is \"text/html\", not JSON"),
        (|| with(200, "Content-Type", "text/html", b""), "not JSON; is there something between us and Hawkbit?"),
    ];
    for (reply, expected) in cases {
        let server = Server::start(move |_| reply());
        let error = poll(&server).await;
        let message = error.to_string();
        assert!(message.contains(expected) && message.contains(&server.url()), "{message}: {expected}");
        assert_eq!(error.verdict(), Verdict::Retry(None), "{message}");
        assert!(!message.contains("s3cret"));
    }
    let port = Server::start(|_| Reply::Hang).port();
    let dead = Ddi::new(options(&format!("http://127.0.0.1:{port}"), "")).unwrap();
    let error = dead.poll(&device("p1"), None).await.unwrap_err();
    assert!(error.to_string().contains("refused") && error.verdict() == Verdict::Retry(None), "{error}");
}

#[tokio::test]
async fn an_answer_that_drips_ends_in_time() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".to_vec();
    let server = Server::start(move |_| Reply::Drip(head.clone(), Duration::from_millis(20)));
    let begun = Instant::now();
    let error = poll(&server).await;
    assert!(matches!(error, DdiError::TimedOut { .. }), "{error}");
    assert!(begun.elapsed() < 4 * TIMEOUT, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_megabyte_is_refused_announced_or_not() {
    let long = || vec![b' '; 1 << 20];
    let announced = Server::start(move |_| with(200, "Content-Type", "application/json", &long()));
    let endless = Server::start(move |_| Reply::Raw([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &long()].concat()));
    for server in [announced, endless] {
        let ddi = client(&server);
        let error = ddi.poll(&device("p1"), None).await.unwrap_err();
        assert!(matches!(error, DdiError::TooLong { max: BASE_LEN_MAX, .. }), "{error}");
        let error = ddi.deployment(&device("p1"), action(8), 0).await.unwrap_err();
        assert!(matches!(error, DdiError::TooLong { max: DEPLOYMENT_LEN_MAX, .. }), "{error}");
        assert_eq!(error.verdict(), Verdict::Retry(None));
    }
}

#[tokio::test]
async fn answers_about_others_are_refused_and_hold_nobody_else_up() {
    let server = Server::start(|request| match request.target.rsplit('/').next().unwrap() {
        "p1" => json(
            200,
            r#"{"_links": {"deploymentBase": {"href": "http://hawkbit/DEFAULT/controller/v1/p2/deploymentBase/8"}}}"#,
        ),
        "t1" => json(200, r#"{"_links": {"cancelAction": {"href": "http://h/X/controller/v1/t1/cancelAction/8"}}}"#),
        "8" => json(200, r#"{"id": "9", "deployment": {"download": "forced", "update": "forced"}}"#),
        "deep" => json(200, &format!("{{\"config\": {}", "[".repeat(50_000))),
        _ => json(200, "{}"),
    });
    let ddi = client(&server);
    for (id, expected) in [
        ("p1", "the link deploymentBase names device \"p2\""),
        ("t1", "the link cancelAction names tenant \"X\""),
        ("deep", "the answer cannot be read"),
    ] {
        let error = ddi.poll(&device(id), None).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}: {expected}");
        assert_eq!(error.verdict(), Verdict::Retry(None));
    }
    let other = ddi.deployment(&device("p3"), action(8), 0).await.unwrap_err();
    assert!(other.to_string().contains("asked for action 8, the answer is about action 9"), "{other}");
    changed(ddi.poll(&device("p3"), None).await.unwrap());
}

#[tokio::test]
async fn no_redirect_carries_the_token_away() {
    let target = Server::start(|_| json(200, "{}"));
    for location in [format!("{}DEFAULT/controller/v1/p1", target.url()), "/elsewhere".to_owned()] {
        for status in [301, 302, 303, 307, 308] {
            let place = location.clone();
            let server = Server::start(move |_| with(status, "Location", &place, b""));
            let ddi = client(&server);
            let error = ddi.poll(&device("p1"), None).await.unwrap_err();
            assert!(error.to_string().contains(&format!("redirects to \"{location}\"")), "{error}");
            assert_eq!((error.verdict(), server.requests().len()), (Verdict::Lasting, 1));
            assert_eq!(server.requests()[0].header("authorization"), Some("GatewayToken s3cret"));
        }
    }
    assert!(target.requests().is_empty(), "the other server saw {:?}", target.requests());
}

#[tokio::test]
async fn links_to_another_host_lead_nowhere_else() {
    let target = Server::start(|_| json(200, "{}"));
    let elsewhere = target.url();
    let server = Server::start(move |request| match request.target.as_str() {
        "/DEFAULT/controller/v1/p1" => json(
            200,
            &format!(
                r#"{{"_links": {{"deploymentBase": {{"href": "{elsewhere}DEFAULT/controller/v1/p1/deploymentBase/8"}}}}}}"#
            ),
        ),
        "/DEFAULT/controller/v1/p1/deploymentBase/8" => {
            json(200, r#"{"id": "8", "deployment": {"download": "forced", "update": "forced"}}"#)
        }
        other => panic!("{other}"),
    });
    let (ddi, p1) = (client(&server), device("p1"));
    let (base, _) = changed(ddi.poll(&p1, None).await.unwrap());
    ddi.deployment(&p1, base.deployment.unwrap(), 0).await.unwrap();
    assert_eq!((server.requests().len(), target.requests().len()), (2, 0));
}

#[tokio::test]
async fn a_refused_token_is_lasting_says_what_to_do_and_stops_the_asking() {
    let server = Server::start(|_| empty(401));
    let ddi = client(&server);
    let error = ddi.poll(&device("p1"), None).await.unwrap_err();
    let message = error.to_string();
    for word in ["gateway token", "tenant \"DEFAULT\"", "(401)", "[hawkbit] tenant", &server.url()] {
        assert!(message.contains(word), "{message} lacks {word}");
    }
    assert_eq!(error.verdict(), Verdict::Lasting);
    let held = ddi.poll(&device("p2"), None).await.unwrap_err();
    assert_eq!((held.verdict(), server.requests().len()), (Verdict::Lasting, 1), "{held}");
    assert!(held.to_string().contains(&message), "{held}");
}

#[tokio::test]
async fn a_refused_target_token_holds_up_its_own_device_only() {
    let tokens = tempfile::tempdir().unwrap();
    secret(&tokens.path().join("p1"), "stale");
    secret(&tokens.path().join("p2"), "fresh");
    let server = Server::start(|request| match request.header("authorization") {
        Some("TargetToken fresh" | "GatewayToken s3cret") => json(200, "{}"),
        _ => empty(401),
    });
    let more = format!("target_token_dir = \"{}\"\n", tokens.path().display());
    let ddi = Ddi::new(options(&server.url(), &more)).unwrap();
    let error = ddi.poll(&device("p1"), None).await.unwrap_err();
    assert!(error.to_string().contains("the target token") && error.verdict() == Verdict::Lasting, "{error}");
    changed(ddi.poll(&device("p2"), None).await.unwrap());
    changed(ddi.poll(&device("p3"), None).await.unwrap());
    let mut only_targets = options(&server.url(), "");
    only_targets.tokens = Default::default();
    let none = Ddi::new(only_targets).unwrap().poll(&device("p4"), None).await.unwrap_err();
    assert!(none.to_string().starts_with("no token for device p4: set [hawkbit]"), "{none}");
    assert_eq!(none.verdict(), Verdict::Lasting);
}

#[tokio::test]
async fn too_many_requests_pause_the_whole_server_as_long_as_it_wishes() {
    let server = Server::start(|_| with(429, "Retry-After", "120", b""));
    let ddi = client(&server);
    let error = ddi.poll(&device("p1"), None).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::Retry(Some(Duration::from_secs(120))), "{error}");
    let closed = Feedback::new(action(8), Timestamp::ZERO, Execution::Closed, Finished::Success);
    let held = ddi.clone().feedback(&device("p2"), &closed).await.unwrap_err();
    let Verdict::Retry(Some(after)) = held.verdict() else { panic!("{held}") };
    assert!(after > Duration::from_secs(110) && after <= Duration::from_secs(132), "{after:?}");
    assert!(held.to_string().contains("asked too often (429)"), "{held}");
    assert_eq!(server.requests().len(), 1, "a pause is for all devices and all clones");
}

#[tokio::test]
async fn after_a_pause_the_server_is_asked_again_and_a_success_ends_it() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let server = Server::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => empty(500),
        _ => json(200, "{}"),
    });
    let (ddi, p1) = (client(&server), device("p1"));
    ddi.poll(&p1, None).await.unwrap_err();
    let Verdict::Retry(Some(after)) = ddi.poll(&p1, None).await.unwrap_err().verdict() else { panic!() };
    assert!(after <= Duration::from_secs(1), "{after:?}");
    tokio::time::sleep(after).await;
    changed(ddi.poll(&p1, None).await.unwrap());
    changed(ddi.poll(&p1, None).await.unwrap());
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn refusals_of_one_request_are_lasting_and_hold_nobody_up() {
    let server = Server::start(|request| match request.target.rsplit('/').next().unwrap() {
        "p400" => json(
            400,
            r#"{"errorCode": "hawkbit.server.error.repo.constraintViolation", "message": "controllerId has whitespaces which are not allowed."}"#,
        ),
        "p403" => empty(403),
        "p404" => empty(404),
        "p409" => json(409, "{}"),
        _ => json(200, "{}"),
    });
    let ddi = client(&server);
    for (id, expected, verdict) in [
        ("p400", "HTTP status 400: controllerId has whitespaces", Verdict::Lasting),
        ("p403", "HTTP status 403", Verdict::Lasting),
        ("p404", "is [hawkbit] url the root of a Hawkbit server", Verdict::Lasting),
        ("p409", "HTTP status 409", Verdict::Retry(None)),
    ] {
        let error = ddi.poll(&device(id), None).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}: {expected}");
        assert_eq!(error.verdict(), verdict, "{error}");
    }
    changed(ddi.poll(&device("p1"), None).await.unwrap());
}

#[tokio::test]
async fn a_304_that_was_not_asked_for_is_no_answer() {
    let server = Server::start(|_| empty(304));
    let error = poll(&server).await;
    assert!(error.to_string().contains("HTTP status 304"), "{error}");
    assert_eq!(error.verdict(), Verdict::Retry(None));
}

#[tokio::test]
async fn a_page_of_something_else_does_not_pass_for_an_accepted_report() {
    let server = Server::start(|_| with(200, "Content-Type", "text/html", b"<html>welcome to the hotel</html>"));
    let closed = Feedback::new(action(8), Timestamp::ZERO, Execution::Closed, Finished::Success);
    let error = client(&server).feedback(&device("p1"), &closed).await.unwrap_err();
    assert!(matches!(error, DdiError::NotJson { .. }) && error.verdict() == Verdict::Retry(None), "{error}");
}

#[tokio::test]
async fn many_devices_share_few_connections() {
    let server = Server::start(|_| json(200, "{}"));
    let ddi = client(&server);
    let polls: Vec<_> = (0..200)
        .map(|i| {
            let ddi = ddi.clone();
            tokio::spawn(async move { ddi.poll(&device(&format!("p{i}")), None).await.map(|_| ()) })
        })
        .collect();
    for poll in polls {
        poll.await.unwrap().unwrap();
    }
    assert_eq!(server.requests().len(), 200);
    // HTTP/1.1 takes one connection for each request under way; a connection that is given back a moment late may
    // cost another one.
    assert!(server.connections() <= 2 * IN_FLIGHT_MAX, "{} connections", server.connections());
}
