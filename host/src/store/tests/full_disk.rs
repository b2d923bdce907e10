//! The disk is full, at every place of a group; then there is space again.

use super::disk::Watched;
use super::*;
use crate::store::engine::EngineOptions;

fn everywhere(_: &Path) -> bool {
    true
}

fn journal(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "jnl")
}

fn audited(mut commit: Commit) -> Commit {
    commit.audit.push(NewAudit { at_us: 1, entry: "{}".to_owned(), revision_of: None });
    commit
}

fn incompressible(n_bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.u8(..)).take(n_bytes).collect()
}

/// Where the engine's own upkeep writes.
fn tables(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tables")
}

#[test]
pub fn a_full_disk_refuses_commits_and_they_go_on_when_there_is_space() {
    for bytes_left in [0, 1, 500, 8_192, 20_000] {
        assert!(is_refused_without_trace(bytes_left), "{bytes_left}");
    }
    // The last bytes of a group wait in the engine's memory, and are written when the engine is closed: with space
    // again, the journal then holds the whole group, though it was refused.
    let n_refused =
        (20_100..).step_by(4).take_while(|bytes_left| is_refused_without_trace(*bytes_left)).count();
    assert!((3..200).contains(&n_refused), "{n_refused} sizes up to the one that has room for the group");
}

/// Whether a group of about 20 kB finds no space; if so, it must have left nothing when there is space again.
fn is_refused_without_trace(bytes_left: usize) -> bool {
    let dir = tempfile::tempdir().expect("a folder");
    let watched = Watched::new(dir.path());
    let store = open(dir.path());
    store.commit(audited(state("kept", "1").put(Namespace::State, "gone", "1"))).expect("commit");
    let audit = store.audit_chain();

    watched.disk.fill(bytes_left, everywhere);
    let large = audited(state("kept", "2").delete(Namespace::State, "gone"));
    let large = large.put(Namespace::State, "large", incompressible(20_000));
    for _ in 0..2 {
        let Err(error) = store.commit(large.clone()) else { return false };
        assert!(
            matches!(error, StoreError::DiskFull { .. }) && error.is_transient(),
            "{bytes_left}: {error}"
        );
        assert_eq!(store.health(), Health::DiskFull);
        assert_eq!(value(&store, "kept").as_deref(), Some("1"), "reads go on");
    }

    assert_eq!(store.audit_chain(), audit, "{bytes_left}: a refused entry has used up a number");
    watched.disk.free();
    store.commit(audited(state("next", "1"))).expect("there is space");
    assert_eq!(store.health(), Health::Ok);
    drop(store);
    let store = open(dir.path());
    let page = store.audit_page(0, super::audit::ALL).expect("readable");
    let numbers: Vec<_> = page.records.iter().map(|(number, _)| *number).collect();
    assert_eq!((numbers, page.chain.head.number), (vec![1, 2], 2), "{bytes_left}");
    let next = page.records[1].1.as_ref().expect("an entry");
    assert_eq!((next.previous, next.link()), (audit.head.hash, page.chain.head), "{bytes_left}");
    assert_eq!(value(&store, "kept").as_deref(), Some("1"), "{bytes_left}");
    assert_eq!(value(&store, "gone").as_deref(), Some("1"), "{bytes_left}");
    assert_eq!(value(&store, "large"), None, "{bytes_left}");
    assert_eq!(value(&store, "next").as_deref(), Some("1"));
    true
}

#[test]
pub fn the_engines_own_upkeep_may_find_the_disk_full() {
    let dir = tempfile::tempdir().expect("a folder");
    let watched = Watched::new(dir.path());
    let options = EngineOptions::new(1 << 20).with_write_buffer(64 << 10);
    let store = Store::open_with(dir.path(), &default_options(), options).expect("the store opens");
    watched.disk.fill(0, tables);
    let mut n_committed = 0;
    // The upkeep has threads of its own: it comes when they do.
    for i in 0..3_000 {
        match store.commit(state(&format!("key-{i}"), &"v".repeat(4_000))) {
            Ok(_) => n_committed += 1,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
        if i >= 60 && watched.disk.n_refused() > 0 {
            break;
        }
    }
    assert!(watched.disk.n_refused() > 0, "the upkeep has met the full disk");
    watched.disk.free();
    store.commit(state("last", "1")).expect("there is space");
    assert_eq!(store.health(), Health::Ok);
    let found = store.scan(Namespace::State, b"key-", None, usize::MAX).expect("scan");
    assert_eq!(found.len(), n_committed);
}

#[test]
pub fn a_store_that_could_not_be_opened_again_opens_for_the_next_commit() {
    let dir = tempfile::tempdir().expect("a folder");
    let watched = Watched::new(dir.path());
    let store = open(dir.path());
    store.commit(state("kept", "1")).expect("commit");
    // There is space for the probe, none for the journal: the engine opens, and what failed cannot be undone.
    watched.disk.fill(0, journal);
    let refused = || state("kept", "2").check(Namespace::State, "kept", Expect::Value(b"1".to_vec()));
    for _ in 0..3 {
        let error = store.commit(refused()).expect_err("no space");
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    }
    assert!(matches!(store.get(Namespace::State, b"kept"), Err(StoreError::Unavailable)));
    watched.disk.free();
    store.commit(refused()).expect("there is space, and the check holds: nothing was left behind");
    assert_eq!(value(&store, "kept").as_deref(), Some("2"));
    assert_eq!(store.health(), Health::Ok);
}

#[test]
pub fn a_disk_that_breaks_before_a_refused_group_was_undone_is_not_taken_for_a_full_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let watched = Watched::new(dir.path());
    let store = open(dir.path());
    store.commit(state("kept", "1")).expect("commit");
    watched.disk.fill(0, journal);
    let error = store.commit(state("kept", "2")).expect_err("no space");
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    watched.disk.break_some(journal);
    let error = store.commit(state("kept", "2")).expect_err("the disk is broken");
    assert!(matches!(error, StoreError::Failed), "{error}");
    watched.disk.free();
    let error = store.commit(state("kept", "2")).expect_err("what the disk holds is not known");
    assert!(matches!(error, StoreError::Failed) && store.health() == Health::Failed, "{error}");
    drop(store);
    let store = open(dir.path());
    assert_eq!(value(&store, "kept").as_deref(), Some("1"), "the disk was sound at the end");
    store.commit(state("kept", "2")).expect("a restart opens it anew");
}

#[test]
pub fn a_broken_disk_stops_commits_until_a_restart_and_reads_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let watched = Watched::new(dir.path());
    let store = open(dir.path());
    store.commit(state("kept", "1")).expect("commit");
    watched.disk.break_down();
    let error = store.commit(state("lost", "1")).expect_err("the disk is broken");
    assert!(matches!(error, StoreError::Failed), "{error}");
    watched.disk.free();
    let error = store.commit(state("lost", "1")).expect_err("what the disk holds is not known");
    assert!(matches!(error, StoreError::Failed) && !error.is_transient(), "{error}");
    assert_eq!(store.health(), Health::Failed);
    assert_eq!(value(&store, "kept").as_deref(), Some("1"));
    drop(store);
    open(dir.path()).commit(state("next", "1")).expect("a restart opens it anew");
}
