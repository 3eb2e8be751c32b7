//! What root does with the operating system at the device itself.

use crate::bench::Host;
use crate::systems::Site;
use fullmetal_sim::lab::wait_for;

/// `fullmetal rollback --os`: the version before, on trial as any other.
fn the_version_before_comes_back(site: &mut Site) {
    site.publish(&[]);
    let action = site.decide(&[]);
    site.ends(action, "succeeded", 2);
    let before = site.host().device.boots().len();
    let told = site.host().fullmetal(&["rollback", "--os"]).unwrap();
    assert!(told.contains("the device reboots into lab 1, on trial"), "{told}");
    at_rest(site, 1);
    assert_eq!(site.boots_since(before), [(1, Some(2))]);
    let said = site.host().fullmetal(&["history"]).unwrap();
    assert!(said.lines().any(|line| line.contains("lab 1") && line.contains("by hand")), "{said}");
}

/// Somebody deploys something else and boots it: that is told, and nothing comes until root accepts it.
fn what_somebody_else_deployed_is_in_force_once_root_says_so(site: &mut Site) {
    let other = site.publish(&[("usr/share/other", "by hand", 0o644)]);
    let release = site.release;
    let by_hand = "ostree --repo=/sysroot/ostree/repo remote add --no-gpg-verify central \"$1\"; \
                   ostree --repo=/sysroot/ostree/repo pull central \"$0\"; \
                   OSTREE_GRUB2_EXEC=/usr/lib/fullmetal/fullmetal-grub ostree admin deploy --os=lab \"$0\"";
    site.host().device.run(&["sh", "-euc", by_hand, &other, &site.bench.central.url()]).unwrap();
    site.bench.hosts[0].device.reboot().unwrap();
    site.until("it runs", |host| host.system() == release);
    wait_for("it is told", crate::LIMIT, || {
        let at_the_gateway = site.bench.was_told(&site.host().name, "inventory", "fullmetal accept-os");
        Ok((at_the_gateway && site.host().fullmetal(&["status"])?.contains("fullmetal accept-os")).then_some(()))
    })
    .unwrap();
    site.publish(&[]);
    let action = site.decide(&[]);
    let end = site.bench.end_of(action);
    assert!(end.state == "failed" && end.reason.contains("fullmetal accept-os"), "{end:?}");
    site.bench.ended.push((action, "failed"));
    let verified = site.host().fullmetal(&["verify"]).unwrap_err().to_string();
    assert!(verified.contains("fullmetal accept-os") && site.host().system() == release, "{verified}");
    site.host().fullmetal(&["accept-os"]).unwrap();
    site.publish(&[]);
    let (action, newest) = (site.decide(&[]), site.release);
    site.ends(action, "succeeded", newest);
}

/// In mode `when-idle` whoever holds reboots back by logind is waited for, in every mode a lock.
fn what_holds_reboots_back_is_waited_for(site: &mut Site) {
    let runs = site.host().system();
    let waits_for = |site: &Site, what: &str| {
        let is_told = |host: &Host| host.status()["local"]["obstacle"].as_str().is_some_and(|told| told.contains(what));
        wait_for(what, crate::LIMIT, || Ok(is_told(site.host()).then_some(()))).unwrap();
        assert_eq!((site.host().system(), site.host().on_trial()), (runs, None));
    };
    let inhibit =
        ["systemd-inhibit", "--what=shutdown", "--mode=block", "--who=press", "--why=casting", "sleep", "infinity"];
    site.host().device.run(&[&["systemd-run", "--quiet", "--unit=casting"][..], &inhibit].concat()).unwrap();
    wait_for("the inhibitor", crate::LIMIT, || {
        Ok(site.host().device.run(&["systemd-inhibit", "--list"])?.contains("casting").then_some(()))
    })
    .unwrap();
    site.publish(&[]);
    let (action, newest) = (site.decide_in("when-idle", &[]), site.release);
    waits_for(site, "systemd-inhibit --list");
    site.host().fullmetal(&["lock"]).unwrap();
    site.host().device.run(&["systemctl", "stop", "casting"]).unwrap();
    waits_for(site, "fullmetal unlock");
    site.host().fullmetal(&["unlock"]).unwrap();
    site.ends(action, "succeeded", newest);
}

/// Waits until a release runs and nothing is under way.
fn at_rest(site: &mut Site, release: u64) {
    site.until("it is at rest", |host| {
        host.system() == release && host.on_trial().is_none() && host.record().deployment.is_none()
    });
}

#[test]
fn root_takes_an_operating_system_back_holds_it_back_or_accepts_one_that_no_deployment_brought() {
    let mut site = Site::new(1);
    the_version_before_comes_back(&mut site);
    what_holds_reboots_back_is_waited_for(&mut site);
    what_somebody_else_deployed_is_in_force_once_root_says_so(&mut site);
}
