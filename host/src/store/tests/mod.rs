//! What the store promises, seen through its own calls.
#![expect(clippy::disallowed_methods, reason = "a test's channels hold what the test sends")]

mod audit;
pub(super) mod disk;
mod entries;
mod full_disk;
mod killed;
mod model;
mod power_cut;
mod sealed_too;
mod sealing;
mod sealing_faults;
mod sealing_refused;

use std::cell::Cell;
use std::sync::mpsc;
use std::time::Duration;

use lockstep_plugin_api::Bytes;

use super::*;

thread_local! {
    /// Whether the stores of this test are sealed, unless it says otherwise.
    static IS_SEALED: Cell<bool> = const { Cell::new(false) };
}

fn default_options() -> StoreOptions {
    match IS_SEALED.get() {
        true => sealing::sealed_under("k1", &["k1"]),
        false => StoreOptions::default(),
    }
}

/// Where the engine's files are.
fn folder() -> &'static str {
    if IS_SEALED.get() { "store.sealed" } else { "store" }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, default_options()).expect("the store opens")
}

fn state(key: &str, value: &str) -> Commit {
    Commit::default().put(Namespace::State, key, value)
}

fn value(store: &Store, key: &str) -> Option<String> {
    let found = store.get(Namespace::State, key.as_bytes()).expect("get");
    found.map(|value| String::from_utf8(value).expect("test values are text"))
}

/// Commits all of `commits` in one group: the answer to a first one keeps the writer busy until they wait.
fn commit_as_one_group(store: &Store, commits: Vec<Commit>) -> Vec<Result<Committed, StoreError>> {
    let (go, hold) = mpsc::channel();
    let (entered, held) = mpsc::channel();
    store.submit(state("gate", ""), move |result| {
        result.expect("the gate commits");
        entered.send(()).expect("the test waits");
        hold.recv().expect("the test goes on");
    });
    held.recv().expect("the writer answers the gate");
    let (answer, answers) = mpsc::channel();
    let n_commits = commits.len();
    for (i, commit) in commits.into_iter().enumerate() {
        let answer = answer.clone();
        store.submit(commit, move |result| answer.send((i, result)).expect("the test waits"));
    }
    go.send(()).expect("the writer is held");
    let mut results: Vec<_> = answers.iter().take(n_commits).collect();
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

#[test]
fn committed_values_are_there_after_reopening_with_the_same_epoch() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let epoch = store.epoch();
    store.commit(state("a", "1").put(Namespace::Positions, "a", "other")).expect("commit");
    store.commit(state("b", "2").delete(Namespace::State, "a")).expect("commit");
    drop(store);
    let store = open(dir.path());
    assert_eq!(value(&store, "a"), None);
    assert_eq!(value(&store, "b").as_deref(), Some("2"));
    assert_eq!(store.get(Namespace::Positions, b"a").expect("get").as_deref(), Some(b"other".as_slice()));
    assert_eq!(store.epoch(), epoch);
    assert!(!epoch.is_nil());
}

#[test]
fn a_put_wins_over_a_delete_of_the_same_commit() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.commit(state("a", "1").delete(Namespace::State, "a")).expect("commit");
    assert_eq!(value(&store, "a").as_deref(), Some("1"));
}

#[test]
fn a_failed_check_names_the_key_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.commit(state("a", "1")).expect("commit");
    let absent = state("b", "2").check(Namespace::State, "a", Expect::Absent);
    let other = state("b", "2").check(Namespace::State, "a", Expect::Value(b"9".to_vec()));
    for refused in [absent, other] {
        let error = store.commit(refused).expect_err("a conflict");
        assert!(matches!(&error, StoreError::Conflict { namespace: Namespace::State, key } if key == b"a"));
        assert_eq!(
            error.to_string(),
            "state `a` is not what the commit expects: somebody else wrote in between"
        );
    }
    assert_eq!(value(&store, "b"), None);
    store
        .commit(state("b", "2").check(Namespace::State, "a", Expect::Value(b"1".to_vec())))
        .expect("the check holds");
    assert_eq!(value(&store, "b").as_deref(), Some("2"));
}

