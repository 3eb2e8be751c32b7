//! What an operator does at the Hawkbit server that steers a fleet: the stand-in, or a real one.

use super::{Node, wait_for};
use crate::hawkbit::Server;
use crate::hawkbit::record::{Client, Credentials, Headers};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TOKEN_KEY: &str = "authentication.gatewaytoken.key";
const KNOWN_S_MAX: u64 = 40;

/// One entry of an action's history.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Hawkbit's word, such as `running`, `finished` or `error`.
    pub kind: String,
    /// What is said with it, in no certain order.
    pub messages: Vec<String>,
}

/// An operator at a server.
#[derive(Debug)]
pub struct Operator {
    client: Client,
    /// Follows names at a server that others use too; empty at the stand-in.
    tag: String,
    login: PathBuf,
    _standin: Option<Server>,
}

impl Operator {
    /// At the server of this address, or a stand-in; `dir` takes what programs need to speak to it.
    pub fn at(url: Option<&str>, dir: &Path) -> anyhow::Result<Self> {
        let standin = match url {
            Some(_) => None,
            None => Some(Server::start("127.0.0.1:0".parse()?)?),
        };
        let url = url.map_or_else(|| standin.as_ref().map(Server::url).unwrap_or_default(), str::to_owned);
        let tag = if standin.is_some() { String::new() } else { format!("-{}", &random()?[..4]) };
        let login = dir.join("hawkbit.login");
        secret(&login, "admin:admin\n")?;
        let client = Client::new(&url)?;
        let operator = Operator { client, tag, login, _standin: standin };
        operator.ask("GET", "/rest/v1/targets?limit=1", &Value::Null).with_context(|| format!("Hawkbit at {url}"))?;
        Ok(operator)
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        self.client.server()
    }

    /// A name that is nobody else's at this server.
    pub fn named(&self, name: &str) -> String {
        format!("{name}{}", self.tag)
    }

    /// What `fullmetal publish` needs to make a module known, and the set that it goes into.
    pub fn publish_options(&self, module: &str, set: &str) -> Vec<String> {
        let (login, module, set) = (self.login.to_string_lossy(), self.named(module), self.named(set));
        let pairs = [("--hawkbit", self.url()), ("--hawkbit-login", &login), ("--module", &module), ("--set", &set)];
        pairs.iter().flat_map(|(option, value)| [(*option).to_owned(), (*value).to_owned()]).collect()
    }

    /// Has the gateway of `node` take its decisions here.
    pub fn steer(&self, node: &Node, devices: &str) -> anyhow::Result<()> {
        self.configure("authentication.gatewaytoken.enabled", &true.into())?;
        // A server that is in use has a token already, which its gateways know.
        let there = self.ask("GET", &format!("/rest/v1/system/configs/{TOKEN_KEY}"), &Value::Null)?;
        let token = match there["value"].as_str().filter(|key| !key.is_empty()) {
            Some(token) => token.to_owned(),
            None => {
                let token = random()?;
                self.configure(TOKEN_KEY, &token.as_str().into())?;
                token
            }
        };
        let file = node.root().join("etc/fullmetal/hawkbit.token");
        secret(&file, &token)?;
        let section = format!(
            "[hawkbit]\nurl = {:?}\ngateway_token_file = {file:?}\ndevices = [{devices:?}]\npoll_min_s = 1\npoll_max_s = 1\n",
            self.url()
        );
        fs::write(node.root().join("etc/fullmetal/fullmetal.d/20-hawkbit.toml"), section)
            .context("configuring the gateway")
    }

    /// Makes targets of devices that nobody has heard yet.
    pub fn make_targets(&self, devices: &[String]) -> anyhow::Result<()> {
        let target = |id: &String| json!({ "controllerId": id, "name": id });
        self.ask("POST", "/rest/v1/targets", &devices.iter().map(target).collect()).map(|_| ())
    }

    /// Makes a set of one app whose commit was made by others, with more metadata for its module; gives its number.
    pub fn make_set(
        &self,
        (name, version): (&str, &str),
        (ref_name, commit): (&str, &str),
        more: &[(&str, &str)],
    ) -> anyhow::Result<u64> {
        let first = |made: Value| made[0]["id"].as_u64().context("Hawkbit made nothing");
        let module = json!([{ "name": name, "version": version, "type": "application" }]);
        let module = first(self.ask("POST", "/rest/v1/softwaremodules", &module)?)?;
        let entry = |(key, value): &(&str, &str)| json!({ "key": key, "value": value, "targetVisible": true });
        let known = [("fullmetal.ref", ref_name), ("fullmetal.commit", commit), ("fullmetal.name", name)];
        let entries = known.iter().chain(more).map(entry).collect();
        self.ask("POST", &format!("/rest/v1/softwaremodules/{module}/metadata"), &entries)?;
        let set = json!([{ "name": name, "version": version, "type": "app", "modules": [{ "id": module }] }]);
        first(self.ask("POST", "/rest/v1/distributionsets", &set)?)
    }

    /// Waits until the server has all of these as targets, which it has since the gateway heard them.
    pub fn knows(&self, devices: &[String]) -> anyhow::Result<()> {
        wait_for("targets at Hawkbit", Duration::from_secs(KNOWN_S_MAX), || {
            let all = self.ask("GET", "/rest/v1/targets?limit=500", &Value::Null)?;
            let has =
                |id: &String| all["content"].as_array().is_some_and(|c| c.iter().any(|t| t["controllerId"] == **id));
            Ok(devices.iter().all(has).then_some(()))
        })
    }

    /// Assigns a set, forced; gives the action of each device.
    pub fn assign(&self, set: u64, devices: &[String]) -> anyhow::Result<BTreeMap<String, u64>> {
        let line = |id: &String| json!({ "id": id, "type": "forced", "confirmationRequired": false });
        let path = format!("/rest/v1/distributionsets/{set}/assignedTargets");
        self.ask("POST", &path, &devices.iter().map(line).collect())?;
        let newest = |id: &String| -> anyhow::Result<(String, u64)> {
            let actions = self.ask("GET", &format!("/rest/v1/targets/{id}/actions?limit=500"), &Value::Null)?;
            let ids = actions["content"].as_array().into_iter().flatten().filter_map(|a| a["id"].as_u64());
            Ok((id.clone(), ids.max().with_context(|| format!("Hawkbit has no action for {id}"))?))
        };
        devices.iter().map(newest).collect()
    }

    /// What the history of an action says, oldest first.
    pub fn history(&self, device: &str, action: u64) -> anyhow::Result<Vec<Entry>> {
        let path = format!("/rest/v1/targets/{device}/actions/{action}/status?limit=500&sort=id:ASC");
        let history = self.ask("GET", &path, &Value::Null)?;
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let messages = |e: &Value| e["messages"].as_array().into_iter().flatten().map(text).collect();
        let entry = |e: &Value| Entry { kind: text(&e["type"]), messages: messages(e) };
        Ok(history["content"].as_array().into_iter().flatten().map(entry).collect())
    }

    fn configure(&self, key: &str, value: &Value) -> anyhow::Result<()> {
        self.ask("PUT", &format!("/rest/v1/system/configs/{key}"), &json!({ "value": value })).map(|_| ())
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = Some(body).filter(|b| !b.is_null());
        let answer = self.client.send((method, path), &Credentials::Admin, &Headers::new(), body)?;
        let (status, said) = (answer.status, &answer.body);
        ensure!((200..300).contains(&status), "{method} {path} was answered by {status}: {said}");
        Ok(answer.body)
    }
}

fn secret(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

/// 32 hex digits.
fn random() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes)).context("reading random bytes")?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
