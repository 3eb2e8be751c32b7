use super::*;

fn datagrams_sent() -> u64 {
    let snmp = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut udp = snmp.lines().filter(|l| l.starts_with("Udp:")).map(|l| l.split_whitespace().collect::<Vec<_>>());
    let (names, values) = (udp.next().unwrap(), udp.next().unwrap());
    let column = names.iter().position(|name| *name == "OutDatagrams").unwrap();
    values[column].parse().unwrap()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Counts all UDP of the network namespace: run it in one of its own,
/// `unshare -rn sh -c 'ip link set lo up; cargo test … idle -- --ignored --nocapture'`.
#[tokio::test]
#[ignore = "measures for three minutes, alone in a network namespace"]
async fn an_idle_fleet_sends_less_than_half_a_packet_a_second_and_device() {
    const PEERS: usize = 10;
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let mut peers = Vec::new();
    let empty = resident_kib();
    for n in 0..PEERS {
        let cache = dir.path().join(n.to_string());
        std::fs::create_dir(&cache).unwrap();
        let discovering = MembershipSettings { discovery: true, ..settings(&cache, vec![]) };
        peers.push(Peer::start(discovering, ca.member(n)).await);
    }
    let wanted = NEIGHBOURS_WANTED;
    eventually("neighbours", || peers.iter().all(|p| p.membership.neighbours().len() >= wanted)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = datagrams_sent();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let rate = (datagrams_sent() - before) as f64 / 120.0 / PEERS as f64;
    let links: usize = peers.iter().map(|p| p.membership.neighbours().len()).sum();
    let kib = (resident_kib() - empty) / PEERS as u64;
    let lost: usize = peers.iter().map(|p| p.saw(|s| s.disconnected.len())).sum();
    println!("{lost} connections ended");
    println!("{rate:.3} packets/s a peer, {:.1} neighbours, {kib} KiB a peer", links as f64 / PEERS as f64);
    assert!(rate < 0.5, "{rate}");
}
