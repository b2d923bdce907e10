//! The steps of the key file, in any order and with the file's disk failing: what was sealed can be opened by whoever
//! starts next.

use std::collections::BTreeMap;
use std::fs;

use zeroize::Zeroizing;

use super::*;
use crate::store::tests::disk::Watched;

const FEW: Limits = Limits { at_once: 4, max: 20 };

fn key(n: u8) -> WrappingKey {
    WrappingKey::new(&format!("k{n}"), &Box::new(Zeroizing::new([n; 32])))
}

fn create(dir: &Path) -> Keyring {
    let mut keyring = Keyring::create(dir, key(1), Phase::Sealed).expect("made");
    keyring.limits = FEW;
    keyring
}

/// As the next start of the host finds it.
fn reopen(dir: &Path) -> Keyring {
    let file = key_file::read(dir).expect("readable").expect("there");
    let n = file.key.trim_start_matches('k').parse().expect("a number");
    let mut keyring = Keyring::open(dir, &file, key(n)).expect("its key opens it");
    keyring.limits = FEW;
    keyring
}

fn seal(keyring: &Keyring, values: &[(Vec<u8>, Vec<u8>)]) -> io::Result<Vec<Vec<u8>>> {
    let mut sealer = keyring.sealer(values.iter().map(|(_, value)| value.len()))?;
    values.iter().map(|(key, value)| sealer.seal(key, value).map(<[u8]>::to_vec)).collect()
}

/// A folder with the name of the file that is written first: every step of the key file fails.
fn block(dir: &Path, is_blocked: bool) {
    let blocking = dir.join("store.keys.new/blocks");
    match is_blocked {
        true => fs::create_dir_all(blocking).expect("made"),
        false => drop(fs::remove_dir_all(dir.join("store.keys.new"))),
    }
}

#[test]
fn a_data_key_seals_no_more_than_it_may_and_the_file_is_never_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let _watched = Watched::without_memory(dir.path());
    let keyring = create(dir.path());
    let mut n_sealed = BTreeMap::<u32, u64>::new();
    for n in 0..200_u64 {
        let values = vec![(b"k".to_vec(), vec![1]); 1 + n as usize % 3];
        for stored in seal(&keyring, &values).expect("sealed") {
            *n_sealed.entry(value::key_id_of(&stored).expect("sealed")).or_default() += 1;
        }
        let file = keyring.file();
        for known in &file.contents.data_keys {
            assert!(n_sealed.get(&known.id).is_none_or(|n| *n <= known.reserved), "{n_sealed:?}");
            assert!(known.reserved <= FEW.max, "{}", known.reserved);
        }
    }
    assert!(n_sealed.len() > 10 && n_sealed.values().all(|n| *n <= FEW.max), "{n_sealed:?}");
}

#[test]
fn a_crash_gives_no_use_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(create(dir.path()));
    let place = |keyring: &Keyring| {
        let current = Arc::clone(&keyring.keys().current);
        (current.id, current.used.load(Relaxed))
    };
    for _ in 0..10 {
        let keyring = reopen(dir.path());
        let before = place(&keyring);
        seal(&keyring, &[(b"k".to_vec(), vec![1])]).expect("sealed");
        assert!(place(&reopen(dir.path())) > before);
    }
    assert!(reopen(dir.path()).keys().current.id > 1, "what was reserved and not used counts");
}

#[test]
fn whatever_the_order_of_steps_and_failures_every_value_can_be_opened_at_the_next_start() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir().expect("a folder");
        let _watched = Watched::without_memory(dir.path());
        let mut keyring = create(dir.path());
        let mut stored = BTreeMap::<Vec<u8>, (Vec<u8>, Vec<u8>)>::new();
        for step in 0..60 {
            block(dir.path(), random.u8(0..4) == 0);
            match random.u8(0..10) {
                0..5 => {
                    let values: Vec<_> = (0..random.u8(1..6))
                        .map(|_| (vec![4, random.u8(0..20)], vec![random.u8(..); 9]))
                        .collect();
                    if let Ok(sealed) = seal(&keyring, &values) {
                        let values = values.into_iter().zip(sealed);
                        stored.extend(values.map(|((key, value), sealed)| (key, (value, sealed))));
                    }
                }
                5 => drop(keyring.rotate()),
                6 => drop(keyring.change_key(key(random.u8(1..5)))),
                7..9 => {
                    // A pass over all values, and the end of it.
                    let Some(to) = keyring.resealing_to() else { continue };
                    let is_older = |sealed: &[u8]| value::key_id_of(sealed).is_some_and(|id| id < to);
                    let older = stored.iter().filter(|(_, (_, sealed))| is_older(sealed));
                    let older: Vec<_> = older.map(|(key, (value, _))| (key.clone(), value.clone())).collect();
                    if let Ok(sealed) = seal(&keyring, &older) {
                        let values = older.into_iter().zip(sealed);
                        stored.extend(values.map(|((key, value), sealed)| (key, (value, sealed))));
                        drop(keyring.forget_before(to));
                    }
                }
                _ => keyring = reopen(dir.path()),
            }
            let next = reopen(dir.path());
            for (key, (value, sealed)) in &stored {
                for keyring in [&keyring, &next] {
                    let opened = keyring.open_value(key, sealed);
                    assert!(opened.is_ok_and(|opened| opened == *value), "seed {seed}, step {step}");
                }
            }
        }
    }
}

#[test]
fn a_forgotten_data_key_opens_nothing_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let keyring = create(dir.path());
    let sealed = seal(&keyring, &[(b"k".to_vec(), b"value".to_vec())]).expect("sealed");
    keyring.rotate().expect("rotated");
    assert!(reopen(dir.path()).open_value(b"k", &sealed[0]).is_ok());
    keyring.forget_before(2).expect("forgotten");
    assert!(keyring.open_value(b"k", &sealed[0]).is_ok(), "a reader that began before it");
    assert!(reopen(dir.path()).open_value(b"k", &sealed[0]).is_err());
}
