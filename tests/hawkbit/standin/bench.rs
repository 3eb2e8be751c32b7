//! A stand-in with some devices and releases.

use fullmetal_sim::hawkbit::Server;
use fullmetal_sim::hawkbit::record::{Answer, Client, Credentials, Headers};
use serde_json::{Value, json};

const KEY: &str = "the-token-of-the-gateway";

/// A running stand-in and somebody who talks to it.
pub struct Bench {
    pub server: Server,
    pub client: Client,
    releases: u64,
}

impl Bench {
    /// With these targets.
    pub fn new(targets: &[&str]) -> Self {
        let server = Server::start("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = Client::new(&server.url()).unwrap();
        let mut bench = Bench { server, client, releases: 0 };
        bench.set("authentication.gatewaytoken.enabled", json!(true));
        bench.set("authentication.gatewaytoken.key", json!(KEY));
        let targets: Vec<Value> = targets.iter().map(|t| json!({ "controllerId": t, "name": t })).collect();
        bench.operate("POST", "/rest/v1/targets", json!(targets));
        bench
    }

    /// Sets something of the tenant's configuration.
    pub fn set(&mut self, key: &str, value: Value) {
        self.operate("PUT", &format!("/rest/v1/system/configs/{key}"), json!({ "value": value }));
    }

    /// What the operator gets; has to be a 2xx.
    pub fn operate(&self, method: &str, path: &str, body: Value) -> Value {
        self.client.operate(method, path, Some(&body).filter(|b| !b.is_null())).unwrap()
    }

    /// What the operator sees.
    pub fn look(&self, path: &str) -> Value {
        self.operate("GET", path, Value::Null)
    }

    /// A new distribution set of one module.
    pub fn release(&mut self) -> u64 {
        self.releases += 1;
        let version = self.releases.to_string();
        let module = json!([{ "name": "web", "version": version, "type": "application" }]);
        let module = self.operate("POST", "/rest/v1/softwaremodules", module)[0]["id"].clone();
        let set = json!([{ "name": "floor", "version": version, "type": "app", "modules": [{ "id": module }] }]);
        self.operate("POST", "/rest/v1/distributionsets", set)[0]["id"].as_u64().unwrap()
    }

    /// Assigns a new release; `more` says how. Gives the action.
    pub fn assign(&mut self, target: &str, mut more: Value) -> u64 {
        let set = self.release();
        more["id"] = target.into();
        let path = format!("/rest/v1/distributionsets/{set}/assignedTargets");
        self.operate("POST", &path, json!([more]))["assignedActions"][0]["id"].as_u64().unwrap()
    }

    /// What a device gets, through the gateway.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let token = Credentials::Header(format!("GatewayToken {KEY}"));
        self.client.send((method, &format!("/DEFAULT/controller/v1/{path}")), &token, &Headers::new(), body)
    }

    /// What a device sees.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).unwrap()
    }

    /// The link of this name that a device gets when it polls, without what comes before its id.
    pub fn link(&self, device: &str, name: &str) -> Option<String> {
        let href = self.get(device).body["_links"][name]["href"].as_str()?.to_owned();
        Some(href.split_once("/controller/v1/").unwrap().1.to_owned())
    }

    /// Sends feedback of a device; `kind` is `deploymentBase` or `cancelAction`.
    pub fn feedback(&self, device: &str, kind: &str, action: u64, said: (&str, &str)) -> u16 {
        let body = report(action, said);
        self.ask("POST", &format!("{device}/{kind}/{action}/feedback"), Some(&body)).unwrap().status
    }

    /// The status of an action, as the operator sees it.
    pub fn status(&self, device: &str, action: u64) -> String {
        let action = self.look(&format!("/rest/v1/targets/{device}/actions/{action}"));
        action["status"].as_str().unwrap().to_owned()
    }
}

/// A feedback's body: how it goes, and how it ended.
pub fn report(action: u64, (execution, finished): (&str, &str)) -> Value {
    json!({ "id": action.to_string(), "status": { "execution": execution, "result": { "finished": finished } } })
}
