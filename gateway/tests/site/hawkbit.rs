//! A Hawkbit server for a site: the stand-in, or the one that `HAWKBIT=http://host:port` names.

use super::{REF, Site};
use fullmetal_proto::Digest;
use fullmetal_sim::hawkbit::Server;
use fullmetal_sim::hawkbit::record::Client;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

/// How long something may take that needs a few polls.
const LIMIT: Duration = Duration::from_secs(30);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub struct Hawkbit {
    pub standin: Option<Server>,
    client: Client,
    /// Makes names unique at a server that many tests share.
    tag: String,
}

impl Hawkbit {
    /// A server, and the site's gateway configured for it.
    pub fn at(site: &Site, confirm: &str) -> Self {
        let (standin, url) = match std::env::var("HAWKBIT") {
            Ok(url) => (None, url),
            Err(_) => {
                let server = Server::start("127.0.0.1:0".parse().unwrap()).unwrap();
                let url = server.url();
                (Some(server), url)
            }
        };
        let tag = Digest::of(site.dir.path().as_os_str().as_encoded_bytes()).to_string()[..8].to_owned();
        let hawkbit = Hawkbit { standin, client: Client::new(&url).unwrap(), tag };
        let set = |key: &str, value: Value| {
            let (path, body) = (format!("/rest/v1/system/configs/{key}"), json!({ "value": value }));
            // A server that many tests configure at once answers 409 to all but one.
            let end = Instant::now() + LIMIT;
            while hawkbit.client.operate("PUT", &path, Some(&body)).is_err() {
                assert!(Instant::now() < end, "{key} cannot be set");
            }
        };
        set("authentication.gatewaytoken.enabled", true.into());
        set("authentication.gatewaytoken.key", TOKEN.into());
        let file = site.path("etc/fullmetal/hawkbit.token");
        std::fs::write(&file, TOKEN).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let config = site.path("etc/fullmetal/fullmetal.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let section = format!(
            "\n[hawkbit]\nurl = \"{url}\"\ngateway_token_file = {file:?}\ndevices = [\"*\"]\nconfirm = \"{confirm}\"\n\
             poll_min_s = 1\npoll_max_s = 1\n"
        );
        std::fs::write(config, text + &section).unwrap();
        hawkbit
    }

    pub fn operate(&self, method: &str, path: &str, body: &Value) -> Value {
        self.client.operate(method, path, Some(body).filter(|b| !b.is_null())).unwrap()
    }

    /// A device id of this test.
    pub fn device(&self, name: &str) -> String {
        format!("{name}-{}", self.tag)
    }

    /// A distribution set of one module; `metadata` empty leaves it without any.
    pub fn set(&self, name: &str, metadata: &[(&str, &str)]) -> u64 {
        let version = format!("{name}-{}", self.tag);
        let module = json!([{ "name": REF, "version": version, "type": "application" }]);
        let module = self.operate("POST", "/rest/v1/softwaremodules", &module)[0]["id"].as_u64().unwrap();
        if !metadata.is_empty() {
            let entry = |(key, value): &(&str, &str)| json!({ "key": key, "value": value, "targetVisible": true });
            let entries: Value = metadata.iter().map(entry).collect();
            self.operate("POST", &format!("/rest/v1/softwaremodules/{module}/metadata"), &entries);
        }
        let set = json!([{ "name": name, "version": version, "type": "app", "modules": [{ "id": module }] }]);
        self.operate("POST", "/rest/v1/distributionsets", &set)[0]["id"].as_u64().unwrap()
    }

    /// A set that brings this commit.
    pub fn release(&self, name: &str, commit: &Digest) -> u64 {
        self.set(name, &[("fullmetal.ref", REF), ("fullmetal.commit", &commit.to_string())])
    }

    pub fn target(&self, device: &str) {
        self.operate("POST", "/rest/v1/targets", &json!([{ "controllerId": device, "name": device }]));
    }

    /// Assigns a set; gives the action.
    pub fn assign(&self, set: u64, device: &str, kind: &str) -> u64 {
        let body = json!([{ "id": device, "type": kind }]);
        self.operate("POST", &format!("/rest/v1/distributionsets/{set}/assignedTargets"), &body);
        let actions = self.operate("GET", &format!("/rest/v1/targets/{device}/actions?sort=id:DESC"), &Value::Null);
        actions["content"].as_array().unwrap().iter().filter_map(|a| a["id"].as_u64()).max().unwrap()
    }

    pub fn cancel(&self, device: &str, action: u64, force: bool) {
        let force = if force { "?force=true" } else { "" };
        self.operate("DELETE", &format!("/rest/v1/targets/{device}/actions/{action}{force}"), &Value::Null);
    }

    /// The history of an action, oldest first: type and messages.
    pub fn history(&self, device: &str, action: u64) -> Vec<(String, String)> {
        let path = format!("/rest/v1/targets/{device}/actions/{action}/status?limit=100&sort=id:ASC");
        let history = self.operate("GET", &path, &Value::Null);
        let entry = |e: &Value| {
            let messages = e["messages"].as_array().into_iter().flatten().filter_map(Value::as_str);
            (e["type"].as_str().unwrap().to_owned(), messages.collect::<Vec<_>>().join("\n"))
        };
        history["content"].as_array().unwrap().iter().map(entry).collect()
    }

    /// Waits until the history has an entry of this type that says all of `words`; no final one came before.
    pub fn wait(&self, device: &str, action: u64, kind: &str, words: &[&str]) {
        let end = Instant::now() + LIMIT;
        loop {
            let history = self.history(device, action);
            if history.iter().any(|(k, text)| k == kind && words.iter().all(|w| text.contains(w))) {
                return;
            }
            assert!(Instant::now() < end, "no {kind} with {words:?} in {history:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
