//! The device goes down in every step of a deployment, in order or without.

use crate::bench::Bench;
use fullmetal_proto::deploy::Phase;
use fullmetal_proto::wire::report::ReportState;
use fullmetal_sim::lab::net::WAN;
use fullmetal_sim::lab::wait_for;

/// How it goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    Cut,
    Reboot,
}

impl Bench {
    fn goes(&mut self, down: Down) {
        let device = &mut self.hosts[0].device;
        match down {
            Down::Cut => device.cut_power().unwrap(),
            Down::Reboot => device.reboot().unwrap(),
        }
    }

    fn while_it_fetches(&mut self, down: Down) {
        self.net.limit("central", WAN, 100_000).unwrap();
        let release = self.next_with(400_000);
        let action = self.decide(&["web"]);
        wait_for("the fetch", crate::LIMIT, || {
            let fetching = self.host().record().deployment.filter(|d| !d.parts.is_empty());
            Ok(fetching.filter(|d| d.phase == Phase::Staging && d.reported == Some(ReportState::Accepted)).map(|_| ()))
        })
        .unwrap();
        self.goes(down);
        self.net.limit("central", WAN, 100_000_000).unwrap();
        self.ends_with(action, "succeeded", release);
    }

    fn while_it_is_staged(&mut self, down: Down) {
        self.host().fullmetal(&["lock", "--reason", "acceptance test"]).unwrap();
        let release = self.next("1");
        let action = self.decide(&["web"]);
        let staged = |bench: &Bench| {
            wait_for("it is staged", crate::LIMIT, || {
                let record = bench.host().record();
                Ok(record.deployment.filter(|d| d.reported == Some(ReportState::Staged)).map(|d| d.phase))
            })
            .unwrap()
        };
        assert_eq!(staged(self), Phase::Staging);
        self.goes(down);
        assert_eq!(self.host().page(8080), format!("release {}", release - 1));
        assert_eq!(staged(self), Phase::Staging, "a lock outlives a reboot");
        // Its agent may be starting yet.
        wait_for("it is unlocked", crate::LIMIT, || Ok(self.host().fullmetal(&["unlock"]).ok())).unwrap();
        self.ends_with(action, "succeeded", release);
    }

    fn while_it_switches(&mut self, down: Down) {
        let release = self.next("1");
        let hold = format!("hold-{release}");
        self.host().set("web", &hold);
        let action = self.decide(&["web"]);
        self.host().reaches("its switch", |phase| matches!(phase, Phase::Switching { .. }));
        self.host().is("web", "activating");
        self.goes(down);
        self.host().is("web", "activating");
        self.host().unset("web", &hold);
        self.ends_with(action, "succeeded", release);
    }

    fn while_it_proves_itself(&mut self, down: Down) {
        let release = self.next("2");
        let action = self.decide(&["web"]);
        self.host().reaches("its probation", |phase| matches!(phase, Phase::Proving { .. }));
        self.goes(down);
        self.ends_with(action, "succeeded", release);
    }

    fn while_it_rolls_back(&mut self, down: Down) {
        let release = self.next("5");
        let (fail, hold) = (format!("fail-{release}"), format!("hold-{}", release - 1));
        self.host().set("web", &fail);
        self.host().set("web", &hold);
        let action = self.decide(&["web"]);
        self.host().reaches("its roll back", |phase| matches!(phase, Phase::RollingBack { .. }));
        self.host().is("web", "activating");
        self.goes(down);
        self.host().is("web", "activating");
        self.host().unset("web", &hold);
        let reason = self.ends_with(action, "failed", release - 1);
        assert!(reason.contains("web"), "{reason}");
        self.host().unset("web", &fail);
    }

    /// Whoever is to hear of the end is not there.
    fn before_its_end_is_told(&mut self, down: Down) {
        let release = self.next("2");
        let action = self.decide(&["web"]);
        self.host().reaches("its probation", |phase| matches!(phase, Phase::Proving { .. }));
        self.gateway.end();
        wait_for("the end", crate::LIMIT, || Ok(self.host().record().deployment.is_none().then_some(()))).unwrap();
        self.goes(down);
        self.gateway.start_peer().unwrap();
        self.gateway.start_gateway().unwrap();
        self.ends_with(action, "succeeded", release);
    }

    fn again_and_again_while_it_proves_itself(&mut self) {
        let release = self.next("6");
        let action = self.decide(&["web"]);
        for times in 0..3 {
            self.host().reaches("its probation", |phase| *phase == Phase::Proving { restarts: times });
            self.goes(Down::Cut);
        }
        let reason = self.ends_with(action, "failed", release - 1);
        assert!(reason.contains("went down 3 times during the probation"), "{reason}");
    }
}

#[test]
fn a_device_that_goes_down_in_any_step_ends_with_one_whole_version_and_one_true_report() {
    let mut bench = Bench::settled(1);
    bench.while_it_fetches(Down::Cut);
    bench.while_it_is_staged(Down::Reboot);
    bench.while_it_switches(Down::Cut);
    bench.while_it_switches(Down::Reboot);
    bench.while_it_proves_itself(Down::Cut);
    bench.while_it_rolls_back(Down::Cut);
    bench.before_its_end_is_told(Down::Reboot);
    bench.again_and_again_while_it_proves_itself();
}
