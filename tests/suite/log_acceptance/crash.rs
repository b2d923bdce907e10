//! The host is killed under load: what was answered is there, in one order, for every reader.

use super::{Sync, revision};
use lockstep_test_support::{
    Authors, Habit, History, LIMIT, Load, Numbers, Sent, Subscriber, Subscription, check, last_revision,
    random, scale, written, written_history,
};
use serde_json::json;
use std::time::Duration;

const LOAD: Load = Load { n_connections: 16, in_flight: 64, per_second: None, n_keys: 64, bytes: 100 };

#[test]
fn every_answered_change_is_in_the_log_once_and_every_reader_sees_it_after_kills_of_the_host() {
    let (n_kills, n_changes) = scale((8, 4_000), (30, 20_000));
    let mut random = random("log crash");
    let sync = Sync::new();
    let numbers = Numbers::default();
    let (mut sent, mut n_hits, mut subscriber) = (Vec::new(), 0, None);
    for _ in 0..n_kills {
        let mut host = sync.start();
        subscriber.get_or_insert_with(|| Subscriber::start(subscription(&sync, &numbers)));
        let authors = Authors::start(sync.port, LOAD, &numbers);
        let aim = n_changes / n_kills + random.usize(0..100);
        host.wait_until("answers", LIMIT, |_| authors.n_answered() >= aim);
        // Between two commits, or in the middle of one.
        std::thread::sleep(Duration::from_micros(random.u64(0..5_000)));
        host.kill();
        let round = authors.finish();
        n_hits += usize::from(round.iter().any(|sent| sent.answer.is_none()));
        sent.extend(round);
    }
    let mut host = sync.start();
    let end = revision(&sync.author().change("app.end", &json!({ "n": numbers.take() })));
    host.wait_until("the file sink", LIMIT, |_| last_revision(&sync.output()) >= Some(end));
    let subscriber = subscriber.expect("there was a round");
    subscriber.finish_at(end);
    let observation = subscriber.observation();
    host.stop();

    let history = written_history(&sync.output());
    history.assert_complete();
    assert_eq!(history.head(), end);
    let n_answered = answered_are_there(&sent, &history);
    println!(
        "{n_kills} kills, {n_hits} with unanswered changes; {} sent, {n_answered} answered, {end} committed, {} lines",
        sent.len(),
        written(&sync.output()).len()
    );
    assert!(n_answered >= n_changes, "{n_answered} of {n_changes} changes were answered");
    assert!(2 * n_hits >= n_kills, "too few kills hit unanswered changes: {n_hits} of {n_kills}");

    let verdict = check(&history, &observation);
    assert_eq!(verdict.violations, [], "{:?}", verdict.n_resyncs);
    assert!(verdict.n_resumes >= n_kills, "it resumed after every kill: {}", verdict.n_resumes);
    assert!(observation.changes().map(|change| change.revision).eq(1..=end), "each once, in order");
}

fn subscription(sync: &Sync, numbers: &Numbers) -> Subscription {
    Subscription {
        name: "everything".to_owned(),
        port: sync.port,
        patterns: vec!["app.*".to_owned()],
        habit: Habit::Reads,
        head: numbers.head(),
    }
}

/// Every change was accepted if it was answered, and is in the history at the revision of its answer.
pub fn answered_are_there(sent: &[Sent], history: &History) -> usize {
    let answered = sent.iter().filter_map(|sent| sent.answer.as_ref().map(|answer| (sent, answer)));
    answered
        .map(|(sent, answer)| {
            let revision = answer.revision.unwrap_or_else(|| panic!("refused: {}", answer.message));
            let there = history.get(revision);
            assert!(
                there.as_ref().is_some_and(|there| there.number == sent.number && there.key == sent.key),
                "{} was answered with revision {revision}, where {there:?} is",
                sent.number
            );
        })
        .count()
}
