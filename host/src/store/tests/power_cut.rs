//! The power fails: every acknowledged commit is there, no commit is there in part.

use std::collections::BTreeMap;

use super::disk::{Cut, Disk, Watched};
use super::*;
use crate::store::engine::EngineOptions;

const N_CUTS_PER_SEED: usize = 50;
const N_ROUNDS: usize = 40;

/// `ci`, or what `LOCKSTEP_SCALE=full` asks for.
fn scaled<T>(ci: T, full: T) -> T {
    if std::env::var("LOCKSTEP_SCALE").is_ok_and(|scale| scale == "full") { full } else { ci }
}

type Model = BTreeMap<Vec<u8>, Arc<Vec<u8>>>;

/// One run on a watched disk: what the state was after each commit, and the moments the power may fail.
struct Run {
    watched: Watched,
    /// After 0, 1, 2... commits.
    states: Vec<Model>,
    _dir: tempfile::TempDir,
}

fn run(seed: u64, options: EngineOptions) -> Run {
    let dir = tempfile::tempdir().expect("a folder");
    let watched = Watched::new(dir.path());
    let mut random = fastrand::Rng::with_seed(seed);
    let store = Store::open_with(dir.path(), &StoreOptions::default(), options).expect("the store opens");
    let mut states = vec![Model::new()];
    for _ in 0..N_ROUNDS {
        let n_commits = random.usize(1..6);
        let commits = (0..n_commits).map(|_| next_commit(&mut random, &mut states)).collect();
        commit_group(&store, &watched.disk, commits);
        watched.disk.may_be_cut_here();
    }
    drop(store);
    Run { watched, states, _dir: dir }
}

/// Some puts and deletes over few keys, so that commits overwrite each other; and the model's state after it.
fn next_commit(random: &mut fastrand::Rng, states: &mut Vec<Model>) -> Commit {
    let mut commit = Commit::default();
    for _ in 0..random.usize(1..6) {
        let key = format!("key-{:02}", random.u8(0..40)).into_bytes();
        if random.u8(0..5) == 0 {
            commit = commit.delete(Namespace::State, key);
        } else {
            let n_bytes = if random.u8(0..4) == 0 { random.usize(0..9_000) } else { random.usize(0..300) };
            let value: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(n_bytes).collect();
            commit = commit.put(Namespace::State, key, value);
        }
    }
    // Every state differs from every other, so that what is found belongs to one moment.
    commit = commit.put(Namespace::State, "n", states.len().to_be_bytes());
    remember(&commit, states);
    commit
}

fn remember(commit: &Commit, states: &mut Vec<Model>) {
    let mut model = states.last().expect("the first state is empty").clone();
    for (_, key) in &commit.deletes {
        model.remove(key);
    }
    for (_, key, value) in &commit.puts {
        model.insert(key.clone(), Arc::new(value.clone()));
    }
    states.push(model);
}

/// All in one group, each acknowledged when it is answered; a refused one among them changes nothing.
fn commit_group(store: &Store, disk: &Arc<Disk>, commits: Vec<Commit>) {
    let (go, hold) = mpsc::channel();
    store.submit(Commit::default(), move |_| hold.recv().expect("the test goes on"));
    let refused = state("half", "1").check(Namespace::State, "n", Expect::Value(b"never".to_vec()));
    store.submit(refused, |result| assert!(matches!(result, Err(StoreError::Conflict { .. }))));
    let (answer, answers) = mpsc::channel();
    let n_commits = commits.len();
    for commit in commits {
        let (answer, disk) = (answer.clone(), Arc::clone(disk));
        store.submit(commit, move |result| {
            result.expect("committed");
            disk.acknowledge();
            answer.send(()).expect("the test waits");
        });
    }
    go.send(()).expect("the writer is held");
    assert_eq!(answers.iter().take(n_commits).count(), n_commits);
}

