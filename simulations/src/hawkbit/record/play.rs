//! Playing a recording against a server.

use super::client::{Answer, Client, Credentials};
use super::compare::Comparison;
use super::names::{Kind, Names};
use super::timing::Timing;
use super::{Exchange, Headers, Request, Response, Step};
use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The gateway token that the setup sets; recordings write `<key>` for it.
const KEY: &str = "f1b2c3d4e5f60718293a4b5c6d7e8f90";
const PLACEHOLDER: &str = "<key>";
/// The server's name in recordings.
const HOST: &str = "http://hawkbit";
/// How long a server may take for what it does by and by.
const UNTIL_S_MAX: u64 = 90;
const LOOK_MS: u64 = 50;

/// One exchange with this server, and how it differs from the recorded one.
#[derive(Debug)]
pub struct Played {
    /// What was asked and what came back, written as recordings are.
    pub exchange: Exchange,
    /// One sentence each.
    pub differences: Vec<String>,
}

/// Plays recordings against one server.
#[derive(Debug)]
pub struct Player {
    client: Client,
    names: Names,
    timing: Timing,
    any_order: bool,
}

impl Player {
    /// For one run against the fresh server at this URL.
    pub fn new(server: &str, recorded: &[Exchange]) -> anyhow::Result<Self> {
        let (client, timing) = (Client::new(server)?, Timing::new(recorded)?);
        Ok(Player { client, names: Names::default(), timing, any_order: false })
    }

    /// Metadata and the sentences of an error may come in any order: Hawkbit 0.3.0M7 changes it from run to run.
    #[must_use]
    pub fn any_order(mut self) -> Self {
        self.any_order = true;
        self
    }

    /// Does the steps and the recorded requests in their order; what was played is in `played` also after an error.
    pub fn play(mut self, recorded: &[Exchange], setup: &[Step], played: &mut Vec<Played>) -> anyhow::Result<()> {
        let (mut scenario, mut at) = ("", 0);
        for exchange in recorded {
            if exchange.scenario != scenario {
                (scenario, at) = (&exchange.scenario, 0);
            }
            for step in setup.iter().filter(|s| s.scenario == scenario && s.at == at) {
                let (method, path) = (&step.method, &step.path);
                self.step(step).with_context(|| format!("setting up \"{scenario}\": {method} {path}"))?;
            }
            played.push(self.exchange(exchange)?);
            at += 1;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        let path = self.names.rewrite(&step.path);
        let body = step.body.clone().map(|b| self.body(&path, b));
        let device = path.contains("/controller/v1/");
        let credentials = if device { Credentials::Header(format!("GatewayToken {KEY}")) } else { Credentials::Admin };
        let start = Instant::now();
        let mut left = step.times;
        while left > 0 {
            let answer = self.client.send((&step.method, &path), &credentials, &Headers::new(), body.as_ref())?;
            let (status, body) = (answer.status, &answer.body);
            ensure!(
                (200..300).contains(&status),
                "answered by {status}: {body}; the server has to be fresh, with admin/admin and tenant DEFAULT"
            );
            if step.until.iter().all(|(pointer, value)| body.pointer(pointer) == Some(value)) {
                left -= 1;
            } else {
                ensure!(start.elapsed() < Duration::from_secs(UNTIL_S_MAX), "this did not come: {body}");
                std::thread::sleep(Duration::from_millis(LOOK_MS));
            }
            self.bind_given(step, body)?;
        }
        Ok(())
    }

    fn bind_given(&mut self, step: &Step, body: &Value) -> anyhow::Result<()> {
        let made = body.get("assignedActions").unwrap_or(body);
        for (at, given) in step.gives.iter().enumerate() {
            let (kind, id) = given.split_once(' ').context("a step gives a kind and an id")?;
            let kind = Kind::from_word(kind).with_context(|| format!("nothing is called {kind}"))?;
            let Some(here) = made[at]["id"].as_u64() else { bail!("no {given} came: {body}") };
            ensure!(self.names.bind(kind, id, &here.to_string()), "{given} was made twice");
        }
        Ok(())
    }

    fn exchange(&mut self, recorded: &Exchange) -> anyhow::Result<Played> {
        let mut request = recorded.request.clone();
        request.path = self.names.rewrite(&request.path);
        request.body = request.body.map(|b| self.body(&request.path, b));
        for (name, value) in &mut request.headers {
            if name == "If-None-Match" {
                *value = self.names.here(Kind::ETag, value).to_owned();
            }
        }
        let credentials = match request.auth.as_deref() {
            None => Credentials::None,
            Some("Basic admin") => Credentials::Admin,
            Some(header) => Credentials::Header(header.replace(PLACEHOLDER, KEY)),
        };
        let asked = (request.method.as_str(), request.path.as_str());
        let answer = self.client.send(asked, &credentials, &request.headers, request.body.as_ref())?;
        let response = self.written(answer);
        let differences = self.compare(&recorded.request, &recorded.response, &response);
        Ok(Played { exchange: Exchange { scenario: recorded.scenario.clone(), request, response }, differences })
    }

    fn compare(&mut self, request: &Request, recorded: &Response, here: &Response) -> Vec<String> {
        let (names, timing, any_order) = (&mut self.names, &self.timing, self.any_order);
        let mut comparison = Comparison { names, timing, any_order, differences: vec![] };
        comparison.responses(request, recorded, here);
        comparison.differences
    }

    /// A recorded body with the names and times of this run.
    fn body(&self, path: &str, mut body: Value) -> Value {
        self.timing.move_body(&mut body);
        if path.contains("/controller/v1/")
            && let Some(Value::String(id)) = body.get_mut("id")
        {
            *id = self.names.here(Kind::Action, id).to_owned();
        }
        self.rename(&mut body);
        body
    }

    fn rename(&self, body: &mut Value) {
        let number = |kind: Kind, value: &Value| {
            let id = value.as_u64()?.to_string();
            self.names.here(kind, &id).parse::<u64>().ok().map(Value::from)
        };
        if let Value::Array(items) = body {
            items.iter_mut().for_each(|i| self.rename(i));
        }
        let Value::Object(map) = body else { return };
        for (key, value) in map {
            if key == "distributionSetId" {
                *value = number(Kind::Set, value).unwrap_or_default();
            } else if key == "modules"
                && let Value::Array(modules) = value
            {
                for module in modules {
                    module["id"] = number(Kind::Module, &module["id"]).unwrap_or_default();
                }
            } else if *value == PLACEHOLDER {
                *value = KEY.into();
            }
        }
    }

    /// An answer as recordings write it.
    fn written(&self, answer: Answer) -> Response {
        let mut headers = Headers::new();
        for name in ["ETag", "Content-Type"] {
            if let Some(value) = answer.headers.get(name).and_then(|v| v.to_str().ok()) {
                headers.insert(name.into(), value.into());
            }
        }
        let mut body = answer.body;
        rename_host(&mut body, self.client.server());
        Response { status: answer.status, headers, body }
    }
}

fn rename_host(value: &mut Value, server: &str) {
    match value {
        Value::String(text) => {
            if let Some(rest) = text.strip_prefix(server) {
                *text = format!("{HOST}{rest}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|i| rename_host(i, server)),
        Value::Object(map) => map.values_mut().for_each(|v| rename_host(v, server)),
        _ => {}
    }
}
