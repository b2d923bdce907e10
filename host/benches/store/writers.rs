//! The store itself: how many commits per second when 1, and when 64 writers wait for theirs.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use lockstep::store::{Commit, Namespace, Store, StoreOptions};

use crate::rows::{Run, bare};
use crate::syscalls::writes;
use crate::workload::Workload;

pub fn header() {
    println!(
        "\nthe store: each commit is 1 put of 300 B; beside it, n entries of 300 B appended in one fdatasync"
    );
    println!(
        "{:<20} {:>7} {:>10} {:>7} {:>8} {:>8} {:>15}",
        "way", "writers", "commits/s", "x bare", "p50 ms", "p99 ms", "fsyncs/commit"
    );
}

pub fn compare(dir: &Path, n_writers: usize, time: Duration) {
    let limit = bare(dir, n_writers, time);
    let limit = limit.per_second() * n_writers as f64;
    let dir = dir.join("writers");
    let store = Store::open(&dir, StoreOptions::default()).expect("the store opens");
    row("commit, threads", n_writers, limit, &blocking(&store, n_writers, time));
    row("submit, answers", n_writers, limit, &answered(&store, n_writers, time));
    drop(store);
    fs::remove_dir_all(dir).expect("remove");
}

fn row(way: &str, n_writers: usize, limit: f64, run: &Run) {
    println!(
        "{:<20} {:>7} {:>10.0} {:>7.2} {:>8.2} {:>8.2} {:>15.3}",
        way,
        n_writers,
        run.per_second(),
        run.per_second() / limit,
        run.percentile(50),
        run.percentile(99),
        run.n_fsyncs() / run.n_commits()
    );
}

/// A thread per writer, each waiting for its own commit.
fn blocking(store: &Store, n_writers: usize, time: Duration) -> Run {
    let (before, start) = (writes(), Instant::now());
    let latencies = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for seed in 0..n_writers as u64 {
            let (store, latencies) = (store.clone(), &latencies);
            scope.spawn(move || {
                let mut workload = Workload::new(seed, u64::MAX);
                let mut own = Vec::new();
                while start.elapsed() < time {
                    let commit = next_commit(&mut workload);
                    let commit_start = Instant::now();
                    store.commit(commit).expect("commit");
                    own.push(commit_start.elapsed());
                }
                latencies.lock().expect("no panic").extend(own);
            });
        }
    });
    Run::of(latencies.into_inner().expect("no panic"), start.elapsed(), before)
}

/// One thread that keeps `n_writers` commits in the queue, as a host's runtime does.
pub fn answered(store: &Store, n_writers: usize, time: Duration) -> Run {
    let (before, start) = (writes(), Instant::now());
    let (answer, answers) = std::sync::mpsc::channel();
    let mut workload = Workload::new(1, u64::MAX);
    let mut latencies = Vec::new();
    let mut submit = || {
        let (commit, answer, commit_start) = (next_commit(&mut workload), answer.clone(), Instant::now());
        store.submit(commit, move |result| {
            result.expect("commit");
            answer.send(commit_start.elapsed()).expect("the loop waits");
        });
    };
    (0..n_writers).for_each(|_| submit());
    while start.elapsed() < time {
        // All that have been answered by now, so that this thread sleeps once per group.
        let answered = answers.recv().into_iter().chain(answers.try_iter()).collect::<Vec<_>>();
        answered.iter().for_each(|_| submit());
        latencies.extend(answered);
    }
    latencies.extend(answers.iter().take(n_writers));
    Run::of(latencies, start.elapsed(), before)
}

fn next_commit(workload: &mut Workload) -> Commit {
    let group = workload.group(1);
    let (key, _) = group.state.into_iter().next().expect("one put");
    let value = group.entries.into_iter().next().expect("one entry");
    Commit::default().put(Namespace::State, key, value)
}
