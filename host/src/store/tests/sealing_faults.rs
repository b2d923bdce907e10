//! A sealed store in a world that fails: bytes that were changed, power cuts and full disks on the way from one form to
//! the other and from one data key to the next.

use super::disk::Watched;
use super::model::Model;
use super::power_cut::{next_commit, scaled};
use super::sealing::*;
use super::*;

/// Changes what is stored, as somebody would who knows the engine and not the keys.
fn tamper(dir: &Path, change: impl FnOnce(&fjall::Keyspace, &fjall::Keyspace)) {
    let database = fjall::Database::builder(dir.join("store.sealed")).open().expect("the engine opens");
    let keyspace = |name| database.keyspace(name, fjall::KeyspaceCreateOptions::default).expect("a keyspace");
    change(&keyspace("records"), &keyspace("entries"));
    database.persist(fjall::PersistMode::SyncAll).expect("synced");
}

fn sealed_and_filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fill(&try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened"));
    dir
}

fn stored(keyspace: &fjall::Keyspace, key: &[u8]) -> Vec<u8> {
    keyspace.get(key).expect("readable").expect("there").to_vec()
}

#[test]
fn a_value_that_was_changed_or_moved_or_put_there_plain_is_an_error_that_names_it() {
    let dir = sealed_and_filled();
    tamper(dir.path(), |records, entries| {
        let (one, other) = (stored(records, b"\x04key-1"), stored(records, b"\x04key-2"));
        records.insert(b"\x04key-1", &other).expect("written");
        records.insert(b"\x04key-2", &one).expect("written");
        records.insert(b"\x04key-3", b"plain").expect("written");
        let mut flipped = stored(records, b"\x04key-4");
        *flipped.last_mut().expect("bytes") ^= 1;
        records.insert(b"\x04key-4", &flipped).expect("written");
        let dead_letter = stored(records, b"\x03key-5");
        records.insert(b"\x04key-5", &dead_letter).expect("written");
        let entry = stored(entries, &3_u64.to_be_bytes());
        entries.insert(4_u64.to_be_bytes(), &entry).expect("written");
    });
    let store =
        try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("what is read at the start is sound");
    for key in ["key-1", "key-2", "key-3", "key-4", "key-5"] {
        let refused = store.get(Namespace::State, key.as_bytes()).expect_err("not authentic").to_string();
        let expected = format!("the value of state `{key}` in {}", dir.path().join("store.sealed").display());
        assert!(refused.starts_with(&expected), "{refused}");
        let commit = state("other", "1").check(Namespace::State, key, Expect::Absent);
        assert!(matches!(store.commit(commit), Err(StoreError::Sealing(SealingError::NotAuthentic { .. }))));
    }
    assert!(store.get(Namespace::State, b"key-0").expect("readable").is_some());
    assert!(store.scan(Namespace::State, b"", None, 100).is_err(), "nothing is left out silently");
    let refused = store.entry(4).expect_err("not authentic").to_string();
    assert!(refused.starts_with("the entry of revision 4 in "), "{refused}");
    // A rotation does not seal anew what it cannot believe, and says so.
    store.rotate_key().expect("rotated");
    let problem = || store.sealing()?.resealing?.problem;
    let until = std::time::Instant::now() + Duration::from_secs(120);
    while problem().is_none_or(|problem| !problem.contains("the value of state `key-1`")) {
        assert!(std::time::Instant::now() < until, "{:?}", store.sealing());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(store.sealing().map(|status| status.older_data_keys), Some(1), "its key is kept");
}

#[test]
fn an_entry_of_the_audit_that_was_changed_is_one_that_cannot_be_read_and_hides_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let new = |entry: &str| NewAudit { at_us: 0, entry: entry.to_owned(), revision_of: None };
    let commit = Commit { audit: ["1", "2", "3"].map(new).into(), ..Commit::default() };
    try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened").commit(commit).expect("committed");
    let database =
        fjall::Database::builder(dir.path().join("store.sealed")).open().expect("the engine opens");
    let audit = database.keyspace("audit", fjall::KeyspaceCreateOptions::default).expect("a keyspace");
    let key = [&[Namespace::Audit as u8][..], &2_u64.to_be_bytes()].concat();
    let mut flipped = stored(&audit, &key);
    *flipped.last_mut().expect("bytes") ^= 1;
    audit.insert(&key, &flipped).expect("written");
    drop((audit, database));
    let store = try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened");
    let page = store.audit_page(0, super::audit::ALL).expect("readable");
    let found: Vec<_> = page.records.iter().map(|(number, record)| (*number, record.is_some())).collect();
    assert_eq!(found, [(1, true), (2, false), (3, true)]);
}

#[test]
fn a_start_that_meets_a_changed_value_is_refused() {
    let dir = sealed_and_filled();
    tamper(dir.path(), |records, _| {
        let other = stored(records, b"\x04key-1");
        records.insert(b"\x01epoch", &other).expect("written");
    });
    let refused = refusal(dir.path(), &sealed_under("k1", &["k1"]));
    assert!(refused.contains("the value of meta `epoch`") && refused.contains("store.sealed"), "{refused}");
}

#[test]
fn a_changed_key_file_is_refused_and_left_as_it_is() {
    let dir = sealed_and_filled();
    let path = dir.path().join("store.keys");
    let sound = fs::read(&path).expect("there");
    for place in [0, 20, sound.len() / 2, sound.len() - 5] {
        let mut changed = sound.clone();
        changed[place] ^= 1;
        fs::write(&path, &changed).expect("written");
        for options in [sealed_under("k1", &["k1"]), unsealed(&["k1"]), StoreOptions::default()] {
            let refused = refusal(dir.path(), &options);
            assert!(refused.contains("store.keys is damaged"), "{refused}");
            assert_eq!(fs::read(&path).expect("there"), changed);
        }
    }
    fs::write(&path, &sound).expect("written");
    check_filled(&try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened"));
}

/// One thing that happens to a store, and how it is opened for that.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Seal,
    Unseal,
    /// With another key of the settings.
    ChangeKey,
    Rotate,
    /// Commits in the form it has.
    Work,
}

