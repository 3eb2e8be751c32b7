//! Power cuts at any effect: nothing is lost, nothing is doubled, no counter goes back.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Ask { devices: Vec<usize>, release: u8, nobody: bool },
    Withdraw { action: u64, nobody: bool },
    Report { i: usize, action: u64, terminal: bool },
    Resend { i: usize, back: u64 },
    Central { up: bool },
    Peer { there: bool },
    Acknowledge { most: usize },
    Pass { ms: u64 },
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (proptest::collection::vec(0usize..4, 1..4), 0u8..3, any::<bool>())
            .prop_map(|(devices, release, nobody)| Op::Ask { devices, release, nobody }),
        1 => (1u64..6, any::<bool>()).prop_map(|(action, nobody)| Op::Withdraw { action, nobody }),
        5 => (0usize..4, 1u64..6, any::<bool>()).prop_map(|(i, action, terminal)| Op::Report { i, action, terminal }),
        2 => (0usize..4, 0u64..4).prop_map(|(i, back)| Op::Resend { i, back }),
        1 => any::<bool>().prop_map(|up| Op::Central { up }),
        1 => any::<bool>().prop_map(|there| Op::Peer { there }),
        6 => (1usize..5).prop_map(|most| Op::Acknowledge { most }),
        4 => (1u64..8000).prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Restart),
    ]
}

struct Run {
    world: World,
    asked: u64,
    /// Every report that a device ever made.
    made: Vec<Vec<Report>>,
    promised: BTreeMap<u64, Outcome>,
}

impl Run {
    fn new(cuts: BTreeMap<usize, bool>) -> Self {
        let mut world = World::settled();
        world.cuts = cuts.into_iter().map(|(at, done)| (at + world.effects, done)).collect();
        Run { world, asked: 0, made: vec![vec![]; 4], promised: BTreeMap::new() }
    }

    fn step(&mut self, op: Op) {
        let w = &mut self.world;
        match op {
            Op::Ask { devices, release, nobody } => {
                self.asked += 1;
                let ticket = if nobody { NOBODY } else { self.asked };
                w.push(Input::Request { ticket, wish: wish(&devices, release) });
            }
            Op::Withdraw { action, nobody } => {
                let ticket = if nobody { NOBODY } else { 1000 + action };
                w.push(Input::Withdraw { ticket, action });
            }
            Op::Report { i, action, terminal } => {
                let state = if terminal { ReportState::Succeeded } else { ReportState::Fetching };
                let r = report(i, self.made[i].len() as u64 + 1, action, 1, state);
                self.made[i].push(r.clone());
                w.send_later(r);
            }
            Op::Resend { i, back } => {
                if let Some(r) = self.made[i].iter().rev().nth(back as usize) {
                    w.send_later(r.clone());
                }
            }
            Op::Central { up } => w.central = if up { Ok(()) } else { Err(("out of reach".into(), true)) },
            Op::Peer { there } => w.push(if there { Input::Connected } else { Input::Disconnected }),
            Op::Acknowledge { most } => w.acknowledge(most),
            Op::Pass { ms } => w.advance(Duration::from_millis(ms)),
            Op::Restart => w.restart(),
        }
        self.check();
    }

    /// What must hold at any time.
    fn check(&mut self) {
        for (device, upto) in &self.world.receipts {
            for counter in 1..=*upto {
                assert!(self.world.ever_spooled.contains(&(device.clone(), counter)), "receipt for a lost report");
            }
        }
        for (ticket, (action, outcome)) in self.world.answers.clone() {
            if let (Some(action), false) = (action, matches!(outcome, Outcome::Refused { .. })) {
                assert!(self.world.disk.actions.contains_key(&action), "answer {ticket} was forgotten");
                self.promised.insert(action, outcome);
            }
        }
    }

    /// The fleet repeats what it has no receipt for; in the end everything is where it belongs.
    fn finish(mut self) {
        self.world.cuts.clear();
        self.world.central = Ok(());
        self.world.give(Input::Connected);
        for _ in 0..3 {
            for r in self.made.iter().flatten().cloned().collect::<Vec<_>>() {
                if self.world.receipts.get(&r.device).is_none_or(|upto| *upto < r.counter) {
                    self.world.send(r);
                }
            }
            self.world.advance(Duration::from_secs(30));
        }
        self.check();
        let w = &self.world;
        let made: BTreeSet<_> = self.made.iter().flatten().map(|r| (r.device.clone(), r.counter)).collect();
        assert_eq!(w.feedback.keys().cloned().collect::<BTreeSet<_>>(), made);
        assert!(w.spool.is_empty() && w.core.state().undelivered.is_empty() && w.core.state().outbox.is_empty());
        assert_eq!(*w.core.state(), w.disk, "everything is durable");
        let ids: Vec<u64> = w.audit.keys().copied().collect();
        assert_eq!(ids, (1..w.disk.next_entry).collect::<Vec<_>>(), "each audit line once");
        self.check_rows();
    }

    fn check_rows(&self) {
        let w = &self.world;
        for (number, action) in &w.disk.actions {
            assert!(matches!(action.phase, Phase::Announced | Phase::Withdrawn), "{number} {:?}", action.phase);
            for (device, progress) in &action.devices {
                let row = w.newest.as_ref().and_then(|a| a.row(device));
                let wanted = action.phase == Phase::Announced && !progress.is_over();
                assert!(!wanted || row.is_some_and(|r| r.2 >= *number), "a wish for {device} was lost");
            }
        }
        if let Some(newest) = &w.newest {
            assert_eq!(newest.rows.len(), w.disk.rows.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn power_cuts_lose_nothing_and_double_nothing(
        ops in proptest::collection::vec(op(), 1..60),
        cuts in proptest::collection::btree_map(1usize..200, any::<bool>(), 0..6),
    ) {
        let mut run = Run::new(cuts);
        for op in ops {
            run.step(op);
        }
        run.finish();
    }
}

/// A fixed story, cut at every single effect, before and after it.
#[test]
fn every_cut_of_a_whole_story_ends_well() {
    let story = || {
        let ask = |devices, release| Op::Ask { devices, release, nobody: false };
        let mut ops = vec![ask(vec![0, 1, 2], 1), Op::Pass { ms: 500 }];
        ops.extend((0..3).map(|i| Op::Report { i, action: 1, terminal: false }));
        ops.extend([ask(vec![1], 2), Op::Acknowledge { most: 2 }, Op::Withdraw { action: 1, nobody: true }]);
        ops.extend((0..3).map(|i| Op::Report { i, action: 1, terminal: true }));
        ops.push(Op::Pass { ms: 3000 });
        ops
    };
    let mut bitten = 0;
    for at in 1..80 {
        for done in [false, true] {
            let mut run = Run::new(BTreeMap::from([(at, done)]));
            story().into_iter().for_each(|op| run.step(op));
            bitten += run.world.crashes;
            run.finish();
        }
    }
    assert!(bitten >= 80, "only {bitten} cuts came before the story's end");
}
