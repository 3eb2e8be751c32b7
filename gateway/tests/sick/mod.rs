//! A server that is not well, something between it and the gateway, and a gateway that dies between a request and its
//! record. The stand-in only: such a server is made here.

mod doubts;
mod killed;
mod proxy;
mod server;
mod two;

use super::site::Site;
use super::site::hawkbit::Hawkbit;
use super::steered::Device;
use fullmetal_proto::Digest;
use fullmetal_sim::hawkbit::Faults;

/// A site with a stand-in whose gateway runs, a release and a device.
fn site() -> (Site, Hawkbit, Digest, Device) {
    let mut site = Site::new();
    let commit = site.publish("2");
    let hawkbit = Hawkbit::stand_in(&site, "ask");
    site.start();
    let device = Device::heard(&site, &hawkbit, "press-1");
    (site, hawkbit, commit, device)
}

fn faults(hawkbit: &Hawkbit) -> &Faults {
    hawkbit.standin.as_ref().unwrap().faults()
}