#[test]
fn commits_that_wait_share_one_fsync_and_a_conflict_fails_only_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let before = store.counts();
    let mut commits: Vec<_> = (0..100).map(|i| state(&format!("key-{i}"), "1")).collect();
    commits[50] = state("refused", "1").check(Namespace::State, "nobody", Expect::Value(vec![]));
    let results = commit_as_one_group(&store, commits);
    assert!(matches!(&results[50], Err(StoreError::Conflict { .. })));
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 99);
    assert_eq!(value(&store, "refused"), None);
    assert_eq!(value(&store, "key-99").as_deref(), Some("1"));
    let after = store.counts();
    assert_eq!(after.n_groups - before.n_groups, 2, "the gate and the hundred");
    assert_eq!((after.n_commits - before.n_commits, after.n_conflicts - before.n_conflicts), (100, 1));
}

#[test]
fn later_commits_of_a_group_see_the_earlier_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let first = state("lock", "me").check(Namespace::State, "lock", Expect::Absent);
    let second = state("lock", "you").check(Namespace::State, "lock", Expect::Absent);
    let third = Commit::default()
        .check(Namespace::State, "lock", Expect::Value(b"me".to_vec()))
        .delete(Namespace::State, "lock");
    let fourth = state("lock", "they").check(Namespace::State, "lock", Expect::Absent);
    let results = commit_as_one_group(&store, vec![first, second, third, fourth]);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!(value(&store, "lock").as_deref(), Some("they"));
}

#[test]
fn scan_pages_through_one_prefix_of_one_namespace() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let keys = ["a/1", "a/2", "a/3", "a/4", "b/1"];
    let commit = keys.iter().fold(Commit::default(), |commit, key| commit.put(Namespace::State, *key, *key));
    store.commit(commit.put(Namespace::DeadLetters, "a/9", "other")).expect("commit");
    let page = |after: Option<&str>, limit| {
        let found = store.scan(Namespace::State, b"a/", after.map(str::as_bytes), limit).expect("scan");
        found.into_iter().map(|(key, _)| String::from_utf8(key).expect("text")).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3), ["a/1", "a/2", "a/3"]);
    assert_eq!(page(Some("a/3"), 3), ["a/4"]);
    assert_eq!(page(Some("a/4"), 3), [""; 0]);
    assert_eq!(page(Some("0"), 1), ["a/1"], "a place before the prefix");
    assert_eq!(store.scan(Namespace::State, b"", None, 100).expect("scan").len(), 5);
}

#[test]
fn a_second_host_is_refused_with_the_pid_of_the_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let refused = Store::open(dir.path(), default_options()).err().expect("a second host");
    assert_eq!(
        refused.to_string(),
        format!(
            "{} is used by another host (process {}); stop it or give this one its own `data_dir`",
            dir.path().join("lock").display(),
            std::process::id()
        )
    );
    drop(store);
    open(dir.path());
}

#[test]
fn the_store_of_a_newer_host_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.commit(Commit::default().put(Namespace::Meta, "format", 7_u32.to_be_bytes())).expect("commit");
    drop(store);
    let refused = Store::open(dir.path(), default_options()).err().expect("a newer format");
    assert!(matches!(refused, StoreError::NewerFormat { found: 7, supported: 1, .. }), "{refused}");
}

#[test]
fn a_damaged_journal_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    for key in ["first", "second", "third"] {
        store.commit(state(key, "a value that is in the journal as it is")).expect("commit");
    }
    drop(store);
    let journal = dir.path().join(folder()).join("0.jnl");
    let mut bytes = std::fs::read(&journal).expect("the journal");
    let first = bytes.windows(5).position(|window| window == b"first").expect("its key is in the journal");
    bytes[first + 10] ^= 1;
    std::fs::write(&journal, &bytes).expect("the journal");
    let refused = Store::open(dir.path(), default_options()).err().expect("a damaged journal");
    assert!(matches!(refused, StoreError::Engine { action: "open its files", .. }), "{refused}");
    assert!(std::fs::read(&journal).expect("the journal") == bytes, "later commits are still in it");
}

