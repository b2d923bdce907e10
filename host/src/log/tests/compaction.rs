//! When history is given up, and what holds it back.

use super::*;

/// `n` changes of one key, each of its own commit.
fn changes(log: &Log, n: u64) {
    for i in 0..n {
        append(log, vec![change("a", i)]);
    }
}

fn after_compaction(log: &Log) -> u64 {
    log.compact().expect("compacted");
    log.compacted()
}

#[test]
fn history_is_given_up_by_age_as_the_clock_of_the_host_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    changes(&log, 5);
    NOW_US.set(NOW_US.get() + 23 * HOUR_US);
    changes(&log, 5);
    assert_eq!(after_compaction(&log), 0, "nothing is 24 hours old");
    NOW_US.set(NOW_US.get() + 2 * HOUR_US);
    assert_eq!(after_compaction(&log), 4, "the fifth is what the key was before the sixth");
    NOW_US.set(NOW_US.get() - 10 * HOUR_US);
    assert_eq!(after_compaction(&log), 4, "a clock that steps back gives nothing up");
    changes(&log, 1);
    assert_eq!(log.head(), 11, "and refuses nothing");
}

#[test]
fn history_is_given_up_by_count_and_by_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_with(dir.path(), |options| options.retention.records = 10);
    changes(&log, 25);
    assert_eq!(after_compaction(&log), 14);
    drop(log);
    let entry_bytes = 110;
    let log = open_with(dir.path(), |options| options.retention.bytes = 5 * entry_bytes);
    let compacted = after_compaction(&log);
    assert!((19..=21).contains(&compacted), "{compacted}");
}

#[test]
fn a_slow_sink_holds_history_back_up_to_a_size() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_with(dir.path(), |options| options.retention.records = 10);
    log.cursors().save("p", "slow", 3);
    log.cursors().save("p", "fast", 24);
    changes(&log, 25);
    assert_eq!(after_compaction(&log), 2, "the sink reads on after 3");
    let (records, gap) = read_all(&log, 3);
    assert_eq!((records.len(), gap), (22, None));
    let n_bytes = log.counts().n_bytes;
    drop(log);
    let log = open_with(dir.path(), |options| options.retention.max_bytes = n_bytes / 2);
    let compacted = after_compaction(&log);
    assert!((12..=14).contains(&compacted), "{compacted}");
    let page = log.read(3, 99, 1 << 20).expect("read");
    assert_eq!(page.gap, Some(Gap { after: 3, compacted }));
    assert!(log.counts().n_bytes <= n_bytes / 2);
}

#[test]
fn the_log_gives_history_up_by_itself_when_it_is_too_long() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_with(dir.path(), |options| options.retention.records = 100);
    changes(&log, 300);
    let start = Instant::now();
    while log.compacted() < 199 {
        assert!(start.elapsed() < Duration::from_secs(120), "{}", log.compacted());
        std::thread::yield_now();
    }
}

#[test]
fn a_base_after_the_compacted_part_is_always_known() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_with(dir.path(), |options| options.retention.records = 10);
    append(&log, vec![change("rare", 1)]);
    changes(&log, 50);
    log.compact().expect("compacted");
    let seen = log.head();
    append(&log, vec![change("rare", 2)]);
    log.compact().expect("compacted");
    let base = log.entry_at(None, "rare", seen).expect("read");
    assert!(matches!(base, At::Entry(found) if show(&found) == "rare=1@1"), "though it is old and replaced");
}

#[test]
fn who_has_seen_nothing_of_a_key_is_known_to_have_however_much_is_compacted() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_with(dir.path(), |options| options.retention.records = 1);
    append(&log, vec![change("a", 1), change("a", 2), change("a", 3)]);
    log.compact().expect("compacted");
    let oldest = log.reaches_back_to(None, "a").expect("read").expect("it is there");
    let Ok(At::Compacted { reaches_back_to }) = log.entry_at(None, "a", 1) else { panic!("it is kept") };
    assert_eq!(reaches_back_to, oldest);
    assert!(matches!(log.entry_at(None, "a", 0), Ok(At::Absent)));
}

#[test]
fn it_is_known_whether_a_keys_history_is_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_with(dir.path(), |options| options.retention.records = 10);
    changes(&log, 5);
    let before = |limit| log.history(None, "a", None, limit).expect("read").before;
    assert_eq!((before(5), before(4)), (Before::Nothing, Before::More));
    changes(&log, 20);
    let compacted = after_compaction(&log);
    let oldest = log.reaches_back_to(None, "a").expect("read");
    assert_eq!(oldest, Some(compacted + 1));
    let n_left = log.history(None, "a", None, 99).expect("read").records.len();
    assert_eq!(
        (before(99), before(n_left), before(n_left - 1)),
        (Before::Compacted, Before::Compacted, Before::More)
    );
    append(&log, vec![change("b", 1)]);
    assert_eq!(log.history(None, "b", None, 9).expect("read").before, Before::Nothing, "a key of its own");
    assert_eq!(log.reaches_back_to(None, "none").expect("read"), None);
}
