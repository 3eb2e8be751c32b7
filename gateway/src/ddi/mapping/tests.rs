use super::*;
use crate::ddi::answer::{ActionId, Chunk};
use Handling::{Attempt, Forced, Skip};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{PartKind, Proof, StartOptions};

const REV: &str = "0000000000000000000000000000000000000000000000000000000000001eef";
const OTHER: &str = "00000000000000000000000000000000000000000000000000000000000026ac";
const INTERVAL: Duration = Duration::from_secs(330);
const NOW: Timestamp = Timestamp::from_secs(1_795_500_000);

fn chunk(name: &str, metadata: &[(&str, &str)]) -> Chunk {
    let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Chunk { part: "bApp".to_owned(), name: name.to_owned(), version: "57660".to_owned(), metadata }
}

fn deployment(chunks: Vec<Chunk>) -> Deployment {
    Deployment {
        id: ActionId(8),
        download: Forced,
        update: Forced,
        maintenance_window: None,
        chunks,
        confirmation_required: false,
        history: None,
    }
}

fn mapped(deployment: &Deployment) -> Result<Decision, Unusable> {
    map(&"p1".parse().unwrap(), deployment, NOW, INTERVAL)
}

fn order(chunks: Vec<Chunk>) -> Order {
    match mapped(&deployment(chunks)).unwrap() {
        Decision::Announce(order) => order,
        hold => panic!("{hold:?}"),
    }
}

#[test]
fn each_decision_of_hawkbits_has_its_mode_and_its_meaning_when_staged() {
    let (open, closed) = (Some(Window::Available), Some(Window::Unavailable));
    let until = Some(Timestamp::from_secs(1_795_500_990));
    let cases = [
        ("forced", Forced, None, Mode::Now, None, Staged::Waits),
        ("soft, time-forced before its time", Attempt, None, Mode::WhenIdle, None, Staged::Waits),
        ("download-only", Skip, None, Mode::Stage, None, Staged::Final),
        ("window closed", Skip, closed, Mode::Stage, None, Staged::Waits),
        ("window open, forced", Forced, open, Mode::Now, until, Staged::Waits),
        ("window open, soft", Attempt, open, Mode::WhenIdle, until, Staged::Waits),
        ("download-only in an open window", Skip, open, Mode::Stage, None, Staged::Final),
        ("closed window and forced, which contradict", Forced, closed, Mode::Stage, None, Staged::Waits),
    ];
    for (what, update, window, mode, valid_until, staged) in cases {
        let mut found = deployment(vec![chunk("hello", &[("rev", REV)])]);
        (found.update, found.maintenance_window) = (update, window);
        let Decision::Announce(order) = mapped(&found).unwrap() else { panic!("{what}") };
        assert_eq!((order.wish.mode, order.wish.valid_until, order.staged), (mode, valid_until, staged), "{what}");
        assert_eq!(order.wish.action, Some(8));
        assert_eq!(order.wish.targets, Targets::Named(BTreeSet::from(["p1".parse().unwrap()])));
    }
}

#[test]
fn nothing_is_announced_before_it_is_confirmed_or_while_it_may_not_be_fetched() {
    let mut waiting = deployment(vec![chunk("hello", &[("rev", REV)])]);
    waiting.confirmation_required = true;
    assert!(matches!(mapped(&waiting).unwrap(), Decision::Hold { why: Hold::Unconfirmed, .. }));
    (waiting.confirmation_required, waiting.download) = (false, Skip);
    assert!(matches!(mapped(&waiting).unwrap(), Decision::Hold { why: Hold::NoDownload, .. }));
}

#[test]
fn a_module_of_fullmetalupdate_is_its_ref_and_its_app() {
    let order = order(vec![chunk(
        "hello-world",
        &[
            ("rev", REV),
            ("autostart", "1"),
            ("autoremoved", "0"),
            ("notify", "1"),
            ("timeout", "30"),
            ("screenused", "0"),
        ],
    )]);
    let part = &order.wish.parts[0];
    assert_eq!((part.ref_name.as_str(), part.name.as_ref().unwrap().as_str()), ("hello-world", "hello-world"));
    assert_eq!((part.commit.unwrap().to_string().as_str(), part.version.as_deref()), (REV, Some("57660")));
    assert_eq!(part.start, StartOptions { autostart: true, job: false });
    assert_eq!(part.proof, Proof { notify: true, seconds: Some(30) });
    assert!(order.notes.is_empty(), "{:?}", order.notes);
}

