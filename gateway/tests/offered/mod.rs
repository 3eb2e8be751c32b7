//! What `fullmetal publish --hawkbit` asks of a server, and what it does when something is there or goes wrong.

use fullmetal::hawkbit::{Assignment, HawkbitError, Kind, Login, Module, Offered, Server, Versioned, Wish, offer};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::PartKind;
use fullmetal_sim::hawkbit::Server as Standin;
use fullmetal_sim::hawkbit::record::{Client, Credentials, Headers};
use fullmetal_sim::hawkbit::{Fault, Rule};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const REF: &str = "apps/web/x86_64";

/// A login file as a build server has it.
pub fn login(dir: &Path, text: &str) -> Login {
    let file = dir.join("login");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    Login::load(&file).unwrap()
}

pub fn module(name: &str, version: &str, ref_name: &str, commit: Digest) -> Module {
    let named = Versioned { name: name.into(), version: version.into() };
    Module {
        named,
        ref_name: ref_name.parse().unwrap(),
        commit,
        kind: PartKind::App,
        name: None,
        autostart: true,
        job: false,
    }
}

/// Version 2 of a module in a set of the same name.
pub fn wish(name: &str, ref_name: &str, commit: Digest) -> Wish {
    let module = module(name, "2", ref_name, commit);
    Wish { set: Some(module.named.clone()), module, assignment: None, rollout: None }
}

struct Bench {
    standin: Standin,
    operator: Client,
    server: Server,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let standin = Standin::start("127.0.0.1:0".parse().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let login = login(dir.path(), "admin:admin\n");
        let server = Server { url: standin.url().parse().unwrap(), login, ca: None };
        Bench { operator: Client::new(&standin.url()).unwrap(), standin, server, _dir: dir }
    }

    fn operate(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = Some(body).filter(|b| !b.is_null());
        let answer = self.operator.send((method, path), &Credentials::Admin, &Headers::new(), body).unwrap();
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
        answer.body
    }

    fn get(&self, path: &str) -> Vec<Value> {
        self.operate("GET", path, &Value::Null)["content"].as_array().unwrap().clone()
    }

    fn target(&self, name: &str) {
        self.operate("POST", "/rest/v1/targets", &json!([{ "controllerId": name, "name": name }]));
    }

    fn offer(&self, wish: &Wish) -> Result<Offered, HawkbitError> {
        offer(&self.server, wish)
    }

    fn refused(&self, wish: &Wish, words: &[&str]) {
        let before = self.standin.faults().requests().len();
        let error = self.offer(wish).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{error:?} lacks one of {words:?}");
        let changed = self.standin.faults().requests().split_off(before).into_iter().find(|r| r.method != "GET");
        assert!(changed.is_none(), "it changed something: {changed:?}");
    }

    fn metadata(&self, module: u64) -> Vec<(String, String, bool)> {
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let entry = |e: &Value| (text(&e["key"]), text(&e["value"]), e["targetVisible"] == true);
        let mut all: Vec<_> =
            self.get(&format!("/rest/v1/softwaremodules/{module}/metadata")).iter().map(entry).collect();
        all.sort();
        all
    }
}

