//! What sealing costs: the same commits and reads on a plain store and on a sealed one, side by side in one run.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use lockstep::store::{
    Commit, KeySource, Namespace, SealingKey, SealingOptions, Store, StoreOptions, Wanted,
};

use crate::workload::Workload;
use crate::writers;

/// Keys that are read: more than lie in memory tables, less than fill the cache.
const N_KEYS: u64 = 20_000;

const VALUE_BYTES: usize = 300;

pub fn header() {
    println!("\nsealing: commits of 1 put of {VALUE_BYTES} B, and reads; a ratio is sealed beside plain");
    println!("{:<34} {:>12} {:>12} {:>7}", "what, per second", "plain", "sealed", "ratio");
}

pub fn compare(dir: &Path, time: Duration) {
    let dir = dir.join("sealed");
    let plain = Store::open(&dir.join("plain"), StoreOptions::default()).expect("the store opens");
    let sealed = Store::open(&dir.join("data"), sealed_options(&dir)).expect("the store opens");
    assert!(sealed.is_sealed() && !plain.is_sealed());
    for n_writers in [1, 64, 1_000] {
        let run = |store| writers::answered(store, n_writers, time).per_second();
        row(&format!("commits, {n_writers} waiting"), run(&plain), run(&sealed));
    }
    let keys = [&plain, &sealed].map(fill);
    let run = |store: &Store, keys: &[Vec<u8>]| gets(store, keys, time);
    row("get", run(&plain, &keys[0]), run(&sealed, &keys[1]));
    row("values in a scan of 1,000", scans(&plain, time), scans(&sealed, time));
    drop((plain, sealed));
    fs::remove_dir_all(dir).expect("remove");
}

fn sealed_options(dir: &Path) -> StoreOptions {
    let file = dir.join("key");
    fs::write(&file, [0xC3; 32]).expect("the key can be written");
    let keys = vec![SealingKey { id: "k1".to_owned(), source: KeySource::File(file) }];
    let sealing = SealingOptions { keys, current: Some("k1".to_owned()), wanted: Wanted::Sealed };
    StoreOptions { sealing, ..StoreOptions::default() }
}

fn row(what: &str, plain: f64, sealed: f64) {
    println!("{what:<34} {plain:>12.0} {sealed:>12.0} {:>7.2}", sealed / plain);
}

/// Gives the keys in another order than that of the store.
fn fill(store: &Store) -> Vec<Vec<u8>> {
    let mut workload = Workload::new(9, u64::MAX);
    let mut keys = Vec::new();
    for chunk in 0..N_KEYS / 1_000 {
        let mut commit = Commit::default();
        for (n, value) in workload.group(1_000).entries.into_iter().enumerate() {
            let key = format!("bench/{:06}", chunk * 1_000 + n as u64).into_bytes();
            keys.push(key.clone());
            commit = commit.put(Namespace::State, key, value);
        }
        store.commit(commit).expect("commit");
    }
    fastrand::Rng::with_seed(3).shuffle(&mut keys);
    keys
}

fn gets(store: &Store, keys: &[Vec<u8>], time: Duration) -> f64 {
    let (start, mut n_gets) = (Instant::now(), 0_u64);
    while start.elapsed() < time {
        for key in keys {
            black_box(store.get(Namespace::State, key).expect("read")).expect("it is there");
            n_gets += 1;
        }
    }
    n_gets as f64 / start.elapsed().as_secs_f64()
}

fn scans(store: &Store, time: Duration) -> f64 {
    let (start, mut n_values, mut after) = (Instant::now(), 0_u64, None::<Vec<u8>>);
    while start.elapsed() < time {
        let found = store.scan(Namespace::State, b"bench/", after.as_deref(), 1_000).expect("read");
        n_values += found.len() as u64;
        after = found.last().map(|(key, _)| key.clone());
    }
    n_values as f64 / start.elapsed().as_secs_f64()
}
