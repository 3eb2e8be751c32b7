//! Members on the same link, found by DNS-SD (RFC 6763) over multicast DNS (RFC 6762).
//!
//! What is found is an address to try; whoever answers there must prove membership.

use super::gossip::fleet_tag;
use fullmetal_proto::FleetId;
use libp2p::PeerId;
use mdns_sd::{IfKind, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use std::net::{IpAddr, SocketAddr};
use tokio::sync::mpsc;

/// The service type.
pub const SERVICE: &str = "_fullmetal._udp.local.";
/// TXT key of the fleet's tag.
const TXT_FLEET: &str = "f";
/// TXT key of the PeerId.
const TXT_PEER: &str = "p";

/// DNS-SD could not start.
#[derive(Debug, thiserror::Error)]
#[error("discovery by DNS-SD: {0}; check that UDP port 5353 may be used and the interfaces exist")]
pub struct DiscoveryError(#[from] mdns_sd::Error);

/// What is announced of this peer.
#[derive(Clone, Debug)]
pub struct Presence {
    /// The fleet.
    pub fleet: FleetId,
    /// The gossip identity.
    pub peer: PeerId,
    /// Where the quinn endpoint listens.
    pub listen: SocketAddr,
    /// Interfaces by name; empty means all but loopback.
    pub interfaces: Vec<String>,
}

/// Announces this peer and looks for others until it is dropped.
pub struct Discovery {
    daemon: ServiceDaemon,
}

impl Discovery {
    /// Starts the daemon's thread. Found addresses go to `found`; when it is full they are dropped, multicast DNS will repeat them.
    pub fn start(presence: &Presence, found: mpsc::Sender<SocketAddr>) -> Result<Self, DiscoveryError> {
        let daemon = ServiceDaemon::new()?;
        choose_interfaces(&daemon, &presence.interfaces)?;
        let discovery = Discovery { daemon };
        let events = discovery.daemon.browse(SERVICE)?;
        discovery.daemon.register(service(presence)?)?;
        let (fleet, me) = (fleet_tag(&presence.fleet), presence.peer.to_string());
        let ipv4_only = presence.listen.is_ipv4();
        tokio::spawn(async move {
            while let Ok(event) = events.recv_async().await {
                let ServiceEvent::ServiceResolved(service) = event else { continue };
                for address in addresses(&service, &fleet, &me, ipv4_only) {
                    tracing::debug!(%address, "found by DNS-SD");
                    if found.try_send(address).is_err() && found.is_closed() {
                        return;
                    }
                }
            }
        });
        Ok(discovery)
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        // Says goodbye on the link; an error means that the daemon has ended already.
        let _ = self.daemon.shutdown();
    }
}

fn choose_interfaces(daemon: &ServiceDaemon, names: &[String]) -> Result<(), DiscoveryError> {
    if names.is_empty() {
        daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        return Ok(());
    }
    daemon.disable_interface(IfKind::All)?;
    for name in names {
        daemon.enable_interface(name.as_str())?;
    }
    Ok(())
}

fn service(presence: &Presence) -> Result<ServiceInfo, DiscoveryError> {
    let mut name = [0; 8];
    getrandom::fill(&mut name).map_err(|e| mdns_sd::Error::Msg(format!("no random name: {e}")))?;
    let name = hex::encode(name);
    let txt = [(TXT_FLEET, fleet_tag(&presence.fleet)), (TXT_PEER, presence.peer.to_string())];
    let host = format!("{name}.local.");
    let mut service = ServiceInfo::new(SERVICE, &name, &host, (), presence.listen.port(), &txt[..])?.enable_addr_auto();
    // The name is random: nobody else has it.
    service.set_requires_probe(false);
    Ok(service)
}

fn addresses(service: &ResolvedService, fleet: &str, me: &str, ipv4_only: bool) -> Vec<SocketAddr> {
    let txt = |key| service.get_property_val_str(key);
    if txt(TXT_FLEET) != Some(fleet) || txt(TXT_PEER).is_none_or(|peer| peer == me) {
        return Vec::new();
    }
    let ips = service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr);
    let usable = |ip: &IpAddr| (ip.is_ipv4() || !ipv4_only) && !ip.is_unspecified() && !ip.is_multicast();
    ips.filter(usable).map(|ip| SocketAddr::new(ip, service.get_port())).collect()
}
