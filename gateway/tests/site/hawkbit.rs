//! A Hawkbit server for a site: the stand-in, or the one that `HAWKBIT=http://host:port` names.
//!
//! What a server lacks is found by asking it, and said: on standard error, and in the file that `CONFORMANCE_TABLE` names,
//! which gets one line a test.

use super::Site;
use fullmetal_proto::Digest;
use fullmetal_sim::hawkbit::Server;
use fullmetal_sim::hawkbit::record::{Answer, Client, Credentials, Headers};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

/// How long something may take that needs a few polls, or the server's own schedule.
const LIMIT: Duration = Duration::from_secs(90);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub struct Hawkbit {
    pub standin: Option<Server>,
    client: Client,
    /// Makes names unique at a server that many tests share.
    pub tag: String,
    lacks: RefCell<Vec<String>>,
}

impl Hawkbit {
    /// A server, and the site's gateway configured for it.
    pub fn at(site: &Site, confirm: &str) -> Self {
        match std::env::var("HAWKBIT") {
            Ok(url) => Self::configured_for(site, confirm, None, url),
            Err(_) => Self::stand_in(site, confirm),
        }
    }

    /// The stand-in in any case: for what no other server tells.
    pub fn stand_in(site: &Site, confirm: &str) -> Self {
        let server = Server::start("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = server.url();
        Self::configured_for(site, confirm, Some(server), url)
    }

    fn configured_for(site: &Site, confirm: &str, standin: Option<Server>, url: String) -> Self {
        let tag = Digest::of(site.dir.path().as_os_str().as_encoded_bytes()).to_string()[..8].to_owned();
        let hawkbit = Hawkbit { standin, client: Client::new(&url).unwrap(), tag, lacks: RefCell::default() };
        hawkbit.configure("authentication.gatewaytoken.enabled", &true.into());
        hawkbit.configure("authentication.gatewaytoken.key", &TOKEN.into());
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

    /// Where it is.
    pub fn url(&self) -> &str {
        self.client.server()
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = Some(body).filter(|b| !b.is_null());
        self.client.send((method, path), &Credentials::Admin, &Headers::new(), body).unwrap()
    }

    /// What an operator gets for a request that the server has to take.
    pub fn operate(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.send(method, path, body);
        assert!((200..300).contains(&answer.status), "{method} {path} {body}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// Sets a key of the tenant. A server that many tests configure at once answers 409 to all but one.
    pub fn configure(&self, key: &str, value: &Value) {
        let path = format!("/rest/v1/system/configs/{key}");
        self.until(key, || {
            let answer = self.send("PUT", &path, &json!({ "value": value }));
            assert!(matches!(answer.status, 200..300 | 409), "{key}: {} {}", answer.status, answer.body);
            (answer.status != 409).then_some(())
        });
    }

    /// The value of a key of the tenant; where the server has no such key, it lacks `what` stands for.
    pub fn configured(&self, key: &str, what: &str) -> Option<Value> {
        let path = format!("/rest/v1/system/configs/{key}");
        let answer = self.send("GET", &path, &Value::Null);
        if answer.status == 200 {
            return Some(answer.body["value"].clone());
        }
        assert!(matches!(answer.status, 400 | 403 | 404), "{key}: {} {}", answer.status, answer.body);
        assert!(self.standin.is_none(), "the stand-in lacks {what}: {}", answer.body);
        let reason = answer.body["message"].as_str().unwrap_or_default();
        let line =
            format!("this server has no {what}: GET {path} was answered by {} {reason}; not tried", answer.status);
        // Past the test harness, which keeps what a passing test prints.
        std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
        self.lacks.borrow_mut().push(what.to_owned());
        None
    }

    /// The server's clock, in milliseconds since 1970: when it made something.
    pub fn clock_ms(&self) -> u64 {
        let name = self.device("clock");
        let made = self.target(&name)["createdAt"].as_u64().unwrap();
        self.operate("DELETE", &format!("/rest/v1/targets/{name}"), &Value::Null);
        made
    }

    /// Time that has to pass at the server: at once at the stand-in; elsewhere it passes by itself.
    pub fn pass(&self, time: Duration) {
        if let Some(standin) = &self.standin {
            standin.advance(time);
        }
    }

    /// Asks until `f` gives something.
    pub fn until<T>(&self, what: &str, mut f: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(found) = f() {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
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

    /// How often the history has an entry of this type.
    pub fn count(&self, device: &str, action: u64, kind: &str) -> usize {
        self.history(device, action).iter().filter(|(k, _)| k == kind).count()
    }

    /// Waits until the history has an entry of this type that says all of `words`.
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

impl Drop for Hawkbit {
    /// The test's line of the table.
    fn drop(&mut self) {
        let Some(table) = std::env::var_os("CONFORMANCE_TABLE") else { return };
        let lacks = self.lacks.borrow().join(", ");
        let result = match (std::thread::panicking(), lacks.is_empty()) {
            (true, _) => "FAILED".to_owned(),
            (_, true) => "passed".to_owned(),
            (_, false) => format!("this server lacks {lacks}"),
        };
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default().trim_start_matches("steered::");
        let test = test.replace("::", ": ").replace('_', " ");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(table);
        let written = file.and_then(|mut f| f.write_all(format!("| {test} | {result} |\n").as_bytes()));
        assert!(written.is_ok() || std::thread::panicking(), "the table cannot be written: {written:?}");
    }
}
