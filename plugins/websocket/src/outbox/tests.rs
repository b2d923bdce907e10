//! What is kept, in which order, and what a client that reads slowly gets instead.

use super::*;
use crate::publication::{Entry, Subject};

fn text(n_bytes: usize) -> Utf8Bytes {
    "x".repeat(n_bytes).into()
}

/// A change as a direct pipeline shows it.
fn direct(text: &str, event: Option<Uuid>) -> Arc<Publication> {
    Arc::new(Publication { text: text.to_owned().into(), event, entry: None })
}

/// An entry of the log that takes about 200 bytes of an outbox.
fn entry(revision: u64, key: &str) -> Arc<Publication> {
    entry_of(revision, key, 100)
}

fn entry_of(revision: u64, key: &str, n_bytes: usize) -> Arc<Publication> {
    let head = format!(r#"{{"key":"{key}","old_value":"#);
    let old_value = (revision - 1).to_string();
    let text = format!(r#"{head}{old_value},"revision":{revision},"fill":"{}"}}"#, "x".repeat(n_bytes));
    let old_value = head.len()..head.len() + old_value.len();
    let subject = Some(Subject { name: key.into(), old_value });
    Arc::new(Publication { text: text.into(), event: None, entry: Some(Entry { revision, subject }) })
}

fn next_text(outbox: &Outbox) -> Option<Utf8Bytes> {
    match outbox.take() {
        Some(Next::Text(text)) => Some(text),
        _ => None,
    }
}

/// The revision, what it was before, and since when it stands for all, of everything that waits.
fn shown(outbox: &Outbox) -> Vec<(u64, u64, Option<u64>)> {
    std::iter::from_fn(|| next_text(outbox))
        .filter_map(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
        .map(|shown| {
            let field = |name: &str| shown[name].as_u64();
            (field("revision").unwrap_or(0), field("old_value").unwrap_or(0), field("from_revision"))
        })
        .collect()
}

#[test]
fn without_a_log_a_full_outbox_gives_the_connection_up_and_frees_its_memory() {
    let outbox = Outbox::new(400);
    assert_eq!(outbox.push(text(150)), Pushed::Queued);
    assert_eq!(outbox.show(&direct(&"x".repeat(150), None), 1), Pushed::Queued);
    assert_eq!(outbox.show(&direct("x", None), 2), Pushed::Overflowed);
    assert_eq!(outbox.push(text(1)), Pushed::Closed);
    assert!(matches!(outbox.take(), Some(Next::Close(TOO_SLOW))), "what waited is gone");
}

#[test]
fn an_empty_outbox_takes_a_frame_of_any_size() {
    let outbox = Outbox::new(100);
    assert_eq!(outbox.push(text(1000)), Pushed::Queued);
    assert_eq!(outbox.push(text(1)), Pushed::Overflowed);
}

#[test]
fn an_author_is_answered_before_it_sees_its_own_change() {
    let (outbox, own, other) = (Outbox::new(1000), Uuid::now_v7(), Uuid::now_v7());
    outbox.expect_answer(own);
    for (number, (text, event)) in (1..).zip([("before", other), ("own", own), ("after", other)]) {
        outbox.show(&direct(text, Some(event)), number);
    }
    assert_eq!(next_text(&outbox).as_deref(), Some("before"));
    assert_eq!(next_text(&outbox), None, "held back");
    outbox.answer(own, "answer".into());
    for text in ["answer", "own", "after"] {
        assert_eq!(next_text(&outbox).as_deref(), Some(text));
    }
    assert!(outbox.take().is_none() && outbox.waiting().queue.bytes() == 0);
}

#[test]
fn nothing_is_held_back_when_half_of_the_outbox_is_full_or_the_connection_closes() {
    let (outbox, own) = (Outbox::new(400), Uuid::now_v7());
    outbox.expect_answer(own);
    outbox.show(&direct("own", Some(own)), 1);
    outbox.push(text(160));
    assert_eq!(next_text(&outbox).as_deref(), Some("own"));
    outbox.answer(own, "answer".into());
    assert_eq!(next_text(&outbox), Some(text(160)));
    assert_eq!(next_text(&outbox).as_deref(), Some("answer"), "late, but there");

    outbox.expect_answer(own);
    outbox.show(&direct("own", Some(own)), 2);
    outbox.close(TOO_SLOW);
    assert_eq!(next_text(&outbox).as_deref(), Some("own"));
    assert!(matches!(outbox.take(), Some(Next::Close(_))));
}

#[test]
fn pings_go_first_and_the_close_frame_last() {
    let outbox = Outbox::new(1000);
    outbox.push(text(1));
    outbox.ping();
    outbox.close(TOO_SLOW);
    assert_eq!(outbox.push(text(1)), Pushed::Closed);
    assert!(matches!(outbox.take(), Some(Next::Ping)));
    assert!(matches!(outbox.take(), Some(Next::Text(_))));
    assert!(matches!(outbox.take(), Some(Next::Close(TOO_SLOW))));
}

#[test]
fn a_publication_is_queued_once_however_many_patterns_match() {
    let outbox = Outbox::new(1000);
    assert_eq!(outbox.show(&direct("x", None), 1), Pushed::Queued);
    assert_eq!(outbox.show(&direct("x", None), 1), Pushed::Skipped);
    assert!(outbox.is_first_untold() && !outbox.is_first_untold());
    outbox.tell();
    assert!(outbox.is_first_untold());
}

#[test]
fn a_client_gets_what_comes_after_the_revision_it_began_at() {
    let outbox = Outbox::new(10_000);
    outbox.begin_after(5);
    for revision in [4, 5, 6] {
        outbox.show(&entry(revision, "a"), revision);
    }
    assert_eq!(shown(&outbox), [(6, 5, None)]);
}

#[test]
fn a_full_outbox_keeps_the_last_entry_of_each_key_in_the_order_of_the_log() {
    let outbox = Outbox::new(2000);
    outbox.begin_after(0);
    outbox.push("an answer".into());
    let keys = ["a", "b", "a", "c", "a", "b", "d", "a", "a", "a", "a", "a"];
    let pushed: Vec<Pushed> =
        (1..).zip(keys).map(|(revision, key)| outbox.show(&entry(revision, key), revision)).collect();
    assert!(pushed.contains(&Pushed::Conflated(5)) && !pushed.contains(&Pushed::FellBehind), "{pushed:?}");
    let shown = shown(&outbox);
    assert_eq!(shown[..3], [(4, 3, None), (6, 1, Some(2)), (7, 6, None)], "{shown:?}");
    assert_eq!(shown[3], (9, 0, Some(1)), "what it was before the first one it stands for");
    assert!(shown.is_sorted(), "{shown:?}");
}

#[test]
fn what_was_conflated_is_conflated_again() {
    let outbox = Outbox::new(1000);
    outbox.begin_after(0);
    for revision in 1..100 {
        assert!(!matches!(outbox.show(&entry(revision, "a"), revision), Pushed::FellBehind));
    }
    let shown = shown(&outbox);
    assert_eq!(shown[0].2, Some(1), "{shown:?}");
    assert_eq!(shown.last().expect("an entry").0, 99);
}

#[test]
fn what_cannot_be_conflated_is_read_from_the_log_again() {
    let outbox = Outbox::new(1000);
    outbox.begin_after(0);
    outbox.push("an answer".into());
    let pushed: Vec<Pushed> =
        (1..=8).map(|revision| outbox.show(&entry(revision, &revision.to_string()), revision)).collect();
    assert!(pushed.contains(&Pushed::FellBehind), "{pushed:?}");
    assert_eq!(pushed.last(), Some(&Pushed::Skipped), "the log has it");
    assert_eq!(outbox.reading(), Some(Reading::Resync(Reason::Slow)));
    assert_eq!(next_text(&outbox).as_deref(), Some("an answer"));
    assert_eq!(next_text(&outbox), None);
}

fn behind(outbox: &Outbox) -> Behind {
    outbox.waiting().behind().expect("it is behind")
}

fn live(after: u64) -> Then {
    Then::Live { after, bookmark: "{}".into() }
}

#[test]
fn a_page_is_queued_as_far_as_there_is_room_and_the_rest_is_read_again() {
    let outbox = Outbox::new(1000);
    outbox.rewind(Reading::History { after: 0 });
    let page: Vec<_> = (1..=5).map(|revision| entry(revision, &revision.to_string())).collect();
    outbox.push_page(behind(&outbox), &page, live(5));
    let Some(Reading::History { after }) = outbox.reading() else { panic!("still behind") };
    assert!((1..5).contains(&after), "{after}");
    assert_eq!(shown(&outbox).len() as u64, after);
    outbox.push_page(behind(&outbox), &page[4..], live(5));
    assert_eq!(outbox.reading(), None);
    assert_eq!(outbox.show(&entry(5, "5"), 6), Pushed::Skipped, "the page had it");
    assert_eq!(outbox.show(&entry(6, "6"), 7), Pushed::Queued);
}

#[test]
fn a_page_for_a_client_that_was_sent_elsewhere_is_not_queued() {
    let outbox = Outbox::new(1000);
    outbox.rewind(Reading::History { after: 0 });
    let stale = behind(&outbox);
    outbox.rewind(Reading::History { after: 3 });
    assert_eq!(outbox.push_page(stale, &[entry(1, "a")], live(1)), Pushed::Skipped);
    assert_eq!(outbox.resync(stale, "{}".into(), Reading::History { after: 9 }), Pushed::Skipped);
    assert_eq!(outbox.reading(), Some(Reading::History { after: 3 }));
    assert_eq!(shown(&outbox), []);
}

#[test]
fn an_entry_larger_than_the_outbox_is_no_reason_to_tell_a_reader_that_it_is_slow() {
    let outbox = Outbox::new(1000);
    outbox.rewind(Reading::History { after: 0 });
    assert_eq!(outbox.push_page(behind(&outbox), &[entry_of(1, "a", 2000)], live(1)), Pushed::Queued);
    assert_eq!(outbox.reading(), None);
    assert_eq!(shown(&outbox), [(1, 0, None), (0, 0, None)], "the entry, then the bookmark");
}

#[test]
fn a_bookmark_goes_with_the_entries_that_it_speaks_of() {
    let outbox = Outbox::new(1000);
    outbox.rewind(Reading::History { after: 0 });
    outbox.push_page(behind(&outbox), &[entry(1, "a"), entry(2, "b")], live(2));
    let fell = (3..10).map(|revision| outbox.show(&entry(revision, &revision.to_string()), revision));
    assert!(fell.into_iter().any(|pushed| pushed == Pushed::FellBehind));
    assert_eq!(shown(&outbox), [], "who resumes after a bookmark has everything before it");
}

#[tokio::test]
async fn an_entry_that_does_not_fit_is_read_again_when_what_waits_is_gone_and_not_before() {
    let outbox = Outbox::new(1000);
    outbox.push(text(10));
    outbox.rewind(Reading::History { after: 0 });
    let large = [entry_of(1, "a", 600)];
    outbox.push_page(behind(&outbox), &large, live(1));
    assert!(outbox.reading().is_some(), "it did not fit");
    let soon = std::time::Duration::from_millis(50);
    let room = tokio::time::timeout(soon, outbox.has_room(soon * 100)).await;
    assert!(room.is_err(), "reading it again would not help");
    assert!(next_text(&outbox).is_some());
    assert!(outbox.has_room(soon).await);
    outbox.push_page(behind(&outbox), &large, live(1));
    assert_eq!(outbox.reading(), None);
}

/// The client's own change, as an entry of the log.
fn own_entry(revision: u64, key: &str, event: Uuid) -> Arc<Publication> {
    let Publication { text, entry, .. } = Arc::try_unwrap(entry(revision, key)).expect("held once");
    Arc::new(Publication { text, event: Some(event), entry })
}

/// A log answers authors before it shows anything, so their answers are never far behind.
#[test]
fn on_the_log_an_author_is_answered_first_also_when_much_waits() {
    let (outbox, own) = (Outbox::new(2000), Uuid::now_v7());
    outbox.begin_after(0);
    outbox.push(text(1000));
    outbox.expect_answer(own);
    outbox.show(&own_entry(1, "a", own), 1);
    for revision in 2..9 {
        outbox.show(&entry(revision, "a"), revision);
    }
    assert_eq!(next_text(&outbox), Some(text(1000)));
    assert_eq!(next_text(&outbox), None, "held back");
    outbox.answer(own, "answer".into());
    assert_eq!(next_text(&outbox).as_deref(), Some("answer"));
    assert_eq!(shown(&outbox)[0].2, Some(1), "its own change is in there");
}

#[test]
fn on_the_log_too_an_answer_that_does_not_come_holds_back_no_more_than_there_is_room_for() {
    let (outbox, own) = (Outbox::new(1000), Uuid::now_v7());
    outbox.begin_after(0);
    outbox.expect_answer(own);
    outbox.show(&own_entry(1, "a", own), 1);
    for revision in 2..20 {
        outbox.show(&entry(revision, &revision.to_string()), revision);
    }
    assert_eq!(outbox.reading(), Some(Reading::Resync(Reason::Slow)));
    outbox.push("resync".into());
    assert_eq!(next_text(&outbox).as_deref(), Some("resync"), "what is read again is held back again");
    outbox.push_page(behind(&outbox), &[own_entry(1, "a", own)], live(1));
    assert_eq!(next_text(&outbox), None);
    outbox.answer(own, "answer".into());
    assert_eq!(next_text(&outbox).as_deref(), Some("answer"));
    assert_eq!(shown(&outbox), [(1, 0, None), (0, 0, None)], "one place for one answer");
}

#[test]
fn an_authors_own_change_may_be_larger_than_its_outbox() {
    let (outbox, own) = (Outbox::new(100), Uuid::now_v7());
    outbox.begin_after(0);
    outbox.expect_answer(own);
    assert_eq!(outbox.show(&own_entry(1, "a", own), 1), Pushed::Queued);
    outbox.answer(own, "{}".into());
    assert_eq!(shown(&outbox), [(0, 0, None), (1, 0, None)]);
}
