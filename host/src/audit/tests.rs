//! What the audit promises, on a real store: whatever is done to its entries behind its back is found, and where.

use std::io::BufReader;
use std::path::Path;

use lockstep_plugin_api::Json;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::store::{AuditRecord, Durability, Hash, Link, Namespace, StoreOptions};

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
            Ok(Step::On) => {}
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

#[test]
fn every_flipped_byte_of_every_entry_is_found_where_it_is() {
    let scene = Scene::new();
    for number in 1..=N {
        let bytes = scene.bytes(number);
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            let broken = scene.tampered(&[(number, Some(flipped))], &[]).expect_err("altered");
            at(number)(broken).unwrap_or_else(|wrong| panic!("byte {place}: {wrong}"));
        }
    }
    assert!(walk(&scene.store, &[]).is_ok(), "all is as it was");
}

/// The same bytes with another number before them, as their owner would put them into the chain.
fn forged(previous: Hash, number: u64, entry: &str) -> Vec<u8> {
    let new = NewAudit { at_us: 1, entry: entry.to_owned(), revision_of: None };
    let record = AuditRecord::after(Link { number: number - 1, hash: previous }, new, 0);
    let at = record.at_us.to_be_bytes();
    [&[1][..], &at, &record.previous, &record.hash, record.entry.as_bytes()].concat()
}

fn hash_of(bytes: &[u8]) -> Hash {
    bytes[41..73].try_into().expect("a hash")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_out_moved_put_in_or_replaced_is_found(first in 1..=N, second in 1..=N) {
        let scene = Scene::new();
        let removed = scene.tampered(&[(first, None)], &[]);
        prop_assert_eq!(removed.map_err(|broken| broken.number), Err(first));
        if first != second {
            let swap = [(first, Some(scene.bytes(second))), (second, Some(scene.bytes(first)))];
            prop_assert_eq!(scene.tampered(&swap, &[]).map_err(|broken| broken.number), Err(first.min(second)));
        }
        // Somebody who can compute a hash replaces one entry: the one after it no longer follows.
        let previous = if first == 1 { Hash::default() } else { hash_of(&scene.bytes(first - 1)) };
        let replaced = forged(previous, first, "{}");
        let found = scene.tampered(&[(first, Some(replaced.clone()))], &[]);
        prop_assert_eq!(found.map_err(|broken| broken.number), Err((first + 1).min(N)));
        // Or puts one in, and moves the others on.
        let mut shifted: Vec<_> = (first..=N).map(|number| (number + 1, Some(scene.bytes(number)))).collect();
        shifted.push((first, Some(replaced)));
        prop_assert_eq!(scene.tampered(&shifted, &[]).map_err(|broken| broken.number), Err(first + 1));
        // Or writes one behind the head.
        let after = forged(scene.head.hash, N + 1, "{}");
        prop_assert_eq!(scene.tampered(&[(N + 1, Some(after))], &[]).map_err(|broken| broken.number), Err(N + 1));
    }
}

/// Sets where the store says that its audit begins and ends.
fn set_chain(store: &Store, anchor: Link, head: Link) -> Option<Vec<u8>> {
    let old = store.get(Namespace::Meta, b"audit_chain").expect("readable");
    let link = |link: Link| [&link.number.to_be_bytes()[..], &link.hash].concat();
    let bytes = [link(anchor), link(head), 0_u64.to_be_bytes().to_vec()].concat();
    store.commit(Commit::default().put(Namespace::Meta, "audit_chain", bytes)).expect("written");
    old
}