/// Starts a host on what the power cut left.
fn check(run: &Run, cut: &Cut, torn: Option<&mut fastrand::Rng>) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a folder");
    let _watched = Watched::without_memory(dir.path());
    cut.restore(&run.watched.disk, dir.path(), torn);
    let store =
        Store::open(dir.path(), StoreOptions::default()).map_err(|error| format!("{error}: {error:?}"))?;
    let found = store.scan(Namespace::State, b"", None, usize::MAX).expect("scan");
    let found: Model = found.into_iter().map(|(key, value)| (key, Arc::new(value))).collect();
    let n_commits = found
        .get(b"n".as_slice())
        .map_or(0, |n| usize::from_be_bytes(n.as_slice().try_into().expect("a number of commits")));
    if found != run.states[n_commits] {
        return Err(format!("a part of a commit: this is not the state after {n_commits} commits"));
    }
    if n_commits < cut.n_acknowledged {
        return Err(format!("{} commits were acknowledged, {n_commits} are there", cut.n_acknowledged));
    }
    store.commit(state("after", "1")).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn every_acknowledged_commit_survives_a_power_cut_whole() {
    let n_seeds = scaled(4, 40);
    let (mut n_cuts, mut n_torn) = (0, 0);
    for seed in 0..n_seeds {
        let run = run(seed, EngineOptions::new(1 << 20));
        let mut random = fastrand::Rng::with_seed(seed);
        let mut cuts = run.watched.disk.cuts();
        random.shuffle(&mut cuts);
        for (i, cut) in cuts.iter().take(N_CUTS_PER_SEED).enumerate() {
            let tear = cut.can_tear() && i % 4 != 0;
            let result = check(&run, cut, tear.then_some(&mut random));
            assert_eq!(result, Ok(()), "seed {seed}, cut {i}, torn: {tear}");
            (n_cuts, n_torn) = (n_cuts + 1, n_torn + usize::from(tear));
        }
    }
    assert_eq!(n_cuts, n_seeds as usize * N_CUTS_PER_SEED);
    assert!(
        (n_cuts / 4..n_cuts * 3 / 4).contains(&n_torn),
        "{n_torn} of the cuts tore what was being synced"
    );
}

#[test]
fn without_the_sync_call_the_same_check_fails() {
    let run = run(0, EngineOptions::new(1 << 20).without_sync());
    let cuts = run.watched.disk.cuts();
    let later: Vec<_> = cuts.iter().filter(|cut| cut.n_acknowledged > 0).collect();
    assert!(later.len() >= N_ROUNDS);
    for cut in later {
        let result = check(&run, cut, None);
        assert!(result.is_err(), "{} commits survived without a sync", cut.n_acknowledged);
    }
}

/// The engine changes to a new journal after 64 MB, and gives up the old one when its data lie in tables.
#[test]
fn every_acknowledged_commit_survives_a_power_cut_around_a_change_of_journals() {
    let seed = 7;
    let mut random = fastrand::Rng::with_seed(seed);
    let run = run_through_a_change_of_journals(&mut random);
    let mut cuts = run.watched.disk.cuts();
    random.shuffle(&mut cuts);
    for (i, cut) in cuts.iter().take(scaled(8, 60)).enumerate() {
        let tear = cut.can_tear() && i % 2 == 0;
        let result = check(&run, cut, tear.then_some(&mut random));
        assert_eq!(result, Ok(()), "seed {seed}, cut {i} of {}, torn: {tear}", cuts.len());
    }
}

/// The cuts are of the last megabytes only: each remembers the whole journal.
fn run_through_a_change_of_journals(random: &mut fastrand::Rng) -> Run {
    let dir = tempfile::tempdir().expect("a folder");
    let watched = Watched::new(dir.path());
    let options = EngineOptions::new(1 << 20).with_write_buffer(4 << 20);
    let store = Store::open_with(dir.path(), &StoreOptions::default(), options).expect("the store opens");
    let mut states = vec![Model::new()];
    while dir.path().join("store/0.jnl").exists() {
        watched.disk.pause_cuts(states.len() < 62);
        let mut bulk = vec![0; 1 << 20];
        random.fill(&mut bulk);
        let commit = Commit::default().put(Namespace::State, format!("bulk-{}", states.len() % 3), bulk).put(
            Namespace::State,
            "n",
            states.len().to_be_bytes(),
        );
        remember(&commit, &mut states);
        commit_group(&store, &watched.disk, vec![commit]);
        assert!(
            states.len() < 200,
            "after 64 MB there is a new journal, and soon after it the old one is gone"
        );
    }
    commit_group(&store, &watched.disk, vec![next_commit(random, &mut states)]);
    drop(store);
    Run { watched, states, _dir: dir }
}
