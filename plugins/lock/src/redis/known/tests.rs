//! What is remembered of leases, and what of what others say is news.

use super::*;
use crate::{clock::Now, lease::tests::lease, redis::recent::MOST};

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
    assert!(
        known.is_lost(&name, 7, at(54))
            && !known.is_lost(&name, 7, at(53))
            && !known.is_lost(&name, 6, at(54))
    );
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
    assert_eq!(known.told.get(&name).map(VecDeque::len), Some(MOST_TOLD_OF_ONE));
    assert!(known.is_over(&name, 99) && !known.is_over(&name, 100));
}

#[test]
fn what_was_given_up_is_so_until_the_server_has_it_no_more() {
    let (mut known, name) = known(7);
    let lease = known.lease(&name).expect("a lease");
    known.give_up(&name, lease, Some(What::Released));
    known.ended(&name, 7);
    assert!(known.is_given_up(&name, 7) && !known.is_given_up(&name, 8));
    assert_eq!((known.how_it_ended(&name, 7), known.how_it_ended(&name, 8)), (Some(What::Released), None));
    assert!(matches!(known.left()[..], [Due::GivenUp(..)]) && known.has_left());
    known.is_returned(&name, 6);
    assert!(known.is_given_up(&name, 7), "an earlier one");
    known.is_returned(&name, 7);
    assert!(!known.has_left() && known.left().is_empty());
}

#[test]
fn what_somebody_sees_to_is_due_to_nobody_else() {
    let (mut known, name) = known(7);
    let other = LockName::new(None, "app.y").expect("a name");
    let later = lease("s2", 9, Now { mono: at(10), wall_us: 0 });
    known.set(&other, Some(Held { stored: later.to_stored(), lease: Arc::new(later) }));
    assert_eq!(known.take_due(at(60)).len(), 1);
    assert_eq!((known.due(at(60)).len(), known.idle_for(at(60))), (0, at(10)));
    assert!(matches!(&known.due(at(70))[..], [Due::Ended(due, _)] if *due == other));
    known.is_done(&name);
    assert_eq!((known.due(at(60)).len(), known.idle_for(at(60))), (1, at(0)));
}

#[test]
fn of_too_many_locks_the_oldest_is_forgotten() {
    let (mut known, name) = known(7);
    let of = |n: usize| LockName::new(None, &format!("app.{n}")).expect("a name");
    known.claim(&name, 7);
    (0..MOST).for_each(|n| assert!(known.claim(&of(n), 1)));
    assert!(!known.is_told(&name, 7));
    assert!((0..MOST).all(|n| known.is_told(&of(n), 1)));
}
