//! `fullmetal inspect`: any document, for a person.

mod commit;
mod describe;
mod json;
mod pem;
mod plan;
mod verdict;

use super::Context;
use anyhow::{Context as _, bail};
use clap::Args;
use fullmetal::console;
use fullmetal::identity::{Clock, FleetTrust};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{
    Announcement, Bundle, Document, EnrolmentAnswer, EnrolmentRequest, Envelope, Kind, Manifest, Opened, PlainManifest,
    Receipt, Report, Revocations, Trust, open,
};
use std::path::PathBuf;

#[derive(Args)]
pub struct InspectArgs {
    /// A trust file, revocation list, bundle, announcement, manifest, report, receipt, enrolment request or answer; a
    /// key or certificate (PEM); a `.commit` or `.commitmeta` of a repo.
    file: PathBuf,
    /// The trust file to judge by, with the file `revocations` beside it if there is one; without this the device's own,
    /// and for keys and certificates the file `trust` beside them.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Of a manifest (REPO/fullmetal/manifests/COMMIT): what a device fetches of it that has nothing, or what `--having` names.
    #[arg(long)]
    plan: bool,
    /// The manifest of a commit that the device has; may be given more than once.
    #[arg(long, value_name = "MANIFEST", requires = "plan")]
    having: Vec<PathBuf>,
}

/// The largest document is a manifest.
const FILE_LEN_MAX: u64 = 32 << 20;

/// How long what is no envelope may be before it is read in vain.
const HEAD_LEN: u64 = 64 << 10;

pub fn run(context: &Context, args: &InspectArgs) -> anyhow::Result<()> {
    let shown = args.file.display().to_string();
    let meta = std::fs::metadata(&args.file).with_context(|| format!("reading {shown}"))?;
    if !meta.is_file() {
        let what = if meta.is_dir() { "a directory" } else { "no regular file" };
        bail!("{shown} is {what}; name a file, such as keys/trust");
    }
    if meta.len() == 0 {
        bail!("{shown} is empty; whatever should have written it did not finish: make it or fetch it again");
    }
    if args.plan {
        return plan::show(context, &args.file, &args.having);
    }
    let mut judge = Judge { trust: load_trust(context, args)?, now: Clock::new() };
    if commit::is_commit(&args.file) {
        return commit::look(&args.file, &judge)?.print(context);
    }
    if meta.len() > FILE_LEN_MAX {
        bail!("{shown} has {} bytes; no document is longer than {FILE_LEN_MAX}", meta.len());
    }
    let bytes = std::fs::read(&args.file).with_context(|| format!("reading {shown}"))?;
    if meta.len() <= HEAD_LEN && pem::is_pem(&bytes) {
        let beside = args.file.with_file_name("trust");
        if judge.trust.is_none() && beside.exists() {
            judge.trust = Some(FleetTrust::load_beside(&beside)?);
        }
        return pem::look(&args.file, &bytes, &judge)?.print(context);
    }
    let envelope =
        Envelope::decode(&bytes, FILE_LEN_MAX as usize).with_context(|| format!("{shown} is none of our documents"))?;
    let show = Show { context, bytes: &bytes, judge: &judge, shown: &shown };
    match envelope.kind {
        Kind::Trust => show.document::<Trust>(),
        Kind::Revocations => show.document::<Revocations>(),
        Kind::Bundle => show.document::<Bundle>(),
        Kind::Announcement => show.document::<Announcement>(),
        Kind::Manifest => show.document::<Manifest>(),
        Kind::PlainManifest => show.document::<PlainManifest>(),
        Kind::Report => show.document::<Report>(),
        Kind::Receipt => show.document::<Receipt>(),
        Kind::EnrolmentRequest => show.document::<EnrolmentRequest>(),
        Kind::EnrolmentAnswer => show.document::<EnrolmentAnswer>(),
    }
}

fn load_trust(context: &Context, args: &InspectArgs) -> anyhow::Result<Option<FleetTrust>> {
    if let Some(path) = &args.trust {
        return Ok(Some(FleetTrust::load_beside(path)?));
    }
    if context.paths.trust_file().exists() {
        return Ok(Some(FleetTrust::load(&context.paths)?));
    }
    Ok(None)
}

/// What was found out about something that is no document.
struct Shown {
    kind: &'static str,
    title: String,
    facts: Vec<(&'static str, String)>,
    verdict: Result<String, String>,
}

impl Shown {
    fn print(&self, context: &Context) -> anyhow::Result<()> {
        if context.json {
            let facts: Vec<_> = self.facts.iter().map(|(label, value)| serde_json::json!([label, value])).collect();
            return console::print_json(&serde_json::json!({
                "kind": self.kind, "facts": facts, "holds": self.verdict.is_ok(), "why_not": self.verdict.as_ref().err(),
            }));
        }
        let mut text = format!("{}\n", self.title);
        self.facts.iter().for_each(|(label, value)| line(&mut text, label, value));
        verdict::tell(&mut text, &self.verdict);
        console::print(&text)
    }
}

/// What documents are judged by.
struct Judge {
    trust: Option<FleetTrust>,
    now: Clock,
}

struct Show<'a> {
    context: &'a Context,
    bytes: &'a [u8],
    judge: &'a Judge,
    shown: &'a str,
}

impl Show<'_> {
    fn document<D: Document + describe::Describe + verdict::Verdict>(&self) -> anyhow::Result<()> {
        let opened: Opened<D> = open(self.bytes).with_context(|| self.shown.to_owned())?;
        let verdict = D::verdict(&opened, self.judge);
        if self.context.json {
            return console::print_json(&serde_json::json!({
                "kind": D::KIND, "major": opened.envelope.major, "sha256": opened.digest,
                "signed_by": opened.envelope.signatures.iter().map(|s| s.key).collect::<Vec<_>>(),
                "holds": verdict.is_ok(), "why_not": verdict.as_ref().err(), "document": json::of_cbor(&opened.envelope.body),
            }));
        }
        let mut text = format!("{} (format {}), {} bytes\n", D::KIND, opened.envelope.major, self.bytes.len());
        line(&mut text, "sha256", &Digest::of(self.bytes));
        opened.document.describe(&mut text);
        for signature in &opened.envelope.signatures {
            line(&mut text, "signed by", &verdict::name_of(&signature.key, self.judge.trust.as_ref()));
        }
        verdict::tell(&mut text, &verdict);
        console::print(&text)
    }
}

/// Adds one line, `  label       value`.
fn line(text: &mut String, label: &str, value: &dyn std::fmt::Display) {
    use std::fmt::Write as _;
    let _ = writeln!(text, "  {label:<12} {value}");
}
