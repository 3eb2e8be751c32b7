//! Network interfaces: those of the configuration, and those that exist.

use super::PeerSettings;

/// The interfaces of this process's network namespace, one a line after two of heading (proc_net(5)).
const LIST: &str = "/proc/self/net/dev";

/// Names in `[peer] interfaces` that no interface has now, and the names that exist.
///
/// It is no error: an interface may come later. `None` when all is well or nothing can be said.
pub fn unknown_interfaces(settings: &PeerSettings) -> Option<(Vec<&str>, Vec<String>)> {
    unknown(&settings.interfaces, &std::fs::read_to_string(LIST).ok()?)
}

fn unknown<'a>(configured: &'a [String], list: &str) -> Option<(Vec<&'a str>, Vec<String>)> {
    let existing: Vec<String> =
        list.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect();
    let unknown: Vec<&str> = configured.iter().filter(|name| !existing.contains(name)).map(String::as_str).collect();
    (!unknown.is_empty()).then_some((unknown, existing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_no_interface_has_are_unknown() {
        let list = "Inter-|   Receive  |\n face |bytes    |\n    lo:  12 3\n  eth0: 4 5\nwlan0:6 7\n";
        let unknown = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            unknown(&names, list).map(|(unknown, _)| unknown.join(" "))
        };
        assert_eq!(unknown(&[]), None);
        assert_eq!(unknown(&["lo", "wlan0"]), None);
        assert_eq!(unknown(&["eth0", "eth1", "wlan"]).as_deref(), Some("eth1 wlan"));
        let here = std::fs::read_to_string(LIST).unwrap();
        assert!(super::unknown(&["lo".to_owned()], &here).is_none(), "the kernel's own list is not understood: {here}");
    }
}
