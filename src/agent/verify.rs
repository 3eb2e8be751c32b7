//! What the gateway says is believed only with its signature, judged here again after the peer did.

use super::{Agent, bundles};
use anyhow::{Context as _, bail, ensure};
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::{Input, Row};
use fullmetal_proto::wire::envelope::envelope_len_max;
use fullmetal_proto::wire::{Announcement, Hint, Opened, Receipt, open};

/// The longest announcement in bytes, whatever a hint says.
pub const LEN_MAX: u64 = envelope_len_max::<Announcement>() as u64;

/// Judges an announcement and stores the bundle of our row.
pub fn announcement(agent: &Agent, hint: &Hint, bytes: &[u8]) -> anyhow::Result<Input> {
    ensure!(Digest::of(bytes) == hint.digest, "its bytes are not what its hint says");
    let opened: Opened<Announcement> = open(bytes)?;
    let announcement = &opened.document;
    let trust = &agent.trust;
    trust.trust.check_fleet(&announcement.fleet)?;
    trust.check_gateway(&opened.envelope)?;
    let (epoch, known) = (announcement.epoch, trust.trust.epoch);
    ensure!(epoch == known, "its epoch {epoch} is not epoch {known} of trust file version {}", trust.trust.version);
    agent.clock.raise(announcement.issued);
    let row = announcement.row(&agent.identity.device);
    let row = row
        .map(|row| {
            // One that cannot be read here fails its action when it is judged, so that its end is told.
            let bytes = announcement.bundles.get(usize::from(row.1)).context("its row names no bundle")?;
            let bundle = Digest::of(bytes);
            bundles::store(&agent.settings.paths, &bundle, bytes)?;
            anyhow::Ok(Row { action: row.2, bundle, mode: row.3, valid_until: row.4 })
        })
        .transpose()?;
    Ok(Input::Announced { rank: announcement.rank(), expires: announcement.expires, row })
}

/// Judges a receipt; gives the counter up to which our reports have arrived.
pub fn receipt(agent: &Agent, bytes: &[u8]) -> anyhow::Result<u64> {
    let opened: Opened<Receipt> = open(bytes)?;
    agent.trust.trust.check_fleet(&opened.document.fleet)?;
    agent.trust.check_gateway(&opened.envelope)?;
    if opened.document.device != agent.identity.device {
        bail!("it is for {}", opened.document.device);
    }
    Ok(opened.document.counter)
}