#[test]
fn a_module_of_ours_says_what_it_is_and_wins_over_foreign_metadata() {
    let ours = [
        ("fullmetal.ref", "apps/web/x86_64"),
        ("fullmetal.commit", REV),
        ("fullmetal.autostart", "false"),
        ("fullmetal.job", "true"),
        ("autostart", "1"),
        ("rev", REV),
        ("fullmetal.comit", "x"),
    ];
    let order = order(vec![chunk("The web shop", &ours)]);
    let part = &order.wish.parts[0];
    assert_eq!((part.ref_name.as_str(), part.name.as_ref()), ("apps/web/x86_64", None));
    assert_eq!(part.start, StartOptions { autostart: false, job: true });
    assert_eq!(order.notes, ["module The web shop: fullmetal.comit is unknown and passed over"]);
    let named = [("fullmetal.ref", "apps/web/x86_64"), ("fullmetal.commit", REV), ("fullmetal.name", "shop")];
    let part = &self::order(vec![chunk("x", &named)]).wish.parts[0];
    assert_eq!(part.name.as_ref().unwrap().as_str(), "shop");
}

#[test]
fn an_operating_system_is_a_part_beside_apps_whatever_is_said_of_its_start() {
    let os = |name: &str, metadata: &[(&str, &str)]| Chunk { part: "os".to_owned(), ..chunk(name, metadata) };
    let theirs = [("rev", REV), ("autostart", "0"), ("autoremove", "0"), ("notify", "1"), ("timeout", "30")];
    let ours = [("fullmetal.ref", "os/press/arm64"), ("fullmetal.commit", REV), ("fullmetal.name", "floor")];
    let cases = [
        (os("fullmetalupdate-os-press", &theirs), "fullmetalupdate-os-press", "fullmetalupdate-os-press"),
        (os("Floor", &ours), "os/press/arm64", "floor"),
    ];
    for (os, ref_name, name) in cases {
        // An app of the same name is another part.
        let app = chunk(name, &[("rev", OTHER)]);
        let parts = order(vec![app, os]).wish.parts;
        assert_eq!(parts.len(), 2);
        let [app, os] = [PartKind::App, PartKind::Os].map(|kind| parts.iter().find(|p| p.kind == kind).unwrap());
        assert_eq!(app.commit.unwrap().to_string(), OTHER);
        assert_eq!((os.ref_name.as_str(), os.name.as_ref().unwrap().as_str()), (ref_name, name));
        assert_eq!((os.commit.unwrap().to_string().as_str(), os.version.as_deref()), (REV, Some("57660")));
        assert_eq!((os.start.clone(), os.proof.clone()), (StartOptions::default(), Proof::default()));
    }
}

#[test]
fn autostart_is_read_in_both_spellings_and_is_on_where_nothing_is_said() {
    for (metadata, expected) in [
        (&[("rev", REV)][..], true),
        (&[("rev", REV), ("autostart", "0")], false),
        (&[("rev", REV), ("autostart", "true")], true),
        (&[("rev", REV), ("fullmetal.autostart", "0"), ("autostart", "1")], false),
    ] {
        let order = order(vec![chunk("hello", metadata)]);
        assert_eq!(order.wish.parts[0].start.autostart, expected, "{metadata:?}");
    }
}

#[test]
fn several_modules_are_several_parts_in_the_same_order_however_they_are_listed() {
    let chunks = vec![chunk("hello", &[("rev", REV)]), chunk("camera", &[("rev", OTHER)])];
    let parts = order(chunks.clone()).wish.parts;
    let names: Vec<_> = parts.iter().map(|p| p.ref_name.as_str()).collect();
    assert_eq!(names, ["camera", "hello"]);
    assert_eq!(order(chunks.into_iter().rev().collect()).wish.parts, parts);
}

#[test]
fn a_version_that_cannot_be_shown_leaves_the_commits_own() {
    for bad in ["", "1\n2", &"9".repeat(129)] {
        let mut bad_version = chunk("hello", &[("rev", REV)]);
        bad_version.version = bad.to_owned();
        assert_eq!(order(vec![bad_version]).wish.parts[0].version, None, "{bad:?}");
    }
}

