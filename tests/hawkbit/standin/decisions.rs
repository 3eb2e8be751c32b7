//! Decisions that change with time or depend on each other, beyond what was recorded.

use super::bench::Bench;
use fullmetal_sim::hawkbit::record::{Credentials, Headers};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HOUR: Duration = Duration::from_secs(3600);

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn update_of(bench: &Bench, action: u64) -> (Value, Value) {
    let body = bench.get(&format!("press-1/deploymentBase/{action}")).body;
    (body["deployment"]["update"].clone(), body["deployment"]["maintenanceWindow"].clone())
}

#[test]
fn a_maintenance_window_opens_closes_and_lapses() {
    let mut bench = Bench::new(&["press-1"]);
    // Hours 2 and 3 from now, in a year that is named.
    let now = time::OffsetDateTime::now_utc() + 2 * HOUR;
    let (hour, day, month, year) = (now.hour(), now.day(), u8::from(now.month()), now.year());
    let schedule = format!("0 0 {hour} {day} {month} ? {year}");
    let window = json!({ "schedule": schedule, "duration": "02:00:00", "timezone": "+00:00" });
    let action = bench.assign("press-1", json!({ "type": "forced", "maintenanceWindow": window }));
    assert_eq!(update_of(&bench, action), (json!("skip"), json!("unavailable")));
    let closed = bench.link("press-1", "deploymentBase").unwrap();
    bench.server.advance(2 * HOUR);
    assert_eq!(update_of(&bench, action), (json!("forced"), json!("available")));
    assert_ne!(bench.link("press-1", "deploymentBase").unwrap(), closed, "another c for another deployment");
    bench.server.advance(2 * HOUR);
    assert_eq!(bench.link("press-1", "cancelAction"), Some(format!("press-1/cancelAction/{action}")));
    assert_eq!(bench.get(&format!("press-1/deploymentBase/{action}")).status, 404);
}

#[test]
fn a_device_polls_more_often_before_its_window() {
    let mut bench = Bench::new(&["press-1"]);
    let soon = time::OffsetDateTime::now_utc() + Duration::from_secs(600);
    let (minute, hour, day, month, year) =
        (soon.minute(), soon.hour(), soon.day(), u8::from(soon.month()), soon.year());
    let schedule = format!("0 {minute} {hour} {day} {month} ? {year}");
    let window = json!({ "schedule": schedule, "duration": "01:00:00", "timezone": "+00:00" });
    bench.assign("press-1", json!({ "maintenanceWindow": window }));
    let sleep = bench.get("press-1").body["config"]["polling"]["sleep"].as_str().unwrap().to_owned();
    assert!(sleep.as_str() > "00:02:30" && sleep.as_str() <= "00:03:20", "a third of ten minutes, not {sleep}");
    assert_eq!(bench.get("press-2").body["config"]["polling"]["sleep"], "00:05:00");
}

#[test]
fn a_time_forced_action_becomes_forced_when_its_time_comes_and_a_soft_one_when_the_operator_says_so() {
    let mut bench = Bench::new(&["press-1", "press-2"]);
    let action = bench.assign("press-1", json!({ "type": "timeforced", "forcetime": now_ms() + 3_600_000 }));
    let before = bench.link("press-1", "deploymentBase").unwrap();
    assert_eq!(update_of(&bench, action).0, "attempt");
    bench.server.advance(HOUR);
    assert_eq!(update_of(&bench, action).0, "forced");
    assert_ne!(bench.link("press-1", "deploymentBase").unwrap(), before);
    let soft = bench.assign("press-2", json!({ "type": "soft" }));
    let before = bench.link("press-2", "deploymentBase").unwrap();
    let path = format!("/rest/v1/targets/press-2/actions/{soft}");
    assert_eq!(bench.operate("PUT", &path, json!({ "forceType": "forced" }))["forceType"], "forced");
    assert_ne!(bench.link("press-2", "deploymentBase").unwrap(), before);
}

