//! Entries: revisions without gap or repeat, whatever becomes of the commits between.

use super::disk::Watched;
use super::model::Model;
use super::*;

fn entry(key: &str, value: &str) -> Commit {
    entries(&[(key, value)])
}

fn entries(entries: &[(&str, &str)]) -> Commit {
    let entries = entries.iter().map(|(key, value)| NewEntry {
        key: Some(key.as_bytes().to_vec()),
        value: Bytes::from(*value),
        is_deletion: false,
    });
    Commit { entries: entries.collect(), ..Commit::default() }
}

fn revision(committed: Result<Committed, StoreError>) -> u64 {
    committed.expect("committed").first_revision
}

#[test]
pub fn revisions_follow_each_other_through_groups_and_reopening() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    assert_eq!(revision(store.commit(state("a", "1"))), 0, "no entry, no revision");
    assert_eq!(revision(store.commit(entries(&[("a", "1"), ("b", "1")]))), 1);
    let refused = entry("a", "2").check(Namespace::State, "a", Expect::Absent);
    let group =
        commit_as_one_group(&store, vec![entry("a", "3"), refused, entries(&[("a", "4"), ("c", "1")])]);
    let revisions: Vec<_> =
        group.iter().map(|result| result.as_ref().ok().map(|it| it.first_revision)).collect();
    assert_eq!(revisions, [Some(3), None, Some(4)], "a refused commit takes no revision");
    drop(store);
    let store = open(dir.path());
    assert_eq!(revision(store.commit(entry("a", "5"))), 6);
    let previous = |revision| store.entry(revision).expect("read").expect("there").previous;
    assert_eq!([6, 4, 3, 1].map(previous), [4, 3, 1, 0], "the way back through a key's entries");
}

#[test]
pub fn a_group_that_found_no_space_leaves_no_entry_and_takes_no_revision() {
    for bytes_left in [0, 1, 500, 8_192] {
        let dir = tempfile::tempdir().expect("a folder");
        let watched = Watched::new(dir.path());
        let store = open(dir.path());
        let mut model = Model::default();
        let mut commit = |commit: Commit| {
            model.apply(&commit);
            revision(store.commit(commit))
        };
        assert_eq!(commit(entries(&[("a", "1"), ("b", "1")])), 1);
        watched.disk.fill(bytes_left, |_| true);
        let large: String = std::iter::repeat_with(fastrand::alphanumeric).take(20_000).collect();
        for _ in 0..2 {
            let refused = store.commit(entries(&[("a", &large), ("c", "1")])).expect_err("no space");
            assert!(refused.is_transient(), "{refused}");
            assert_eq!(store.tally().head, 2);
        }
        watched.disk.free();
        assert_eq!(commit(entry("b", "2")), 3);
        assert_eq!(model.check_log(&store), Ok(()), "{bytes_left}");
        drop(store);
        assert_eq!(model.check_log(&open(dir.path())), Ok(()), "{bytes_left}, opened again");
    }
}

#[test]
pub fn the_last_revision_is_known_when_every_entry_is_gone() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let notice = || NewEntry { key: None, value: Bytes::from("it happened"), is_deletion: false };
    store.commit(Commit { entries: vec![notice(), notice()], ..Commit::default() }).expect("committed");
    let bytes = store.tally().n_bytes;
    let trim = Trim { passed: 2, passed_bytes: bytes, revisions: vec![1, 2], bytes };
    store.commit(Commit { trim: Some(trim), ..Commit::default() }).expect("committed");
    drop(store);
    let store = open(dir.path());
    let tally = Tally { head: 2, compacted: 2, passed: 2, ..Tally::default() };
    assert_eq!(store.tally(), tally);
    assert_eq!(revision(store.commit(entry("a", "1"))), 3);
}

