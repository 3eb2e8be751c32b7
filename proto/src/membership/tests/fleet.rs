//! A fleet of cores that reach each other without delay, unless they are in different parts.

use super::*;

/// Wakes each core when it wants, and carries out what it decides.
struct Fleet {
    cores: Vec<Membership>,
    now: Timestamp,
    serial: u64,
    /// Dialer and listener of each connection that is open on at least one side.
    open: BTreeMap<u64, (usize, usize)>,
    part: Vec<usize>,
    /// Who can be discovered.
    discoverable: BTreeSet<usize>,
    dials: usize,
    said: u64,
    heard: BTreeMap<(usize, ConnectionId), u64>,
    /// What was said on connections: it does not overtake the handshake.
    told: Vec<(usize, Input)>,
}

impl Fleet {
    fn new(count: usize, seed: u64) -> Self {
        let core = |n| {
            let start = Start { discovery: true, ..start(n) };
            Membership::new(start, seed * 1000 + n as u64, Timestamp::ZERO)
        };
        Fleet {
            cores: (0..count).map(core).collect(),
            now: Timestamp::ZERO,
            serial: 0,
            open: BTreeMap::new(),
            part: vec![0; count],
            discoverable: BTreeSet::new(),
            dials: 0,
            said: 0,
            heard: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some((at, n)) = self.cores.iter().enumerate().map(|(n, c)| (c.next_wakeup(), n)).min() {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.tell(n, Input::Wakeup);
            while let Some((n, input)) = self.told.pop() {
                self.tell(n, input);
            }
        }
        self.now = end;
    }

    /// Everybody says something to all its neighbours; who can be reached answers.
    fn talk(&mut self) {
        self.said += 1;
        for n in 0..self.cores.len() {
            let neighbours = self.cores[n].neighbours.iter().map(|(d, of)| (d.clone(), of.connection));
            for (device, connection) in neighbours.collect::<Vec<_>>() {
                let other = (0..self.cores.len()).find(|m| id(*m) == device).unwrap();
                let heard = self.heard.entry((n, connection)).or_default();
                *heard += u64::from(self.part[n] == self.part[other]);
                let input = Input::Traffic { connection, sent: self.said, received: *heard };
                self.tell(n, input);
            }
        }
    }

    fn tell(&mut self, n: usize, input: Input) {
        self.cores[n].handle(input, self.now);
        while let Some(effect) = self.cores[n].poll() {
            self.act(n, effect);
        }
    }

    fn act(&mut self, n: usize, effect: Effect) {
        match effect {
            Effect::Dial { address: to } => {
                self.dials += 1;
                let other = (0..self.cores.len()).find(|m| address(*m) == to && self.part[*m] == self.part[n]);
                let Some(other) = other else {
                    return self.tell(n, Input::DialFailed { address: to, why: Refusal::Failed });
                };
                self.serial += 1;
                let serial = self.serial;
                self.open.insert(serial, (n, other));
                self.prove(other, n, serial, false);
                if self.open.contains_key(&serial) {
                    self.prove(n, other, serial, true);
                }
            }
            Effect::Join { connection, others } | Effect::Tell { connection, others } => {
                let (a, b) = self.open[&connection.0];
                let other = if a == n { b } else { a };
                self.told.push((other, Input::Told { from: id(n), peers: others }));
            }
            Effect::Close { connection, why } => {
                let Some((dialer, listener)) = self.open.remove(&connection.0) else { return };
                if self.part[dialer] != self.part[listener] {
                    return self.tell(n, Input::Ended { connection });
                }
                let why = if let Close::Full(others) = why { Refusal::Full(others) } else { Refusal::Duplicate };
                self.tell(dialer, Input::DialFailed { address: address(listener), why });
                [dialer, listener].into_iter().for_each(|side| self.tell(side, Input::Ended { connection }));
            }
            Effect::Discover(true) => {
                self.discoverable.insert(n);
                for other in self.discoverable.clone() {
                    if other != n && self.part[other] == self.part[n] {
                        self.tell(n, Input::Found { address: address(other) });
                        self.tell(other, Input::Found { address: address(n) });
                    }
                }
            }
            Effect::Discover(false) => drop(self.discoverable.remove(&n)),
            Effect::Remember(_) => {}
        }
    }

    fn prove(&mut self, n: usize, other: usize, serial: u64, dialed: bool) {
        let connection = ConnectionId(serial);
        self.tell(n, Input::Proven { connection, device: id(other), address: address(other), dialed });
    }

    fn degrees(&self) -> Vec<usize> {
        self.cores.iter().map(|core| core.neighbours.len()).collect()
    }

    /// Those that can be reached from the first by way of neighbours.
    fn reached(&self) -> usize {
        let (mut seen, mut queue) = (BTreeSet::from([0]), vec![0]);
        while let Some(n) = queue.pop() {
            let next = (0..self.cores.len()).filter(|m| self.cores[n].neighbours.contains_key(&id(*m)));
            next.for_each(|m| {
                if seen.insert(m) {
                    queue.push(m)
                }
            });
        }
        seen.len()
    }
}

#[test]
fn a_fleet_that_is_switched_on_at_once_becomes_one_with_few_neighbours_each() {
    for seed in 1..=5 {
        let mut fleet = Fleet::new(60, seed);
        fleet.pass(Duration::from_secs(60));
        assert_eq!(fleet.reached(), 60, "seed {seed}");
        let degrees = fleet.degrees();
        assert!(degrees.iter().all(|d| (NEIGHBOURS_WANTED..=NEIGHBOURS_MAX).contains(d)), "{degrees:?}");
    }
}

#[test]
fn halves_that_grew_up_apart_become_one_within_minutes() {
    for seed in 1..=5 {
        let mut fleet = Fleet::new(40, seed);
        (0..20).for_each(|n| fleet.part[n] = 1);
        fleet.pass(Duration::from_secs(3600));
        assert!(fleet.reached() <= 20, "seed {seed}: they were never apart");
        assert!(fleet.degrees().iter().all(|d| *d >= NEIGHBOURS_WANTED), "nobody looks for neighbours");
        fleet.part = vec![0; 40];
        fleet.pass(DISCOVERY_AGAIN + STRANGER * 2 + Duration::from_secs(1));
        assert_eq!(fleet.reached(), 40, "seed {seed}");
        // And more than a thread holds them together.
        fleet.pass(Duration::from_secs(3600));
        let far = |n: &usize| (0..20).contains(n);
        let across = |n: &usize| fleet.cores[*n].neighbours.keys().any(|d| far(n) != (*d < id(20)));
        let joined = (0..40).filter(across).count();
        assert!(joined >= 30, "seed {seed}: {joined} of 40 have neighbours of the other half");
    }
}

#[test]
fn an_idle_fleet_dials_rarely_and_its_degrees_stay_small() {
    let mut fleet = Fleet::new(100, 3);
    fleet.pass(Duration::from_secs(4 * 3600));
    let before = fleet.dials;
    fleet.pass(Duration::from_secs(3600));
    let dials = (fleet.dials - before) as f64 / 100.0;
    assert!(dials <= 16.0, "{dials} dials an hour and peer");
    let degrees = fleet.degrees();
    let mean = degrees.iter().sum::<usize>() as f64 / 100.0;
    assert!(mean <= NEIGHBOURS_ENOUGH as f64 + 2.0, "{mean}: {degrees:?}");
    println!("{dials} dials an hour, {mean} neighbours");
    assert_eq!(fleet.reached(), 100);
}

#[test]
fn a_peer_that_is_cut_off_with_all_its_neighbours_elsewhere_finds_others_within_half_a_minute() {
    let mut slowest = 0;
    for seed in 1..=5 {
        let mut fleet = Fleet::new(40, seed);
        fleet.pass(Duration::from_secs(120));
        let lost: Vec<usize> = (1..40).filter(|n| fleet.cores[0].neighbours.contains_key(&id(*n))).collect();
        (0..40).filter(|n| !lost.contains(n)).for_each(|n| fleet.part[n] = 1);
        let mut seconds = 0;
        while !fleet.cores[0].neighbours.keys().any(|d| !lost.iter().any(|n| id(*n) == *d)) {
            fleet.pass(Duration::from_secs(1));
            fleet.talk();
            seconds += 1;
            assert!(seconds < 30, "seed {seed}");
        }
        slowest = slowest.max(seconds);
    }
    assert!(slowest >= UNANSWERED.as_secs(), "the cut was never felt");
}

#[test]
fn a_fleet_whose_neighbours_answer_loses_none() {
    let mut fleet = Fleet::new(20, 1);
    fleet.pass(Duration::from_secs(60));
    let before = fleet.degrees();
    for _ in 0..60 {
        fleet.pass(Duration::from_millis(1));
        fleet.talk();
    }
    assert_eq!(fleet.degrees(), before);
}
