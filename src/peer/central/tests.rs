use super::*;
use crate::identity::Clock;
use crate::peer::testing::{Nginx, Rogue, eventually, respond};
use std::path::Path;

fn central(url: Url) -> Central {
    central_with(url, None).unwrap()
}

fn central_with(url: Url, ca: Option<PathBuf>) -> Result<Central, CentralError> {
    Central::new(CentralOptions { ca, ..options(url) })
}

fn options(url: Url) -> CentralOptions {
    let (clock, stall) = (Arc::new(Clock::new()), Duration::from_millis(500));
    CentralOptions { url, ca: None, proxy: None, budget: CentralBudget::default(), clock, stall }
}

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn pack() -> (Digest, Vec<u8>) {
    let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
    (Digest::of(&bytes), bytes)
}

async fn range(central: &Central, pack: &Digest, offset: u64, length: u64) -> Result<Vec<u8>, CentralError> {
    central.pack(pack, offset, length).await?.whole().await
}

#[tokio::test]
async fn ranges_and_small_objects_come_from_a_static_server() {
    let root = tempfile::tempdir().unwrap();
    let (name, bytes) = pack();
    let commit = Digest::of(b"commit");
    let hex = commit.to_string();
    write(root.path(), &format!("repo/fullmetal/packs/{name}.pack"), &bytes);
    write(root.path(), &format!("repo/objects/{}/{}.commit", &hex[..2], &hex[2..]), b"commit");
    write(root.path(), &format!("repo/objects/{}/{}.commitmeta", &hex[..2], &hex[2..]), b"meta");
    write(root.path(), &format!("repo/fullmetal/manifests/{hex}"), &[7; 100_000]);
    write(root.path(), "repo/refs/heads/apps/web/x86_64", format!("{hex}\n").as_bytes());
    let nginx = Nginx::http(root.path());
    let central = central(nginx.url().join("repo").unwrap());
    for (offset, length) in [(0u64, 1u64), (0, 400_000), (399_999, 1), (12_345, 100_000)] {
        let found = range(&central, &name, offset, length).await.unwrap();
        assert_eq!(found, bytes[offset as usize..(offset + length) as usize]);
    }
    let too_far = range(&central, &name, 400_000, 1).await.unwrap_err();
    assert!(too_far.is_missing() && too_far.to_string().contains("is shorter than its manifest says"), "{too_far}");
    let short = range(&central, &name, 399_999, 2).await.unwrap_err();
    assert!(matches!(short, CentralError::WrongRange { .. }), "{short}");

    let objects = [
        (CentralObject::Ref("apps/web/x86_64".parse().unwrap()), format!("{hex}\n").into_bytes()),
        (CentralObject::Commit(commit), b"commit".to_vec()),
        (CentralObject::CommitMeta(commit), b"meta".to_vec()),
        (CentralObject::Manifest(commit), vec![7; 100_000]),
    ];
    for (object, expected) in objects {
        assert_eq!(central.object(&object).await.unwrap().whole().await.unwrap(), expected);
    }
    let missing = central.object(&CentralObject::Commit(name)).await.unwrap_err();
    assert!(missing.is_missing() && missing.to_string().ends_with(".commit does not exist"), "{missing}");
}

#[tokio::test]
async fn https_is_judged_by_the_configured_ca() {
    let root = tempfile::tempdir().unwrap();
    let (name, bytes) = pack();
    write(root.path(), &format!("fullmetal/packs/{name}.pack"), &bytes);
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (crt, key) = (root.path().join("crt"), root.path().join("key"));
    std::fs::write(&crt, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let nginx = Nginx::https(root.path(), &crt, &key);
    let trusting = central_with(nginx.url(), Some(crt.clone())).unwrap();
    assert_eq!(range(&trusting, &name, 4, 4).await.unwrap(), bytes[4..8]);
    let logged = || async { nginx.requests().first().cloned() };
    let line = eventually("the request in the log", logged).await;
    assert!(line.contains("HTTP/2.0"), "{line}");
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&crt, other.cert.pem()).unwrap();
    let refused = range(&central_with(nginx.url(), Some(crt)).unwrap(), &name, 4, 4).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    let none = central_with(nginx.url(), Some(key)).unwrap_err();
    assert!(none.to_string().contains("it holds no usable certificate"), "{none}");
}