#[test]
fn a_target_token_speaks_for_its_own_device_only() {
    let mut bench = Bench::new(&["press-1", "press-2"]);
    let token = bench.look("/rest/v1/targets/press-1")["securityToken"].as_str().unwrap().to_owned();
    let token = Credentials::Header(format!("TargetToken {token}"));
    let status = |bench: &Bench, device: &str| {
        let path = format!("/DEFAULT/controller/v1/{device}");
        bench.client.send(("GET", &path), &token, &Headers::new(), None).unwrap().status
    };
    assert_eq!(status(&bench, "press-1"), 401, "not before the tenant allows it");
    bench.set("authentication.targettoken.enabled", json!(true));
    assert_eq!((status(&bench, "press-1"), status(&bench, "press-2"), status(&bench, "press-9")), (200, 401, 401));
    bench.set("authentication.gatewaytoken.enabled", json!(false));
    assert_eq!((status(&bench, "press-1"), bench.get("press-1").status), (200, 401));
}

#[test]
fn a_newer_assignment_closes_the_older_where_the_tenant_wants_that() {
    let mut bench = Bench::new(&["press-1"]);
    bench.set("repository.actions.autoclose.enabled", json!(true));
    let older = bench.assign("press-1", json!({}));
    let newer = bench.assign("press-1", json!({}));
    assert_eq!(bench.status("press-1", older), "canceled");
    assert!(bench.link("press-1", "deploymentBase").unwrap().contains(&format!("/{newer}?")));
    assert_eq!(bench.feedback("press-1", "deploymentBase", older, ("closed", "success")), 410);
}

#[test]
fn what_waits_for_consent_begins_when_consent_is_given_for_all() {
    let mut bench = Bench::new(&["press-1"]);
    bench.set("user.confirmation.flow.enabled", json!(true));
    let waiting = bench.assign("press-1", json!({}));
    assert!(bench.link("press-1", "confirmationBase").is_some());
    let unasked = bench.assign("press-1", json!({ "confirmationRequired": false }));
    assert_eq!(
        (bench.status("press-1", waiting), bench.status("press-1", unasked)),
        ("canceling".into(), "running".into())
    );
    bench.operate("DELETE", &format!("/rest/v1/targets/press-1/actions/{waiting}?force=true"), Value::Null);
    assert_eq!(bench.feedback("press-1", "deploymentBase", unasked, ("closed", "failure")), 200);
    let waiting = bench.assign("press-1", json!({}));
    bench.operate("POST", "/rest/v1/targets/press-1/autoConfirm/activate", json!({ "remark": "night shift" }));
    assert_eq!(bench.status("press-1", waiting), "running");
    assert_eq!(bench.get("press-1/confirmationBase").body["autoConfirm"]["remark"], "night shift");
    let again = bench.ask("POST", "press-1/confirmationBase/activateAutoConfirm", Some(&json!({}))).unwrap();
    assert_eq!(again.status, 409);
}

#[test]
fn a_failed_release_can_be_assigned_again_and_a_running_one_not() {
    let mut bench = Bench::new(&["press-1"]);
    let action = bench.assign("press-1", json!({}));
    let again = |bench: &Bench| {
        let body = json!([{ "id": "press-1" }, { "id": "nobody" }]);
        let answer = bench.operate("POST", "/rest/v1/distributionsets/1/assignedTargets", body);
        (answer["assigned"].clone(), answer["alreadyAssigned"].clone(), answer["total"].clone())
    };
    assert_eq!(again(&bench), (json!(0), json!(1), json!(1)));
    bench.feedback("press-1", "deploymentBase", action, ("closed", "failure"));
    assert_eq!(bench.look("/rest/v1/targets/press-1")["updateStatus"], "error");
    assert_eq!(again(&bench), (json!(1), json!(0), json!(1)));
}