#[test]
fn a_cut_or_rewritten_chain_is_found_by_a_head_that_was_noted() {
    let scene = Scene::new();
    let links: Vec<_> = (1..=N).map(|number| Link { number, hash: hash_of(&scene.bytes(number)) }).collect();
    for (place, noted) in links.iter().enumerate() {
        assert!(walk(&scene.store, &[*noted]).is_ok(), "{place}");
        let other = Link { hash: scene.head.hash.map(|byte| !byte), ..*noted };
        assert_eq!(
            walk(&scene.store, &[other]),
            Err(Broken { number: noted.number, problem: Problem::Rewritten })
        );
    }
    // The last three are cut off, and the store's own note of the head is put right.
    let cut: Vec<_> = (N - 2..=N).map(|number| (number, None)).collect();
    let place = set_chain(&scene.store, Link::default(), links[N as usize - 4]).expect("a chain");
    assert!(scene.tampered(&cut, &[]).is_ok(), "nothing inside the store can tell");
    let noted = scene.tampered(&cut, &[scene.head]);
    assert_eq!(noted, Err(Broken { number: N, problem: Problem::CutOff { head: N - 3 } }));
    let put_back = Commit::default().put(Namespace::Meta, "audit_chain", place);
    scene.store.commit(put_back).expect("written");
    // All of it is written anew, with other content and right hashes.
    let (mut hash, mut rewritten) = (Hash::default(), Vec::new());
    for number in 1..=N {
        let bytes = forged(hash, number, r#"{"harmless":true}"#);
        hash = hash_of(&bytes);
        rewritten.push((number, Some(bytes)));
    }
    set_chain(&scene.store, Link::default(), Link { number: N, hash });
    assert!(scene.tampered(&rewritten, &[]).is_ok(), "nothing inside the store can tell");
    let noted = scene.tampered(&rewritten, &[scene.head]);
    assert_eq!(noted, Err(Broken { number: N, problem: Problem::Rewritten }));
}

/// What the chain is for: hashes of entries alone are all right still when two of them change places.
#[test]
fn a_checker_without_the_hash_before_misses_a_reorder() {
    let scene = Scene::new();
    let entries =
        |records: &[AuditRecord]| records.iter().map(|record| record.entry.clone()).collect::<Vec<_>>();
    let page = scene.store.audit_page(0, 100).expect("readable");
    let mut records: Vec<_> = page.records.into_iter().filter_map(|(_, record)| record).collect();
    let sum = |entry: &str| {
        AuditRecord::after(
            Link::default(),
            NewAudit { at_us: 0, entry: entry.to_owned(), revision_of: None },
            0,
        )
        .hash
    };
    let mut sums: Vec<_> = records.iter().map(|record| sum(&record.entry)).collect();
    let before = entries(&records);
    records.swap(3, 7);
    sums.swap(3, 7);
    assert_ne!(entries(&records), before);
    assert!(
        records.iter().zip(&sums).all(|(record, hash)| sum(&record.entry) == *hash),
        "it notices nothing"
    );
    let mut verifier = Verifier::new(Link::default(), Vec::new()).expect("an anchor");
    let verified =
        (1..).zip(&records).try_for_each(|(number, record)| verifier.take(number, Some(record), scene.head));
    assert_eq!(verified, Err(Broken { number: 4, problem: Problem::Unlinked }));
}

fn exported(store: &Store) -> String {
    let mut export = Export::begin(store.clone());
    std::iter::from_fn(|| export.next_lines().expect("readable")).collect()
}

fn verified(text: &[u8], noted: &[Link]) -> Result<u64, FileProblem> {
    verify_file(BufReader::new(text), noted.to_vec(), |_| {}).map(|verified| verified.n_entries)
}

#[test]
fn every_byte_and_every_line_of_an_export_counts() {
    let scene = Scene::new();
    let whole = exported(&scene.store);
    assert!(matches!(verified(whole.as_bytes(), &[scene.head]), Ok(N)));
    for place in 0..whole.len() {
        // The other case of a letter, and the next digit: what a reader might take for the same, and what not.
        for flip in [0x20, 1] {
            let mut text = whole.clone().into_bytes();
            text[place] ^= flip;
            assert!(verified(&text, &[]).is_err(), "byte {place} ^ {flip}");
        }
        assert!(verified(&whole.as_bytes()[..place], &[]).is_err(), "cut at {place}");
    }
    let lines: Vec<_> = whole.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    for first in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(first);
        assert!(verified(joined(&without).as_bytes(), &[]).is_err(), "without line {first}");
        let mut twice = lines.clone();
        twice.insert(first, lines[first]);
        assert!(verified(joined(&twice).as_bytes(), &[]).is_err(), "line {first} twice");
        for second in first + 1..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(first, second);
            assert!(verified(joined(&swapped).as_bytes(), &[]).is_err(), "lines {first} and {second}");
        }
    }
}

