use super::*;

fn id(n: usize) -> DeviceId {
    format!("d{n}").parse().unwrap()
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// A line of devices 0 - 1 - … - n-1.
struct Line {
    nodes: Vec<Liveness>,
    messages: usize,
    told: usize,
}

impl Line {
    fn of(n: usize, now: Timestamp) -> Self {
        let mut line = Line { nodes: (0..n).map(|i| Liveness::new(id(i))).collect(), messages: 0, told: 0 };
        for i in 1..n {
            line.input(i - 1, Input::Connected { peer: id(i) }, now);
            line.input(i, Input::Connected { peer: id(i - 1) }, now);
        }
        line
    }

    fn input(&mut self, node: usize, input: Input, now: Timestamp) {
        let mut queue = VecDeque::from([(node, input)]);
        while let Some((node, input)) = queue.pop_front() {
            self.nodes[node].handle(input, now);
            while let Some(Effect::Send { peer, devices }) = self.nodes[node].poll() {
                self.messages += 1;
                self.told += devices.len();
                let to = peer.as_str()[1..].parse().unwrap();
                queue.push_back((to, Input::Heard { from: id(node), devices }));
            }
        }
    }

    fn run(&mut self, from: u64, to: u64) {
        for s in from..to {
            for node in 0..self.nodes.len() {
                if self.nodes[node].next_wakeup().is_some_and(|t| t <= at(s)) {
                    self.input(node, Input::Wakeup, at(s));
                }
            }
        }
    }

    fn age(&self, node: usize, of: usize, now: u64) -> Option<u32> {
        self.nodes[node].heard(at(now)).into_iter().find(|(d, _)| *d == id(of)).map(|(_, age)| age)
    }
}

#[test]
fn word_of_a_device_six_links_away_stays_younger_than_ten_minutes() {
    let mut line = Line::of(7, at(0));
    for s in (0..7200).step_by(600) {
        line.run(s, s + 600);
        let age = line.age(0, 6, s + 600).unwrap_or(u32::MAX);
        assert!(s < 600 || age < 600, "age {age} after {s}");
    }
}

#[test]
fn a_device_that_fell_silent_grows_old_and_is_forgotten() {
    let mut line = Line::of(4, at(0));
    line.run(0, 600);
    line.input(2, Input::Disconnected { peer: id(3) }, at(600));
    line.run(600, 1500);
    let age = line.age(0, 3, 1500).unwrap();
    assert!((900..1200).contains(&age), "{age}");
    line.run(1500, 4400);
    assert_eq!(line.age(0, 3, 4400), None);
    assert_eq!(line.age(0, 1, 4400).map(|age| age <= 60), Some(true));
}

#[test]
fn an_idle_line_sends_about_one_short_message_a_minute_and_link() {
    let mut line = Line::of(10, at(0));
    line.run(0, 1200);
    (line.messages, line.told) = (0, 0);
    line.run(1200, 4800);
    assert!(line.messages <= 60 * 18, "{}", line.messages);
    assert!(line.told <= 30 * 10 * 9 * 2, "{}", line.told);
}

#[test]
fn claims_from_strangers_about_me_or_beyond_the_limit_are_ignored() {
    let mut core = Liveness::new(id(0));
    core.handle(Input::Heard { from: id(1), devices: vec![(id(2), 0)] }, at(5000));
    core.handle(Input::Connected { peer: id(1) }, at(5000));
    core.handle(Input::Heard { from: id(1), devices: vec![(id(0), 0), (id(3), 4000)] }, at(5000));
    assert_eq!(core.heard(at(5000)), [(id(1), 0)]);
    for chunk in 0..20 {
        let devices = (0..2_000).map(|n| (id(10 + chunk * 2_000 + n), 0)).collect();
        core.handle(Input::Heard { from: id(1), devices }, at(5000));
    }
    assert_eq!(core.heard(at(5000)).len(), DEVICES_MAX);
}
