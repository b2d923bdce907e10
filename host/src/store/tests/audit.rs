//! The audit's numbers and hashes are the writer's: nobody else's failure leaves a gap in them.

use super::*;
use crate::store::engine::{Engine, EngineOptions};
use crate::store::sealing::Form;

pub const ALL: AuditLimit = AuditLimit { records: usize::MAX, bytes: usize::MAX };

fn audit(entries: &[&str]) -> Commit {
    let new = |entry: &&str| NewAudit { at_us: 7, entry: (*entry).to_owned(), revision_of: None };
    Commit { audit: entries.iter().map(new).collect(), ..Commit::default() }
}

/// Number and text of every entry, if they are a chain from anchor to head.
fn chained(store: &Store) -> Vec<(u64, String)> {
    let AuditPage { chain, records, .. } = store.audit_page(0, ALL).expect("readable");
    assert_eq!(chain, store.audit_chain(), "on disk as in memory");
    let (mut last, mut n_bytes) = (chain.anchor, 0);
    let mut found = Vec::new();
    for (number, record) in records {
        let record = record.expect("an entry");
        assert_eq!((number, record.previous), (last.number + 1, last.hash));
        assert_eq!(record.hash, record.computed_hash());
        (last, n_bytes) = (record.link(), n_bytes + record.n_bytes());
        found.push((number, record.entry));
    }
    assert_eq!((last, n_bytes), (chain.head, chain.n_bytes));
    found
}

fn numbered(first: u64, entries: &[&str]) -> Vec<(u64, String)> {
    (first..).zip(entries.iter().map(|entry| (*entry).to_owned())).collect()
}

#[test]
fn entries_are_chained_in_the_order_of_their_commits_and_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    assert_eq!(store.audit_chain(), Chain::default());
    store.commit(audit(&["1", "2"])).expect("committed");
    store.commit(audit(&["3"])).expect("committed");
    let head = store.audit_chain().head;
    assert_eq!(chained(&store), numbered(1, &["1", "2", "3"]));
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.audit_chain().head, head);
    store.commit(audit(&["4"])).expect("committed");
    assert_eq!(chained(&store), numbered(1, &["1", "2", "3", "4"]));
}

#[test]
fn a_refused_commit_among_others_uses_up_no_number() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let refused = audit(&["never"]).check(Namespace::State, "nobody", Expect::Value(vec![]));
    let results = commit_as_one_group(&store, vec![audit(&["1"]), refused, audit(&["2", "3"])]);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(chained(&store), numbered(1, &["1", "2", "3"]));
}

