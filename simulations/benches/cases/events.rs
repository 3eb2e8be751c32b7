//! What happens in each case, and what is counted of it.

use crate::Case;
use crate::figures::Figures;
use crate::release::{Publisher, REF, Release};
use crate::room::{LIMIT, Room, Setting, Watch};
use crate::site::{Site, store};
use anyhow::{Context as _, ensure};
use fullmetal_sim::lab::net::WAN;
use fullmetal_sim::lab::{ActionState, Node, output_of, wait_for};
use std::process::Command;
use std::time::{Duration, Instant};

/// How often it is looked how much has crossed the uplink.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a case; gives what it cost, and the bytes of one copy.
pub fn run(case: Case, setting: Setting, publisher: &mut Publisher) -> anyhow::Result<(Figures, u64)> {
    let release = publisher.publish()?;
    let mut room = Room::new(setting, &publisher.repo())?;
    let mut site = Site::start(&room, &publisher.fleet, usize::from(case == Case::LateJoiner))?;
    match case {
        Case::Calm | Case::SmallFiles | Case::OneFile => calm(&mut room, &site, release),
        Case::SmallChange => small_change(&mut room, &mut site, release, publisher),
        Case::LateJoiner => late_joiner(&mut room, &mut site, release),
        Case::GatewayKilled => half_way(&mut room, &mut site, release, |_, site, _| {
            site.gateway.kill();
            Ok(())
        }),
        Case::FetcherGone => half_way(&mut room, &mut site, release, |room, site, watch| {
            let fetcher = fetcher(room)?;
            site.devices[fetcher].kill();
            watch.leave_out(fetcher);
            Ok(())
        }),
        Case::FetcherBack => half_way(&mut room, &mut site, release, |room, site, _| {
            let device = &mut site.devices[fetcher(room)?];
            device.kill();
            device.start_peer()?;
            device.start_agent()
        }),
    }
}

fn calm(room: &mut Room, site: &Site, release: Release) -> anyhow::Result<(Figures, u64)> {
    let begun = room.begin()?;
    site.decide(room, REF, "stage")?;
    let figures = room.wait(begun, site.file_of(&release.commit))?;
    check(&site.devices[0])?;
    Ok((figures, release.one_copy))
}

fn small_change(
    room: &mut Room,
    site: &mut Site,
    first: Release,
    publisher: &mut Publisher,
) -> anyhow::Result<(Figures, u64)> {
    let count = site.devices.len();
    site.decide(room, REF, "now")?;
    let actions = wait_for("release 1 in force", LIMIT, || {
        site.devices.iter_mut().try_for_each(Node::check)?;
        let actions = site.gateway.newest_actions()?;
        Ok((actions.len() == count && actions.values().all(ActionState::has_ended)).then_some(actions))
    })?;
    ensure!(actions.values().all(|action| action.state == "succeeded"), "{}: {actions:?}", first.commit);
    let second = publisher.publish()?;
    calm(room, site, second)
}

fn late_joiner(room: &mut Room, site: &mut Site, release: Release) -> anyhow::Result<(Figures, u64)> {
    let late = site.devices.len() - 1;
    let file_of = site.file_of(&release.commit);
    let begun = room.begin()?;
    site.decide(room, REF, "stage")?;
    let mut others = Watch::new(room, begun);
    others.leave_out(late);
    wait_for("the others", LIMIT, || Ok(others.look(room, &file_of).then_some(())))?;
    room.net.limit("central", WAN, 0)?;
    let begun = room.begin()?;
    let device = &mut site.devices[late];
    device.start_peer()?;
    device.start_agent()?;
    let mut watch = Watch::new(room, begun);
    (0..late).for_each(|other| watch.leave_out(other));
    wait_for("the late device", LIMIT, || {
        device.check()?;
        Ok(watch.look(room, &file_of).then_some(()))
    })?;
    check(device)?;
    Ok((watch.figures(room)?, release.one_copy))
}

/// Something happens when half a copy has crossed the uplink.
fn half_way(
    room: &mut Room,
    site: &mut Site,
    release: Release,
    happens: impl FnOnce(&Room, &mut Site, &mut Watch) -> anyhow::Result<()>,
) -> anyhow::Result<(Figures, u64)> {
    let file_of = site.file_of(&release.commit);
    let begun = room.begin()?;
    site.decide(room, REF, "stage")?;
    let mut watch = Watch::new(room, begun);
    let (mut happens, mut looked) = (Some(happens), begun);
    wait_for("the last device", LIMIT, || {
        if happens.is_some() && looked.elapsed() > LOOK {
            looked = Instant::now();
            if room.crossed()? >= release.one_copy / 2
                && let Some(happens) = happens.take()
            {
                happens(room, site, &mut watch)?;
            }
        }
        site.devices.iter_mut().try_for_each(Node::check)?;
        Ok(watch.look(room, &file_of).then_some(()))
    })?;
    ensure!(happens.is_none(), "all was over before half of it had crossed the uplink");
    Ok((watch.figures(room)?, release.one_copy))
}

/// The device that has got most over the uplink.
fn fetcher(room: &Room) -> anyhow::Result<usize> {
    let got = |host: usize| anyhow::Ok((room.net.received(&room.hosts[host].name, WAN)?, host));
    let all = (0..room.hosts.len()).map(got).collect::<Result<Vec<_>, _>>()?;
    all.into_iter().max().map(|(_, host)| host).context("a site without devices")
}

/// Looks with OSTree's own tool whether a device has what it should.
fn check(device: &Node) -> anyhow::Result<()> {
    let option = format!("--repo={}", store(device.root()).display());
    let said = output_of(Command::new("ostree").args(["fsck", &option]))?;
    ensure!(!said.contains("partial"), "{}: {said}", device.name());
    Ok(())
}
