//! The power fails: every acknowledged commit is there, no commit is there in part, and no revision is used twice.

use std::collections::BTreeMap;

use super::disk::{Cut, Disk, Watched};
use super::model::Model;
use super::*;
use crate::store::engine::EngineOptions;

const N_CUTS_PER_SEED: usize = 50;
const N_ROUNDS: usize = 40;

/// `ci`, or what `LOCKSTEP_SCALE=full` asks for.
pub fn scaled<T>(ci: T, full: T) -> T {
    if std::env::var("LOCKSTEP_SCALE").is_ok_and(|scale| scale == "full") { full } else { ci }
}

/// One run on a watched disk: what the state was after each commit, and the moments the power may fail.
struct Run {
    watched: Watched,
    /// After 0, 1, 2... commits.
    states: Vec<Model>,
    _dir: tempfile::TempDir,
}

fn run(seed: u64, options: EngineOptions) -> Run {
    run_with(seed, options, &default_options(), 0)
}

/// At least so many rounds and so many syncs.
fn run_with(seed: u64, options: EngineOptions, store: &StoreOptions, n_syncs: u64) -> Run {
    let dir = tempfile::tempdir().expect("a folder");
    let watched = Watched::new(dir.path());
    let mut random = fastrand::Rng::with_seed(seed);
    let store = Store::open_with(dir.path(), store, options).expect("the store opens");
    let mut states = vec![Model::default()];
    let mut n_rounds = 0;
    while n_rounds < N_ROUNDS || store.counts().n_syncs < n_syncs {
        n_rounds += 1;
        let n_commits = random.usize(1..6);
        let commits = (0..n_commits).map(|_| next_commit(&mut random, &mut states)).collect();
        let commits = with_trim(&store, commits, &mut random, &mut states);
        commit_group(&store, &watched.disk, commits);
        watched.disk.may_be_cut_here();
    }
    drop(store);
    Run { watched, states, _dir: dir }
}

/// Some puts, deletes and entries over few keys, so that commits overwrite each other; and the model's state after it.
pub fn next_commit(random: &mut fastrand::Rng, states: &mut Vec<Model>) -> Commit {
    let mut commit = Commit::default();
    for _ in 0..random.usize(1..6) {
        let key = format!("key-{:02}", random.u8(0..40)).into_bytes();
        if random.u8(0..5) == 0 {
            commit = commit.delete(Namespace::State, key);
        } else {
            commit = commit.put(Namespace::State, key, some_bytes(random));
        }
    }
    for _ in 0..random.usize(0..5) {
        let key = (random.u8(0..8) > 0).then(|| format!("key-{:02}", random.u8(0..40)).into_bytes());
        let is_deletion = key.is_some() && random.u8(0..5) == 0;
        commit.entries.push(NewEntry { key, value: some_bytes(random).into(), is_deletion });
    }
    for _ in 0..random.usize(0..4) {
        let revision_of = (!commit.entries.is_empty()).then(|| random.usize(0..commit.entries.len()));
        let entry = format!("{{\"n\":{}}}", random.u32(..));
        commit.audit.push(NewAudit { at_us: random.i64(..), entry, revision_of });
    }
    // Every state differs from every other, so that what is found belongs to one moment.
    commit = commit.put(Namespace::State, "n", states.len().to_be_bytes());
    remember(&commit, states);
    commit
}

fn some_bytes(random: &mut fastrand::Rng) -> Vec<u8> {
    let n_bytes = if random.u8(0..4) == 0 { random.usize(0..9_000) } else { random.usize(0..300) };
    std::iter::repeat_with(|| random.u8(..)).take(n_bytes).collect()
}

/// Every other group begins with giving up an entry of those before it.
fn with_trim(
    store: &Store,
    commits: Vec<Commit>,
    random: &mut fastrand::Rng,
    states: &mut Vec<Model>,
) -> Vec<Commit> {
    let before = states.len() - commits.len();
    let trim = states[before - 1].replaced(store).filter(|_| random.bool());
    let Some(trim) = trim else { return commits };
    states.truncate(before);
    let audit_trim = states[before - 1].oldest_audit(store);
    let trim = Commit { trim: Some(trim), audit_trim, ..Commit::default() };
    let trim = trim.put(Namespace::State, "n", before.to_be_bytes());
    let renumbered = (before + 1..).zip(commits).map(|(n, mut commit)| {
        commit.puts.last_mut().expect("its number").2 = n.to_be_bytes().to_vec();
        commit
    });
    let commits: Vec<_> = std::iter::once(trim).chain(renumbered).collect();
    commits.iter().for_each(|commit| remember(commit, states));
    commits
}

