use super::book::{Book, Kind, Source};
use super::*;

fn dialable(book: &Book, now: Timestamp) -> usize {
    book.dialable(Kind::Any, &|_, _| false).filter(|(_, _, at)| *at <= now).count()
}

#[test]
fn ten_thousand_false_records_displace_no_proven_or_configured_member() {
    let mut book = Book::new(id(0));
    book.hear(address(0), None, Source::Configured, at(0));
    book.proved(address(1), &id(1), at(0));
    (100..10_100).for_each(|n| {
        let source = if n % 2 == 0 { Source::Found } else { Source::Neighbour(id(n % 50)) };
        book.hear(SocketAddr::from(([10, 9, (n >> 8) as u8, n as u8], 1)), None, source, at(0));
    });
    assert!((HEARD_MAX..=HEARD_MAX + 2).contains(&book.len()), "{}", book.len());
    assert!(book.holds(&address(0)) && book.holds(&address(1)));
    assert_eq!(book.known().len(), 1);
}

#[test]
fn made_up_addresses_push_out_only_what_their_own_teller_said() {
    let mut book = Book::new(id(0));
    (1..=20).for_each(|n| book.hear(address(n), Some(id(n)), Source::Neighbour(id(1)), at(0)));
    (1_000..9_000).for_each(|n| {
        let false_one = SocketAddr::from(([10, 9, (n >> 8) as u8, n as u8], 1));
        book.hear(false_one, Some(id(n)), Source::Neighbour(id(2)), at(0));
    });
    assert!((1..=20).all(|n| book.holds(&address(n))));
    assert_eq!(book.len(), 20 + HEARD_OF_ONE_MAX);
}

#[test]
fn a_dead_address_is_tried_ever_more_rarely_and_dropped_when_it_never_was_a_member() {
    let mut now = at(0);
    let (mut book, mut draw) = (Book::new(id(0)), Draw::new(7));
    book.hear(address(1), None, Source::Configured, now);
    book.hear(address(2), None, Source::Found, now);
    book.proved(address(3), &id(3), now);
    for _ in 0..TRIES_MAX {
        assert_eq!(dialable(&book, now), 3);
        (1..=3).for_each(|n| book.failed(address(n), &mut draw, now));
        assert_eq!(dialable(&book, now), 0);
        now = now.after(BACK_OFF_MAX * 2);
    }
    assert!(!book.holds(&address(2)));
    assert_eq!(dialable(&book, now.after(BACK_OFF_LONG)), 2);
}

#[test]
fn a_device_that_moved_is_known_by_its_new_address_only() {
    let (mut book, mut draw) = (Book::new(id(0)), Draw::new(7));
    book.proved(address(1), &id(1), at(0));
    book.proved(address(2), &id(1), at(0));
    assert_eq!(book.known(), [KnownPeer { device: id(1), address: address(2).to_string() }]);
    assert!(book.share(&id(1), &mut draw).is_empty());
    (10..40).for_each(|n| book.proved(address(n), &id(n), at(0)));
    let shared: BTreeSet<DeviceId> = book.share(&id(1), &mut draw).into_iter().map(|p| p.device).collect();
    assert_eq!(shared.len(), PEERS_MAX);
}

#[test]
fn no_more_members_are_kept_than_the_limit_and_the_longest_unseen_gives_way() {
    let mut book = Book::new(id(0));
    (0..=PROVEN_MAX).for_each(|n| book.proved(address(n), &id(n + 1), at(n as u64)));
    assert_eq!(book.len(), PROVEN_MAX);
    assert!(!book.holds(&address(0)) && book.holds(&address(PROVEN_MAX)));
    book.proved(address(5), &id(6), at(9_999));
    assert_eq!(book.len(), PROVEN_MAX, "who is seen again takes nobody's place");
}

#[test]
fn addresses_that_lead_nowhere_are_not_kept() {
    let mut book = Book::new(id(0));
    for nowhere in ["0.0.0.0:4000", "224.0.0.251:5353", "10.0.0.1:0", "[::]:1", "[ff02::1]:1"] {
        book.hear(nowhere.parse().unwrap(), None, Source::Found, at(0));
    }
    book.proved("10.0.0.1:0".parse().unwrap(), &id(1), at(0));
    assert_eq!(book.len(), 0);
}
