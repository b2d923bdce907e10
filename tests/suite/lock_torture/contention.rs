//! Sessions at two hosts want one lock, and nothing goes wrong: one has it at a time, and each gets it.

use super::pair::{Node, Pair};
use crate::log_acceptance::Sync;
use lockstep_test_support::{AuditFaults, contend, disorder, n_overtakings, overlap, repeated, scale};
use std::time::Duration;

const N_SESSIONS: usize = 6;

#[test]
fn sessions_of_two_hosts_hold_a_lock_one_at_a_time_and_each_gets_it() {
    let pair = Pair::start();
    let duration = Duration::from_secs(scale(5, 20));
    let ports = [pair.a.sync.port, pair.b.sync.port];
    let grants = contend(&ports, N_SESSIONS, "app.contended", duration, 10 * N_SESSIONS);
    let of = |client: usize| grants.iter().filter(|grant| grant.client == client).count();
    let counts: Vec<usize> = (0..N_SESSIONS).map(of).collect();
    let per_second = grants.len() as f64 / duration.as_secs_f64();
    let n_overtakings = n_overtakings(&grants, N_SESSIONS);
    println!(
        "contention: {} grants at two hosts, {per_second:.0}/s, {counts:?} by session, {n_overtakings} overtakings",
        grants.len()
    );
    assert_eq!(overlap(&grants), None, "two sessions held it at once");
    assert_eq!((disorder(&grants), repeated(&grants)), (None, None));
    let fair = grants.len() / N_SESSIONS;
    assert!(counts.iter().all(|count| *count >= fair / 4), "each progresses: {counts:?}");
    let last = grants.iter().map(|grant| grant.token).max();
    assert_eq!(Some(pair.fence("app.contended")), last, "every token was told to somebody");
    let audits = [pair.a.audited("app.contended"), pair.b.audited("app.contended")];
    assert_eq!(AuditFaults::new(&audits), AuditFaults::default());
    assert_eq!(audits.iter().map(Vec::len).sum::<usize>(), 2 * grants.len(), "a grant, two entries");
}

#[test]
fn sessions_of_two_hosts_that_share_nothing_hold_it_at_one_time_and_the_harness_sees_it() {
    let [a, b] = [(); 2].map(|()| Node::of(Sync::new()));
    let grants = contend(&[a.sync.port, b.sync.port], 4, "app.contended", Duration::from_millis(500), 40);
    assert!(overlap(&grants).is_some() && disorder(&grants).is_some() && repeated(&grants).is_some());
    let audits = [a.audited("app.contended"), b.audited("app.contended")];
    assert_ne!(AuditFaults::new(&audits).twice_acquired, [0; 0]);
}
