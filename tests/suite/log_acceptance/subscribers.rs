//! Slow, stalled and reconnecting subscribers over kills of the host, judged by etcd's watch guarantees.

use super::{Added, Sync, revision};
use lockstep_test_support::{
    Authors, Habit, History, LIMIT, Load, Numbers, Observation, Seen, Session, Subscriber, Subscription,
    Verdict, Violation, check, last_revision, scale, written_history,
};
use serde_json::json;

/// History is short, so that whoever stays away while the host is killed falls out of it: what is in memory is gone, too.
const N_KEPT: u64 = 200;

/// Without a rate; that depends on how many look on, so that the test's own side keeps up with reading.
const LOAD: Load = Load { n_connections: 4, in_flight: 64, per_second: None, n_keys: 30, bytes: 500 };

#[test]
fn subscribers_that_are_slow_stall_and_reconnect_see_what_etcd_would_promise_them() {
    let (n_subscribers, n_seconds, n_kills) = scale((50, 15, 2), (200, 60, 5));
    let (n_resumes, n_compactions, n_conflations) = scale((100, 10, 10), (300, 20, 20));
    let sync = Sync::with(Added { websocket: ", max_queue_bytes: 64KiB", ..Added::default() });
    let sync = sync
        .env("LOCKSTEP_STATE__HISTORY__RECORDS", &N_KEPT.to_string())
        .env("LOCKSTEP_SYNC_SETTINGS__CLEANUP_INTERVAL", "200ms");
    let numbers = Numbers::default();
    let mut subscribers = Vec::new();
    let per_second = scale(200, 50);
    let n_changes = per_second * n_seconds / (n_kills + 1);
    let load = Load { per_second: Some(per_second as u32), ..LOAD };
    for round in 0..=n_kills {
        let mut host = sync.start();
        if round == 0 {
            subscribers.extend((0..n_subscribers).map(|number| subscribe(&sync, &numbers, number)));
        }
        let authors = Authors::start(sync.port, load, &numbers);
        host.wait_until("the round's changes", 4 * LIMIT, |_| authors.n_answered() >= n_changes);
        if round < n_kills {
            host.kill();
            authors.finish();
            continue;
        }
        authors.finish();
        let end = revision(&sync.author().change("app.end", &json!({ "n": numbers.take() })));
        host.wait_until("the file sink", LIMIT, |_| last_revision(&sync.output()) >= Some(end));
        subscribers.iter().for_each(|subscriber| subscriber.finish_at(end));
        let observations: Vec<Observation> = subscribers.drain(..).map(Subscriber::observation).collect();
        let history = written_history(&sync.output());
        history.assert_complete();
        let all = judge(&history, &observations);
        let n_of = |reason: &str| all.n_resyncs.get(reason).copied().unwrap_or(0);
        println!(
            "{} changes, {} messages, {} resumes, {} conflations, resyncs {:?}",
            history.len(),
            all.n_seen,
            all.n_resumes,
            all.n_conflations,
            all.n_resyncs
        );
        assert!(all.n_resumes >= n_resumes, "too few resumes: {}", all.n_resumes);
        assert!(n_of("compacted") >= n_compactions, "too few fell out of history: {:?}", all.n_resyncs);
        assert!(all.n_conflations >= n_conflations, "too few conflations: {}", all.n_conflations);
        the_oracle_is_awake(&history, &observations);
    }
}

fn subscribe(sync: &Sync, numbers: &Numbers, number: usize) -> Subscriber {
    let (habit, name) = match number % 5 {
        0 => (Habit::Reads, "reads"),
        1 | 2 => (Habit::Reconnects { after: 40 + number }, "reconnects"),
        3 => (Habit::Leaves { after: 50, n_revisions: 3 * N_KEPT }, "leaves"),
        _ => (Habit::Stalls { after: 30, n_revisions: 400 }, "stalls"),
    };
    let few = ["app.load.1*", "app.load.7", "app.end"];
    let patterns: &[&str] = if number.is_multiple_of(3) { &few } else { &["app.*"] };
    Subscriber::start(Subscription {
        name: format!("{number} {name}"),
        port: sync.port,
        patterns: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
        habit,
        head: numbers.head(),
    })
}

/// The sum over all subscribers, none of whom was wronged.
fn judge(history: &History, observations: &[Observation]) -> Verdict {
    let mut all = Verdict::default();
    let mut wronged = Vec::new();
    for observation in observations {
        let verdict = check(history, observation);
        if !verdict.violations.is_empty() {
            let (n, first) = (verdict.violations.len(), &verdict.violations[0]);
            wronged.push(format!(
                "{}: {n} violations, first {first:?} in\n{}",
                observation.name,
                around(observation, first)
            ));
        }
        all.n_seen += verdict.n_seen;
        all.n_resumes += verdict.n_resumes;
        all.n_conflations += verdict.n_conflations;
        for (reason, n) in verdict.n_resyncs {
            *all.n_resyncs.entry(reason).or_default() += n;
        }
    }
    assert!(wronged.is_empty(), "{} wronged:\n{}", wronged.len(), wronged.join("\n"));
    all
}

/// What was seen around the change that a violation is about, a connection per line.
fn around(observation: &Observation, violation: &Violation) -> String {
    let revision = violation.revision();
    let is_near =
        |seen: &&Seen| seen.revision().abs_diff(revision) < 10 || matches!(seen, Seen::Resync { .. });
    let sessions = observation
        .sessions
        .iter()
        .filter(|session| session.seen.iter().any(|seen| seen.revision().abs_diff(revision) < 10));
    let line = |session: &Session| {
        let near: Vec<String> = session.seen.iter().filter(is_near).map(ToString::to_string).collect();
        format!("    since {:?}: {}\n", session.since, near.join(" "))
    };
    sessions.map(line).collect()
}

/// What a subscriber of this very run saw, with a message doubled, left out, and exchanged with the next one: all are seen.
fn the_oracle_is_awake(history: &History, observations: &[Observation]) {
    let is_change = |seen: &Seen| matches!(seen, Seen::Change { .. });
    let reader = observations.iter().find(|observation| observation.name.ends_with("reads"));
    let reader = reader.expect("somebody reads all the time");
    let session = reader.sessions.iter().position(|session| session.seen.len() > 20).expect("a long session");
    let at = 10 + reader.sessions[session].seen[10..].iter().position(is_change).expect("a change");
    let tampered = |tamper: fn(&mut Vec<Seen>, usize)| {
        let mut observation = reader.clone();
        tamper(&mut observation.sessions[session].seen, at);
        check(history, &observation).violations
    };
    assert_ne!(tampered(|seen, at| seen.insert(at, seen[at].clone())), [], "a duplicate");
    assert_ne!(tampered(|seen, at| drop(seen.remove(at))), [], "a gap");
    assert_ne!(tampered(|seen, at| seen.swap(at, at + 1)), [], "a reorder");
}
