//! The client against answers that real servers gave (recorded with 1.0.4, where 0.3.0M7 answers otherwise with that).

use super::server::{Reply, Request, Server, empty, json};
use super::{action, changed, client, device, hello};
use fullmetal_gateway::ddi::{
    AttributeMode, Attributes, Confirmation, DdiError, Execution, Feedback, Finished, Handling, Polled, Verdict, Window,
};
use fullmetal_proto::Timestamp;
use std::time::Duration;

/// Method, path below `/DEFAULT/controller/v1/`, body, status, answer: copied from the recordings. A body is compared as
/// JSON; `*` stands for any.
type Line = (&'static str, &'static str, &'static str, u16, &'static str);

/// Link to `tail`, as it was recorded: the server's own name, not the address that it was asked at.
macro_rules! base {
    ($($kind:literal: $tail:literal),* $(,)?) => {
        concat!(
            r#"{"config": {"polling": {"sleep": "00:05:00"}}, "_links": {"#,
            $(r#"""#, $kind, r#"": {"href": "http://hawkbit/DEFAULT/controller/v1/"#, $tail, r#""}, "#,)*
            r#""x": {"href": ""}}}"#
        )
    };
}

fn replay(lines: &'static [Line]) -> Server {
    Server::start(move |request| answer(lines, request))
}

fn answer(lines: &[Line], request: &Request) -> Reply {
    let path = request.target.strip_prefix("/DEFAULT/controller/v1/").expect("our tenant");
    let same_body = |expected: &str| match expected {
        "*" => true,
        "" => request.body.is_empty(),
        text => value(text) == value(&request.body),
    };
    let found = lines.iter().find(|l| l.0 == request.method && l.1 == path && same_body(l.2));
    let (.., status, body) = found.unwrap_or_else(|| panic!("nothing recorded for {request:?}"));
    if body.is_empty() { empty(*status) } else { json(*status, body) }
}

fn value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn at(id: u64, execution: Execution, finished: Finished) -> Feedback {
    Feedback::new(action(id), Timestamp::from_millis(1_790_000_000_000), execution, finished)
}

#[tokio::test]
async fn a_deployment_is_found_reported_on_and_closed_once() {
    let server = replay(&[
        (
            "GET",
            "d-forced",
            "",
            200,
            base! {
            "deploymentBase": "d-forced/deploymentBase/1?c=411599879", "configData": "d-forced/configData" },
        ),
        (
            "GET",
            "d-forced/deploymentBase/1?actionHistory=5",
            "",
            200,
            r#"{"id": "1", "deployment": {"download": "forced", "update": "forced", "chunks": [{"part": "bApp", "version": "57660", "name": "hello", "artifacts": [], "metadata": [{"key": "rev", "value": "0000000000000000000000000000000000000000000000000000000000001eef"}]}]}, "actionHistory": {"status": "RETRIEVED", "messages": ["Assignment initiated by user 'admin'"]}}"#,
        ),
        (
            "POST",
            "d-forced/deploymentBase/1/feedback",
            r#"{"id": "1", "status": {"execution": "proceeding", "result": {"finished": "none", "progress": {"cnt": 2, "of": 5}}, "code": 200, "details": ["fetching"]}, "timestamp": 1790000000000}"#,
            200,
            "",
        ),
        (
            "POST",
            "d-forced/deploymentBase/1/feedback",
            r#"{"id": "1", "status": {"execution": "closed", "result": {"finished": "success"}, "details": ["installed"]}, "timestamp": 1790000000000}"#,
            200,
            "",
        ),
        (
            "POST",
            "d-forced/deploymentBase/1/feedback",
            r#"{"id": "1", "status": {"execution": "closed", "result": {"finished": "success"}, "details": []}, "timestamp": 1790000000000}"#,
            410,
            "",
        ),
    ]);
    let (ddi, d) = (client(&server), device("d-forced"));
    let (base, _) = changed(ddi.poll(&d, None).await.unwrap());
    assert_eq!((base.deployment, base.revision), (Some(action(1)), Some(411_599_879)));
    assert_eq!((base.sleep, base.wants_config_data), (Duration::from_secs(300), true));
    let found = ddi.deployment(&d, action(1), 5).await.unwrap();
    assert_eq!((found.download, found.update, found.maintenance_window), (Handling::Forced, Handling::Forced, None));
    assert_eq!(found.chunks, [hello("57660", "1eef")]);
    assert_eq!(found.history.unwrap().messages, ["Assignment initiated by user 'admin'"]);
    let going = at(1, Execution::Proceeding, Finished::None).progress(2, 5).code(200).details(["fetching"]);
    ddi.feedback(&d, &going).await.unwrap();
    ddi.feedback(&d, &at(1, Execution::Closed, Finished::Success).details(["installed"])).await.unwrap();
    let again = ddi.feedback(&d, &at(1, Execution::Closed, Finished::Success)).await.unwrap_err();
    assert_eq!(again.verdict(), Verdict::Gone, "{again}");
    assert_eq!(server.connections(), 1, "one connection serves all requests");
}

#[tokio::test]
async fn an_unchanged_answer_costs_no_body() {
    let server = Server::start(|request| match request.header("if-none-match") {
        Some("\"08317d374316f253cc38791521248557c\"") => empty(304),
        Some(other) => panic!("{other}"),
        None => {
            let Reply::Answer(status, mut headers, body) = json(200, base! { "configData": "p1/configData" }) else {
                unreachable!()
            };
            headers.push(("ETag", "\"08317d374316f253cc38791521248557c\"".to_owned()));
            Reply::Answer(status, headers, body)
        }
    });
    let (ddi, p1) = (client(&server), device("p1"));
    let (_, etag) = changed(ddi.poll(&p1, None).await.unwrap());
    assert_eq!(ddi.poll(&p1, etag.as_ref()).await.unwrap(), Polled::Unchanged);
    let auth: Vec<_> = server.requests().iter().map(|r| r.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(auth, ["GatewayToken s3cret", "GatewayToken s3cret"]);
}

#[tokio::test]
async fn windows_and_installed_versions_are_read_and_told() {
    let server = replay(&[
        (
            "GET",
            "w1/deploymentBase/18",
            "",
            200,
            r#"{"id": "18", "deployment": {"download": "forced", "update": "skip", "chunks": [{"part": "bApp", "version": "57676", "name": "hello", "artifacts": [], "metadata": [{"key": "rev", "value": "0000000000000000000000000000000000000000000000000000000000026aac"}]}], "maintenanceWindow": "unavailable"}}"#,
        ),
        (
            "GET",
            "w2/deploymentBase/19",
            "",
            200,
            r#"{"id": "19", "deployment": {"download": "forced", "update": "forced", "maintenanceWindow": "available", "chunks": [{"part": "bApp", "version": "57701", "name": "hello", "artifacts": []}]}}"#,
        ),
        (
            "GET",
            "d-forced/installedBase/1",
            "",
            200,
            r#"{"id": "1", "deployment": {"download": "forced", "update": "forced", "chunks": [{"part": "bApp", "version": "57660", "name": "hello", "artifacts": [], "metadata": [{"key": "rev", "value": "0000000000000000000000000000000000000000000000000000000000001eef"}]}]}}"#,
        ),
        ("PUT", "off/installedBase", r#"{"name": "floor", "version": "57678"}"#, 201, ""),
        (
            "PUT",
            "off/installedBase",
            r#"{"name": "nosuch", "version": "1"}"#,
            404,
            r#"{"exceptionClass": "org.eclipse.hawkbit.repository.exception.EntityNotFoundException", "errorCode": "hawkbit.server.error.repo.entityNotFound", "message": "DistributionSet with given identifier {nosuch=1} does not exist."}"#,
        ),
        ("PUT", "p1/configData", r#"{"mode": "merge", "data": {"hardware": "rpi3", "agent": "0.1.0"}}"#, 200, ""),
    ]);
    let ddi = client(&server);
    let closed = ddi.deployment(&device("w1"), action(18), 0).await.unwrap();
    assert_eq!((closed.update, closed.maintenance_window), (Handling::Skip, Some(Window::Unavailable)));
    let open = ddi.deployment(&device("w2"), action(19), 0).await.unwrap();
    assert_eq!((open.maintenance_window, open.chunks[0].metadata.len()), (Some(Window::Available), 0));
    let installed = ddi.installed(&device("d-forced"), action(1), 0).await.unwrap();
    assert!(!installed.confirmation_required && installed.chunks == [hello("57660", "1eef")]);
    ddi.set_installed(&device("off"), "floor", "57678").await.unwrap();
    let none = ddi.set_installed(&device("off"), "nosuch", "1").await.unwrap_err();
    assert!(matches!(none, DdiError::NotFound { .. }) && none.to_string().contains("{nosuch=1}"), "{none}");
    let data = Attributes::new(AttributeMode::Merge, [("hardware", "rpi3"), ("agent", "0.1.0")]).unwrap();
    ddi.send_attributes(&device("p1"), &data).await.unwrap();
}

#[tokio::test]
async fn what_waits_for_its_confirmation_is_read_and_confirmed() {
    let server = replay(&[
        ("GET", "k1", "", 200, base! { "confirmationBase": "k1/confirmationBase/21?c=430070299" }),
        (
            "GET",
            "k1/confirmationBase/21",
            "",
            200,
            r#"{"id": "21", "confirmation": {"download": "forced", "update": "forced", "chunks": [{"part": "bApp", "version": "57679", "name": "hello", "artifacts": [], "metadata": [{"key": "rev", "value": "000000000000000000000000000000000000000000000000000000000002c779"}]}]}}"#,
        ),
        ("GET", "k1/deploymentBase/21", "", 404, ""),
        (
            "POST",
            "k1/confirmationBase/21/feedback",
            r#"{"confirmation": "confirmed", "code": 1, "details": ["by the shift lead"]}"#,
            200,
            "",
        ),
        (
            "POST",
            "k2/confirmationBase/activateAutoConfirm",
            r#"{"initiator": "gateway", "remark": "site policy"}"#,
            200,
            "",
        ),
        ("POST", "k2/confirmationBase/deactivateAutoConfirm", "{}", 200, ""),
    ]);
    let (ddi, k1) = (client(&server), device("k1"));
    let (base, _) = changed(ddi.poll(&k1, None).await.unwrap());
    assert_eq!((base.confirmation, base.deployment, base.revision), (Some(action(21)), None, Some(430_070_299)));
    let waiting = ddi.confirmation(&k1, action(21), 0).await.unwrap();
    assert!(waiting.confirmation_required && waiting.chunks == [hello("57679", "2c779")]);
    let early = ddi.deployment(&k1, action(21), 0).await.unwrap_err();
    assert_eq!(early.verdict(), Verdict::NotFound, "{early}");
    ddi.confirm(&k1, action(21), &Confirmation::confirmed(["by the shift lead"])).await.unwrap();
    ddi.auto_confirm(&device("k2"), "gateway", "site policy").await.unwrap();
    ddi.stop_auto_confirm(&device("k2")).await.unwrap();
}

#[tokio::test]
async fn a_cancellation_is_found_and_answered() {
    let server = replay(&[
        ("GET", "c1", "", 200, base! { "cancelAction": "c1/cancelAction/12", "configData": "c1/configData" }),
        ("GET", "c1/cancelAction/12", "", 200, r#"{"id": "12", "cancelAction": {"stopId": "12"}}"#),
        ("POST", "c1/cancelAction/12/feedback", "*", 200, ""),
        ("POST", "c4/deploymentBase/15/feedback", "*", 410, ""),
    ]);
    let (ddi, c1) = (client(&server), device("c1"));
    let (base, _) = changed(ddi.poll(&c1, None).await.unwrap());
    assert_eq!((base.cancel, base.deployment), (Some(action(12)), None));
    let cancel = ddi.cancel(&c1, action(12)).await.unwrap();
    assert_eq!((cancel.id, cancel.stop_id), (action(12), action(12)));
    ddi.cancel_feedback(&c1, &at(12, Execution::Rejected, Finished::None).details(["already switching"]))
        .await
        .unwrap();
    ddi.cancel_feedback(&c1, &at(12, Execution::Closed, Finished::Success)).await.unwrap();
    let bodies: Vec<_> = server.requests().iter().skip(2).map(|r| value(&r.body)).collect();
    assert_eq!((&bodies[0]["id"], &bodies[0]["status"]["execution"]), (&"12".into(), &"rejected".into()));
    assert_eq!(bodies[1]["status"]["result"]["finished"], "success");
    let forced = ddi.feedback(&device("c4"), &at(15, Execution::Closed, Finished::Success)).await.unwrap_err();
    assert_eq!(forced.verdict(), Verdict::Gone);
}

#[tokio::test]
async fn a_full_action_takes_its_last_report_only_and_others_go_on() {
    let server = replay(&[
        (
            "POST",
            "q1/deploymentBase/9/feedback",
            r#"{"id": "9", "status": {"execution": "closed", "result": {"finished": "success"}, "details": []}, "timestamp": 1790000000000}"#,
            200,
            "",
        ),
        (
            "POST",
            "q1/deploymentBase/9/feedback",
            "*",
            429,
            r#"{"exceptionClass": "org.eclipse.hawkbit.repository.exception.AssignmentQuotaExceededException", "errorCode": "hawkbit.server.error.quota.tooManyEntries", "message": "Quota exceeded: Cannot assign 1 more ActionStatus entities to Action '9'. The maximum is 1000."}"#,
        ),
        // What 0.3.0M7 answers, also to the last report.
        (
            "POST",
            "q2/deploymentBase/10/feedback",
            "*",
            403,
            r#"{"exceptionClass": "org.eclipse.hawkbit.repository.exception.AssignmentQuotaExceededException", "errorCode": "hawkbit.server.error.quota.tooManyEntries", "message": "Quota exceeded: Cannot assign 1 more ActionStatus entities to Action '10'. The maximum is 1000."}"#,
        ),
    ]);
    let ddi = client(&server);
    for (name, id) in [("q1", 9), ("q2", 10)] {
        let going = at(id, Execution::Proceeding, Finished::None);
        let full = ddi.feedback(&device(name), &going).await.unwrap_err();
        assert_eq!(full.verdict(), Verdict::Quota(Duration::ZERO), "{full}");
        assert!(full.to_string().contains("The maximum is 1000"), "{full}");
        let before = server.requests().len();
        let held = ddi.feedback(&device(name), &going).await.unwrap_err();
        assert!(matches!(held, DdiError::Quota { .. }), "{held}");
        assert_eq!(server.requests().len(), before, "a report that will be refused is not sent");
    }
    ddi.feedback(&device("q1"), &at(9, Execution::Closed, Finished::Success)).await.unwrap();
    let before = server.requests().len();
    ddi.feedback(&device("q1"), &at(9, Execution::Proceeding, Finished::None)).await.unwrap_err();
    assert_eq!(server.requests().len(), before + 1, "what ended is not remembered");
    let q2 = device("q2");
    let closed = at(10, Execution::Closed, Finished::Success);
    let full = ddi.feedback(&q2, &closed).await.unwrap_err();
    assert!(matches!(full.verdict(), Verdict::Quota(after) if after > Duration::from_secs(50)), "{full}");
    let before = server.requests().len();
    assert!(matches!(ddi.feedback(&q2, &closed).await.unwrap_err().verdict(), Verdict::Quota(_)));
    assert_eq!(server.requests().len(), before, "the last report of a full action waits");
}

#[tokio::test]
async fn what_an_older_server_lacks_is_said() {
    let missing = r#"{"timestamp": "2026-11-23T18:14:56.473+00:00", "status": 404, "error": "Not Found", "message": "", "path": "/DEFAULT/controller/v1/off/installedBase"}"#;
    let server = Server::start(move |_| json(404, missing));
    let (ddi, off) = (client(&server), device("off"));
    for answer in [
        ddi.set_installed(&off, "floor", "57702").await,
        ddi.auto_confirm(&off, "gateway", "").await,
        ddi.stop_auto_confirm(&off).await,
    ] {
        let error = answer.unwrap_err();
        assert!(matches!(error, DdiError::Unsupported { .. }), "{error}");
        assert!(error.to_string().starts_with("this Hawkbit has no "), "{error}");
        assert_eq!(error.verdict(), Verdict::NotFound);
    }
}
