//! The options of `fullmetal publish` that make a release known to Hawkbit.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use fullmetal::console::UsageError;
use fullmetal::hawkbit::{Assignment, Kind, Login, Module, Offered, Rollout, Server, Versioned, Wish, check, offer};
use fullmetal::publish::Published;
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::PartKind;
use reqwest::Url;
use std::path::PathBuf;

/// A group must have finished whole, and may fail by half, before the next begins; else the rollout pauses.
const SUCCESS_PERCENT: u8 = 100;
const ERROR_PERCENT: u8 = 50;
/// Digits of a commit that stand for a version where there is none.
const COMMIT_DIGITS: usize = 12;

#[derive(Args, Default)]
#[command(next_help_heading = "Hawkbit")]
pub struct HawkbitArgs {
    /// Make it known to this Hawkbit server: a software module with the metadata that the gateway reads. May be repeated;
    /// what is there already is left as it is.
    #[arg(long, value_name = "URL", requires = "hawkbit_login")]
    hawkbit: Option<Url>,
    /// File of mode 0600 with one line, user:password.
    #[arg(long, value_name = "FILE", requires = "hawkbit")]
    hawkbit_login: Option<PathBuf>,
    /// CA certificates (PEM) that the server is judged by instead of the system's.
    #[arg(long, value_name = "FILE", requires = "hawkbit")]
    hawkbit_ca: Option<PathBuf>,
    /// Name and version of the software module [default: its name on the device, and --version, else --release].
    #[arg(long, value_name = "NAME[:VERSION]", requires = "hawkbit")]
    module: Option<String>,
    /// Devices do not start the app by themselves.
    #[arg(long, requires = "hawkbit", conflicts_with = "os")]
    no_autostart: bool,
    /// The app ends by itself, which is no failure.
    #[arg(long, requires = "hawkbit", conflicts_with = "os")]
    job: bool,
    /// Put the module into this distribution set, made when missing [default version: the module's].
    #[arg(long, value_name = "NAME[:VERSION]", requires = "hawkbit")]
    set: Option<String>,
    /// Assign the set to this device; several times for several.
    #[arg(long, value_name = "DEVICE", requires = "set", value_delimiter = ',')]
    assign: Vec<DeviceId>,
    /// How devices take the set, by assignment or rollout.
    #[arg(long = "type", value_name = "TYPE", requires = "set", default_value = "forced")]
    kind: KindArg,
    /// Make a rollout of the set under this name.
    #[arg(long, value_name = "NAME", requires = "set", requires = "targets")]
    rollout: Option<String>,
    /// The rollout's targets, as a filter of Hawkbit's, such as 'name==press-*'.
    #[arg(long, value_name = "FILTER", requires = "rollout")]
    targets: Option<String>,
    /// The rollout's groups: one begins when all of the one before have succeeded; half of one failed pauses it.
    #[arg(long, value_name = "N", requires = "rollout", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=500))]
    groups: u16,
    /// Start the rollout.
    #[arg(long, requires = "rollout")]
    start: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum KindArg {
    #[default]
    Forced,
    Soft,
    #[value(name = "downloadonly")]
    DownloadOnly,
}

impl HawkbitArgs {
    /// Reads what the server needs to be spoken to, before anything is published.
    pub fn server(&self) -> anyhow::Result<Option<Server>> {
        let (Some(url), Some(login)) = (&self.hawkbit, &self.hawkbit_login) else { return Ok(None) };
        let server = Server { url: url.clone(), login: Login::load(login)?, ca: self.hawkbit_ca.clone() };
        check(&server)?;
        Ok(Some(server))
    }

    /// Makes it known; done again it completes what was left open.
    pub fn offer(self, server: &Server, published: &Published) -> anyhow::Result<Offered> {
        let wish = self.wish(published)?;
        let doing = || format!("commit {} is published, but Hawkbit does not know all of it", published.commit);
        offer(server, &wish).with_context(doing)
    }

    fn wish(self, published: &Published) -> anyhow::Result<Wish> {
        let needs_ref = || UsageError("--hawkbit needs --ref: devices get a commit by its ref".into());
        let ref_name = published.ref_name.clone().ok_or_else(needs_ref)?;
        let module = versioned(self.module.as_deref().unwrap_or(&app_name(published)), &version(published));
        let kind = match self.kind {
            KindArg::Forced => Kind::Forced,
            KindArg::Soft => Kind::Soft,
            KindArg::DownloadOnly => Kind::DownloadOnly,
        };
        let rollout = self.rollout.zip(self.targets).map(|(name, query)| Rollout {
            name,
            query,
            groups: self.groups,
            kind,
            success_percent: SUCCESS_PERCENT,
            error_percent: ERROR_PERCENT,
            start: self.start,
        });
        if published.kind == PartKind::Os && (self.no_autostart || self.job) {
            return Err(UsageError("--no-autostart and --job are for apps".into()).into());
        }
        let devices = self.assign;
        Ok(Wish {
            set: self.set.map(|set| versioned(&set, &module.version)),
            assignment: (!devices.is_empty()).then_some(Assignment { devices, kind }),
            rollout,
            module: Module {
                named: module,
                ref_name,
                commit: published.commit,
                kind: published.kind,
                name: published.name.clone(),
                autostart: !self.no_autostart,
                job: self.job,
            },
        })
    }
}

/// The last colon divides.
fn versioned(text: &str, version: &str) -> Versioned {
    let (name, version) = text.rsplit_once(':').unwrap_or((text, version));
    Versioned { name: name.to_owned(), version: version.to_owned() }
}

/// As the gateway names what its commit does not: the ref's middle word.
fn app_name(published: &Published) -> String {
    let words: Vec<&str> = published.ref_name.as_ref().map_or(vec![], |r| r.as_str().split('/').collect());
    let middle = words.get(words.len() / 2).copied().unwrap_or_default();
    published.name.as_ref().map_or_else(|| middle.to_owned(), ToString::to_string)
}

fn version(published: &Published) -> String {
    let release = || published.release.map(|r| r.to_string());
    let commit = || published.commit.to_string()[..COMMIT_DIGITS].to_owned();
    published.version.clone().or_else(release).unwrap_or_else(commit)
}

/// What a person reads.
pub fn describe(offered: &Offered) -> String {
    let mut text = format!("hawkbit: software module {}", offered.module);
    let mut add = |what: &str, id: Option<u64>| text.extend(id.map(|id| format!(", {what} {id}")));
    add("distribution set", offered.set);
    add("rollout", offered.rollout);
    let actions: Vec<String> = offered.actions.iter().map(u64::to_string).collect();
    if !actions.is_empty() {
        text += &format!(", actions {}", actions.join(", "));
    }
    if offered.already_assigned > 0 {
        text += &format!(", assigned before to {}", offered.already_assigned);
    }
    text + if offered.unchanged { "; all of it was there\n" } else { "\n" }
}
