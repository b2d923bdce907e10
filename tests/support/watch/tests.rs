//! The oracle itself: what is right passes, each fault put in is named.

use super::*;

/// Ten changes of two keys in turns.
fn history() -> History {
    (1..=10).map(committed).collect()
}

fn committed(revision: u64) -> Committed {
    let key = if revision % 2 == 1 { "app.odd" } else { "app.even" };
    Committed { revision, key: key.to_owned(), number: 100 + revision }
}

fn change(revision: u64) -> Seen {
    Seen::Change { change: committed(revision), from_revision: None }
}

fn conflated(revision: u64, from: u64) -> Seen {
    Seen::Change { change: committed(revision), from_revision: Some(from) }
}

fn bookmark(revision: u64) -> Seen {
    Seen::Bookmark { revision }
}

fn resync(revision: u64) -> Seen {
    Seen::Resync { revision, reason: "compacted".to_owned() }
}

fn session(since: impl Into<Option<u64>>, seen: impl IntoIterator<Item = Seen>) -> Session {
    Session { since: since.into(), is_slow: false, seen: seen.into_iter().collect() }
}

fn verdict(sessions: Vec<Session>) -> Verdict {
    let patterns = vec!["app.*".to_owned()];
    check(&history(), &Observation { name: "test".to_owned(), patterns, sessions })
}

fn violations(sessions: Vec<Session>) -> Vec<Violation> {
    verdict(sessions).violations
}

#[test]
fn a_subscriber_that_resumes_and_sees_each_change_once_is_right() {
    let first = session(None, [bookmark(2), change(3), change(4)]);
    let second = session(4, (5..=10).map(change));
    let verdict = verdict(vec![first, second]);
    assert_eq!(verdict.violations, []);
    assert_eq!((verdict.n_resumes, verdict.n_seen), (1, 9));
}

#[test]
fn what_nobody_asked_for_is_not_missing() {
    let odd = Observation {
        name: "odd".to_owned(),
        patterns: vec!["app.odd".to_owned()],
        sessions: vec![session(0, [1, 3, 5, 7, 9].map(change))],
    };
    assert_eq!(check(&history(), &odd).violations, []);
    let with_even = Observation { sessions: vec![session(0, [1, 2, 3, 5, 7, 9].map(change))], ..odd };
    assert_eq!(check(&history(), &with_even).violations, [Violation::Unwanted(committed(2))]);
}

#[test]
fn a_duplicate_is_caught_within_a_connection_and_over_a_resume() {
    let within = (1..=5).chain(5..=10).map(change);
    assert_eq!(violations(vec![session(0, within)]), [Violation::Repeated(committed(5))]);
    let resumed = vec![session(0, (1..=5).map(change)), session(5, (5..=10).map(change))];
    assert_eq!(violations(resumed), [Violation::Repeated(committed(5))]);
}

#[test]
fn a_gap_is_caught_within_a_connection_over_a_resume_and_at_the_end() {
    let within = (1..=10).filter(|revision| *revision != 4).map(change);
    assert_eq!(violations(vec![session(0, within)]), [Violation::Missing(committed(4))]);
    let resumed = vec![session(0, (1..=5).map(change)), session(5, (7..=10).map(change))];
    assert_eq!(violations(resumed), [Violation::Missing(committed(6))]);
    assert_eq!(violations(vec![session(0, (1..=9).map(change))]), [Violation::Missing(committed(10))]);
    // Lost just before the connection ended: the next one does not bring it.
    let lost = vec![session(0, [1, 2, 3, 5].map(change)), session(5, (6..=10).map(change))];
    assert_eq!(violations(lost), [Violation::Missing(committed(4))]);
}

#[test]
fn a_reorder_is_caught() {
    let seen = violations(vec![session(0, [1, 2, 4, 3, 5, 6, 7, 8, 9, 10].map(change))]);
    assert!(seen.contains(&Violation::Unordered { after: 4, change: committed(3) }), "{seen:?}");
}

