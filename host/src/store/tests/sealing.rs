//! The store sealed at rest: no value lies in any file, and every way from plain to sealed and back keeps all of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use super::disk::content;
use super::*;

const CANARY: &str = "canary-1f7a90c3";

static KEYS: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    for n in 1..=4_u8 {
        write_key(&folder.path().join(format!("k{n}")), [n + 200; 32]);
    }
    folder
});

pub fn sealed_under(current: &str, ids: &[&str]) -> StoreOptions {
    let source = |id: &str| KeySource::File(KEYS.path().join(id));
    let keys = ids.iter().map(|id| SealingKey { id: (*id).to_owned(), source: source(id) });
    let (keys, current) = (keys.collect(), Some(current.to_owned()));
    let sealing = SealingOptions { keys, current, wanted: Wanted::Sealed };
    StoreOptions { sealing, ..StoreOptions::default() }
}

pub fn unsealed(ids: &[&str]) -> StoreOptions {
    let mut options = sealed_under(ids[0], ids);
    options.sealing.wanted = Wanted::Plain;
    options
}

pub fn try_open(dir: &Path, options: &StoreOptions) -> Result<Store, StoreError> {
    Store::open(dir, options.clone())
}

pub fn refusal(dir: &Path, options: &StoreOptions) -> String {
    try_open(dir, options).err().expect("refused").to_string()
}

/// Every file below `dir`, with what is in it.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for item in fs::read_dir(dir).expect("a folder").flatten() {
        match item.file_type().expect("a file").is_dir() {
            true => found.extend(files(&item.path())),
            // The engine's upkeep may have taken it away since.
            false => drop(content(&item.path()).map(|bytes| found.insert(item.path(), bytes))),
        }
    }
    found
}

pub fn has_canary(dir: &Path) -> bool {
    let holds = |bytes: &Vec<u8>| bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
    files(dir).values().any(holds)
}

/// A value of every kind there is, some of them over and over, so that the engine has tables and journals.
pub fn fill(store: &Store) {
    let namespaces = [
        Namespace::Meta,
        Namespace::Positions,
        Namespace::DeadLetters,
        Namespace::State,
        Namespace::Cursors,
        Namespace::Audit,
        Namespace::Seen,
    ];
    for n in 0..20 {
        let value = format!("{CANARY} {n}");
        let mut commit = Commit::default();
        for namespace in namespaces {
            commit = commit.put(namespace, format!("key-{}", n % 7), value.clone());
        }
        let key = Some(format!("key-{}", n % 7).into_bytes());
        commit.entries.push(NewEntry { key, value: Bytes::from(value), is_deletion: false });
        store.commit(commit).expect("committed");
    }
}

/// Everything that [`fill`] has written is there.
pub fn check_filled(store: &Store) {
    let limit = ReadLimit { through: u64::MAX, records: usize::MAX, bytes: u64::MAX };
    let entries = store.entries(0, limit).expect("readable").entries;
    let values: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(entry.value())).collect();
    assert_eq!(values, (0..20).map(|n| format!("{CANARY} {n}")).collect::<Vec<_>>());
    for namespace in [Namespace::Positions, Namespace::DeadLetters, Namespace::State, Namespace::Audit] {
        let found = store.scan(namespace, b"key-", None, 100).expect("readable");
        let expected = (0..7).map(|n| (format!("key-{n}"), if n < 6 { n + 14 } else { 13 }));
        let expected = expected.map(|(key, n)| (key.into_bytes(), format!("{CANARY} {n}").into_bytes()));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_value_lies_in_no_file_of_a_sealed_store_and_in_some_of_a_plain_one() {
    let dir = tempfile::tempdir().expect("a folder");
    for (options, expected) in [(sealed_under("k1", &["k1"]), false), (StoreOptions::default(), true)] {
        let dir = dir.path().join(expected.to_string());
        let store = try_open(&dir, &options).expect("opened");
        assert_eq!(store.is_sealed(), !expected);
        fill(&store);
        assert_eq!(has_canary(&dir), expected, "while it is open");
        drop(store);
        assert_eq!(has_canary(&dir), expected, "closed");
        let store = try_open(&dir, &options).expect("opened again");
        check_filled(&store);
        assert_eq!(has_canary(&dir), expected, "opened again");
    }
}

#[test]
fn a_plain_store_is_sealed_with_no_plain_value_left_and_written_back_with_all_of_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = try_open(dir.path(), &StoreOptions::default()).expect("opened");
    fill(&store);
    let (epoch, tally) = (store.epoch(), store.tally());
    drop(store);
    assert!(has_canary(dir.path()), "the control: it is there before");

    let store = try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("sealed");
    assert!(store.is_sealed() && !has_canary(dir.path()));
    assert!(!dir.path().join("store").exists());
    check_filled(&store);
    assert_eq!((store.epoch(), store.tally()), (epoch, tally), "revisions go on as they were");
    drop(store);

    let store = try_open(dir.path(), &unsealed(&["k1"])).expect("unsealed");
    assert!(!store.is_sealed() && has_canary(dir.path()));
    check_filled(&store);
    assert_eq!((store.epoch(), store.tally()), (epoch, tally));
    let left: Vec<_> =
        fs::read_dir(dir.path()).expect("a folder").flatten().map(|it| it.file_name()).collect();
    assert_eq!(left.iter().filter(|name| name.to_string_lossy().starts_with("store")).count(), 1, "{left:?}");
    drop(store);
    check_filled(&try_open(dir.path(), &StoreOptions::default()).expect("plain, without keys"));
}

