//! What is remembered of leases, and what of what others say is news.

use super::*;
use crate::{clock::Now, lease::tests::lease};

/// Knows of one lease, with this token, that lasts from 0 to 60 s.
fn known(token: u64) -> (Known, LockName) {
    let (mut known, name) = (Known::default(), LockName::new(None, "app.x").expect("a name"));
    let lease = Arc::new(lease("s1", token, Now { mono: Duration::ZERO, wall_us: 0 }));
    known.set(&name, Some(Held { stored: lease.to_stored(), lease }));
    (known, name)
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_lease_is_due_at_its_end_and_earlier_if_its_holder_was_not_answered() {
    let (mut known, name) = known(7);
    assert_eq!((known.idle_for(at(10)), known.due(at(59)).len()), (at(50), 0));
    assert!(matches!(known.due(at(60))[..], [Due::Ended(..)]));
    known.unanswered(&name, 6);
    assert_eq!(known.idle_for(at(10)), at(50), "an answer about an earlier lease");
    known.unanswered(&name, 7);
    assert_eq!((known.idle_for(at(10)), known.due(at(53)).len()), (at(44), 0));
    assert!(matches!(known.due(at(54))[..], [Due::Unanswered(..)]));
    let lease = known.lease(&name).expect("a lease");
    known.update(&name, &lease);
    assert_eq!(known.idle_for(at(10)), at(50), "it was answered after all");
}

#[test]
fn an_end_is_told_once_and_takes_no_later_lease_with_it() {
    let (mut known, name) = known(7);
    known.unanswered(&name, 7);
    known.ended(&name, 6);
    assert!(known.lease(&name).is_some() && known.is_unanswered(&name, 7));
    assert!(known.claim(&name, 6) && !known.claim(&name, 6) && !known.is_told(&name, 7));
    known.ended(&name, 7);
    assert!(known.lease(&name).is_none() && !known.is_unanswered(&name, 7));
    assert!(known.claim(&name, 0) && known.claim(&name, 0), "what has no token is told each time");
}

#[test]
fn the_end_of_a_lease_is_news_although_that_of_a_later_one_was_told() {
    let (mut known, name) = known(7);
    // Given back here; taken and given back elsewhere, of which this host hears before it has written its own down.
    assert!(known.claim(&name, 8) && known.claim(&name, 7));
    assert!((9..100).all(|token| known.claim(&name, token)));
    assert_eq!(known.told[&name].len(), MOST_TOLD_OF_ONE);
    assert!(known.is_over(&name, 99));
    known.note_registered(&name, 99);
    known.granted(&name, 99);
    assert!(known.is_over(&name, 99), "the same lease once more");
    known.note_registered(&name, 8);
    known.granted(&name, 99);
    assert!(!known.is_over(&name, 99) && known.claim(&name, 99), "another lease under the same token");
}

#[test]
fn what_was_given_up_is_so_until_the_server_has_it_no_more() {
    let (mut known, name) = known(7);
    let lease = known.lease(&name).expect("a lease");
    known.give_up(&name, lease);
    known.ended(&name, 7);
    assert!(known.is_given_up(&name, 7) && !known.is_given_up(&name, 8));
    assert!(matches!(known.due(at(1))[..], [Due::GivenUp(..)]));
    assert_eq!(known.idle_for(at(1)), SOON);
    known.is_returned(&name, 6);
    assert!(known.is_given_up(&name, 7), "an earlier one");
    known.is_returned(&name, 7);
    assert_eq!((known.idle_for(at(1)), known.due(at(100)).len()), (LATER, 0));
}