#[tokio::test]
async fn a_server_without_range_will_do_from_byte_zero_only() {
    let rogue = Rogue::start(false, |_| respond("200 OK", &["Content-Length: 10"], b"0123456789")).await;
    let central = central(rogue.url());
    let name = Digest::of(b"pack");
    assert_eq!(range(&central, &name, 0, 4).await.unwrap(), b"0123");
    let refused = range(&central, &name, 4, 4).await.unwrap_err();
    assert!(refused.to_string().contains("this server has no Range"), "{refused}");
    let heads = rogue.heads();
    assert!(heads[1].contains("range: bytes=4-7") && heads[1].contains("accept-encoding: identity"), "{heads:?}");
}

#[tokio::test]
async fn wrong_ranges_short_bodies_and_other_statuses_are_errors() {
    let name = Digest::of(b"pack");
    let cases: [(Vec<u8>, &str); 5] = [
        (respond("206 Partial Content", &["Content-Length: 4"], b"0123"), "answered with \"none\""),
        (respond("206 Partial Content", &["Content-Range: bytes 5-8/10"], b"0123"), "bytes 5-8/10"),
        (
            respond("206 Partial Content", &["Content-Range: bytes 4-7/10", "Content-Length: 4"], b"01"),
            "2 bytes missing",
        ),
        (respond("503 Service Unavailable", &["Content-Length: 0"], b""), "HTTP status 503"),
        (b"nonsense\r\n\r\n".to_vec(), "cannot reach"),
    ];
    for (answer, expected) in cases {
        let rogue = Rogue::start(false, move |_| answer.clone()).await;
        let error = range(&central(rogue.url()), &name, 4, 4).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}: {expected}");
    }
}

