//! Each fault and each key of a scenario is felt: the same run without it comes out otherwise, in the way that matters.

use super::{Outcome, run, site};
use std::sync::LazyLock;

static CALM: LazyLock<Outcome> = LazyLock::new(|| run(&site("swarm", ""), 1));

/// How a run must differ from the calm one.
type Differs = fn(&Outcome, &Outcome) -> bool;

fn later(calm: &Outcome, felt: &Outcome) -> bool {
    felt.times[2] > calm.times[2]
}

fn wastes(calm: &Outcome, felt: &Outcome) -> bool {
    calm.wasted == 0 && felt.wasted > 0 && felt.converged == felt.counted
}

#[track_caller]
fn assert_felt(text: &str, differs: Differs) {
    let felt = run(text, 1);
    assert_eq!((CALM.violation.clone(), felt.violation.clone()), (None, None));
    assert!(differs(&CALM, &felt), "not felt\n{}{}", CALM.summary(), felt.summary());
}

#[track_caller]
fn event(text: &str, differs: Differs) {
    assert_felt(&site("swarm", &format!("[[event]]\n{text}\n")), differs);
}

#[track_caller]
fn key(from: &str, to: &str, differs: Differs) {
    let text = site("swarm", "");
    assert!(text.contains(from), "{from}");
    assert_felt(&text.replacen(from, to, 1), differs);
}

#[test]
fn a_stop_is_felt_and_so_is_one_after_the_other() {
    event("at = \"8 s\"\nstop = \"hall\"\nfor = \"10 s\"", later);
    let stop =
        |each| run(&site("swarm", &format!("[[event]]\nat = \"8 s\"\nstop = \"hall\"\n{each}for = \"3 s\"\n")), 1);
    let (at_once, each) = (stop(""), stop("each = \"2 s\"\n"));
    assert!(each.ended_at > at_once.ended_at && each.converged == 12, "{}", each.summary());
}

#[test]
fn a_crash_a_power_cut_and_a_partition_are_felt() {
    event("at = \"8 s\"\ncrash = \"hall\"\nfor = \"10 s\"", later);
    event("at = \"8 s\"\npower_cut = \"hall\"\nfor = \"10 s\"", |calm, cut| {
        later(calm, cut) && cut.bytes[0] > calm.bytes[0]
    });
    event("at = \"6 s\"\npartition = \"hall 0-5\"\nfor = \"20 s\"", later);
}

#[test]
fn a_start_is_felt() {
    let text = site("swarm", "[[group]]\nname = \"late\"\ndevices = 2\non = \"at 100 s\"\n");
    let early = run(&format!("{text}[[event]]\nat = \"20 s\"\nstart = \"late\"\n"), 1);
    assert!(early.times[2] < Some(60_000_000) && run(&text, 1).times[2] > Some(100_000_000), "{}", early.summary());
}

#[test]
fn each_way_to_lie_is_felt() {
    event("at = \"7 s\"\nlie = \"hall 0-2\"\nhow = \"bytes\"", |_, lied| lied.bans > 0 && lied.counted == 9);
    for how in ["nothing", "silence"] {
        let asked = |how| {
            let liars = format!("[[group]]\nname = \"liar\"\ndevices = 4\nlies = \"{how}\"\n");
            run(&site("swarm", &liars), 1)
        };
        let (honest, lied) = (asked("honest"), asked(how));
        assert!(lied.requests[1] > CALM.requests[1] && lied.times[2] > honest.times[2], "{how}: {}", lied.summary());
    }
}

#[test]
fn each_mood_of_central_is_felt() {
    for mood in ["stalled", "failing", "missing"] {
        event(&format!("at = \"5 s\"\norigin = \"{mood}\"\nfor = \"15 s\""), later);
    }
    event("at = \"6 s\"\norigin = \"corrupt\"\nfor = \"3 s\"", |calm, felt| later(calm, felt) && wastes(calm, felt));
}

