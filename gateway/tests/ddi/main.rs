//! The DDI client against real sockets: recorded answers, and servers that fail, lie or want the token.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod hostile;
mod recorded;
mod server;
mod tls;

use fullmetal::config::HawkbitSettings;
use fullmetal::identity::Clock;
use fullmetal_gateway::ddi::{ActionId, Base, Chunk, Ddi, Etag, Options, Polled};
use fullmetal_proto::DeviceId;
use server::Server;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

/// How long a request may take in these tests.
const TIMEOUT: Duration = Duration::from_millis(800);

fn device(id: &str) -> DeviceId {
    id.parse().unwrap()
}

fn action(id: u64) -> ActionId {
    ActionId(id)
}

fn secret(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A module as the recordings have it; `rev` are the last digits of its commit.
fn hello(version: &str, rev: &str) -> Chunk {
    let metadata = [("rev".to_owned(), format!("{rev:0>64}"))].into();
    Chunk { part: "bApp".to_owned(), name: "hello".to_owned(), version: version.to_owned(), metadata }
}

/// The options that the configuration `more` gives, read as the gateway reads it.
fn options(url: &str, more: &str) -> Options {
    let dir = tempfile::tempdir().unwrap();
    let etc = dir.path().join("etc/fullmetal");
    std::fs::create_dir_all(&etc).unwrap();
    let token = dir.path().join("token");
    secret(&token, "s3cret\n");
    let text = format!(
        "[device]\nid = \"gw\"\nfleet = \"f\"\n[hawkbit]\nurl = \"{url}\"\ndevices = [\"*\"]\n\
         gateway_token_file = \"{}\"\n{more}",
        token.display()
    );
    std::fs::write(etc.join("fullmetal.toml"), text).unwrap();
    let settings = fullmetal::config::Settings::load(fullmetal::config::Paths::new(dir.path())).unwrap();
    let hawkbit: HawkbitSettings = settings.hawkbit.unwrap();
    Options { timeout: TIMEOUT, ..Options::load(&hawkbit, Clock::new(), 1).unwrap() }
}

fn client(server: &Server) -> Ddi {
    Ddi::new(options(&server.url(), "")).unwrap()
}

fn changed(polled: Polled) -> (Base, Option<Etag>) {
    match polled {
        Polled::Base { base, etag } => (base, etag),
        Polled::Unchanged => panic!("nothing was known before"),
    }
}