#[test]
fn a_module_of_an_own_type_travels_as_it_is_called_and_shows_only_visible_metadata() {
    let bench = Bench::new(&["press-1"]);
    let kind = json!([{ "key": "firmware", "name": "Firmware", "maxAssignments": 1 }]);
    let kind = bench.operate("POST", "/rest/v1/softwaremoduletypes", kind)[0]["id"].clone();
    let kind = json!([{ "key": "fw", "name": "Firmware only", "mandatorymodules": [{ "id": kind }] }]);
    bench.operate("POST", "/rest/v1/distributionsettypes", kind);
    let module = json!([{ "name": "plc", "version": "7", "type": "firmware" }]);
    let module = bench.operate("POST", "/rest/v1/softwaremodules", module)[0]["id"].clone();
    let metadata = json!([{ "key": "rev", "value": "1", "targetVisible": true }, { "key": "note", "value": "x" }]);
    bench.operate("POST", &format!("/rest/v1/softwaremodules/{module}/metadata"), metadata);
    let set = json!([{ "name": "plc", "version": "7", "type": "fw", "modules": [{ "id": module }] }]);
    bench.operate("POST", "/rest/v1/distributionsets", set);
    bench.operate("POST", "/rest/v1/targets/press-1/assignedDS", json!({ "id": 1 }));
    let chunk = bench.get("press-1/deploymentBase/1").body["deployment"]["chunks"][0].clone();
    assert_eq!((&chunk["part"], &chunk["metadata"]), (&json!("firmware"), &json!([{ "key": "rev", "value": "1" }])));
    let found = bench.look("/rest/v1/distributionsets?q=name==plc;version==7");
    assert_eq!((&found["total"], &found["content"][0]["complete"]), (&json!(1), &json!(true)));
    bench.operate("DELETE", "/rest/v1/distributionsets/1", Value::Null);
    assert_eq!(bench.look("/rest/v1/distributionsets")["total"], 0);
    assert_eq!(bench.look("/rest/v1/distributionsets/1")["deleted"], true, "an action still names it");
}

#[test]
fn a_rollout_pauses_on_errors_and_goes_on_when_resumed() {
    let mut bench = Bench::new(&["r0", "r1", "r2", "r3", "other"]);
    let set = bench.release();
    let threshold = |percent: &str| json!({ "condition": "THRESHOLD", "expression": percent });
    let rollout = json!({
        "name": "night", "distributionSetId": set, "targetFilterQuery": "id==r*", "amountGroups": 2,
        "successCondition": threshold("100"), "errorCondition": threshold("50"), "errorAction": { "action": "PAUSE" },
    });
    let id = bench.operate("POST", "/rest/v1/rollouts", rollout)["id"].clone();
    let path = format!("/rest/v1/rollouts/{id}");
    assert_eq!(bench.look(&path)["status"], "ready");
    assert!(bench.link("r0", "deploymentBase").is_none(), "nothing begins by itself");
    bench.operate("POST", &format!("{path}/start"), Value::Null);
    let actions = bench.look("/rest/v1/targets/r0/actions");
    let action = actions["content"][0]["id"].as_u64().unwrap();
    assert_eq!(bench.feedback("r0", "deploymentBase", action, ("closed", "failure")), 200);
    let paused = bench.look(&path);
    assert_eq!((&paused["status"], &paused["totalTargetsPerStatus"]["error"]), (&json!("paused"), &json!(1)));
    assert!(bench.link("r1", "deploymentBase").is_some(), "what has begun goes on");
    assert!(bench.link("r2", "deploymentBase").is_none());
    bench.operate("POST", &format!("{path}/resume"), Value::Null);
    for device in ["r2", "r3"] {
        assert!(bench.link(device, "deploymentBase").is_some(), "{device}");
    }
    bench.operate("DELETE", "/rest/v1/targets/r1", Value::Null);
    for device in ["r2", "r3"] {
        let action = bench.look(&format!("/rest/v1/targets/{device}/actions"))["content"][0]["id"].as_u64().unwrap();
        assert_eq!(bench.feedback(device, "deploymentBase", action, ("closed", "success")), 200);
    }
    let groups = bench.look(&format!("{path}/deploygroups"));
    let statuses: Vec<&Value> = groups["content"].as_array().unwrap().iter().map(|g| &g["status"]).collect();
    assert_eq!(statuses, ["error", "finished"]);
    assert_eq!(bench.look(&path)["status"], "finished");
}
