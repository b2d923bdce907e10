//! Pages: what is shared, where memory ends, and places that are no place in the log.

use super::*;

#[test]
fn readers_at_the_head_share_one_batch_per_commit() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    append(&log, vec![change("a", 1), change("b", 2)]);
    append(&log, vec![change("c", 3)]);
    let read = |after| log.read(after, 100, 1 << 20).expect("read").batch;
    let value = |batch: &Batch| batch[0].raw_value().expect("bytes").as_ptr();
    assert_eq!(value(&read(2)), value(&read(2)), "made once");
    let both = read(0);
    assert_eq!(shown(&both), ["a=1@1", "b=2@2", "c=3@3"], "what has queued up is one page");
    assert_eq!(both[2].raw_value().expect("bytes").as_ptr(), value(&read(2)), "and no copy");
}

#[test]
fn memory_is_bounded_in_bytes_and_the_disk_goes_on_where_it_ends() {
    let dir = tempfile::tempdir().expect("a folder");
    let max_bytes = 40_000;
    let log = open_with(dir.path(), |options| options.ring_bytes = max_bytes);
    for i in 0..200 {
        append(&log, vec![change("a", i)]);
        assert!(log.counts().recent_bytes <= max_bytes as u64);
    }
    let n_recent = log.counts().n_recent;
    assert!((5..195).contains(&n_recent), "{n_recent} of 200 entries in memory");
    let (records, gap) = read_all(&log, 0);
    assert_eq!(shown(&records), (0..200).map(|i| format!("a={i}@{}", i + 1)).collect::<Vec<_>>());
    assert_eq!(gap, None);
    append(&log, vec![change("a", format!("\"{}\"", "v".repeat(max_bytes)))]);
    assert_eq!(log.counts().n_recent, 0, "larger than all of it");
    assert_eq!(read_all(&log, 200).0.len(), 1);
}

#[test]
fn a_place_beyond_the_head_is_put_right() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    append(&log, vec![change("a", 1)]);
    for after in [1, 2, u64::MAX] {
        let page = log.read(after, 10, 1 << 20).expect("read");
        assert_eq!((page.batch.len(), page.through), (0, 1));
    }
    assert_eq!(log.current(9, 10, 1 << 20).expect("read").through, 1);
    assert!(matches!(log.entry_at(None, "a", u64::MAX), Ok(At::Entry(_))));
}

#[test]
fn a_notice_is_the_newest_of_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    append(&log, vec![notice("a"), change("a", 1), notice("a")]);
    assert_eq!(shown(&log.read(0, 10, 1 << 20).expect("read").batch), ["(a)@1", "a=1@2", "(a)@3"]);
    assert_eq!(shown(&log.current(0, 10, 1 << 20).expect("read").batch), ["a=1@2"]);
    assert_eq!(shown(&log.history(None, "a", None, 9).expect("read").records), ["a=1@2"]);
    assert_eq!(shown(&log.history(None, "a", Some(3), 9).expect("read").records), ["a=1@2"]);
    assert!(matches!(log.entry_at(None, "a", 1), Ok(At::Absent)));
}

#[test]
fn what_a_key_was_is_found_by_the_clock_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let start = NOW_US.get();
    for (hour, value) in [(1, 1), (2, 2), (4, 4)] {
        NOW_US.set(start + hour * HOUR_US);
        append(&log, vec![change("a", value), change("b", value)]);
    }
    for (hour, expected) in
        [(0, None), (1, Some("a=1@1")), (3, Some("a=2@3")), (4, Some("a=4@5")), (9, Some("a=4@5"))]
    {
        match log.entry_at_time(None, "a", start + hour * HOUR_US).expect("read") {
            At::Entry(found) => assert_eq!(Some(show(&found).as_str()), expected, "hour {hour}"),
            At::Absent => assert_eq!(expected, None, "hour {hour}"),
            At::Compacted { .. } => panic!("hour {hour}"),
        }
    }
}
