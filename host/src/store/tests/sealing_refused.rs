//! A sealed store whose key file cannot be written: what is refused for it leaves nothing behind, now or later.

use super::disk::Watched;
use super::sealing::*;
use super::*;

/// An entry of the log and one of the audit, and a value that each one replaces.
fn commit(n: u64) -> Commit {
    let mut commit = state("last", &n.to_string());
    let key = Some(b"app.x".to_vec());
    commit.entries.push(NewEntry { key, value: Bytes::from(n.to_string()), is_deletion: false });
    commit.audit.push(NewAudit { at_us: 1, entry: "{}".to_owned(), revision_of: None });
    commit
}

/// All of `n` commits are there, in the log and in the chain of the audit.
fn check_whole(store: &Store, n: u64) {
    assert_eq!(value(store, "last"), Some(n.to_string()));
    assert_eq!(store.tally().head, n);
    let limit = ReadLimit { through: u64::MAX, records: usize::MAX, bytes: u64::MAX };
    let entries = store.entries(0, limit).expect("readable").entries;
    let values: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(entry.value())).collect();
    assert_eq!(values, (1..=n).map(|n| n.to_string()).collect::<Vec<_>>());
    let page = store.audit_page(0, super::audit::ALL).expect("readable");
    assert_eq!(page.records.len() as u64, n);
    let mut last = page.chain.anchor;
    for (number, record) in page.records {
        let record = record.expect("an entry");
        assert_eq!((number, record.previous), (last.number + 1, last.hash));
        assert_eq!(record.hash, record.computed_hash());
        last = record.link();
    }
    assert_eq!((last.number, last), (n, page.chain.head));
}

/// What stands in the way of the key file at the first commit after a start, and how it is taken away again.
fn is_refused_without_trace(block: impl Fn(&Watched, &Path), free: impl Fn(&Path)) -> StoreError {
    let dir = tempfile::tempdir().expect("a folder");
    let watched = Watched::new(dir.path());
    let options = sealed_under("k1", &["k1"]);
    let store = try_open(dir.path(), &options).expect("opened");
    for n in 1..=3 {
        store.commit(commit(n)).expect("committed");
    }
    drop(store);

    let store = try_open(dir.path(), &options).expect("opened");
    block(&watched, dir.path());
    let refused = store.commit(commit(4)).expect_err("nothing can be sealed");
    assert!(store.health() != Health::Failed && store.health() != Health::Ok, "{:?}", store.health());
    check_whole(&store, 3);
    watched.disk.free();
    free(dir.path());
    for n in 4..=6 {
        store.commit(commit(n)).expect("it can be sealed again");
    }
    assert_eq!(store.health(), Health::Ok);
    check_whole(&store, 6);
    drop(store);
    check_whole(&try_open(dir.path(), &options).expect("opened after an orderly end"), 6);
    refused
}

#[test]
fn a_full_disk_under_the_key_file_takes_no_commit_back_that_was_answered_later() {
    let refused = is_refused_without_trace(
        |watched, _| watched.disk.fill(0, |path| path.ends_with("store.keys.new")),
        |_| {},
    );
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
}

#[test]
fn a_key_file_that_cannot_be_written_for_now_does_not_stop_the_store_for_good() {
    // As with too many open files: whoever takes it away has not to restart the host.
    let blocking = |dir: &Path| dir.join("store.keys.new");
    let refused = is_refused_without_trace(
        |_, dir| fs::create_dir(blocking(dir)).expect("made"),
        |dir| fs::remove_dir(blocking(dir)).expect("removed"),
    );
    assert!(matches!(refused, StoreError::Io { .. }), "{refused}");
}