fn all_keys(step: Step, n: usize) -> StoreOptions {
    let ids = ["k1", "k2", "k3"];
    match step {
        Step::Unseal => unsealed(&ids),
        _ => sealed_under(ids[n % 3], &ids),
    }
}

/// The content of a store at the moments between which the power may fail.
fn content(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    store.scan(Namespace::State, b"", None, usize::MAX).expect("readable")
}

#[test]
fn a_power_cut_anywhere_between_plain_sealed_and_the_next_key_loses_nothing() {
    let steps = [Step::Work, Step::Seal, Step::Rotate, Step::ChangeKey, Step::Work, Step::Unseal, Step::Seal];
    let (mut n_cuts, mut n_half_way) = (0, 0);
    for seed in 0..scaled(2, 30) {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir().expect("a folder");
        let watched = Watched::new(dir.path());
        let mut states = vec![Model::default()];
        for (n, step) in steps.into_iter().enumerate() {
            let options = if n == 0 { StoreOptions::default() } else { all_keys(step, n) };
            watched.disk.pause_cuts(step == Step::Work);
            let store = try_open(dir.path(), &options).expect("opened");
            if step == Step::Rotate {
                store.rotate_key().expect("rotated");
            }
            if store.is_sealed() {
                wait_until_resealed(&store);
            }
            if step == Step::Work {
                for _ in 0..30 {
                    store.commit(next_commit(&mut random, &mut states)).expect("committed");
                }
            }
            let expected = content(&store);
            drop(store);
            let mut cuts = watched.disk.take_cuts();
            random.shuffle(&mut cuts);
            // Few of them lie between the two forms: those are the first, and half of what is taken.
            cuts.sort_by_key(|cut| {
                !["store", "store.sealed"].iter().all(|name| cut.has(&watched.disk, name))
            });
            let n_taken =
                if matches!(step, Step::Seal | Step::Unseal) { scaled(24, 100) } else { scaled(8, 100) };
            let (first, rest) = cuts.split_at(cuts.len().min(n_taken / 2));
            for (i, cut) in first.iter().chain(rest.iter().rev().take(n_taken / 2)).enumerate() {
                let left = tempfile::tempdir().expect("a folder");
                let _watched = Watched::without_memory(left.path());
                let tear = cut.can_tear() && i % 2 == 0;
                cut.restore(&watched.disk, left.path(), tear.then_some(&mut random));
                n_half_way += usize::from(
                    left.path().join("store").exists() && left.path().join("store.sealed").exists(),
                );
                // Whatever the settings ask for after it, also the opposite of what was under way.
                let next = [Step::Seal, Step::Unseal][random.usize(0..2)];
                let store =
                    try_open(left.path(), &all_keys(next, random.usize(0..3))).unwrap_or_else(|error| {
                        panic!("seed {seed}, {step:?}, cut {i}, torn {tear}, then {next:?}: {error}")
                    });
                assert!(
                    content(&store) == expected,
                    "seed {seed}, {step:?}, cut {i}, torn {tear}, then {next:?}"
                );
                let model = states.last().expect("the first is there");
                assert_eq!(model.check_log(&store), Ok(()), "seed {seed}, {step:?}, cut {i}, then {next:?}");
                assert_eq!(store.is_sealed(), next == Step::Seal);
                drop(store);
                let forms =
                    ["store", "store.sealed", "store.discarded"].map(|name| left.path().join(name).exists());
                assert_eq!(
                    forms.into_iter().filter(|is_there| *is_there).count(),
                    1,
                    "{step:?}: one is left"
                );
                n_cuts += 1;
            }
        }
    }
    assert!(n_cuts >= 40 && n_half_way >= 4, "{n_cuts} cuts, {n_half_way} of them half way");
}

#[test]
fn a_full_disk_stops_sealing_and_it_goes_on_when_there_is_space() {
    for bytes_left in [0, 300, 2_000, 20_000, 60_000] {
        let dir = tempfile::tempdir().expect("a folder");
        let watched = Watched::new(dir.path());
        let store = try_open(dir.path(), &StoreOptions::default()).expect("opened");
        fill(&store);
        let large: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(100_000).collect();
        store.commit(Commit::default().put(Namespace::State, "large", large)).expect("committed");
        drop(store);
        watched.disk.fill(bytes_left, |path| !path.ends_with("lock"));
        let refused = try_open(dir.path(), &sealed_under("k1", &["k1"])).err().expect("no space");
        assert!(matches!(refused, StoreError::DiskFull { .. }), "{bytes_left}: {refused}");
        watched.disk.free();
        let store = try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("there is space");
        assert!(store.get(Namespace::State, b"large").expect("readable").is_some());
        assert!(!dir.path().join("store").exists());
    }
}

#[test]
fn a_full_disk_refuses_a_rotation_and_stops_no_other_work() {
    let dir = tempfile::tempdir().expect("a folder");
    let watched = Watched::new(dir.path());
    let store = try_open(dir.path(), &sealed_under("k1", &["k1"])).expect("opened");
    fill(&store);
    watched.disk.fill(0, |path| path.ends_with("store.keys.new"));
    let refused = store.rotate_key().expect_err("no space");
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    store.commit(state("next", "1")).expect("the old data key goes on");
    watched.disk.free();
    store.rotate_key().expect("there is space");
    wait_until_resealed(&store);
    check_filled(&store);
}