#[test]
fn an_export_whose_end_and_head_were_cut_is_found_by_a_noted_head() {
    let scene = Scene::new();
    let whole = exported(&scene.store);
    let new_head = Link { number: 5, hash: hash_of(&scene.bytes(5)) };
    let cut: Vec<_> = whole.lines().take(6).collect();
    let cut = cut.join("\n").replacen(&scene.head.to_string(), &new_head.to_string(), 1) + "\n";
    assert!(matches!(verified(cut.as_bytes(), &[]), Ok(5)));
    let found = verified(cut.as_bytes(), &[scene.head]).expect_err("cut");
    assert!(found.to_string().contains("its end was cut off"), "{found}");
}

#[test]
fn the_oldest_entries_go_by_number_bytes_and_age_and_the_rest_can_be_verified() {
    let few = |change: fn(&mut Limits)| {
        let mut limits =
            Limits { entries: 1_000_000, bytes: 1 << 30, age: Duration::from_secs(90 * 24 * 3600) };
        change(&mut limits);
        limits
    };
    for limits in [few(|limits| limits.entries = 3), few(|limits| limits.bytes = 400)] {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, audit) = open(dir.path(), AuditOptions { limits, ..options() });
        (0..20).for_each(|n| write(&audit, &store, [json!({ "n": n })]));
        let head = audit.chain().head;
        audit.forget_old().expect("forgotten");
        let chain = audit.chain();
        assert!((2..=5).contains(&chain.n_entries()) && chain.n_bytes <= 400, "{limits:?}: {chain:?}");
        let found = walk(&store, &[head]).expect("whole");
        assert_eq!((found.anchor, found.head), (chain.anchor, head), "{limits:?}");
        assert!(matches!(verified(exported(&store).as_bytes(), &[head]), Ok(n) if n == chain.n_entries()));
        let forgotten = Link { number: 2, hash: Hash::default() };
        let gone = walk(&store, &[forgotten]).expect_err("nobody knows");
        assert_eq!(gone.problem, Problem::Forgotten { anchor: chain.anchor.number });
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (store, audit) = open(dir.path(), options());
    write(&audit, &store, [json!({ "n": 1 }), json!({ "n": 2 })]);
    drop(audit);
    let limits = few(|limits| limits.age = Duration::from_secs(3600));
    let now_us = || 1_700_000_000_000_000 + 2 * HOUR_US;
    let audit = Audit::open(store.clone(), AuditOptions { limits, now_us, ..options() }).expect("an audit");
    write(&audit, &store, [json!({ "n": 3 })]);
    audit.forget_old().expect("forgotten");
    assert_eq!((audit.chain().anchor.number, audit.chain().head.number), (2, 3));
    assert!(walk(&store, &[]).is_ok());
}

#[test]
fn a_walk_goes_on_while_entries_come_and_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let limits = Limits { entries: 100, bytes: 1 << 30, age: Duration::from_secs(3600) };
    let (store, audit) = open(dir.path(), AuditOptions { limits, ..options() });
    (0..50).for_each(|_| write(&audit, &store, (0..100).map(|n| json!({ "n": n }))));
    let mut walk = Walk::begin(store.clone(), Vec::new()).expect("an anchor");
    let first = walk.step().expect("whole");
    write(&audit, &store, [json!({})]);
    audit.forget_old().expect("forgotten");
    assert!(
        matches!(first, Step::On) || audit.chain().n_entries() <= 113,
        "more than a page, or shortened before"
    );
    let end = walk.step().expect("whole");
    assert!(matches!(end, Step::End(verified) if verified.head == audit.chain().head));
}

