use super::*;

const GOOD: &str = r#"
name = "two halls"
layers = "swarm"

[network]
uplink = "20 Mbit/s"

[[trunk]]
between = ["north", "south"]
rate = "10 Mbit/s"

[[group]]
name = "presses"
hall = "north"
devices = 20
on = "at 1 s over 10 s"

[[group]]
name = "ovens"
hall = "south"
devices = 5
wifi = "300 Mbit/s"

[release]
size = "10 MB"

[[event]]
at = "50 %"
crash = "fetcher"

[[event]]
at = "5 s"
partition = "ovens 1-3"
for = "20 s"

[expect]
copies = "<= 1.05"
everyone_converged = true
"#;

fn parse(text: &str) -> Result<Scenario, String> {
    Scenario::parse(text, Path::new("x.toml")).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(from: &str, to: &str, expected: &str) {
    assert!(GOOD.contains(from), "{from}");
    let error = parse(&GOOD.replace(from, to)).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_scenario_is_read_with_its_defaults() {
    let scenario = parse(GOOD).unwrap();
    assert_eq!((scenario.devices(), scenario.network.port), (25, 125_000_000));
    assert_eq!(scenario.groups[0].on, PowerOn { from: 1_000_000, over: 10_000_000 });
    assert_eq!(scenario.happenings[0].when, When::Progress(500_000));
    let ovens = Targets::Group { group: 1, first: 1, last: 3 };
    assert_eq!(scenario.happenings[1].action, Action::Partition(ovens));
    assert_eq!(scenario.expectations[0].limit, 1_050);
}

#[test]
fn errors_name_line_key_what_was_expected_and_the_nearest_name() {
    refused("[network]", "[network]\ncentral_rate = \"63 kbit/s\"", "at least 64 kbit/s");
    refused("uplink", "upling", "x.toml:6: unknown key `upling` in [network], did you mean `uplink`?");
    refused("\"20 Mbit/s\"", "20", "x.toml:6: `uplink` is 20: expected a rate such as \"20 Mbit/s\"");
    refused(
        "crash = \"fetcher\"",
        "crash = \"oven\"",
        "x.toml:29: `crash` names `oven`, which is not there, did you mean `ovens`?",
    );
    refused("\"swarm\"", "\"swam\"", "x.toml:3: `layers` is \"swam\": expected `swarm`?");
    refused("devices = 5", "devices = 0", "x.toml:21: `devices` is 0: expected a whole number from 1");
    refused("ovens 1-3", "ovens 1-5", "devices of ovens from 0 to 4");
    refused("\"south\"]", "\"souht\"]", "x.toml:9: `between` names `souht`, which is not there, did you mean `south`?");
    refused("[release]\nsize = \"10 MB\"", "", "[release] lacks `size`");
    refused(
        "crash = \"fetcher\"",
        "",
        "x.toml:27: this [[event]] does not say what happens: expected one of stop, crash",
    );
    refused(
        "copies = \"<= 1.05\"",
        "copies = \"1.05\"",
        "expected \"<= \", \">= \" or \"= \" and a number such as 1.05",
    );
    refused("layers =", "layers", "x.toml:3: ");
    refused("[expect]", "[release]\nsize = \"5 MB\"\n[expect]", "duplicate key; tables of which there may be several");
    refused("\"5 s\"", "\"1 h\"", "x.toml:32: `at` is \"1 h\": expected a time before the run ends at 3600 s");
    refused(
        "size = \"10 MB\"",
        "size = \"1 MB\"\nannounced = \"2 h\"",
        "`announced` is \"2 h\": expected a time before",
    );
}

#[test]
fn errors_stand_where_the_mistake_is() {
    refused("[release]", "[gateway]\nhall = \"nroth\"\n[release]", "x.toml:25: `hall` names `nroth`");
    refused("devices = 5", "devices = 19_990", "x.toml:21: `devices` is 19_990: expected at most 20000 devices in all");
    refused(
        "crash = \"fetcher\"",
        "stop = \"all\"\ncrash = \"fetcher\"",
        "x.toml:30: `crash` is \"fetcher\": expected an [[event]] of its own: this one has `stop`",
    );
    for empty in ["", "# nothing yet\n"] {
        assert!(parse(empty).unwrap_err().contains("x.toml: this file says nothing"), "{empty:?}");
    }
}

#[test]
fn numbers_beyond_all_sense_are_refused_with_their_limit() {
    let release = |keys: &str, expected: &str| refused("size = \"10 MB\"", keys, expected);
    release("size = \"100000 GB\"", "x.toml:25: `size` is \"100000 GB\": expected a size such as \"350 MB\" or");
    release("size = \"9999999 GB\"", ", at most 1000 GB");
    release("size = \"30 MB\"\nframe = \"1 B\"", "`size` is \"30 MB\": expected at most 1048576 pieces in all, and");
    release("size = \"9 GB\"\nframe = \"5 GB\"", "x.toml:26: `frame` is \"5 GB\": expected a size from 1 B to");
    release("size = \"9 MB\"\nframe = \"0 B\"", "`frame` is \"0 B\": expected a size from 1 B to");
    release("size = \"9 MB\"\nmanifest = \"9000000 GB\"", "x.toml:26: `manifest` is");
    release("size = \"9 MB\"\nmanifest = \"2 GB\"", "expected a size from 0 B to 1 GB");
    release("size = \"9 MB\"\none_copy = \"18446744073 GB\"", "`one_copy` is");
    release("size = \"9 MB\"\none_copy = \"0 B\"", "`one_copy` is \"0 B\": expected a size from 1 B to 1000 GB");
    for kind in ["frames", "plain"] {
        let sizes = |sizes: &str| format!("kind = \"{kind}\"\nsizes = [{sizes}]");
        release(&sizes("\"18446744073 GB\", \"1 MB\""), "`sizes` is \"18446744073 GB\": expected a size");
        release(&sizes("\"10000000000 GB\", \"10000000000 GB\""), ", at most 1000 GB");
        release(&sizes("\"5 GB\""), "expected a size from 1 B to 4294967295 B");
        release(&sizes(&vec!["\"4 GB\""; 251].join(", ")), "expected at most 1000 GB in all");
    }
    let plain = |keys: &str| format!("kind = \"plain\"\n{keys}");
    release(&plain("size = \"5 GB\"\nobjects = 1"), "expected more `objects`, or less: the largest may be over");
    release(&plain("size = \"9 MB\"\nobjects = 9\nbatch = \"5 GB\""), "`batch` is");
    for size in ["size = \"1000 GB\"", "kind = \"plain\"\nsize = \"1000 GB\"\nobjects = 1_000_000"] {
        assert!(parse(&GOOD.replace("size = \"10 MB\"", size)).is_ok(), "{size}");
    }
    refused("20 Mbit/s", "2000 Gbit/s", "x.toml:6: `uplink` is \"2000 Gbit/s\": expected a rate such as");
    refused(
        "5 s\"",
        "-5 s\"",
        "`at` is \"-5 s\": expected a time such as \"0.2 ms\", \"30 s\" or \"5 min\", and nothing",
    );
}

#[test]
fn all_releases_together_are_bounded() {
    let several = |size: &str, changed: &str| {
        let more = format!("[[release]]\nannounced = \"20 s\"\nchanged = \"{changed}\"\n");
        let text =
            GOOD.replacen("[release]", "[[release]]", 1).replace("10 MB", size).replace("\"swarm\"", "\"deployment\"");
        parse(&format!("{text}\n{more}"))
    };
    let refused = |size, changed| several(size, changed).unwrap_err();
    assert!(several("600 GB", "60 %").is_ok());
    assert!(refused("600 GB", "70 %").contains("x.toml:42: `changed` is \"70 %\": expected at most 1000 GB in all"));
    let small = |size: &str| format!("{size}\"\nframe = \"1 B");
    assert!(several(&small("600 kB"), "70 %").is_ok());
    assert!(
        refused(&small("600 kB"), "80 %").contains("expected at most 1048576 pieces in all, and there may be 1080000")
    );
}

#[test]
fn a_configured_rate_of_nothing_is_refused_and_an_event_may_cut_off() {
    refused(
        "\"20 Mbit/s\"",
        "\"0 Mbit/s\"",
        "`uplink` is \"0 Mbit/s\": expected a rate such as \"20 Mbit/s\", at least 8 bit/s",
    );
    refused("[[trunk]]", "port = \"0 Mbit/s\"\n[[trunk]]", "`port` is");
    refused("\"10 Mbit/s\"", "\"0 Mbit/s\"", "x.toml:10: `rate` is");
    refused("\"300 Mbit/s\"", "\"0 Mbit/s\"", "`wifi` is");
    for key in ["port", "disk"] {
        refused("devices = 5", &format!("devices = 5\n{key} = \"0 MB/s\""), &format!("x.toml:22: `{key}` is"));
    }
    for cut in ["uplink = \"0 Mbit/s\"", "slow = \"ovens\"\nport = \"0 bit/s\""] {
        assert!(parse(&GOOD.replace("crash = \"fetcher\"", cut)).is_ok(), "{cut}");
    }
}

#[test]
fn losses_are_small_but_those_of_gossip() {
    let network = |line: &str| GOOD.replace("[[trunk]]", &format!("{line}\n[[trunk]]"));
    for line in ["loss = \"10 %\"", "gossip_loss = \"100 %\""] {
        assert!(parse(&network(line)).is_ok(), "{line}");
    }
    for loss in ["10.1 %", "50 %", "100 %"] {
        let error = parse(&network(&format!("loss = \"{loss}\""))).unwrap_err();
        assert!(error.contains("x.toml:8: `loss` is") && error.contains("at most 10 %: the model"), "{error}");
    }
}

#[test]
fn a_file_without_end_is_refused() {
    let error = Scenario::read(Path::new("/dev/zero")).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().contains("/dev/zero") && source.contains("limit of 1048576"), "{error}: {source}");
}

#[test]
fn expectations_that_cannot_all_hold_are_refused() {
    let expect = |times: &str| parse(&GOOD.replace("copies =", &format!("{times}\ncopies =")));
    for (times, line) in
        [("time_50 = \">= 80 s\"\ntime_99 = \"<= 5 s\"", 38), ("time_100 = \"<= 5 s\"\ntime_50 = \"= 6 s\"", 37)]
    {
        let error = expect(times).unwrap_err();
        assert!(error.starts_with(&format!("x.toml:{line}: `time_")) && error.contains("`time_50`"), "{error}");
    }
    for times in ["time_50 = \">= 5 s\"\ntime_99 = \"<= 5 s\"", "time_50 = \"<= 80 s\"\ntime_99 = \">= 5 s\""] {
        assert!(expect(times).is_ok(), "{times}");
    }
}

#[test]
fn words_of_events_are_no_names() {
    for word in ["all", "gateway", "fetcher"] {
        refused("\"presses\"", &format!("\"{word}\""), "x.toml:13: `name` is");
    }
}

#[test]
fn what_is_not_over_within_the_run_is_refused() {
    let at_most = "before the run ends at 3600 s; `seconds` says when that is";
    for on in ["at 1000 h over 1000 h", "at 1 h", "over 2 h", "at 59 min over 2 min"] {
        refused("at 1 s over 10 s", on, &format!("`on` is \"{on}\": expected a time, for all of them, {at_most}"));
    }
    refused("[release]", "[gateway]\non = \"at 2 h\"\n[release]", "`on` is \"at 2 h\"");
    refused("\"20 s\"", "\"1 h\"", &format!("expected to be left out, or so much time that it is over {at_most}"));
    refused("crash = \"fetcher\"", "crash = \"fetcher\"\nfor = \"1 h\"", "x.toml:30: `for` is \"1 h\"");
    let each = |ms| format!("crash = \"presses 0-10\"\neach = \"{ms} ms\"");
    let toml = GOOD.replace("50 %", "3500 s");
    assert!(parse(&toml.replace("crash = \"fetcher\"", &each(9_999))).is_ok());
    let error = parse(&toml.replace("crash = \"fetcher\"", &each(10_000))).unwrap_err();
    assert!(error.contains("`each` is \"10000 ms\"") && error.contains(at_most), "{error}");
}

#[test]
fn a_scenario_that_was_written_reads_as_the_same() {
    let more = r#"
[[event]]
at = "7 s"
slow = "10 % of all"
port = "1 Mbit/s"
each = "20 ms"
[[event]]
at = "8 s"
lie = "ovens 2"
how = "silence"
[[event]]
at = "9 s"
origin = "missing"
[gateway]
clock_behind = "2 h"
port = "10 Mbit/s"
weight = 3
"#;
    let plain = "kind = \"plain\"\nsize = \"10 MB\"\nobjects = 7\nmanifest = \"3 kB\"\nannounced = \"4 s\"";
    let several = r#"
[[release]]
announced = "20 s"
changed = "12.5 %"
devices = "presses 3-7"
app = "fails"
[[event]]
at = "21 s"
cancel = "presses 4"
"#;
    let several =
        format!("{GOOD}{several}").replacen("[release]", "[[release]]", 1).replace("\"swarm\"", "\"deployment\"");
    let budget = GOOD.replace("[network]", "[network]\ncentral_rate = \"1.5 Mbit/s\"");
    for text in [format!("{GOOD}{more}"), GOOD.replace("size = \"10 MB\"", plain), several, budget] {
        let scenario = parse(&text).unwrap();
        let written = scenario.to_toml();
        // It stands on other lines then.
        let again = Scenario { lines: scenario.lines.clone(), ..parse(&written).unwrap() };
        assert_eq!(format!("{again:?}"), format!("{scenario:?}"), "{written}");
    }
}

#[test]
fn a_later_release_and_a_cancel_say_what_they_need() {
    let several = format!("{GOOD}\n[[release]]\nannounced = \"20 s\"\nchanged = \"5 %\"\n");
    let several = several.replacen("[release]", "[[release]]", 1);
    let deployed = several.replace("\"swarm\"", "\"deployment\"");
    assert_eq!(parse(&deployed).unwrap().later[0].changed, 50_000);
    for (text, expected) in [
        (several, "expected layers = \"deployment\""),
        (deployed.replace("\"20 s\"", "\"0 s\""), "expected a time after that of the release before"),
        (deployed.replace("changed =", "changes ="), "unknown key `changes` in [[release]], did you mean `changed`?"),
        (deployed.replace("changed =", "devices = \"gateway\"\nchanged ="), "expected devices of groups"),
        (format!("{GOOD}\n[[event]]\nat = \"1 s\"\ncancel = \"all\"\n"), "expected layers = \"deployment\""),
        ("release = []\n".to_owned() + &GOOD.replace("[release]\nsize = \"10 MB\"", ""), "at least one [[release]]"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