#[test]
pub fn a_page_of_entries_is_bounded_but_never_empty() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.commit(entries(&[("a", "1111"), ("b", "2222"), ("c", "3333"), ("a", "4444")])).expect("committed");
    let page = |after, through, records, bytes| {
        let page = store.entries(after, ReadLimit { through, records, bytes }).expect("read");
        (page.entries.iter().map(|entry| entry.revision).collect::<Vec<_>>(), page.is_end)
    };
    let entry_bytes = store.tally().n_bytes / 4;
    assert_eq!(page(0, 4, 3, u64::MAX), (vec![1, 2, 3], false));
    assert_eq!(page(3, 4, 3, u64::MAX), (vec![4], true));
    assert_eq!(page(0, 4, 9, 2 * entry_bytes), (vec![1, 2], false));
    assert_eq!(page(0, 4, 9, 1), (vec![1], false), "one that is too large alone");
    assert_eq!(page(0, 2, 9, u64::MAX), (vec![1, 2], true), "no further than asked for");
}

#[test]
pub fn with_an_interval_commits_are_answered_before_the_sync_and_synced_soon() {
    let dir = tempfile::tempdir().expect("a folder");
    let interval = Duration::from_millis(20);
    let options = StoreOptions { durability: Durability::Interval(interval), ..default_options() };
    let store = Store::open(dir.path(), options).expect("the store opens");
    let n_before = store.counts().n_syncs;
    let start = std::time::Instant::now();
    while store.counts().n_syncs < n_before + 3 {
        store.commit(entry("a", "1")).expect("committed");
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "commits that keep coming do not put the sync off"
        );
    }
    let n_commits = store.counts().n_commits;
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.tally().head + 1, n_commits, "each but the one that marked the new store was an entry");
    drop(store);
    let durability = Durability::Interval(Duration::from_secs(3600));
    let store = Store::open(dir.path(), StoreOptions { durability, ..default_options() }).expect("opened");
    let before = store.counts();
    for _ in 0..10 {
        store.commit(entry("a", "1")).expect("committed");
    }
    let counts = store.counts();
    assert_eq!((counts.n_groups - before.n_groups, counts.n_syncs - before.n_syncs), (10, 0));
}

/// A store as the end of its process leaves it, with syncs left for later.
fn left_unsynced() -> (tempfile::TempDir, Uuid) {
    let dir = tempfile::tempdir().expect("a folder");
    let options =
        StoreOptions { durability: Durability::Interval(Duration::from_secs(3600)), ..default_options() };
    let store = Store::open(dir.path(), options).expect("the store opens");
    store.commit(entry("a", "1")).expect("committed");
    let left = tempfile::tempdir().expect("a folder");
    let from = dir.path().join(".");
    let copied = std::process::Command::new("cp").arg("-r").arg(from).arg(left.path()).status();
    assert!(copied.is_ok_and(|status| status.success()), "`cp` copies");
    (left, store.epoch())
}

#[test]
pub fn what_a_power_cut_may_have_taken_begins_a_new_epoch_and_the_end_of_a_process_does_not() {
    let (killed, epoch) = left_unsynced();
    let store = open(killed.path());
    assert_eq!((store.epoch(), store.tally().head), (epoch, 1), "the process ended, the system did not");
    drop(store);

    let (cut, epoch) = left_unsynced();
    fs::write(later_sync::path(cut.path()), "an earlier start").expect("written");
    let store = open(cut.path());
    let next = store.epoch();
    assert_ne!(next, epoch, "revision 2 may have been given and seen");
    assert_eq!(store.tally().head, 1, "what is there stays");
    drop(store);
    assert_eq!(open(cut.path()).epoch(), next, "once");
}

#[test]
pub fn an_orderly_end_with_an_interval_leaves_nothing_to_be_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let options =
        StoreOptions { durability: Durability::Interval(Duration::from_secs(3600)), ..default_options() };
    let marker = later_sync::path(dir.path());
    for _ in 0..2 {
        let store = Store::open(dir.path(), options.clone()).expect("the store opens");
        store.commit(entry("a", "1")).expect("committed");
        assert!(marker.exists());
        drop(store);
        assert!(!marker.exists());
    }
}
