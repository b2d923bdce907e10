//! How many values a second `encrypt` seals and `decrypt` opens, through the adapters that a host calls, beside the bare
//! cipher on the same texts.
//!
//! A plugin is a `cdylib` and cannot be linked, so its source is compiled into the benchmark; what it calls `crate` is
//! named here.
#![forbid(unsafe_code)]
#![allow(unused, reason = "the plugin's tests are no part of the benchmark")]

#[path = "../../src/lib.rs"]
mod plugin;

use plugin::{
    binding, cipher, config, data_keys, decrypt, encrypt, envelope, fields, keeper, key_text, metrics,
    operations, refusal, ring, standing, unwrapped, values,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use lockstep_plugin_api::{
    Bytes, Record, Transform,
    testing::{self, Place, TransformDriver},
};
use serde_json::json;
use std::{fs, hint::black_box, time::Duration};

const BATCH: usize = 100;
const SLICE: Duration = Duration::from_millis(300);
const N_SLICES: usize = 5;

fn main() {
    println!("{:<36}{:>14}{:>12}{:>14}", "", "values/s", "MB/s", "of the bare");
    for n_bytes in [200, 10_000] {
        let value = "x".repeat(n_bytes - 2);
        let change = json!({ "config_key": "app.pin", "event_type": "config_updated", "new_value": value })
            .to_string();
        let (bare_seal, bare_open) = (best(|| bare_seal(n_bytes)), best(|| bare_open(n_bytes)));
        let seal = best(|| through(&mut driver::<encrypt::Encrypt>(), &change));
        let sealed = sealed(&change);
        let open = best(|| through(&mut driver::<decrypt::Decrypt>(), &sealed));
        let read = best(|| read_and_write(&change));
        print(&format!("aws-lc-rs seals {n_bytes} B"), bare_seal, n_bytes, bare_seal);
        print(&format!("encrypt seals {n_bytes} B"), seal, n_bytes, bare_seal);
        print(&format!("aws-lc-rs opens {n_bytes} B"), bare_open, n_bytes, bare_open);
        print(&format!("decrypt opens {n_bytes} B"), open, n_bytes, bare_open);
        print(&format!("a change is read, written: {n_bytes} B"), read, n_bytes, bare_seal);
    }
}

fn print(what: &str, per_second: f64, n_bytes: usize, bare: f64) {
    let megabytes = per_second * n_bytes as f64 / 1e6;
    println!("{what:<36}{per_second:>14.0}{megabytes:>12.0}{:>13.2}x", per_second / bare);
}

/// The best of several slices: what disturbs a measurement only makes it slower.
fn best(mut slice: impl FnMut() -> f64) -> f64 {
    (0..N_SLICES).map(|_| slice()).fold(0.0, f64::max)
}

fn driver<T: Transform>() -> TransformDriver {
    let dir = std::env::temp_dir();
    let file = dir.join(format!("lockstep-seal-bench-{}", std::process::id()));
    fs::write(&file, format!("k1: {}\n", "5a".repeat(32))).expect("written");
    let is_encrypt = std::any::type_name::<T>().ends_with("Encrypt");
    let mut config = json!({ "keys": ["app.*"], "ring": [{ "file": file }] });
    if !is_encrypt {
        config["on_clear"] = json!("reject");
    }
    let made = testing::transform::<T>(&config.to_string()).expect("a transform");
    fs::remove_file(file).expect("removed");
    made
}

/// Batches through a transform, without the time that making the records takes.
fn through(driver: &mut TransformDriver, change: &str) -> f64 {
    let bytes = Bytes::from(change);
    per_second(|| {
        let batch: Vec<Record> = (0..BATCH).map(|_| Record::new(bytes.clone())).collect();
        let began = own_cpu();
        let applied = driver.apply(batch).expect("applied");
        // A sink asks for the bytes.
        applied.out.iter().for_each(|record| drop(black_box(record.value())));
        let took = own_cpu() - began;
        assert_eq!(applied.out.len(), BATCH);
        took
    })
}

fn sealed(change: &str) -> String {
    let out = driver::<encrypt::Encrypt>().apply(vec![Record::new(change)]).expect("applied").out;
    String::from_utf8(out[0].value().expect("a value").to_vec()).expect("text")
}

/// What a record costs that somebody edits, whatever is edited.
fn read_and_write(change: &str) -> f64 {
    let bytes = Bytes::from(change);
    per_second(|| {
        let began = own_cpu();
        for _ in 0..BATCH {
            let mut record = Record::new(bytes.clone());
            record.change_mut().expect("a change");
            black_box(record.value());
        }
        own_cpu() - began
    })
}

fn bare_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[0x5a; 32]).expect("a key"))
}

fn bare_seal(n_bytes: usize) -> f64 {
    let (key, text, random) = (bare_key(), vec![b'x'; n_bytes], SystemRandom::new());
    per_second(|| {
        let began = own_cpu();
        for _ in 0..BATCH {
            let (mut nonce, mut sealed) = ([0; 12], Vec::with_capacity(n_bytes + 16));
            random.fill(&mut nonce).expect("random");
            sealed.extend_from_slice(&text);
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_append_tag(nonce, Aad::from(b"purpose"), &mut sealed).expect("sealed");
            black_box(sealed);
        }
        own_cpu() - began
    })
}

fn bare_open(n_bytes: usize) -> f64 {
    let (key, mut sealed) = (bare_key(), vec![b'x'; n_bytes]);
    let nonce = || Nonce::assume_unique_for_key([7; 12]);
    key.seal_in_place_append_tag(nonce(), Aad::from(b"purpose"), &mut sealed).expect("sealed");
    per_second(|| {
        let began = own_cpu();
        for _ in 0..BATCH {
            let mut sealed = sealed.clone();
            black_box(key.open_in_place(nonce(), Aad::from(b"purpose"), &mut sealed).expect("opened"));
        }
        own_cpu() - began
    })
}

/// How many of what a batch does are done a second of CPU time.
fn per_second(mut batch: impl FnMut() -> Duration) -> f64 {
    let (mut busy, mut n) = (Duration::ZERO, 0);
    while busy < SLICE {
        busy += batch();
        n += BATCH;
    }
    n as f64 / busy.as_secs_f64()
}

/// The CPU time of this thread so far.
fn own_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let ns = stat.split_whitespace().next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.expect("its first field is in nanoseconds"))
}
