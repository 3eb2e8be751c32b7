//! What an operator does at a Hawkbit server: modules, sets, targets, assignments, rollouts.

use super::REF;
use super::hawkbit::Hawkbit;
use fullmetal_proto::Digest;
use serde_json::{Value, json};

/// A software module to be: name, type, metadata that devices see.
pub struct Module<'a>(pub &'a str, pub &'a str, pub &'a [(&'a str, &'a str)]);

impl Hawkbit {
    /// A device id of this test.
    pub fn device(&self, name: &str) -> String {
        format!("{name}-{}", self.tag)
    }

    /// A distribution set of these modules, of the set type `kind`; module and set versions are `name`'s.
    pub fn set(&self, name: &str, kind: &str, modules: &[Module<'_>]) -> u64 {
        let version = format!("{name}-{}", self.tag);
        let made: Value = modules.iter().map(|m| json!({ "id": self.module(m, &version) })).collect();
        let set = json!([{ "name": name, "version": version, "type": kind, "modules": made }]);
        self.operate("POST", "/rest/v1/distributionsets", &set)[0]["id"].as_u64().unwrap()
    }

    fn module(&self, module: &Module<'_>, version: &str) -> u64 {
        let Module(name, kind, metadata) = module;
        let body = json!([{ "name": name, "version": version, "type": kind }]);
        let id = self.operate("POST", "/rest/v1/softwaremodules", &body)[0]["id"].as_u64().unwrap();
        if !metadata.is_empty() {
            let entry = |(key, value): &(&str, &str)| json!({ "key": key, "value": value, "targetVisible": true });
            let entries: Value = metadata.iter().map(entry).collect();
            self.operate("POST", &format!("/rest/v1/softwaremodules/{id}/metadata"), &entries);
        }
        id
    }

    /// A set that brings this commit.
    pub fn release(&self, name: &str, commit: &Digest) -> u64 {
        let commit = commit.to_string();
        let metadata = [("fullmetal.ref", REF), ("fullmetal.commit", &commit)];
        self.set(name, "app", &[Module(REF, "application", &metadata)])
    }

    /// A type of modules that no Hawkbit brings along, and one of sets that hold it beside applications: their key.
    pub fn kind(&self, name: &str) -> String {
        let key = format!("{name}{}", self.tag);
        let module = json!([{ "name": key, "key": key, "maxAssignments": 1 }]);
        let module = self.operate("POST", "/rest/v1/softwaremoduletypes", &module)[0]["id"].clone();
        let all = self.operate("GET", "/rest/v1/softwaremoduletypes?limit=100", &Value::Null);
        let apps = all["content"].as_array().unwrap().iter().find(|t| t["key"] == "application").unwrap();
        let modules = json!([{ "id": module }, { "id": apps["id"] }]);
        let set = json!([{ "name": key, "key": key, "mandatorymodules": [], "optionalmodules": modules }]);
        self.operate("POST", "/rest/v1/distributionsettypes", &set);
        key
    }

    /// Makes a target.
    pub fn target(&self, device: &str) -> Value {
        self.operate("POST", "/rest/v1/targets", &json!([{ "controllerId": device, "name": device }]))[0].clone()
    }

    /// Assigns a set; gives the action.
    pub fn assign(&self, set: u64, device: &str, kind: &str) -> u64 {
        self.assign_as(set, device, json!({ "type": kind }))
    }

    /// Assigns a set as `how` says. Nothing is asked for confirmation unless it says so, since whether that is asked for
    /// by default is one setting for all tests.
    pub fn assign_as(&self, set: u64, device: &str, how: Value) -> u64 {
        let mut body = json!({ "id": device, "confirmationRequired": false });
        body.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
        self.operate("POST", &format!("/rest/v1/distributionsets/{set}/assignedTargets"), &json!([body]));
        let actions = self.operate("GET", &format!("/rest/v1/targets/{device}/actions?sort=id:DESC"), &Value::Null);
        actions["content"].as_array().unwrap().iter().filter_map(|a| a["id"].as_u64()).max().unwrap()
    }

    /// Whether the server knows this device.
    pub fn has_target(&self, device: &str) -> bool {
        let found = self.operate("GET", &format!("/rest/v1/targets?q=id=={device}"), &Value::Null);
        found["total"] == 1
    }

    pub fn cancel(&self, device: &str, action: u64, force: bool) {
        let force = if force { "?force=true" } else { "" };
        self.operate("DELETE", &format!("/rest/v1/targets/{device}/actions/{action}{force}"), &Value::Null);
    }

    /// Rolls a set out to the targets of `query`, half of them after the other half; started.
    pub fn roll_out(&self, set: u64, query: &str) -> u64 {
        let rollout = json!({
            "name": format!("rollout-{}", self.tag),
            "distributionSetId": set,
            "targetFilterQuery": query,
            "type": "forced",
            "amountGroups": 2,
            "confirmationRequired": false,
            "successCondition": { "condition": "THRESHOLD", "expression": "100" },
            "successAction": { "action": "NEXTGROUP", "expression": "" },
            "errorCondition": { "condition": "THRESHOLD", "expression": "50" },
            "errorAction": { "action": "PAUSE", "expression": "" },
        });
        let id = self.operate("POST", "/rest/v1/rollouts", &rollout)["id"].as_u64().unwrap();
        self.rollout_is(id, "ready");
        self.operate("POST", &format!("/rest/v1/rollouts/{id}/start"), &Value::Null);
        id
    }

    /// Waits until a rollout has this status.
    pub fn rollout_is(&self, id: u64, status: &str) {
        let read = || self.operate("GET", &format!("/rest/v1/rollouts/{id}"), &Value::Null)["status"].clone();
        self.until(&format!("rollout {id} as {status}"), || (read() == status).then_some(()));
    }
}
