use super::*;

/// A neighbour; each second so much is sent, and so much comes.
fn looks(
    one: &mut Alone,
    connection: ConnectionId,
    seconds: u64,
    mut traffic: impl FnMut(u64) -> (u64, u64),
) -> Option<u64> {
    for second in 0..seconds {
        let (sent, received) = traffic(second);
        let effects = one.tell(Input::Traffic { connection, sent, received });
        if closes(&effects, connection) == Some(Close::Unanswered) {
            return Some(second);
        }
        one.pass(LOOK);
    }
    None
}

#[test]
fn a_neighbour_that_leaves_everything_unanswered_is_given_up_after_fifteen_seconds() {
    let mut one = Alone::new(start(0));
    let dead = one.join(1, true);
    let gone = looks(&mut one, dead, 60, |second| (10 + second / 3, 7));
    assert_eq!(gone, Some(3 + UNANSWERED.as_secs()), "from the first look at which more was sent");
}

#[test]
fn a_neighbour_to_which_nothing_is_sent_may_be_silent() {
    let mut one = Alone::new(start(0));
    let idle = one.join(1, true);
    assert_eq!(looks(&mut one, idle, 200, |_| (10, 7)), None);
}

#[test]
fn a_neighbour_that_answers_late_and_rarely_stays() {
    let mut one = Alone::new(start(0));
    let slow = one.join(1, true);
    assert_eq!(looks(&mut one, slow, 600, |second| (second, second / 14)), None);
}

#[test]
fn who_stood_still_does_not_blame_its_neighbours() {
    let mut one = Alone::new(start(0));
    let fine = one.join(1, true);
    one.tell(Input::Traffic { connection: fine, sent: 5, received: 5 });
    one.tell(Input::Traffic { connection: fine, sent: 6, received: 5 });
    one.now = one.now.after(Duration::from_secs(300));
    let effects = one.tell(Input::Traffic { connection: fine, sent: 7, received: 5 });
    assert_eq!(closes(&effects, fine), None, "its answers are not read yet");
    assert_eq!(looks(&mut one, fine, 60, |second| (8 + second, 6 + second)), None);
}

#[test]
fn a_silent_neighbour_is_replaced_at_once_and_not_the_first_to_be_dialed() {
    let mut one = Alone::new(start(0));
    one.join_all(1..=4, true);
    let dead = one.core.neighbours[&id(2)].connection;
    one.tell(Input::Told { from: id(1), peers: vec![known(50)] });
    assert!(looks(&mut one, dead, 60, |second| (second, 0)).is_some());
    assert_eq!(dials(&one.tell(Input::Ended { connection: dead })), [address(50)]);
}

#[test]
fn dials_without_answer_do_not_hold_up_others() {
    let mut one = Alone::new(Start { configured: (1..=20).map(address).collect(), ..start(0) });
    let at_once = dials(&one.pass(Duration::ZERO)).len();
    let later = dials(&one.pass(DIAL_SLOW + ROUND * 3)).len();
    assert_eq!((at_once, later), (DIALS_MAX, DIALED_MAX - DIALS_MAX), "none of them is over");
    assert_eq!(dials(&one.pass(Duration::from_secs(60))).len(), 0, "never more than may come to something");
}
