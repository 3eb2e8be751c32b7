//! `fullmetal inspect`: any document, for a person.

mod describe;
mod json;
mod verdict;

use super::Context;
use anyhow::{Context as _, bail};
use clap::Args;
use fullmetal::console;
use fullmetal::identity::{Clock, FleetTrust};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{
    Announcement, Bundle, Document, EnrolmentAnswer, EnrolmentRequest, Envelope, Kind, Manifest, Opened, Receipt,
    Report, Revocations, Trust, open,
};
use std::path::PathBuf;

#[derive(Args)]
pub struct InspectArgs {
    /// A trust file, revocation list, bundle, announcement, manifest, report, receipt, request or answer.
    file: PathBuf,
    /// The trust file to judge by; without it the device's own.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

/// The largest document is a manifest.
const FILE_LEN_MAX: u64 = 32 << 20;

pub fn run(context: &Context, args: &InspectArgs) -> anyhow::Result<()> {
    let shown = args.file.display().to_string();
    let length = std::fs::metadata(&args.file).with_context(|| format!("reading {shown}"))?.len();
    if length > FILE_LEN_MAX {
        bail!("{shown} has {length} bytes; no document is longer than {FILE_LEN_MAX}");
    }
    let bytes = std::fs::read(&args.file).with_context(|| format!("reading {shown}"))?;
    let envelope =
        Envelope::decode(&bytes, FILE_LEN_MAX as usize).with_context(|| format!("{shown} is none of our documents"))?;
    let judge = Judge { trust: load_trust(context, args)?, now: Clock::new() };
    let show = Show { context, bytes: &bytes, judge: &judge, shown: &shown };
    match envelope.kind {
        Kind::Trust => show.document::<Trust>(),
        Kind::Revocations => show.document::<Revocations>(),
        Kind::Bundle => show.document::<Bundle>(),
        Kind::Announcement => show.document::<Announcement>(),
        Kind::Manifest => show.document::<Manifest>(),
        Kind::Report => show.document::<Report>(),
        Kind::Receipt => show.document::<Receipt>(),
        Kind::EnrolmentRequest => show.document::<EnrolmentRequest>(),
        Kind::EnrolmentAnswer => show.document::<EnrolmentAnswer>(),
    }
}

fn load_trust(context: &Context, args: &InspectArgs) -> anyhow::Result<Option<FleetTrust>> {
    if let Some(path) = &args.trust {
        let trust = FleetTrust::load_trust(path)?;
        let revoked = Revocations::none(&trust.fleet);
        return Ok(Some(FleetTrust { trust, revoked }));
    }
    if context.paths.trust_file().exists() {
        return Ok(Some(FleetTrust::load(&context.paths)?));
    }
    Ok(None)
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
                "holds": verdict.is_ok(), "why_not": verdict.err(), "document": json::of_cbor(&opened.envelope.body),
            }));
        }
        let mut text = format!("{} (format {}), {} bytes\n", D::KIND, opened.envelope.major, self.bytes.len());
        line(&mut text, "sha256", &Digest::of(self.bytes));
        opened.document.describe(&mut text);
        for signature in &opened.envelope.signatures {
            line(&mut text, "signed by", &verdict::name_of(&signature.key, self.judge.trust.as_ref()));
        }
        match verdict {
            Ok(why) => line(&mut text, "holds now", &format!("yes: {why}")),
            Err(why) => line(&mut text, "holds now", &format!("no: {why}")),
        }
        console::print(&text)
    }
}

/// Adds one line, `  label       value`.
fn line(text: &mut String, label: &str, value: &dyn std::fmt::Display) {
    use std::fmt::Write as _;
    let _ = writeln!(text, "  {label:<12} {value}");
}