#[test]
fn the_uplink_and_ports_are_felt() {
    event("at = \"4 s\"\nuplink = \"5 Mbit/s\"", later);
    event("at = \"4 s\"\nslow = \"hall 3\"\nport = \"1 Mbit/s\"", later);
    key("[network]", "[network]\nport = \"8 Mbit/s\"", later);
    key("devices = 12", "devices = 12\nport = \"8 Mbit/s\"", later);
}

#[test]
fn what_messages_and_requests_cost_is_felt() {
    key("[network]", "[network]\ncentral_latency = \"500 ms\"", later);
    key("[network]", "[network]\nlatency = \"100 ms\"", later);
    key("[network]", "[network]\njitter = \"200 ms\"", later);
    key("[network]", "[network]\noverhead = \"20 %\"", |calm, felt| later(calm, felt) && felt.bytes[0] > calm.bytes[0]);
}

#[test]
fn how_long_a_dead_connection_is_believed_in_is_felt() {
    let crash = "[[event]]\nat = \"5 s\"\ncrash = \"hall 0-5\"\n";
    let (long, short) = (site("swarm", crash), site("swarm", crash).replace("[network]", "[network]\nidle = \"2 s\""));
    let (long, short) = (run(&long, 1), run(&short, 1));
    assert_eq!((long.converged, short.converged), (6, 6));
    assert!(short.requests[1] < long.requests[1] || short.times[2] < long.times[2], "{}", short.summary());
}

#[test]
fn who_may_ask_central_is_felt() {
    let nobody = site("swarm", "[gateway]\norigin = false\n");
    for key in ["origin = false", "weight = 0"] {
        let text = nobody.replacen("devices = 12", &format!("devices = 12\n{key}"), 1).replace("= 900", "= 60");
        assert_eq!((run(&text, 1).requests[0], run(&nobody, 1).converged), (0, 12), "{key}");
    }
}

#[test]
fn what_devices_have_and_how_fast_their_disks_are_is_felt() {
    key("devices = 12", "devices = 12\nhas = \"50 %\"", |calm, felt| felt.bytes[2] < calm.bytes[2] * 3 / 4);
    key("devices = 12", "devices = 12\ndisk = \"1 MB/s\"", later);
    key("devices = 12", "devices = 12\nsync = \"2 s\"", later);
}

#[test]
fn a_clock_that_is_too_far_ahead_takes_the_announcement_for_expired() {
    let clock = |key: &str| {
        let group = format!("devices = 12\n{key}");
        run(&site("deployment", "").replacen("devices = 12", &group, 1).replace("= 900", "= 120"), 1)
    };
    let (right, ahead, behind) = (clock(""), clock("clock_ahead = \"800 h\""), clock("clock_behind = \"800 h\""));
    assert_eq!((right.ends, behind.ends), ([12, 0, 0], [12, 0, 0]));
    assert_eq!((ahead.converged, ahead.ends), (0, [0, 0, 0]), "{}", ahead.summary());
}

#[test]
fn what_a_release_is_made_of_is_felt() {
    let plain = |keys: &str| {
        let release = format!("kind = \"plain\"\nsize = \"20 MB\"\nobjects = 500\n{keys}");
        run(&site("swarm", "").replace("size = \"20 MB\"\nframe = \"1 MiB\"", &release), 1)
    };
    let (usual, few, small) = (plain(""), plain("batch_objects = 4\n"), plain("batch = \"100 kB\"\n"));
    assert!(few.requests[1] > usual.requests[1] && small.requests[1] > usual.requests[1]);
    key("frame = \"1 MiB\"", "frame = \"4 MiB\"", |calm, felt| felt.requests[1] < calm.requests[1]);
    key("size = \"20 MB\"\nframe = \"1 MiB\"", "sizes = [\"1 MB\", \"2 MB\"]", |_, felt| felt.bytes[0] < 4_000_000);
    key("frame = \"1 MiB\"", "frame = \"1 MiB\"\none_copy = \"10 MB\"", |calm, felt| felt.copies > calm.copies * 3 / 2);
    let told =
        |size| run(&site("announcement", "").replace("announced", &format!("manifest = \"{size}\"\nannounced")), 1);
    assert!(told("5 MB").bytes[0] > told("5 kB").bytes[0] + 4_000_000);
}