#[test]
fn a_sealed_store_is_refused_without_its_key_and_nothing_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    fill(&try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened"));
    let before = files(&dir.path().join("store.sealed"));
    let key_file = fs::read(dir.path().join("store.keys")).expect("there");
    let mut wrong = sealed_under("k1", &["k1"]);
    wrong.sealing.keys[0].source = KeySource::File(KEYS.path().join("k2"));
    let mut missing = sealed_under("k1", &["k1"]);
    missing.sealing.keys[0].source = KeySource::Env("LOCKSTEP_TEST_NO_SUCH_KEY".to_owned());
    for (options, expected) in [
        (StoreOptions::default(), "is sealed under the key `k1`, and `state.encryption` has no keys"),
        (
            sealed_under("k2", &["k2"]),
            "store.keys is sealed under the key `k1`, and `state.encryption.keys` does not have it (it has `k2`)",
        ),
        (wrong, "the key `k1` does not open"),
        (
            missing,
            "the key `k1` cannot be had: the environment variable LOCKSTEP_TEST_NO_SUCH_KEY is not set",
        ),
        (unsealed(&["k3"]), "does not have it (it has `k3`)"),
    ] {
        let refused = refusal(dir.path(), &options);
        assert!(refused.contains(expected), "{refused}");
        assert!(files(&dir.path().join("store.sealed")) == before, "{refused}");
        assert_eq!(fs::read(dir.path().join("store.keys")).expect("there"), key_file);
        assert!(!dir.path().join("store").exists());
    }
    check_filled(&try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("with its key"));
}

#[test]
fn what_is_missing_from_a_sealed_data_folder_is_said_and_not_begun_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    fill(&try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened"));
    fs::rename(dir.path().join("store.keys"), dir.path().join("elsewhere")).expect("moved");
    for options in [StoreOptions::default(), sealed_under("k1", &["k1"]), unsealed(&["k1"])] {
        let refused = refusal(dir.path(), &options);
        assert!(refused.contains("store.keys is missing"), "{refused}");
    }
    fs::rename(dir.path().join("elsewhere"), dir.path().join("store.keys")).expect("moved");
    fs::rename(dir.path().join("store.sealed"), dir.path().join("store")).expect("moved");
    let refused = refusal(dir.path(), &sealed_under("k1", &["k1"]));
    assert!(refused.contains("store.sealed, which is missing"), "{refused}");
}

#[test]
fn who_only_looks_changes_the_form_of_no_store() {
    let dir = tempfile::tempdir().expect("a folder");
    fill(&try_open(dir.path(), &StoreOptions::default()).expect("opened"));
    let looks = sealed_under("k1", &["k1"]).as_it_is();
    assert!(!try_open(dir.path(), &looks).expect("opened").is_sealed());
    drop(try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("sealed"));
    let looks = unsealed(&["k1"]).as_it_is();
    assert!(try_open(dir.path(), &looks).expect("opened").is_sealed());
}

/// Waits until every value is sealed with the newest data key.
pub fn wait_until_resealed(store: &Store) -> SealingStatus {
    let until = std::time::Instant::now() + Duration::from_secs(120);
    loop {
        let status = store.sealing().expect("it is sealed");
        if status.resealing.is_none() {
            return status;
        }
        assert!(std::time::Instant::now() < until, "{status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn after_a_rotation_the_older_data_keys_are_gone_and_every_value_is_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened");
    fill(&store);
    let status = SealingStatus { key: "k1".to_owned(), data_key: 1, older_data_keys: 0, resealing: None };
    assert_eq!(store.sealing(), Some(status));
    assert_eq!(store.rotate_key().expect("rotated"), 2);
    assert_eq!(store.rotate_key().expect("rotated"), 3);
    let status = wait_until_resealed(&store);
    assert_eq!((status.data_key, status.older_data_keys), (3, 0));
    check_filled(&store);
    drop(store);
    check_filled(&try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened"));
}

#[test]
fn a_rotation_that_was_interrupted_goes_on_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened");
    for n in 0..3000 {
        store.submit(state(&format!("many-{n}"), "1"), |_| {});
    }
    fill(&store);
    let mut store = Some(store);
    // On a busy machine it may be over before it is interrupted: then once more.
    let interrupted = (2..100).find_map(|data_key| {
        store.take()?.rotate_key().expect("rotated");
        let opened = try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened");
        let status = opened.sealing().expect("it is sealed");
        assert_eq!(status.data_key, data_key);
        store = Some(opened);
        (status.older_data_keys == 1).then_some(status)
    });
    assert!(interrupted.is_some_and(|status| status.resealing.is_some()), "each was over");
    let store = store.expect("opened");
    assert_eq!(wait_until_resealed(&store).older_data_keys, 0);
    check_filled(&store);
}

#[test]
fn another_current_key_takes_over_at_the_start_and_the_old_one_may_go() {
    let dir = tempfile::tempdir().expect("a folder");
    fill(&try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened"));
    let store = try_open(dir.path(), &sealed_under("k2", &["k1", "k2"])).expect("opened");
    let status = wait_until_resealed(&store);
    assert_eq!((&*status.key, status.data_key), ("k2", 2), "with a new data key");
    drop(store);
    let refused = refusal(dir.path(), &sealed_under("k1", &["k1"]));
    assert!(refused.contains("sealed under the key `k2`"), "{refused}");
    check_filled(&try_open(dir.path(), &sealed_under("k2", &["k2"])).expect("without the old one"));
}

#[test]
fn a_store_that_is_not_sealed_has_no_key_to_rotate() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = try_open(dir.path(), &StoreOptions::default()).expect("opened").rotate_key();
    assert!(matches!(refused, Err(StoreError::Sealing(SealingError::NotSealed))));
}
