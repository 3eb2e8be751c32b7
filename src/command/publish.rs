//! `fullmetal publish`: a directory, tarball, OCI image or commit into a signed, framed release of a central repo.

mod asks;
mod hawkbit;

use clap::{ArgGroup, Args};
use fullmetal::console::{self, UsageError};
use fullmetal::hawkbit::Offered;
use fullmetal::identity::FleetTrust;
use fullmetal::publish::{
    Arch, FRAME_LEN_DEFAULT, ImageSource, Judge, LEVEL_DEFAULT, Options, PublishError, Published, ReleaseInfo, Source,
    Stage, image_layout, parse_argv, parse_size, read_key, run as publish,
};
use fullmetal_proto::wire::PartKind;
use fullmetal_proto::{AppName, HardwareId, RefName};
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).args(["source", "commit", "recommit"]))]
#[command(group = ArgGroup::new("signing").required(true).args(["key", "unsigned"]))]
pub struct PublishArgs {
    /// Directory or tarball (plain, gzip, zstd): an app bundle (config.json and rootfs/), with --cmd a root file
    /// system, or with --os an operating system. Owners, modes and extended attributes are published as they are found. Or an OCI image: the directory
    /// of its layout, with the image's tag where there are several (DIR:TAG).
    source: Option<PathBuf>,
    /// The central repo (OSTree, archive mode); made when missing.
    #[arg(long, value_name = "DIR")]
    repo: PathBuf,
    /// The ref that devices follow, such as apps/web/x86_64.
    #[arg(long = "ref", value_name = "REF")]
    ref_name: Option<RefName>,
    /// The build key that signs the commit (PKCS#8 PEM, as `fullmetal keys generate` makes it).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The fleet's trust file: a key that it does not let sign this ref is refused. Without this option the file `trust`
    /// beside the key is taken, if there is one, and the file `revocations` beside either.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Leave the commit unsigned; devices take it only where their trust file allows that.
    #[arg(long)]
    unsigned: bool,
    /// What the app runs: words, or a JSON array. Makes the config.json of a root file system; with an OCI image,
    /// instead of what that runs.
    #[arg(long, value_name = "COMMAND", requires = "source")]
    cmd: Option<String>,
    /// It is an operating system: a root that OSTree can deploy, with its kernel. Looked at before anything is written.
    #[arg(long)]
    os: bool,
    /// The operating system's kernel has its initramfs built in, or needs none.
    #[arg(long, requires = "os")]
    no_initramfs: bool,
    /// The architecture that an OCI image must be for, such as amd64, arm64 or arm/v7. Can be left out where the ref
    /// ends with it.
    #[arg(long, value_name = "ARCH", requires = "source")]
    arch: Option<Arch>,
    /// Sign and frame a commit that is in the repo already, by checksum or ref, as it is.
    #[arg(long, value_name = "REV")]
    commit: Option<String>,
    /// Make a new commit of that commit's tree, with release, floor and binding.
    #[arg(long, value_name = "REV")]
    recommit: Option<String>,
    /// Version, for people.
    #[arg(long, value_name = "TEXT")]
    version: Option<String>,
    /// Release number; a device goes below its floor never, above it freely.
    #[arg(long, value_name = "N")]
    release: Option<u64>,
    /// Point the ref to another tree although its release number is not higher than the published one.
    #[arg(long)]
    allow_lower_release: bool,
    /// Lowest release that a device may go back to once this one is proven there.
    #[arg(long, value_name = "N")]
    floor: Option<u64>,
    /// Hardware that it is made for; several times for several. Any when left out.
    #[arg(long, value_name = "ID")]
    hardware: Vec<HardwareId>,
    /// Its name on the device.
    #[arg(long, value_name = "NAME")]
    name: Option<AppName>,
    /// Health check, run inside the container; exit status 0 means healthy.
    #[arg(long, value_name = "COMMAND")]
    health: Option<String>,
    /// Seconds that the app must run and be healthy before the release counts as proven.
    #[arg(long, value_name = "SECONDS")]
    probation: Option<u32>,
    /// Raw bytes of a frame, 64K to 4M.
    #[arg(long, value_name = "SIZE")]
    frame_size: Option<String>,
    /// zstd level, 1 to 22.
    #[arg(long, value_name = "N", default_value_t = LEVEL_DEFAULT)]
    level: i32,
    #[command(flatten)]
    asks: asks::AsksArgs,
    #[command(flatten)]
    hawkbit: hawkbit::HawkbitArgs,
}

/// What is printed for a script.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(flatten)]
    published: &'a Published,
    #[serde(skip_serializing_if = "Option::is_none")]
    hawkbit: Option<&'a Offered>,
}

pub fn run(json: bool, mut args: PublishArgs) -> anyhow::Result<()> {
    let judge = judge(&args)?;
    let server = args.hawkbit.server()?;
    let hawkbit = std::mem::take(&mut args.hawkbit);
    let mut options = options(args).map_err(told_apart)?;
    options.judge = judge;
    let mut progress = Progress::new();
    let result = publish(&options, &mut |stage, done, total| progress.show(stage, done, total));
    progress.clear();
    let published = result.map_err(told_apart)?;
    let offered = server.map(|server| hawkbit.offer(&server, &published)).transpose()?;
    if json {
        return console::print_json(&Done { published: &published, hawkbit: offered.as_ref() });
    }
    let known = offered.as_ref().map(hawkbit::describe).unwrap_or_default();
    console::print(&(describe(&published, options.judge.as_ref()) + &known))
}

