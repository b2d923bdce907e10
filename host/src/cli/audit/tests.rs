//! What `lockstep audit` makes of files and of data folders that no host runs on.

use super::*;
use crate::admin::{AuditLines, AuditVerdict};
use crate::audit::{Audit as Chained, AuditOptions, Export};
use crate::config::HostSettings;
use crate::store::{Commit, Link, Namespace, Store, StoreOptions};
use clap::Parser;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    audit: Audit,
}

/// How the command exits with these arguments, in which `DIR` is the folder.
fn exit(dir: &Path, line: &str) -> u8 {
    let line = line.replace("DIR", &dir.display().to_string());
    let words = ["audit"].into_iter().chain(line.split_whitespace());
    Line::try_parse_from(words).expect("arguments").audit.run()
}

fn open(dir: &Path) -> Store {
    Store::open(&dir.join("data"), StoreOptions::default()).expect("a store")
}

/// Adds so many entries and gives up all but the newest `kept`; the head, and the whole as a file.
fn grow(dir: &Path, n: u64, kept: u64, file: &str) -> Link {
    let store = open(dir);
    let mut options = AuditOptions::new(&HostSettings::default());
    options.limits.entries = kept;
    let audit = Chained::open(store.clone(), options).expect("an audit");
    for _ in 0..n {
        let mut commit = Commit::default();
        audit.add(&mut commit, [r#"{"event_type":"config_updated"}"#.to_owned()]);
        store.commit(commit).expect("committed");
    }
    audit.forget_old().expect("forgotten");
    let mut export = Export::begin(store);
    let lines: String = std::iter::from_fn(|| export.next_lines().expect("readable")).collect();
    fs::write(dir.join(file), lines).expect("written");
    audit.chain().head
}

/// Files `a` with entries 1 to 4, `b` with 3 to 7 and `c` with 10 to 11, the heads of all of them, and of the fifth entry.
fn files() -> (TempDir, [Link; 4]) {
    let dir = tempfile::tempdir().expect("a folder");
    let four = grow(dir.path(), 4, 100, "a");
    let five = grow(dir.path(), 1, 100, "five");
    let seven = grow(dir.path(), 2, 5, "b");
    let eleven = grow(dir.path(), 4, 2, "c");
    (dir, [four, five, seven, eleven])
}

#[test]
fn files_are_one_chain_and_a_head_is_looked_for_in_all_of_them() {
    let (dir, [four, five, seven, eleven]) = files();
    let exit = |line: &str| exit(dir.path(), line);
    for head in [four, five, seven] {
        assert_eq!(exit(&format!("verify --file DIR/a --file DIR/b --head {head}")), 0, "{head}");
        let other = Link { hash: [7; 32], ..head };
        assert_eq!(exit(&format!("verify --file DIR/a --file DIR/b --head {other}")), 1, "{other}");
    }
    assert_eq!(exit(&format!("verify --file DIR/a --file DIR/b --head {eleven}")), 1, "cut off");
    assert_eq!(exit("verify --file DIR/b --file DIR/a"), 1, "the other way round");
    assert_eq!(exit("verify --file DIR/b --file DIR/c"), 3, "nobody knows what was between them");
    assert_eq!(exit("verify --file DIR/b --file DIR/c --file DIR/c"), 3, "whatever comes after it");
    assert_eq!(exit(&format!("verify --file DIR/b --file DIR/c --head {eleven}")), 3, "the head is there");
    assert_eq!(exit("verify --file DIR/a --file DIR/c --file DIR/b"), 1, "a break after a gap");
    let altered = fs::read_to_string(dir.path().join("c")).expect("written").replace("updated", "deleted");
    fs::write(dir.path().join("altered"), altered).expect("written");
    assert_eq!(exit("verify --file DIR/b --file DIR/c --file DIR/altered"), 1, "one that was altered");
    assert_eq!(exit("verify --file DIR/a --file DIR/c --file DIR/nothing"), 2);
    assert_eq!(exit(&format!("verify --file DIR/b --head {}", Link { number: 1, ..four })), 3);
    assert_eq!(exit("verify --file DIR/nothing"), 2);
}

#[test]
fn what_could_not_be_found_out_is_not_told_as_a_broken_chain() {
    let (dir, [four, .., eleven]) = files();
    let exit = |line: &str| exit(dir.path(), line);
    assert_eq!(exit(&format!("verify --data-dir DIR/data --head {eleven}")), 0);
    assert_eq!(exit(&format!("verify --data-dir DIR/data --head {four}")), 3, "it has been given up");
    assert_eq!(exit("verify --file DIR"), 3, "a folder cannot be read");
    let store = open(dir.path());
    store.commit(Commit::default().delete(Namespace::Audit, 10_u64.to_be_bytes())).expect("committed");
    drop(store);
    assert_eq!(exit(&format!("verify --data-dir DIR/data --head {four}")), 1, "a break is graver");
    let damaged = Commit::default().put(Namespace::Meta, "audit_chain", "");
    open(dir.path()).commit(damaged).expect("committed");
    assert_eq!(exit("verify --data-dir DIR/data"), 3, "the store does not open");
}

#[test]
fn a_store_that_cannot_be_read_says_nothing_about_the_chain() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.commit(Commit::default().put(Namespace::Meta, "audit_chain", "")).expect("committed");
    let said = AuditLines::verify(store, Vec::new()).next_lines().expect("a verdict").expect("a line");
    assert!(said.starts_with(r#"{"ok":null,"problem":"the audit cannot be read: "#), "{said}");
    for (line, is_read) in [
        (said.as_str(), (|read| matches!(read, AuditVerdict::Unknown { .. })) as fn(&AuditVerdict) -> bool),
        (r#"{"ok":false,"number":null,"problem":""}"#, |read| matches!(read, AuditVerdict::Broken { .. })),
        (r#"{"checked":2000}"#, |read| matches!(read, AuditVerdict::Progress { checked: 2000 })),
    ] {
        let read = serde_json::from_str(line).expect("a verdict");
        assert!(is_read(&read), "{line}: {read:?}");
    }
}

#[test]
fn entries_that_are_not_chained_yet_are_neither_shown_nor_taken_for_broken() {
    let dir = tempfile::tempdir().expect("a folder");
    let old = Commit::default().put(Namespace::Audit, 2_u64.to_be_bytes(), "{}");
    open(dir.path()).commit(old.put(Namespace::Meta, "audit", 2_u64.to_be_bytes())).expect("committed");
    for line in ["list", "verify", "export"] {
        assert_eq!(exit(dir.path(), &format!("{line} --data-dir DIR/data")), 2, "{line}");
    }
}