#[test]
fn what_is_too_large_is_refused_before_it_waits() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = StoreOptions { queue_bytes: 10_000, ..default_options() };
    let store = Store::open(dir.path(), options).expect("the store opens");
    let long_key = "k".repeat(5_000);
    let large = store.commit(state(&long_key, "")).expect_err("a long key");
    assert_eq!(large.to_string(), "a key of 5000 bytes is more than the store takes (4096)");
    let large = store.commit(state("a", &"v".repeat(10_000))).expect_err("a large commit");
    assert_eq!(large.to_string(), "a commit of 10001 bytes is more than the store takes (10000)");
}

#[test]
fn a_full_queue_makes_the_next_commit_wait() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = StoreOptions { queue_commits: 2, ..default_options() };
    let store = Store::open(dir.path(), options).expect("the store opens");
    let (go, hold) = mpsc::channel::<()>();
    let (entered, held) = mpsc::channel();
    store.submit(state("gate", ""), move |_| {
        entered.send(()).expect("the test waits");
        let _ = hold.recv();
    });
    held.recv().expect("the writer is held");
    store.submit(state("a", "1"), |_| {});
    store.submit(state("b", "1"), |_| {});
    let (done, waited) = mpsc::channel();
    let other = store.clone();
    let third = std::thread::spawn(move || {
        other.commit(state("c", "1")).expect("commit");
        done.send(()).expect("the test waits");
    });
    assert!(waited.recv_timeout(Duration::from_millis(50)).is_err(), "the queue has room for two");
    let (answer, answered) = mpsc::channel();
    store.try_submit(state("d", "1"), move |result| answer.send(result).expect("the test waits"));
    assert!(matches!(answered.try_recv(), Ok(Err(StoreError::Busy))), "refused at once");
    go.send(()).expect("the writer is held");
    waited.recv().expect("the third commit goes through");
    third.join().expect("no panic");
    let (answer, answered) = mpsc::channel();
    store.try_submit(state("d", "1"), move |result| answer.send(result).expect("the test waits"));
    answered.recv().expect("an answer").expect("there is room again");
    assert_eq!(value(&store, "d").as_deref(), Some("1"));
}

#[test]
fn an_answer_may_commit_again_and_may_hold_the_last_handle() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = StoreOptions { queue_commits: 1, ..default_options() };
    let store = Store::open(dir.path(), options).expect("the store opens");
    let (done, waited) = mpsc::channel();
    let last = store.clone();
    store.submit(state("a", "1"), move |_| {
        for key in ["b", "c", "d"] {
            let done = done.clone();
            last.submit(state(key, "2"), move |result| done.send(result).expect("the test waits"));
        }
    });
    drop(store);
    for result in waited.iter().take(3) {
        result.expect("what was queued before the end is committed");
    }
}

#[test]
fn a_panic_in_an_answer_does_not_end_the_writer() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    store.submit(state("a", "1"), |_| panic!("an answer that panics, on purpose"));
    store.commit(state("b", "2")).expect("the writer goes on");
    assert_eq!(store.health(), Health::Ok);
}

#[test]
fn a_writer_that_panics_refuses_what_comes_instead_of_keeping_it_waiting() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    // Nobody gives up what is not there: the numbers of the tally do not allow it.
    let absurd = Trim { bytes: u64::MAX, passed_bytes: u64::MAX, revisions: vec![7], ..Trim::default() };
    let absurd = Commit { trim: Some(absurd), ..Commit::default() };
    assert!(store.commit(absurd).is_err());
    let (answer, answered) = mpsc::channel();
    let later = store.clone();
    std::thread::spawn(move || answer.send(later.commit(state("a", "1"))));
    let result = answered.recv_timeout(Duration::from_secs(60)).expect("an answer");
    assert!(matches!(result, Err(StoreError::Closed | StoreError::Failed)), "{result:?}");
    assert_eq!(store.health(), Health::Failed);
}
