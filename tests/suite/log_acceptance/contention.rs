//! Many sessions want one lock: one has it at a time, each gets it, in the order they asked.

use super::Sync;
use lockstep_test_support::{contend, n_overtakings, overlap, scale};
use std::time::Duration;

const N_SESSIONS: usize = 8;

#[test]
fn sessions_that_contend_for_a_key_hold_it_one_at_a_time_each_in_its_turn() {
    let sync = Sync::new();
    let _host = sync.start();
    let duration = Duration::from_secs(scale(5, 20));
    let grants = contend(&[sync.port], N_SESSIONS, "app.contended", duration, 10 * N_SESSIONS);

    let of = |client: usize| grants.iter().filter(|grant| grant.client == client).count();
    let counts: Vec<usize> = (0..N_SESSIONS).map(of).collect();
    let overtaken = n_overtakings(&grants, N_SESSIONS);
    println!("{} grants, {counts:?} by session, {overtaken} overtakings", grants.len());
    assert_eq!(overlap(&grants), None, "two sessions held it at once");
    assert!(grants.windows(2).all(|pair| pair[0].token < pair[1].token), "tokens only grow");
    let fair = grants.len() / N_SESSIONS;
    assert!(counts.iter().all(|count| *count >= fair / 2), "each progresses: {counts:?}");
    // Two requests may change places on their way to the host; a session that does not wait its turn does it every time.
    assert!(100 * overtaken <= grants.len(), "{overtaken} of {} grants out of turn", grants.len());
}
