use super::*;
use crate::config::{Paths, Settings};

const DEVICE: &str = "[device]\nid = \"gw\"\nfleet = \"plant-7\"\n";
const NEEDED: &str =
    "url = \"hawkbit.example\"\ndevices = [\"press-*\", \"cam-1\"]\ngateway_token_file = \"/etc/token\"\n";

fn load(files: &[(&str, &str)]) -> Result<Option<HawkbitSettings>, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join("etc/fullmetal").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    Settings::load(Paths::new(dir.path())).map(|s| s.hawkbit)
}

fn section(text: &str) -> Result<HawkbitSettings, ConfigError> {
    load(&[("fullmetal.toml", &format!("{DEVICE}[hawkbit]\n{text}"))]).map(Option::unwrap)
}

#[test]
fn without_the_section_there_is_no_hawkbit() {
    assert!(load(&[("fullmetal.toml", DEVICE)]).unwrap().is_none());
}

#[test]
fn a_short_section_takes_the_defaults_and_https() {
    let found = section(NEEDED).unwrap();
    assert_eq!(found.url.as_str(), "https://hawkbit.example/");
    assert_eq!((found.tenant.as_str(), found.confirm, found.proxy), ("DEFAULT", Confirm::Ask, None));
    let times = [found.poll_min, found.poll_max, found.heard_within].map(|d| d.as_secs());
    assert_eq!(times, [30, 86_400, 600]);
}

#[test]
fn a_full_section_says_everything_and_a_later_file_wins_key_by_key() {
    let text = "[hawkbit]\nurl = \"http://127.0.0.1:8080/hb\"\ntenant = \"plant\"\ntarget_token_dir = \"/etc/tokens\"\n\
                ca_file = \"/etc/ca.pem\"\nproxy = \"http://proxy:3128\"\ndevices = [\"*\"]\nconfirm = \"auto\"\n\
                poll_min_s = 100000\nheard_within_s = 60\n";
    let later = "[hawkbit]\ntenant = \"hall\"\n";
    let main = format!("{DEVICE}{text}");
    let found = load(&[("fullmetal.toml", &main), ("fullmetal.d/later.toml", later)]).unwrap().unwrap();
    assert_eq!((found.url.as_str(), found.tenant.as_str()), ("http://127.0.0.1:8080/hb/", "hall"));
    assert_eq!(found.target_token_dir.as_deref(), Some(Path::new("/etc/tokens")));
    assert_eq!(found.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert_eq!((found.proxy.unwrap().as_str(), found.confirm), ("http://proxy:3128/", Confirm::Auto));
    assert_eq!((found.poll_min, found.poll_max), (Duration::from_secs(100_000), Duration::from_secs(100_000)));
    assert_eq!(found.heard_within, Duration::from_secs(60));
}

#[test]
fn only_devices_that_a_pattern_names_are_steered() {
    let cases = [
        ("press-*", "press-1", true),
        ("press-*", "press-", true),
        ("press-*", "xpress-1", false),
        ("cam-1", "cam-1", true),
        ("cam-1", "cam-12", false),
        ("*", "anything", true),
        ("*-1", "cam-1", true),
        ("*-1", "cam-12", false),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "acb", false),
        ("ab*ba", "aba", false),
        ("ab*ba", "abba", true),
    ];
    for (text, device, fits) in cases {
        let device: DeviceId = device.parse().unwrap();
        assert_eq!(pattern(text).unwrap().matches(&device), fits, "{text} {device}");
    }
    let found = section(NEEDED).unwrap();
    assert!(found.allows(&"cam-1".parse().unwrap()) && !found.allows(&"cam-2".parse().unwrap()));
}

#[test]
fn each_mistake_is_named_with_its_line_key_and_what_was_expected() {
    // The section's keys begin in line 5 of the file; NEEDED fills lines 5 to 7.
    let cases = [
        ("tenant = \"x\"\n", ["[hawkbit] url is not set", "fullmetal.toml", ""]),
        ("url = \"h\"\n", ["[hawkbit] devices is not set", "", ""]),
        ("url = \"h\"\ndevices = [\"*\"]\n", ["[hawkbit] gateway_token_file is not set", "", ""]),
        ("url = \"ftp://h\"\n{}", ["duplicate key", "line 6", ""]),
        ("{}tenant = \"a b\"\n", ["line 8: [hawkbit] tenant = \"a b\"", "1 to 40 letters", "fullmetal.toml"]),
        ("{}proxy = \"http://u:p@proxy\"\n", ["line 8: [hawkbit] proxy", "without user", ""]),
        ("{}proxy = \"http://proxy/x\"\n", ["[hawkbit] proxy", "http://host:port", ""]),
        ("{}ca_file = \"ca.pem\"\n", ["[hawkbit] ca_file = \"ca.pem\"", "absolute path", ""]),
        ("{}confirm = \"maybe\"\n", ["[hawkbit] confirm = \"maybe\"", "\"ask\"", "\"auto\""]),
        ("{}\npoll_min_s = 0\n", ["line 9: [hawkbit] poll_min_s = 0", "between 1 and 604800 seconds", ""]),
        ("{}poll_min_s = 60\npoll_max_s = 59\n", ["line 9: [hawkbit] poll_max_s = 59", "between 60 and", ""]),
        ("{}heard_within_s = \"10\"\n", ["line 8", "invalid type", ""]),
        ("{}tokn = 1\n", ["line 8", "tokn", "gateway_token_file"]),
        ("{devices}", ["line 6: [hawkbit] devices = [\"a/b\"]", "no device id or pattern", ""]),
        ("{url}", ["line 5: [hawkbit] url = \"ftp://h\"", "https://host", ""]),
    ];
    for (text, words) in cases {
        let text = text
            .replace("{devices}", &NEEDED.replace("[\"press-*\", \"cam-1\"]", "[\"a/b\"]"))
            .replace("{url}", &NEEDED.replace("hawkbit.example", "ftp://h"))
            .replace("{}", NEEDED);
        let message = section(&text).unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "{message:?} lacks {word:?}");
        }
    }
}
