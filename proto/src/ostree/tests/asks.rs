//! What a commit asks of the device.

use super::super::gvariant::build_array;
use super::*;

fn commit(key: &str, kind: &str, value: &[u8]) -> Result<Asks, OstreeError> {
    said(key, kind, value).map(|metadata| metadata.asks)
}

/// The metadata of a commit that has one key.
fn said(key: &str, kind: &str, value: &[u8]) -> Result<CommitMetadata, OstreeError> {
    // `{sv}`: key, padding to 8, the variant, where the key ends.
    let mut entry = [key.as_bytes(), &[0]].concat();
    let end = entry.len() as u8;
    entry.resize(entry.len().next_multiple_of(8), 0);
    entry.extend([value, &[0], kind.as_bytes(), &[end]].concat());
    let metadata = [&entry[..], &[entry.len() as u8]].concat();
    let mut bytes = metadata.clone();
    bytes.extend([0, 0]);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend([&[0; 8][..], &[1; 32], &[2; 32]].concat());
    let (end, root_meta) = (metadata.len() as u16, bytes.len() as u16 - 32);
    let ends = [root_meta, end + 2, end + 1, end, end, end];
    // Where a member ends takes two bytes once the whole is over 255.
    let wide = bytes.len() + ends.len() > 255;
    bytes.extend(ends.iter().flat_map(|at| at.to_le_bytes()[..if wide { 2 } else { 1 }].to_vec()));
    Commit::parse(&bytes).map(|commit| commit.metadata)
}

#[test]
fn what_an_operating_system_says_is_read_as_libostree_writes_it() {
    assert!(said("ostree.bootable", "b", &[1]).unwrap().bootable);
    assert!(!said("ostree.bootable", "b", &[0]).unwrap().bootable);
    for (kind, value) in [("b", &[2][..]), ("s", b"yes\0"), ("u", &[1, 0, 0, 0])] {
        assert!(said("ostree.bootable", kind, value).is_err(), "{kind}");
    }
    let text = |key: &str, kind: &str, value: &str| said(key, kind, format!("{value}\0").as_bytes()).unwrap();
    assert_eq!(text("ostree.linux", "s", "6.1.0-30").kernel.as_deref(), Some("6.1.0-30"));
    assert_eq!(text("version", "s", "2026.11").version.as_deref(), Some("2026.11"));
    // Words of others are for people: what cannot be shown is left out.
    for odd in ["", "1\n2", &"9".repeat(129)] {
        assert_eq!((text("ostree.linux", "s", odd).kernel, text("version", "s", odd).version), (None, None), "{odd:?}");
    }
    assert_eq!(said("version", "u", &[1, 0, 0, 0]).unwrap().version, None);
    assert!(said("fullmetal.version", "u", &[1, 0, 0, 0]).is_err());
}

fn list(texts: &[&str]) -> Vec<u8> {
    build_array(&texts.iter().map(|t| [t.as_bytes(), &[0]].concat()).collect::<Vec<_>>())
}

#[test]
fn each_wish_is_read_into_its_field() {
    let names = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect::<Vec<crate::AppName>>();
    assert_eq!(commit("fullmetal.after", "as", &list(&["db", "mqtt"])).unwrap().after, names(&["db", "mqtt"]));
    assert_eq!(commit("fullmetal.requires", "as", &list(&["db"])).unwrap().requires, names(&["db"]));
    assert_eq!(commit("fullmetal.wants", "as", &list(&["db"])).unwrap().wants, names(&["db"]));
    assert!(commit("fullmetal.notify", "b", &[1]).unwrap().notify);
    assert!(!commit("fullmetal.notify", "b", &[0]).unwrap().notify);
    assert_eq!(commit("fullmetal.start-timeout", "u", &45u32.to_le_bytes()).unwrap().start_timeout, Some(45));
    let limits = |key: &str, kind: &str, value: &[u8]| commit(key, kind, value).unwrap().limits;
    assert_eq!(limits("fullmetal.memory", "t", &(64u64 << 20).to_le_bytes()).memory, Some(64 << 20));
    assert_eq!(limits("fullmetal.cpu", "u", &500u32.to_le_bytes()).cpu, Some(500));
    assert_eq!(limits("fullmetal.pids", "u", &100u32.to_le_bytes()).pids, Some(100));
    assert_eq!(limits("fullmetal.io", "u", &200u32.to_le_bytes()).io, Some(200));
    let grants = commit("fullmetal.grants", "as", &list(&["screen", "serial:ttyS1"])).unwrap().grants;
    assert_eq!(grants, [Grant::Screen, Grant::Serial("ttyS1".into())]);
    assert_eq!(commit("fullmetal.other", "b", &[1]), Ok(Asks::default()));
}

#[test]
fn wishes_out_of_bounds_or_of_another_type_are_refused() {
    let many: Vec<String> = (0..17).map(|i| format!("a{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let cases: [(&'static str, &str, Vec<u8>); 14] = [
        ("fullmetal.after", "as", list(&many)),
        ("fullmetal.requires", "as", list(&["../x"])),
        ("fullmetal.wants", "s", b"db\0".to_vec()),
        ("fullmetal.notify", "u", vec![1, 0, 0, 0]),
        ("fullmetal.start-timeout", "u", 0u32.to_le_bytes().into()),
        ("fullmetal.start-timeout", "u", 3601u32.to_le_bytes().into()),
        ("fullmetal.memory", "t", 4096u64.to_le_bytes().into()),
        ("fullmetal.memory", "t", u64::MAX.to_le_bytes().into()),
        ("fullmetal.memory", "u", 4096u32.to_le_bytes().into()),
        ("fullmetal.cpu", "u", 9u32.to_le_bytes().into()),
        ("fullmetal.pids", "u", 0u32.to_le_bytes().into()),
        ("fullmetal.io", "u", 1001u32.to_le_bytes().into()),
        ("fullmetal.grants", "as", list(&["screen", "everything"])),
        ("fullmetal.grants", "as", list(&["gpu"; 33])),
    ];
    for (key, kind, value) in cases {
        let refused = commit(key, kind, &value);
        assert!(matches!(&refused, Err(OstreeError::Metadata { key: k, .. }) if *k == key), "{key}: {refused:?}");
    }
    assert_eq!(commit("fullmetal.notify", "b", &[2]), Err(OstreeError::NotNormal));
}

#[test]
fn a_grant_never_leads_out_of_dev() {
    for text in ["screen", "gpu", "sound", "serial:ttyUSB0", "serial:ttymxc2", "device:i2c-1", "device:input/event3"] {
        assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
    }
    for bad in [
        "",
        "Screen",
        "screen:",
        "serial",
        "serial:",
        "serial:sda",
        "serial:tty0",
        "serial:tty",
        "serial:tty/x",
        "serial:../ttyS0",
        "device:",
        "device:/etc/passwd",
        "device:../etc/shadow",
        "device:a//b",
        "device:a/.",
        "device:a b",
        "usb:1",
        "device:.hidden",
    ] {
        let error = bad.parse::<Grant>().unwrap_err().to_string();
        assert!(error.contains("they are screen, gpu"), "{bad}: {error}");
    }
}
