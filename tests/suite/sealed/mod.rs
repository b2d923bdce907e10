//! Values that are sealed: what a pipeline must not do with them, where they never lie in clear, what comes out at the
//! other end, and keys that change meanwhile.

mod refused;
mod canary;
mod round_trip;
mod in_the_log;
mod tampered;
mod rotation;
mod operations;

use lockstep_test_support::{Host, PASSWORD, Redis, Site, USER};
use serde_json::Value;
use std::{fs, path::Path};

/// A ring file's text: keys by name, the first one in use, each of one byte.
fn ring(keys: &[(&str, u8)]) -> String {
    keys.iter().map(|(id, byte)| format!("{id}: {}\n", format!("{byte:02x}").repeat(32))).collect()
}

/// Gives a site its keys, as a whole file in the place of another.
fn set_ring(site: &Site, keys: &[(&str, u8)]) {
    let draft = site.write("keys/draft", ring(keys));
    fs::rename(draft, site.path("keys/ring")).expect("one file system");
}

fn redis_url(redis: &Redis) -> String {
    format!("redis://{USER}:{PASSWORD}@127.0.0.1:{}/0", redis.port)
}

/// The value of a key, `None` if there is no such key.
fn get(site: &Site, key: &str) -> Option<Value> {
    let got = site.run(["get", key]);
    (got.code == Some(0)).then(|| serde_json::from_str(got.stdout.trim()).expect("JSON"))
}

/// The files below `dir` that hold a text, in stretches of what is not zero: journals are allocated ahead.
fn files_holding(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir).expect("a folder").flatten() {
        let (path, kind) = (item.path(), item.file_type().expect("a kind"));
        if kind.is_dir() {
            found.extend(files_holding(&path, text));
        } else if kind.is_file() && holds(&fs::read(&path).unwrap_or_default(), text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    let mut stretches = bytes.split(|byte| *byte == 0).filter(|stretch| stretch.len() >= text.len());
    stretches.any(|stretch| stretch.windows(text.len()).any(|part| part == text))
}
