//! Makes what was published known to a Hawkbit server, through its Management API: a software module with the metadata
//! that the gateway reads; when asked, a distribution set, its assignment, or a rollout.
//!
//! Each step looks for what is there, compares, and adds only what lacks. So all of it may be done again, also after
//! it was interrupted between any two requests; what says something else is an error, and nothing is changed.

mod client;
mod error;
mod login;
mod module;
mod rollout;
mod set;

pub use error::HawkbitError;
pub use login::Login;
pub use rollout::Rollout;
pub use set::{Assignment, Kind};

use client::Client;
use fullmetal_proto::wire::PartKind;
use fullmetal_proto::{AppName, Digest, RefName};
use reqwest::Url;
use serde::Serialize;
use std::path::PathBuf;

/// Where the server is and who speaks to it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its address; plain HTTP only when it says `http://`.
    pub url: Url,
    /// Whose rights count.
    pub login: Login,
    /// CA certificates (PEM) instead of the system's.
    pub ca: Option<PathBuf>,
}

/// A name and a version, as modules and sets have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The name, 1 to 128 characters.
    pub name: String,
    /// The version, 1 to 64 characters.
    pub version: String,
}

/// A software module to be.
#[derive(Clone, Debug)]
pub struct Module {
    /// What it is called.
    pub named: Versioned,
    /// The ref at the central repo.
    pub ref_name: RefName,
    /// The commit.
    pub commit: Digest,
    /// Operating system or app.
    pub kind: PartKind,
    /// Its name on the device, where the commit has one.
    pub name: Option<AppName>,
    /// Started with the device; says nothing of an operating system.
    pub autostart: bool,
    /// Ends by itself; says nothing of an operating system.
    pub job: bool,
}

/// What is asked for; all but the module only when it is there.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The module.
    pub module: Module,
    /// A distribution set that has the module, and whatever else it has.
    pub set: Option<Versioned>,
    /// To whom the set is assigned.
    pub assignment: Option<Assignment>,
    /// How the set is rolled out.
    pub rollout: Option<Rollout>,
}

/// What is there now, by Hawkbit's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Offered {
    /// The software module.
    pub module: u64,
    /// The distribution set.
    pub set: Option<u64>,
    /// Actions that were made now.
    pub actions: Vec<u64>,
    /// Targets that had the set assigned already.
    pub already_assigned: u64,
    /// The rollout.
    pub rollout: Option<u64>,
    /// Nothing was made or changed: all was there.
    pub unchanged: bool,
}

/// Whether the server can be spoken to at all: its address, its CA certificates. Connects to nothing.
pub fn check(server: &Server) -> Result<(), HawkbitError> {
    Client::new(server).map(|_| ())
}

/// Carries a wish out. Blocks.
pub fn offer(server: &Server, wish: &Wish) -> Result<Offered, HawkbitError> {
    check_names(wish)?;
    let client = Client::new(server)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(HawkbitError::Runtime)?.block_on(carry_out(&client, wish))
}

async fn carry_out(client: &Client, wish: &Wish) -> Result<Offered, HawkbitError> {
    let mut offered = Offered { module: module::ensure(client, &wish.module).await?, ..Offered::default() };
    if let Some(named) = &wish.set {
        let set = set::ensure(client, named, (offered.module, &wish.module)).await?;
        offered.set = Some(set);
        if let Some(assignment) = &wish.assignment {
            set::assign(client, set, assignment, &mut offered).await?;
        }
        if let Some(rollout) = &wish.rollout {
            offered.rollout = Some(rollout::ensure(client, set, rollout).await?);
        }
    }
    offered.unchanged = !client.has_written();
    Ok(offered)
}

/// Says what Hawkbit would refuse anyway, before anything is made.
fn check_names(wish: &Wish) -> Result<(), HawkbitError> {
    for (what, named) in [("software module", Some(&wish.module.named)), ("distribution set", wish.set.as_ref())] {
        if let Some(Versioned { name, version }) = named {
            check_text(what, name, NAME_CHARS_MAX)?;
            check_text(what, version, VERSION_CHARS_MAX)?;
        }
    }
    match &wish.rollout {
        Some(rollout) => check_text("rollout", &rollout.name, NAME_CHARS_MAX),
        None => Ok(()),
    }
}

/// Quotes and such would end the filter that a name is looked for with; Hawkbit refuses `<` and `>`.
fn check_text(what: &'static str, text: &str, max: usize) -> Result<(), HawkbitError> {
    let odd = |c: char| c.is_control() || "<>\"'\\*".contains(c);
    if text.trim().is_empty() || text.chars().any(odd) || text.chars().count() > max {
        return Err(HawkbitError::Name { what, text: text.to_owned(), max });
    }
    Ok(())
}

/// Hawkbit's limits (`NamedEntity.NAME_MAX_SIZE`, `NamedVersionedEntity.VERSION_MAX_SIZE`).
const NAME_CHARS_MAX: usize = 128;
const VERSION_CHARS_MAX: usize = 64;

/// A filter (RSQL) for one name; what it finds is compared again, since it ignores case.
fn filter_name(name: &str) -> String {
    format!("name==\"{name}\"")
}

/// The same for a name and version.
fn filter(named: &Versioned) -> String {
    format!("{};version==\"{}\"", filter_name(&named.name), named.version)
}
