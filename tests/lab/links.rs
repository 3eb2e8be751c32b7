//! What links between hosts do to packets, measured with datagrams and streams of our own.

use super::LIMIT;
use fullmetal_sim::lab::net::{self, LAN, Net};
use fullmetal_sim::lab::{Impairment, wait_for};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const A: &str = "10.99.0.10:7000";
const B: &str = "10.99.0.11:7000";
/// Numbers of datagrams that only look whether somebody is there, and that say that all have been sent.
const HELLO: u64 = u64::MAX;
const END: u64 = u64::MAX - 1;

/// Two hosts, `a` and `b`, on one switch.
fn pair(impairment: Impairment) -> Net {
    let mut net = Net::of(&["lan"]).unwrap();
    net.impair(1, 2);
    net.host_at("a", 10, "lan", impairment).unwrap();
    net.host_at("b", 11, "lan", impairment).unwrap();
    net
}

/// Does something in a host's namespace, in which sockets that are made there stay.
fn at<T: Send>(net: &Net, host: &str, run: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        net::enter(&net.netns(host)).unwrap();
        run()
    };
    std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

/// A socket at both hosts, for each other; each has heard the other, so that addresses are resolved.
fn sockets(net: &Net) -> [UdpSocket; 2] {
    let [a, b] = [("a", A, B), ("b", B, A)].map(|(host, own, other)| {
        let socket = at(net, host, || UdpSocket::bind(own).unwrap());
        // More than is ever sent at once: what is lost here is lost on the link.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20).unwrap();
        at(net, host, || socket.connect(other).unwrap());
        socket
    });
    greet(&a, &b);
    greet(&b, &a);
    [a, b]
}

fn send(from: &UdpSocket, number: u64) {
    from.send(&number.to_be_bytes()).unwrap();
}

/// The next number, if one comes within `limit`.
fn next(to: &UdpSocket, limit: Duration) -> Option<u64> {
    to.set_read_timeout(Some(limit)).unwrap();
    let mut number = [0; 8];
    to.recv(&mut number).ok().map(|_| u64::from_be_bytes(number))
}

/// Calls until it is heard.
fn greet(from: &UdpSocket, to: &UdpSocket) {
    wait_for("a datagram", LIMIT, || {
        send(from, HELLO);
        Ok(next(to, Duration::from_millis(200)))
    })
    .unwrap();
}

/// The next number that is no greeting.
fn heard(to: &UdpSocket) -> u64 {
    std::iter::repeat_with(|| next(to, LIMIT).expect("nothing came")).find(|number| *number != HELLO).unwrap()
}

/// The shortest and the longest of 30 round trips.
fn trips(net: &Net) -> [Duration; 2] {
    let [a, b] = sockets(net);
    let trip = |number: u64| {
        let start = Instant::now();
        send(&a, number);
        assert_eq!(heard(&b), number);
        send(&b, number);
        assert_eq!(heard(&a), number);
        start.elapsed()
    };
    let trips: Vec<Duration> = (0..30).map(trip).collect();
    [*trips.iter().min().unwrap(), *trips.iter().max().unwrap()]
}

/// Of 500 datagrams from `a` to `b`, those that came.
fn came(net: &Net) -> Vec<u64> {
    let [a, b] = sockets(net);
    (0..500).for_each(|number| send(&a, number));
    // So many that not all of them are lost.
    (0..50).for_each(|_| send(&a, END));
    std::iter::repeat_with(|| heard(&b)).take_while(|number| *number != END).collect()
}

/// Bytes a second of a stream of so many bytes from one host to the other.
fn pace(net: &Net, from: &str, to: &str, bytes: usize) -> f64 {
    let listener = at(net, to, || TcpListener::bind("0.0.0.0:0").unwrap());
    let host = if to == "a" { A } else { B }.parse::<SocketAddr>().unwrap().ip();
    let server = SocketAddr::new(host, listener.local_addr().unwrap().port());
    let mut sender = at(net, from, || TcpStream::connect_timeout(&server, LIMIT).unwrap());
    let (mut receiver, _) = listener.accept().unwrap();
    let start = Instant::now();
    let writing = std::thread::spawn(move || sender.write_all(&vec![0; bytes]).unwrap());
    receiver.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(receiver.read_to_end(&mut Vec::new()).unwrap(), bytes);
    writing.join().unwrap();
    bytes as f64 / start.elapsed().as_secs_f64()
}

#[test]
fn packets_are_late_by_latency_and_jitter_and_without_them_they_are_not() {
    let [least, most] = trips(&pair(Impairment { latency: 40_000, jitter: 20_000, loss: 0 }));
    let ms = Duration::from_millis;
    assert!(least >= ms(80), "a round trip of {least:?} with 40 ms each way");
    assert!(least <= ms(115), "no round trip under {least:?} with 40 to 60 ms each way");
    assert!(most >= least + ms(5), "round trips of {least:?} to {most:?}: where is the jitter?");
    let [least, _] = trips(&pair(Impairment::default()));
    assert!(least < ms(20), "a round trip of {least:?} on a plain link");
}

#[test]
fn as_many_packets_are_lost_as_the_scenario_says_and_none_without_loss() {
    for (loss, expected) in [(0, 500..=500), (200_000, 330..=470)] {
        let net = pair(Impairment { latency: 5_000, jitter: 5_000, loss });
        let came = came(&net);
        assert!(expected.contains(&came.len()), "{} of 500 came at a loss of {loss} ppm", came.len());
        assert!(came.is_sorted(), "packets between two hosts overtook each other");
        let tally = net.tally();
        assert!(tally.lost >= 500 - came.len() as u64 && tally.dropped == 0, "{tally:?}");
    }
}

#[test]
fn rates_hold_where_packets_are_late_and_cables_can_be_pulled() {
    let net = pair(Impairment { latency: 5_000, jitter: 0, loss: 0 });
    println!("without a rate: {:.0} Mbit/s", pace(&net, "a", "b", 30_000_000) / 125_000.0);
    net.limit("a", LAN, 1_000_000).unwrap();
    let before = net.carried_by("a").unwrap();
    for (from, to) in [("a", "b"), ("b", "a")] {
        let pace = pace(&net, from, to, 1_500_000);
        // A burst of 128 kB passes at once.
        assert!(pace < 1_150_000.0, "{pace} bytes a second from {from} to {to}");
    }
    let after = net.carried_by("a").unwrap();
    for carried in [after.sent - before.sent, after.received - before.received] {
        assert!((1_500_000..1_900_000).contains(&carried), "{carried} bytes were counted");
    }
    let [a, b] = sockets(&net);
    net.switch("cut").unwrap();
    net.replug("a", "cut").unwrap();
    send(&a, 1);
    let cut = std::iter::from_fn(|| next(&b, Duration::from_millis(300))).find(|number| *number != HELLO);
    assert_eq!(cut, None, "it came through a cable that was pulled");
    net.replug("a", "lan").unwrap();
    greet(&a, &b);
}
