//! What the audit promises, on a real store: whatever is done to its entries behind its back is found, and where.

mod files;
mod form;
mod kept;
mod redacted;
mod tampered;

use std::io::BufReader;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::store::{Durability, Hash, Link, Namespace, StoreOptions};

const HOUR_US: i64 = 3_600_000_000;

fn options() -> AuditOptions {
    AuditOptions { now_us: || 1_700_000_000_000_000, ..AuditOptions::new(&HostSettings::default()) }
}

/// Nothing here is about the disk, so nobody waits for it.
fn store(dir: &Path) -> Store {
    let durability = Durability::Interval(Duration::from_secs(3600));
    Store::open(dir, StoreOptions { durability, ..StoreOptions::default() }).expect("a store")
}

fn open(dir: &Path, options: AuditOptions) -> (Store, Audit) {
    let store = store(dir);
    (store.clone(), Audit::open(store, options).expect("an audit"))
}

fn write(audit: &Audit, store: &Store, entries: impl IntoIterator<Item = Value>) {
    let mut commit = Commit::default();
    audit.add(&mut commit, entries.into_iter().map(|entry| entry.to_string()));
    store.commit(commit).expect("committed");
}

fn walk(store: &Store, noted: &[Link]) -> Result<Verified, Broken> {
    let mut walk = Walk::begin(store.clone(), noted.to_vec())?;
    loop {
        match walk.step() {
            Ok(Step::On(next)) => walk = next,
            Ok(Step::End(verified)) => return Ok(verified),
            Err(WalkError::Broken(broken)) => return Err(broken),
            Err(other) => panic!("{other}"),
        }
    }
}

/// A store with entries 1 to `n`, its head noted, and what lies in it.
struct Scene {
    store: Store,
    head: Link,
    _dir: tempfile::TempDir,
}

const N: u64 = 12;

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, audit) = open(dir.path(), options());
        for n in 1..=N {
            write(
                &audit,
                &store,
                [json!({ "event_type": "config_updated", "config_key": format!("app.{n}") })],
            );
        }
        let head = audit.chain().head;
        assert_eq!(walk(&store, &[head]).map(|verified| verified.n_entries), Ok(N));
        Self { store, head, _dir: dir }
    }

    fn bytes(&self, number: u64) -> Vec<u8> {
        self.store.get(Namespace::Audit, &number.to_be_bytes()).expect("readable").expect("an entry")
    }

    /// Puts other bytes in the place of entries, or takes them out; looks; and puts back what was there.
    fn tampered(&self, places: &[(u64, Option<Vec<u8>>)], noted: &[Link]) -> Result<Verified, Broken> {
        let key = |number: u64| number.to_be_bytes();
        let old: Vec<_> = places
            .iter()
            .map(|(number, _)| (*number, self.store.get(Namespace::Audit, &key(*number))))
            .collect();
        let put = |places: &[(u64, Option<Vec<u8>>)]| {
            let commit = places.iter().fold(Commit::default(), |commit, (number, bytes)| match bytes {
                Some(bytes) => commit.put(Namespace::Audit, key(*number), bytes.clone()),
                None => commit.delete(Namespace::Audit, key(*number)),
            });
            self.store.commit(commit).expect("written behind the audit's back");
        };
        put(places);
        let found = walk(&self.store, noted);
        put(&old.into_iter().map(|(number, old)| (number, old.expect("readable"))).collect::<Vec<_>>());
        found
    }
}

fn at(number: u64) -> impl Fn(Broken) -> Result<(), String> {
    move |broken| if broken.number == number { Ok(()) } else { Err(format!("not at {number}: {broken:?}")) }
}

fn exported(store: &Store) -> String {
    let mut export = Export::begin(store.clone());
    std::iter::from_fn(|| export.next_lines().expect("readable")).collect()
}

fn verified(text: &[u8], noted: &[Link]) -> Result<u64, FileProblem> {
    let mut files = Files::new(noted.to_vec());
    files.add(BufReader::new(text), |_| {})?;
    let verified = files.end().map_err(FileProblem::End)?;
    Ok(verified.expect("there is a file").n_entries)
}

fn hash_of(bytes: &[u8]) -> Hash {
    bytes[41..73].try_into().expect("a hash")
}
