//! The disk is full, at every place of a group; then there is space again.

use super::disk::Watched;
use super::*;
use crate::store::engine::EngineOptions;

fn everywhere(_: &Path) -> bool {
    true
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
fn a_full_disk_refuses_commits_and_they_go_on_when_there_is_space() {
    // The engine writes in blocks of 8 KiB: the sizes cut before, in and after the end of the group's batch.
    for bytes_left in [0, 1, 500, 8_191, 8_192, 15_000, 16_384, 20_000] {
        let dir = tempfile::tempdir().expect("a folder");
        let watched = Watched::new(dir.path());
        let store = open(dir.path());
        store.commit(state("kept", "1").put(Namespace::State, "gone", "1")).expect("commit");

        watched.disk.fill(bytes_left, everywhere);
        let large = state("kept", "2").delete(Namespace::State, "gone");
        let large = large.put(Namespace::State, "large", incompressible(20_000));
        for _ in 0..2 {
            let error = store.commit(large.clone()).expect_err("no space");
            assert!(matches!(error, StoreError::DiskFull { .. }), "{bytes_left}: {error}");
            assert!(error.is_transient());
            assert_eq!(store.health(), Health::DiskFull);
            assert_eq!(value(&store, "kept").as_deref(), Some("1"), "reads go on");
        }

        watched.disk.free();
        store.commit(state("next", "1")).expect("there is space");
        assert_eq!(store.health(), Health::Ok);
        drop(store);
        let store = open(dir.path());
        assert_eq!(
            value(&store, "kept").as_deref(),
            Some("1"),
            "{bytes_left}: what was refused left nothing"
        );
        assert_eq!(value(&store, "gone").as_deref(), Some("1"), "{bytes_left}");
        assert_eq!(value(&store, "large"), None, "{bytes_left}");
        assert_eq!(value(&store, "next").as_deref(), Some("1"));
    }
}

#[test]
fn the_engines_own_upkeep_may_find_the_disk_full() {
    let dir = tempfile::tempdir().expect("a folder");
    let watched = Watched::new(dir.path());
    let options = EngineOptions::new(1 << 20).with_write_buffer(64 << 10);
    let store = Store::open_with(dir.path(), &StoreOptions::default(), options).expect("the store opens");
    watched.disk.fill(0, tables);
    let mut n_committed = 0;
    for i in 0..60 {
        match store.commit(state(&format!("key-{i}"), &"v".repeat(4_000))) {
            Ok(()) => n_committed += 1,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    assert!(watched.disk.n_refused() > 0, "the upkeep has met the full disk");
    watched.disk.free();
    store.commit(state("last", "1")).expect("there is space");
    assert_eq!(store.health(), Health::Ok);
    let found = store.scan(Namespace::State, b"key-", None, usize::MAX).expect("scan");
    assert_eq!(found.len(), n_committed);
}