#[test]
fn an_entry_about_an_entry_of_the_log_holds_its_revision() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let entry = |key: &str| NewEntry { key: Some(key.into()), value: Bytes::new(), is_deletion: false };
    let about = |entry: &str, place| NewAudit { at_us: 0, entry: entry.to_owned(), revision_of: Some(place) };
    store.commit(Commit { entries: vec![entry("a")], ..Commit::default() }).expect("committed");
    let (entries, audit) = (vec![entry("a"), entry("b")], vec![about("{}", 1), about(r#"{"k":0}"#, 0)]);
    store.commit(Commit { entries, audit, ..Commit::default() }).expect("committed");
    assert_eq!(chained(&store), numbered(1, &[r#"{"revision":3}"#, r#"{"revision":2,"k":0}"#]));
}

#[test]
fn what_is_forgotten_leaves_its_last_place_as_the_anchor() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.commit(audit(&["1", "2", "3"])).expect("committed");
    let gone = store.audit_page(0, AuditLimit { records: 2, ..ALL }).expect("readable").records;
    let gone: Vec<_> = gone.into_iter().filter_map(|(_, record)| record).collect();
    let n_bytes = gone.iter().map(AuditRecord::n_bytes).sum();
    let trim = AuditTrim { through: gone[1].link(), n_bytes };
    store.commit(Commit { audit_trim: Some(trim), ..audit(&["4"]) }).expect("committed");
    assert_eq!(store.audit_chain().anchor, gone[1].link());
    assert_eq!(chained(&store), numbered(3, &["3", "4"]));
    assert_eq!(store.audit_chain().n_entries(), 2);
    let all = AuditTrim { through: store.audit_chain().head, n_bytes: 0 };
    store.commit(Commit { audit_trim: Some(all), ..Commit::default() }).expect("committed");
    assert_eq!(
        (store.audit_chain().n_entries(), store.audit_chain().n_bytes),
        (0, 0),
        "whatever was counted"
    );
}

#[test]
fn what_lies_behind_the_head_is_no_place_to_trim_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.commit(audit(&["1", "2"])).expect("committed");
    let before = store.audit_chain();
    let behind = AuditTrim { through: Link { number: 3, ..before.head }, n_bytes: 0 };
    let refused = Commit { audit_trim: Some(behind), ..audit(&["3"]) };
    assert!(matches!(store.commit(refused), Err(StoreError::Damaged { .. })));
    assert_eq!((store.audit_chain(), chained(&store)), (before, numbered(1, &["1", "2"])));
    let all =
        Commit { audit_trim: Some(AuditTrim { through: before.head, n_bytes: 0 }), ..Commit::default() };
    for _ in 0..2 {
        store.commit(all.clone()).expect("done, or done before");
    }
}

#[test]
fn a_page_holds_so_many_entries_and_bytes_and_at_least_one_from_either_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.commit(audit(&["1", "2", "3", "4", "5"])).expect("committed");
    let one = AuditRecord::after(Link::default(), audit(&["1"]).audit.remove(0), 0).n_bytes() as usize;
    let of = |page: AuditPage| {
        let numbers: Vec<_> = page.records.iter().map(|(number, _)| *number).collect();
        assert_eq!(page.n_bytes, one * numbers.len());
        (numbers, page.is_last)
    };
    let after = |after, limit| of(store.audit_page(after, limit).expect("readable"));
    let before = |before, limit| of(store.audit_page_before(before, limit).expect("readable"));
    let two = AuditLimit { bytes: 3 * one - 1, ..ALL };
    assert_eq!((after(0, two), before(6, two)), ((vec![1, 2], false), (vec![5, 4], false)));
    assert_eq!((after(3, two), before(3, two)), ((vec![4, 5], true), (vec![2, 1], true)));
    let tiny = AuditLimit { bytes: 0, ..ALL };
    assert_eq!((after(2, tiny), before(2, tiny)), ((vec![3], false), (vec![1], true)));
    let three = AuditLimit { records: 3, ..ALL };
    assert_eq!((after(2, three), before(u64::MAX, three)), ((vec![3, 4, 5], true), (vec![5, 4, 3], false)));
    assert_eq!((after(5, ALL), before(1, ALL)), ((vec![], true), (vec![], true)));
}

#[test]
fn a_place_is_written_as_it_is_read() {
    let link = Link { number: 4711, hash: std::array::from_fn(|at| at as u8 * 7) };
    assert_eq!(link.to_string().parse(), Ok(link));
    for bad in ["", "4711", "x:00", "1:00", &format!("1:{}", "g0".repeat(32)), &format!("{link}0")] {
        assert!(bad.parse::<Link>().is_err(), "{bad}");
    }
}

#[test]
fn what_an_earlier_host_kept_among_other_records_is_moved_to_its_own_keyspace() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(open(dir.path()));
    let key = stored_key(Namespace::Audit, b"old");
    let engine = Engine::open(dir.path(), Form::Plain, EngineOptions::new(1 << 20));
    let engine = engine.map_err(|error| error.to_string()).expect("opened");
    engine.keyspaces.records.insert(&key, b"entry").expect("written");
    drop(engine);
    let store = open(dir.path());
    assert_eq!(store.get(Namespace::Audit, b"old").expect("readable").as_deref(), Some(&b"entry"[..]));
    let left = store.handle.shared.with_engine(|engine| Ok(engine.keyspaces.records.prefix(&key).count()));
    assert_eq!(left.expect("readable"), 0);
    assert_eq!(store.scan(Namespace::Audit, b"", None, 9).expect("readable").len(), 1);
}