fn judge(args: &PublishArgs) -> anyhow::Result<Option<Judge>> {
    let beside = args.key.as_ref().map(|key| key.with_file_name("trust")).filter(|trust| trust.exists());
    let Some(path) = args.trust.clone().or(beside) else { return Ok(None) };
    Ok(Some(Judge { trust: FleetTrust::load_beside(&path)?, path }))
}

/// Usage errors get the exit status of such.
fn told_apart(error: PublishError) -> anyhow::Error {
    if error.is_usage() { UsageError(error.to_string()).into() } else { error.into() }
}

fn options(args: PublishArgs) -> Result<Options, PublishError> {
    let argv = |option, text: Option<String>| text.map_or(Ok(Vec::new()), |text| parse_argv(option, &text));
    let source = match (args.source, args.commit, args.recommit) {
        (_, Some(rev), _) => Source::Commit(rev),
        (_, _, Some(rev)) => Source::Recommit(rev),
        (path, ..) => tree_source(path.unwrap_or_default(), argv("--cmd", args.cmd)?, args.arch)?,
    };
    let mut options = Options::new(args.repo, source);
    options.ref_name = args.ref_name;
    options.allow_lower_release = args.allow_lower_release;
    options.os = args.os;
    options.needs_initramfs = !args.no_initramfs;
    options.key = args.key.as_deref().map(read_key).transpose()?;
    options.frame_len = args.frame_size.map_or(Ok(FRAME_LEN_DEFAULT), |text| frame_len(&text))?;
    options.level = args.level;
    options.timestamp = source_date_epoch()?;
    options.info = ReleaseInfo {
        release: args.release,
        floor: args.floor,
        hardware: args.hardware,
        version: args.version,
        name: args.name,
        health: argv("--health", args.health)?,
        probation: args.probation,
        asks: args.asks.asks()?,
    };
    Ok(options)
}

fn tree_source(path: PathBuf, cmd: Vec<String>, arch: Option<Arch>) -> Result<Source, PublishError> {
    match (image_layout(&path), arch) {
        (Some((layout, tag)), arch) => Ok(Source::Image(ImageSource { layout, tag, arch, cmd })),
        (None, None) => Ok(Source::Tree { path, cmd }),
        (None, Some(_)) => {
            let problem = format!("{} is no OCI image layout, whose architecture could be checked", path.display());
            Err(PublishError::Option { option: "--arch", problem })
        }
    }
}

fn frame_len(text: &str) -> Result<u32, PublishError> {
    // One that is too long for its type is so for a frame, which the options say.
    parse_size("--frame-size", text).map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// <https://reproducible-builds.org/specs/source-date-epoch/>
fn source_date_epoch() -> Result<Option<u64>, PublishError> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    let problem = || PublishError::Option {
        option: "SOURCE_DATE_EPOCH",
        problem: format!("{text:?} is no number of seconds since 1970"),
    };
    seconds.map(Some).ok_or_else(problem)
}

/// Who signed, and whether that counts in the fleet.
fn signature(published: &Published, judge: Option<&Judge>) -> String {
    let fleet = judge.map(|judge| &judge.trust.trust.fleet);
    match (published.signed_by, fleet, published.signatures) {
        (Some(key), Some(fleet), _) => format!("signed by {key}, a build key of fleet {fleet}"),
        (Some(key), None, _) => format!("signed by {key}, not checked against a trust file (--trust)"),
        (None, _, 0) => "unsigned".to_owned(),
        (None, _, count) => format!("not signed now, {count} signatures from earlier"),
    }
}

fn describe(published: &Published, judge: Option<&Judge>) -> String {
    let notes: String = published.notes.iter().map(|note| format!("note: {note}\n")).collect();
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let place = published.ref_name.as_ref().map_or_else(String::new, |name| format!(" at {name}"));
    let state = if published.unchanged { "unchanged" } else { "published" };
    let kernel = published.kernel.as_ref().map_or_else(String::new, |version| format!(", Linux {version}"));
    let os = if published.kind == PartKind::Os { format!("operating system{kernel}\n") } else { String::new() };
    format!(
        "{}\n{state}{place}, {}\n{os}{} objects, {} raw, {} in {} frames of {} packs ({} new); a plain pull costs {}\n{notes}",
        published.commit,
        signature(published, judge),
        published.objects,
        mib(published.raw_bytes),
        mib(published.packed_bytes),
        published.frames,
        published.packs,
        mib(published.new_packed_bytes),
        mib(published.plain_bytes),
    )
}

/// One line on standard error that is rewritten in place; silent unless that is a terminal.
struct Progress {
    terminal: bool,
    last: Option<(Stage, u64)>,
}

impl Progress {
    fn new() -> Self {
        Progress { terminal: std::io::stderr().is_terminal(), last: None }
    }

    fn show(&mut self, stage: Stage, done: u64, total: u64) {
        let percent = (done * 100).checked_div(total).unwrap_or(0);
        if !self.terminal || self.last == Some((stage, percent)) {
            return;
        }
        self.last = Some((stage, percent));
        let text = match stage {
            Stage::Reading => "reading the source".to_owned(),
            Stage::Writing => format!("writing objects {percent:3} %"),
            Stage::Packing => format!("compressing frames {percent:3} %"),
        };
        let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
    }

    fn clear(&self) {
        if self.last.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