#[test]
fn a_change_is_told_with_size_and_hash_and_never_with_its_value() {
    let dir = tempfile::tempdir().expect("a folder");
    let redact = vec!["secrets.*".to_owned()];
    let (store, audit) = open(dir.path(), AuditOptions { redact, ..options() });
    let mut change = Change::new("app.x", Json::parse("\"canary\"").expect("JSON"));
    change.set_user_id(Some("ann".into()));
    change.set_tenant_id(Some("acme".into()));
    let mut commit = Commit::default();
    let operator = Operator { by: "uid 7".into(), remote: "socket, pid 8".into() };
    audit.add_change(&mut commit, &change, 0, &Author { source: "ws", operator: None });
    change.set_config_key("secrets.pin");
    audit.add_change(&mut commit, &change, 0, &Author { source: "admin", operator: Some(&operator) });
    let text = |at: usize| serde_json::from_str::<Value>(&commit.audit[at].entry).expect("JSON");
    // printf '"canary"' | sha256sum
    let hash = "57255a3192513e0ba439a993cb51f113b5b965801b3e9445aae04dff98e35676";
    assert_eq!(text(0)["value_bytes"], 8);
    assert_eq!(text(0)["value_sha256"], hash);
    assert_eq!((&text(0)["user_id"], &text(0)["tenant_id"]), (&json!("ann"), &json!("acme")));
    assert_eq!((&text(0)["source"], &text(0)["by"]), (&json!("ws"), &Value::Null));
    assert_eq!((&text(1)["by"], &text(1)["remote"]), (&json!("uid 7"), &json!("socket, pid 8")));
    assert!(text(1).get("value_sha256").is_none() && text(1).get("value_bytes").is_none());
    assert!(!format!("{commit:?}").contains("canary"));
    drop((store, audit));
    let (_store, audit) = open(dir.path(), AuditOptions { changes: false, ..options() });
    let mut commit = Commit::default();
    audit.add_change(&mut commit, &change, 0, &Author { source: "ws", operator: None });
    assert!(commit.audit.is_empty());
    audit.add_change(&mut commit, &change, 0, &Author { source: "admin", operator: Some(&operator) });
    assert_eq!(commit.audit.len(), 1, "what an operator does always has an entry");
}

#[test]
fn entries_of_a_host_that_did_not_chain_them_are_chained_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(dir.path());
    let old = |number: u64, entry: &str| {
        Commit::default().put(Namespace::Audit, number.to_be_bytes(), entry).put(
            Namespace::Meta,
            "audit",
            number.to_be_bytes(),
        )
    };
    for (number, entry) in [
        (2, r#"{"event_type":"lock_acquired","timestamp":"2026-01-01T00:00:00.000001Z"}"#),
        (3, "\"no object\""),
        (900_000, "{\"broken\":\n1}"),
    ] {
        store.commit(old(number, entry)).expect("committed");
    }
    for _ in 0..2 {
        let audit = Audit::open(store.clone(), options()).expect("an audit");
        assert_eq!(walk(&store, &[]).map(|verified| verified.n_entries), Ok(3));
        let listed = list(&store, &Filter::default(), 9).expect("readable").records;
        let shown: Vec<_> =
            listed.iter().map(|record| (record.number, record.at_us, record.entry.as_str())).collect();
        assert_eq!(shown[0], (3, 1_700_000_000_000_000, "{\"broken\": 1}"));
        assert_eq!((shown[1].0, shown[1].2), (2, "\"no object\""));
        assert_eq!(
            (shown[2].0, shown[2].1),
            (1, time::parse_us("2026-01-01T00:00:00.000001Z").expect("a time"))
        );
        drop(audit);
    }
    assert!(matches!(verified(exported(&store).as_bytes(), &[]), Ok(3)));
}

#[test]
fn a_list_is_the_newest_first_of_what_a_filter_lets_pass() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, audit) = open(dir.path(), options());
    let entry = |n: u64| {
        json!({ "event_type": if n % 2 == 0 { "config_updated" } else { "lock_acquired" },
            "config_key": format!("app.{}", n % 3), "tenant_id": (n % 5 == 0).then_some("acme") })
    };
    write(&audit, &store, (1..=3000).map(entry));
    let glob = |text: &str| Some(lockstep_plugin_api::glob::Glob::new(text).expect("a glob"));
    let numbers = |filter: Filter, limit: usize| {
        let listed = list(&store, &filter, limit).expect("readable");
        (listed.records.iter().map(|record| record.number).collect::<Vec<_>>(), listed.next)
    };
    assert_eq!(numbers(Filter::default(), 2), (vec![3000, 2999], Some(2999)));
    assert_eq!(numbers(Filter { before: Some(3), ..Filter::default() }, 9), (vec![2, 1], None));
    let tenant = Filter {
        tenant: Some("acme".into()),
        key: glob("app.[0]"),
        event_type: glob("lock_*"),
        ..Filter::default()
    };
    assert_eq!(numbers(tenant.clone(), 2), (vec![2985, 2955], Some(2955)));
    let all = numbers(tenant, 10_000);
    assert_eq!((all.0.len(), all.1), (100, None));
    let late = Filter { since_us: Some(1_700_000_000_000_001), ..Filter::default() };
    assert_eq!(numbers(late, 9), (vec![], None));
    let early = Filter { since_us: Some(1_700_000_000_000_000), ..Filter::default() };
    assert_eq!(numbers(early, 9).0.len(), 9);
}