fn commit(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn to(mut wish: Wish, devices: &[&str]) -> Wish {
    let devices = devices.iter().map(|d| d.parse().unwrap()).collect();
    wish.assignment = Some(Assignment { devices, kind: Kind::Forced });
    wish
}

#[test]
fn a_module_gets_the_metadata_that_the_gateway_reads() {
    let bench = Bench::new();
    let mut wish = wish("web", REF, commit("a"));
    (wish.module.name, wish.module.job) = (Some("shop".parse().unwrap()), true);
    let offered = bench.offer(&wish).unwrap();
    let metadata = bench.metadata(offered.module);
    let find = |key: &str| metadata.iter().find(|(k, ..)| k == key).map(|(_, value, seen)| (value.as_str(), *seen));
    assert_eq!(find("fullmetal.ref"), Some((REF, true)));
    assert_eq!(find("fullmetal.commit"), Some((commit("a").to_string().as_str(), true)));
    assert_eq!((find("fullmetal.autostart"), find("fullmetal.job")), (Some(("1", true)), Some(("1", true))));
    assert_eq!((find("fullmetal.name"), metadata.len()), (Some(("shop", true)), 5));
    assert!(!offered.unchanged && bench.offer(&wish).unwrap() == Offered { unchanged: true, ..offered });
}

#[test]
fn an_operating_system_is_a_module_of_its_type_in_a_set_that_takes_apps_too() {
    let bench = Bench::new();
    let mut os = wish("floor", "os/floor/x86_64", commit("a"));
    (os.module.kind, os.module.name) = (PartKind::Os, Some("floor".parse().unwrap()));
    os.set = Some(Versioned { name: "line".into(), version: "2026-11".into() });
    let offered = bench.offer(&os).unwrap();
    let keys: Vec<String> = bench.metadata(offered.module).into_iter().map(|(key, ..)| key).collect();
    assert_eq!(keys, ["fullmetal.commit", "fullmetal.name", "fullmetal.ref"]);
    let module = bench.operate("GET", &format!("/rest/v1/softwaremodules/{}", offered.module), &Value::Null);
    assert_eq!(module["type"], "os");
    assert!(bench.offer(&os).unwrap().unchanged);
    let app = Wish { set: os.set.clone(), ..wish("web", REF, commit("b")) };
    assert_eq!(bench.offer(&app).unwrap().set, offered.set);
    // A set that began with an app takes none.
    bench.offer(&wish("web", REF, commit("b"))).unwrap();
    let late = Wish { set: wish("web", REF, commit("b")).set, ..os };
    let error = bench.offer(&late).unwrap_err();
    assert!(matches!(error, HawkbitError::SetOfApps { .. }), "{error}");
}

#[test]
fn what_was_cut_off_between_any_two_requests_is_completed_by_doing_it_again() {
    for fault in [Fault::Reset, Fault::LoseAnswer, Fault::Status(503), Fault::Garbage] {
        let mut failures = 0;
        for request in 0u32.. {
            let bench = Bench::new();
            bench.target("press-1");
            let wish = to(wish("web", REF, commit("a")), &["press-1"]);
            if request > 0 {
                bench.standin.faults().add(Rule::new(Fault::Late(0), "/rest/").times(request));
            }
            bench.standin.faults().add(Rule::new(fault, "/rest/").times(1));
            let cut = bench.offer(&wish);
            bench.standin.faults().clear();
            failures += u32::from(cut.is_err());
            let again = bench.offer(&wish).unwrap();
            assert_eq!(bench.get("/rest/v1/softwaremodules").len(), 1, "{fault:?} at {request}");
            assert_eq!(bench.get("/rest/v1/distributionsets").len(), 1, "{fault:?} at {request}");
            assert_eq!(bench.metadata(again.module).len(), 4, "{fault:?} at {request}");
            assert_eq!(bench.get("/rest/v1/targets/press-1/actions").len(), 1, "{fault:?} at {request}");
            if cut.is_ok() {
                break;
            }
        }
        assert!(failures >= 6, "{fault:?} bit {failures} times only");
    }
}

#[test]
fn another_commit_under_the_same_version_is_refused_and_nothing_is_changed() {
    let bench = Bench::new();
    bench.offer(&wish("web", REF, commit("a"))).unwrap();
    let version = "give what is new another version";
    bench.refused(&wish("web", REF, commit("b")), &["web:2", "fullmetal.commit", &commit("a").to_string(), version]);
    let mut other = wish("web", REF, commit("a"));
    other.module.autostart = false;
    bench.refused(&other, &["fullmetal.autostart = \"1\"", "\"0\"", version]);
    // FullMetalUpdate's own metadata in a module of the same name.
    let new = json!([{ "name": "db", "version": "2", "type": "application" }]);
    let made = bench.operate("POST", "/rest/v1/softwaremodules", &new);
    let path = format!("/rest/v1/softwaremodules/{}/metadata", made[0]["id"]);
    bench.operate("POST", &path, &json!([{ "key": "rev", "value": "0123", "targetVisible": true }]));
    bench.refused(&wish("db", "apps/db/x86_64", commit("a")), &["db:2 names commit 0123 as rev"]);
}

#[test]
fn metadata_that_devices_cannot_see_is_shown_to_them() {
    let bench = Bench::new();
    let made = bench.operate(
        "POST",
        "/rest/v1/softwaremodules",
        &json!([{ "name": "web", "version": "2", "type": "application" }]),
    );
    let path = format!("/rest/v1/softwaremodules/{}/metadata", made[0]["id"]);
    let hidden = json!([{ "key": "fullmetal.commit", "value": commit("a").to_string(), "targetVisible": false }]);
    bench.operate("POST", &path, &hidden);
    let offered = bench.offer(&wish("web", REF, commit("a"))).unwrap();
    assert_eq!(json!(offered.module), made[0]["id"]);
    assert!(bench.metadata(offered.module).iter().all(|(_, _, seen)| *seen));
}

#[test]
fn a_set_takes_several_modules_but_no_two_versions_of_one() {
    let bench = Bench::new();
    let set = Some(Versioned { name: "line".into(), version: "2026-11".into() });
    let named = |name: &str, version: &str, text: &str| Wish {
        set: set.clone(),
        module: module(name, version, &format!("apps/{name}/x86_64"), commit(text)),
        ..wish(name, REF, commit(text))
    };
    let first = bench.offer(&named("web", "1", "a")).unwrap();
    let second = bench.offer(&named("db", "1", "b")).unwrap();
    assert_eq!((first.set, first.module == second.module), (second.set, false));
    let path = format!("/rest/v1/distributionsets/{}/assignedSM", first.set.unwrap());
    assert_eq!(bench.get(&path).len(), 2);
    let error = bench.offer(&named("web", "2", "c")).unwrap_err().to_string();
    assert!(error.contains("line:2026-11 has software module web:1 in place of web:2"), "{error}");
    // What was assigned is not changed any more.
    bench.target("press-1");
    bench.offer(&to(named("db", "1", "b"), &["press-1"])).unwrap();
    let error = bench.offer(&named("log", "1", "d")).unwrap_err().to_string();
    assert!(error.contains("line:2026-11 was assigned before and lacks log:1"), "{error}");
}

#[test]
fn a_device_that_hawkbit_does_not_know_leaves_all_unassigned() {
    let bench = Bench::new();
    bench.target("press-1");
    let error = bench.offer(&to(wish("web", REF, commit("a")), &["press-1", "press-2"])).unwrap_err().to_string();
    assert!(error.contains("knows no target press-2; nothing was assigned"), "{error}");
    assert!(bench.get("/rest/v1/targets/press-1/actions").is_empty());
    let offered = bench.offer(&to(wish("web", REF, commit("a")), &["press-1"])).unwrap();
    assert_eq!(offered.actions.len(), 1);
    let offered = bench.offer(&to(wish("web", REF, commit("a")), &["press-1"])).unwrap();
    assert_eq!((offered.actions.len(), offered.already_assigned), (0, 1));
}

#[test]
fn what_is_wrong_with_server_or_login_is_said() {
    let bench = Bench::new();
    let wish = wish("web", REF, commit("a"));
    let with = |change: &dyn Fn(&mut Server)| {
        let mut server = bench.server.clone();
        change(&mut server);
        offer(&server, &wish).unwrap_err().to_string()
    };
    let dir = tempfile::tempdir().unwrap();
    let wrong = login(dir.path(), "admin:wrong");
    let error = with(&|s| s.login = wrong.clone());
    assert!(error.contains("does not know this user and password") && !error.contains("wrong"), "{error}");
    let error = with(&|s| s.url = "http://127.0.0.1:9".parse().unwrap());
    assert!(error.contains("cannot reach Hawkbit at http://127.0.0.1:9/"), "{error}");
    let error = with(&|s| s.url.set_path("/elsewhere"));
    assert!(error.contains("does not answer as Hawkbit's Management API"), "{error}");
    for (fault, words) in [
        (Fault::Status(403), "does not let user admin do that"),
        (Fault::Garbage, "is unreadable"),
        (Fault::Megabyte, "is unreadable"),
    ] {
        bench.standin.faults().add(Rule::new(fault, "/rest/").times(1));
        let error = offer(&bench.server, &wish).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for odd in ["ftp://hawkbit", "http://user:secret@127.0.0.1"] {
        let error = with(&|s| s.url = odd.parse().unwrap());
        assert!(error.contains("is no http or https address") && !error.contains("secret"), "{error}");
    }
    let mut odd = wish.clone();
    odd.module.named.version = "1\" or name==\"*".into();
    bench.refused(&odd, &["cannot name a software module"]);
}

#[test]
fn the_password_stays_with_the_server_that_it_is_for() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let redirecting = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = elsewhere.local_addr().unwrap();
    let url = format!("http://{}", redirecting.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut connection, _) = redirecting.accept().unwrap();
        let mut head = [0; 4096];
        let read = connection.read(&mut head).unwrap();
        let answer = format!("HTTP/1.1 307 Elsewhere\r\nLocation: http://{to}/rest/v1\r\nContent-Length: 0\r\n\r\n");
        connection.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    let dir = tempfile::tempdir().unwrap();
    let server = Server { url: url.parse().unwrap(), login: login(dir.path(), "admin:admin"), ca: None };
    let error = offer(&server, &wish("web", REF, commit("a"))).unwrap_err().to_string();
    assert!(error.contains("it redirects elsewhere, HTTP status 307"), "{error}");
    assert!(thread.join().unwrap().to_lowercase().contains("authorization: basic"), "the server itself gets it");
    assert!(elsewhere.accept().is_err(), "nobody else is asked");
}