#[tokio::test]
async fn a_silent_server_is_a_stall_and_a_dead_one_out_of_reach() {
    let silent = Rogue::start(true, |_| Vec::new()).await;
    let name = Digest::of(b"pack");
    let error = range(&central(silent.url()), &name, 0, 4).await.unwrap_err();
    assert!(matches!(error, CentralError::Stalled { .. }), "{error}");
    let head = respond("206 Partial Content", &["Content-Range: bytes 0-3/10", "Content-Length: 4"], b"01");
    let halfway = Rogue::start(true, move |_| head.clone()).await;
    let error = range(&central(halfway.url()), &name, 0, 4).await.unwrap_err();
    assert!(matches!(error, CentralError::Stalled { .. }), "{error}");
    let dead = format!("http://127.0.0.1:{}/", crate::peer::testing::free_port()).parse().unwrap();
    let error = range(&central(dead), &name, 0, 4).await.unwrap_err();
    assert!(error.to_string().contains("cannot reach") && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn redirects_stay_at_their_origin() {
    let target = Rogue::start(false, |_| respond("200 OK", &["Content-Length: 2"], b"no")).await;
    let elsewhere = format!("Location: {}objects", target.url());
    let rogue = Rogue::start(false, move |head| match head.split_whitespace().nth(1) {
        Some("/moved") => respond("200 OK", &["Content-Length: 4"], b"here"),
        Some(path) if path.ends_with("commitmeta") => respond("302 Found", &[&elsewhere, "Content-Length: 0"], b""),
        Some(path) if path.ends_with("commit") => respond("302 Found", &["Location: /moved", "Content-Length: 0"], b""),
        Some(path) => respond("302 Found", &[&format!("Location: {path}"), "Content-Length: 0"], b""),
        None => Vec::new(),
    })
    .await;
    let central = central(rogue.url());
    let commit = Digest::of(b"commit");
    let moved = central.object(&CentralObject::Commit(commit)).await.unwrap();
    assert_eq!(moved.whole().await.unwrap(), b"here");
    let away = central.object(&CentralObject::CommitMeta(commit)).await.unwrap_err();
    assert!(away.to_string().contains("redirected to another server"), "{away}");
    assert!(target.heads().is_empty(), "nothing was asked there");
    let endless = central.object(&CentralObject::Manifest(commit)).await.unwrap_err();
    assert!(endless.to_string().contains("too many redirects"), "{endless}");
}

#[tokio::test]
async fn objects_over_their_limit_are_refused_before_and_while_they_come() {
    let announced = Rogue::start(false, |_| respond("200 OK", &["Content-Length: 9999999"], b"")).await;
    let commit = CentralObject::Commit(Digest::of(b"commit"));
    let error = central(announced.url()).object(&commit).await.unwrap_err();
    assert!(matches!(error, CentralError::TooLong { max: COMMIT_LEN_MAX, .. }), "{error}");
    let endless = Rogue::start(false, |_| respond("200 OK", &[], &[b'a'; 300])).await;
    let body = central(endless.url()).object(&CentralObject::Ref("main".parse().unwrap())).await.unwrap();
    let error = body.whole().await.unwrap_err();
    assert!(matches!(error, CentralError::TooLong { .. }), "{error}");
}

#[test]
fn addresses_that_are_no_repo_are_refused() {
    for bad in ["ftp://host/", "mailto:x@y"] {
        let error = central_with(bad.parse().unwrap(), None).unwrap_err();
        assert!(matches!(error, CentralError::Scheme { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_configured_proxy_is_asked_for_everything() {
    let name = Digest::of(b"pack");
    let answer = |head: &str| match head.starts_with("CONNECT") {
        true => respond("502 Bad Gateway", &["Content-Length: 0"], b""),
        false => respond("206 Partial Content", &["Content-Range: bytes 4-7/10", "Content-Length: 4"], b"4567"),
    };
    let proxy = Rogue::start(false, answer).await;
    let central =
        |url: &str| Central::new(CentralOptions { proxy: Some(proxy.url()), ..options(url.parse().unwrap()) }).unwrap();
    assert_eq!(range(&central("http://central.example/repo"), &name, 4, 4).await.unwrap(), b"4567");
    let asked = format!("GET http://central.example/repo/fullmetal/packs/{name}.pack HTTP/1.1");
    assert!(proxy.heads()[0].starts_with(&asked), "{:?}", proxy.heads());
    let refused = range(&central("https://central.example/repo"), &name, 4, 4).await.unwrap_err();
    assert!(proxy.heads()[1].starts_with("CONNECT central.example:443"), "{refused} {:?}", proxy.heads());
}

/// Bytes that come in a time, by all sorts of requests, one after another.
async fn bytes_in(central: &Central, pack: (&Digest, u64), object: &ObjectId, time: Duration) -> u64 {
    let begun = std::time::Instant::now();
    let mut sum = 0;
    loop {
        for body in [central.pack(pack.0, 0, pack.1).await, central.archived(object).await] {
            let mut body = body.unwrap();
            while let Some(block) = body.next(u64::MAX).await.unwrap() {
                if sum > 0 && begun.elapsed() > time {
                    return sum;
                }
                sum += block.len() as u64;
            }
        }
    }
}

#[tokio::test]
async fn two_clients_together_take_no_more_than_the_budget_that_they_split() {
    const TIME: Duration = Duration::from_millis(1_500);
    let budget = CentralBudget::of("8 Mbit/s".parse().unwrap());
    let root = tempfile::tempdir().unwrap();
    let (name, bytes) = pack();
    let object = ObjectId { kind: ObjectKind::File, checksum: name };
    write(root.path(), &format!("fullmetal/packs/{name}.pack"), &bytes);
    write(root.path(), &object.archive_path(), &[7; 100_000]);
    let nginx = Nginx::http(root.path());
    let client = || {
        let client = Central::new(CentralOptions { budget: budget.clone(), ..options(nginx.url()) }).unwrap();
        client.uplink().unwrap().share_among(2);
        client
    };
    let (one, other) = (client(), client());
    let whole = (&name, bytes.len() as u64);
    let (a, b) = tokio::join!(bytes_in(&one, whole, &object, TIME), bytes_in(&other, whole, &object, TIME));
    // A quarter of a second's worth comes at once.
    assert!(a > 0 && b > 0 && a + b <= 1_750_000, "{a} and {b} bytes");
    let alone = client();
    alone.uplink().unwrap().share_among(1);
    assert_eq!(alone.uplink().unwrap().share().unwrap().bytes_per_s, 1_000_000);
    assert_eq!(range(&alone, &name, 4, 1_000).await.unwrap(), bytes[4..1_004], "and it is what was asked for");
}