fn remember(commit: &Commit, states: &mut Vec<Model>) {
    let mut model = states.last().expect("the first state is empty").clone();
    model.apply(commit);
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
    let store = Store::open(dir.path(), default_options()).map_err(|error| format!("{error}: {error:?}"))?;
    let found = store.scan(Namespace::State, b"", None, usize::MAX).expect("scan");
    let found: BTreeMap<_, _> = found.into_iter().map(|(key, value)| (key, Arc::new(value))).collect();
    let n_commits = found
        .get(b"n".as_slice())
        .map_or(0, |n| usize::from_be_bytes(n.as_slice().try_into().expect("a number of commits")));
    let expected = &run.states[n_commits];
    if found != expected.values {
        return Err(format!("a part of a commit: this is not the state after {n_commits} commits"));
    }
    if n_commits < cut.n_acknowledged {
        return Err(format!("{} commits were acknowledged, {n_commits} are there", cut.n_acknowledged));
    }
    expected.check_log(&store)?;
    let entry = NewEntry { key: Some(b"after".to_vec()), value: Bytes::new(), is_deletion: false };
    let after = Commit { entries: vec![entry], ..state("after", "1") };
    let committed = store.commit(after).map_err(|error| error.to_string())?;
    match committed.first_revision == expected.head() + 1 {
        true => Ok(()),
        false => Err(format!("{committed:?} follows revision {}", expected.head())),
    }
}

#[test]
pub fn every_acknowledged_commit_survives_a_power_cut_whole() {
    let n_seeds = scaled(if IS_SEALED.get() { 2 } else { 4 }, 40);
    let (mut n_cuts, mut n_torn) = (0, 0);
    for seed in 0..n_seeds {
        let run = run(seed, EngineOptions::new(1 << 20));
        let mut random = fastrand::Rng::with_seed(seed);
        let mut cuts = run.watched.disk.cuts();
        random.shuffle(&mut cuts);
        let n_half = N_CUTS_PER_SEED / 2;
        let torn = cuts.iter().filter(|cut| cut.can_tear()).take(n_half).map(|cut| (cut, true));
        let whole = cuts.iter().rev().take(n_half).map(|cut| (cut, false));
        for (i, (cut, tear)) in torn.chain(whole).enumerate() {
            let result = check(&run, cut, tear.then_some(&mut random));
            assert_eq!(result, Ok(()), "seed {seed}, cut {i}, torn: {tear}");
            (n_cuts, n_torn) = (n_cuts + 1, n_torn + usize::from(tear));
        }
    }
    assert_eq!((n_cuts, n_torn), (n_seeds as usize * N_CUTS_PER_SEED, n_cuts / 2));
}

/// What the power takes then are the commits since the last sync, from one on and without exception.
#[test]
pub fn with_an_interval_a_power_cut_takes_only_the_newest_commits() {
    let (mut n_torn, mut n_lost) = (0, 0);
    for seed in 0..scaled(if IS_SEALED.get() { 2 } else { 4 }, 40) {
        let interval = Durability::Interval(Duration::from_millis(5));
        let options = StoreOptions { durability: interval, ..default_options() };
        let run = run_with(seed, EngineOptions::new(1 << 20).with_later_sync(), &options, 10);
        let mut random = fastrand::Rng::with_seed(seed);
        let cuts = run.watched.disk.cuts();
        let mut n_synced = 0;
        for (i, cut) in cuts.iter().enumerate() {
            let tear = cut.can_tear();
            let mut cut = cut.clone();
            cut.n_acknowledged = n_synced;
            let result = check(&run, &cut, tear.then_some(&mut random));
            assert_eq!(result, Ok(()), "seed {seed}, cut {i}, torn: {tear}");
            n_torn += usize::from(tear && n_synced > 0);
            if tear {
                n_lost += cuts[i].n_acknowledged - n_synced;
                n_synced = cuts[i].n_acknowledged;
            }
        }
    }
    assert!(n_torn > 10 && n_lost > n_torn, "{n_torn} torn syncs of {n_lost} commits");
}

#[test]
pub fn without_the_sync_call_the_same_check_fails() {
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
pub fn every_acknowledged_commit_survives_a_power_cut_around_a_change_of_journals() {
    let seed = 7;
    let mut random = fastrand::Rng::with_seed(seed);
    let run = run_through_a_change_of_journals(&mut random);
    let mut cuts = run.watched.disk.cuts();
    random.shuffle(&mut cuts);
    for (i, cut) in cuts.iter().take(scaled(if IS_SEALED.get() { 4 } else { 8 }, 60)).enumerate() {
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
    let store = Store::open_with(dir.path(), &default_options(), options).expect("the store opens");
    let mut states = vec![Model::default()];
    while dir.path().join(folder()).join("0.jnl").exists() {
        watched.disk.pause_cuts(states.len() < 31);
        let mut bulk = vec![0; 1 << 20];
        random.fill(&mut bulk);
        let mut commit =
            Commit::default().put(Namespace::State, format!("bulk-{}", states.len() % 3), bulk.clone());
        commit = commit.put(Namespace::State, "n", states.len().to_be_bytes());
        // The journal goes only when the data of both of the engine's keyspaces lie in tables.
        let key = Some(format!("bulk-{}", states.len() % 5).into_bytes());
        commit.entries.push(NewEntry { key, value: bulk.into(), is_deletion: false });
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
