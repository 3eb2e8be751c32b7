//! Two gateways that one Hawkbit lets ask for the same devices.

use super::{faults, site};
use crate::site::Site;
use fullmetal_proto::wire::local::FromPeer;
use fullmetal_proto::wire::{Mode, ReportState};

#[test]
fn two_gateways_with_one_token_stop_each_other_and_an_end_is_told_once() {
    let (one, hawkbit, commit, mut device) = site();
    let mut two = one.twin();
    two.start();
    two.peer.say(&FromPeer::Heard(vec![(device.name.parse().unwrap(), 0)]), None);
    let action = hawkbit.assign(hawkbit.release("twice", &commit), &device.name, "forced");
    device.told(&one, action, Mode::Now);
    device.told(&two, action, Mode::Now);

    // The fleet carries what each has announced to the other's peer.
    let newest = |site: &Site| site.peer.with(|s| s.newest.clone()).unwrap();
    let (of_one, of_two) = (newest(&one), newest(&two));
    one.peer.say(&FromPeer::Announcement(of_two.0), Some(&of_two.1));
    two.peer.say(&FromPeer::Announcement(of_one.0), Some(&of_one.1));
    for site in [&one, &two] {
        let alarm = || site.status()["alarm_text"].as_str().unwrap().to_owned();
        let text = hawkbit.until("an alarm", || Some(alarm()).filter(|text| !text.is_empty()));
        assert!(text.contains("another gateway acts") && text.contains("fullmetal-gateway resume"), "{text}");
    }

    device.report(&one, action, ReportState::Succeeded);
    device.repeat(&two);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
    for site in [&one, &two] {
        hawkbit.until("an empty spool", || (site.status()["spooled"] == 0).then_some(()));
    }
    assert_eq!(faults(&hawkbit).terminal_feedbacks(action), 1);

    two.kill();
    assert_eq!(one.run(&["resume"]).code, 0);
    let next = hawkbit.assign(hawkbit.release("alone", &commit), &device.name, "forced");
    device.told(&one, next, Mode::Now);
}