#[test]
fn another_value_than_the_committed_one_is_caught() {
    let wrong = Committed { number: 7, ..committed(3) };
    let mut seen: Vec<Seen> = (1..=10).map(change).collect();
    seen[2] = Seen::Change { change: wrong.clone(), from_revision: None };
    let violations = violations(vec![session(0, seen)]);
    assert!(violations.contains(&Violation::Unknown(wrong)), "{violations:?}");
}

#[test]
fn a_conflated_message_stands_for_what_it_declares_and_for_nothing_else() {
    let right = [change(1), change(2), change(6), conflated(9, 3), change(10)].into_iter();
    // 4 and 8 are of the other key.
    let found = verdict(vec![session(0, right)]);
    assert_eq!(found.n_conflations, 1);
    assert_eq!(found.violations, [Violation::Missing(committed(4)), Violation::Missing(committed(8))]);
    let all = [change(1), change(2), conflated(9, 3), conflated(10, 4)];
    assert_eq!(violations(vec![session(0, all)]), []);
    let too_little = [change(1), change(2), conflated(9, 5), conflated(10, 4)];
    assert_eq!(violations(vec![session(0, too_little)]), [Violation::Missing(committed(3))]);
    let undeclared = [change(1), change(2), change(9), conflated(10, 4)];
    assert_eq!(violations(vec![session(0, undeclared)]).len(), 3, "3, 5 and 7");
}

#[test]
fn a_slow_connection_that_ends_before_it_declares_is_made_up_for_by_newer_values() {
    let mut slow = session(0, [1, 2, 4].map(change));
    slow.is_slow = true;
    let rest = session(4, (5..=10).map(change));
    assert_eq!(violations(vec![slow.clone(), rest]), []);
    let without = session(4, [6, 8, 10].map(change));
    assert!(violations(vec![slow, without]).contains(&Violation::Missing(committed(3))));
}

#[test]
fn a_bookmark_is_taken_at_its_word() {
    let right = [change(1), change(2), bookmark(2), change(3)].into_iter().chain((4..=10).map(change));
    assert_eq!(violations(vec![session(0, right)]), []);
    let too_early = [change(1), bookmark(3), change(3)].into_iter().chain((4..=10).map(change));
    let found = violations(vec![session(0, too_early)]);
    assert!(found.contains(&Violation::Missing(committed(2))), "{found:?}");
    let back = (1..=10).map(change).chain([bookmark(9)]);
    let goes_back = Violation::BookmarkGoesBack { after: 10, revision: 9 };
    assert_eq!(violations(vec![session(0, back)]), [goes_back]);
}

#[test]
fn after_a_resync_the_current_state_follows_and_nothing_else_is_owed() {
    let told = [resync(8), change(7), change(8), change(9), change(10)];
    let found = verdict(vec![session(2, told)]);
    assert_eq!(found.violations, []);
    assert_eq!(found.n_resyncs["compacted"], 1);
    let untold = [change(7), change(8), change(9), change(10)];
    assert_eq!(violations(vec![session(2, untold)]).len(), 4, "3, 4, 5, 6: compaction was not told");
}

#[test]
fn a_snapshot_with_a_key_left_out_or_an_old_value_is_caught() {
    let left_out = [resync(8), change(8), change(10)];
    let found = violations(vec![session(2, left_out)]);
    assert!(found.contains(&Violation::Missing(committed(7))), "{found:?}");
    let old = [resync(8), change(5), change(8), change(9), change(10)];
    assert_eq!(violations(vec![session(2, old)]), [Violation::Stale(committed(5))]);
    // Cut off in the middle: what was not shown comes with the next connection.
    let cut = vec![session(2, [resync(8), change(7)]), session(7, [8, 9, 10].map(change))];
    assert_eq!(violations(cut), []);
}

#[test]
fn a_history_with_a_gap_or_a_change_twice_is_not_complete() {
    let gap: History = (1..=10).filter(|revision| *revision != 4).map(committed).collect();
    let twice: History = (1..=10).map(|revision| Committed { number: 1, ..committed(revision) }).collect();
    for history in [gap, twice] {
        assert!(std::panic::catch_unwind(|| history.assert_complete()).is_err());
    }
    history().assert_complete();
}