#[test]
fn what_cannot_be_installed_is_refused_with_a_reason_for_the_operator() {
    let of_type = |part: &str| Chunk { part: part.to_owned(), ..chunk("m", &[("rev", REV)]) };
    let timed = |timeout| vec![chunk("m", &[("rev", REV), ("notify", "1"), ("timeout", timeout)])];
    let with = |key: &'static str, value: &'static str| vec![chunk("m", &[("rev", REV), (key, value)])];
    let leaves = |name| chunk(name, &[("autoremove", "1")]);
    let many = (0..33).map(|i| chunk(&format!("m{i}"), &[("rev", REV)])).collect();
    let one_app = |name| chunk(name, &[("fullmetal.ref", name), ("fullmetal.commit", REV), ("fullmetal.name", "web")]);
    let cases: Vec<(Vec<Chunk>, &str)> = vec![
        (vec![], "the distribution set has no software modules"),
        (many, "has 33 software modules, at most 32"),
        (vec![of_type("os"), of_type("os")], "\"m\" and \"m\" are both an operating system; a device has one"),
        (vec![Chunk { part: "os".into(), ..leaves("m") }], "\"m\" has autoremove = 1 and is an operating system"),
        (vec![Chunk { part: "os".into(), ..chunk("m", &[]) }], "\"m\" names no commit"),
        (vec![of_type("firmware")], "\"m\" has the type \"firmware\"; only modules of the types \"os\" and"),
        (vec![of_type("")], "has the type \"\""),
        (vec![chunk("bare", &[])], "\"bare\" names no commit: its metadata needs fullmetal.ref and fullmetal.commit"),
        (vec![chunk("m", &[("fullmetal.ref", "a/b")])], "names no commit"),
        (with("fullmetal.commit", OTHER), "names two commits, fullmetal.commit = 000"),
        (vec![chunk("m", &[("fullmetal.ref", "a/b"), ("autoremove", "1")])], "does not say which app it is"),
        (vec![chunk("m m", &[("autoremove", "1")])], "has name = \"m m\": app name"),
        (vec![chunk("m", &[("rev", REV)]), leaves("m")], "\"m\" and \"m\" are the same app"),
        (vec![leaves("m"), leaves("m")], "\"m\" and \"m\" are the same app"),
        (with("autoremove", "maybe"), "has autoremove = \"maybe\": write 1 or 0"),
        (with("autostart", "yes"), "has autostart = \"yes\": write 1 or 0"),
        (with("notify", "perhaps"), "has notify = \"perhaps\": write 1 or 0"),
        (timed("86401"), "has timeout = \"86401\": write at most 86400 seconds"),
        (timed("soon"), "has timeout = \"soon\""),
        (with("fullmetal.job", ""), "has fullmetal.job = \"\": write 1 or 0"),
        (with("fullmetal.ref", "/x"), "has fullmetal.ref = \"/x\": ref"),
        (with("fullmetal.name", "a/b"), "has fullmetal.name = \"a/b\": app name"),
        (vec![chunk("m", &[("rev", "1234")])], "has rev = \"1234\""),
        (vec![chunk("no ref", &[("rev", REV)])], "has name = \"no ref\": ref"),
        (vec![chunk("", &[("rev", REV)])], "has name = \"\""),
        (with("rev", "\u{1b}[31m"), "has rev = \"\u{fffd}[31m\""),
        (vec![chunk("m", &[("rev", REV)]), chunk("m", &[("rev", REV)])], "\"m\" and \"m\" are the same app"),
        (vec![one_app("a"), one_app("b")], "\"a\" and \"b\" are the same app"),
    ];
    for (chunks, expected) in cases {
        let message = mapped(&deployment(chunks)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}: {expected}");
    }
}

#[test]
fn a_module_that_leaves_names_its_app_whatever_its_commit() {
    let ours = [("fullmetal.ref", "apps/web/x86_64"), ("fullmetal.name", "shop"), ("autoremove", "true")];
    let chunks = vec![
        chunk("hello-world", &[("rev", REV), ("autoremove", "1"), ("notify", "1"), ("screenused", "0")]),
        chunk("camera", &[("autoremoved", "1"), ("rev", "gone")]),
        chunk("the shop", &ours),
    ];
    let mut both = chunks.clone();
    both.push(chunk("stays", &[("rev", REV), ("autoremove", "0")]));
    for (chunks, parts) in [(chunks, vec![]), (both, vec!["stays"])] {
        let wish = order(chunks).wish;
        assert_eq!(wish.removed.iter().map(AppName::as_str).collect::<Vec<_>>(), ["camera", "hello-world", "shop"]);
        assert_eq!(wish.parts.iter().map(|p| p.ref_name.as_str()).collect::<Vec<_>>(), parts);
    }
}

#[test]
fn a_commit_of_both_kinds_that_agrees_is_fine() {
    let both = chunk("hello", &[("rev", REV), ("fullmetal.commit", REV)]);
    assert_eq!(order(vec![both]).wish.parts[0].commit, Some(REV.parse::<Digest>().unwrap()));
}
