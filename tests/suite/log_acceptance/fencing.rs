//! A holder that is stopped for longer than its lease writes with a token that is no longer the registered one.

use super::{Added, Sync, change, key, lock, revision};
use lockstep_test_support::{
    Adders, GuideWorkers, LIMIT,
    counter::{Outcome, disturb},
    eventually, scale,
};
use serde_json::json;
use std::{path::Path, time::Duration};

/// The shortest lease there is. A lease is kept up for a client whose connection lives, so a stopped one has to be noticed
/// first.
const TTL: Duration = Duration::from_secs(1);
const NOTICED_SOON: &str = ", ping_interval: 300ms, ping_timeout: 1s";

#[test]
fn holders_that_are_stopped_past_their_lease_are_refused_and_no_addition_is_lost() {
    let (n_runs, duration) = scale((1, Duration::from_secs(12)), (3, Duration::from_secs(20)));
    let sync = Sync::with(Added { websocket: NOTICED_SOON, ..Added::default() });
    let host = sync.start();
    for run in 0..n_runs {
        let name = format!("app.counter.{run}");
        let program = Path::new(env!("CARGO_BIN_EXE_adder"));
        let adders = Adders::start(program, 4, sync.port, host.admin(), &name, TTL);
        let outcome = disturb(adders, duration, LIMIT);
        let number = key(&host, &name)["new_value"].as_u64().expect("a number");
        println!("{outcome:?}, the number is {number}");
        let Outcome { tally, n_overtaken } = &outcome;
        assert_eq!(outcome.n_lost(number), 0, "{} additions were accepted", tally.n_accepted);
        let n_stale = tally.n_refused.get("stale_fence").copied().unwrap_or(0);
        assert!(n_stale > 0, "{n_stale} of {n_overtaken} wrote with their old token");
        assert_eq!(tally.n_refused.values().sum::<u64>(), n_stale, "refused for that alone");
    }
}

#[test]
fn the_same_workers_with_the_guides_own_lock_lose_additions() {
    // A machine that is slow to stop a holder stops it after it has written.
    let lost = eventually(LIMIT, || {
        let workers = GuideWorkers::start(4, Duration::from_millis(100));
        let number = workers.number();
        let outcome = disturb(workers, Duration::from_secs(3), LIMIT);
        println!("{outcome:?}, the number is {}", number.get());
        (outcome.n_lost(number.get()) > 0).then_some(())
    });
    assert!(lost.is_some(), "the harness would see a loss");
}

#[test]
fn a_token_counts_until_the_next_one_is_given_and_never_again() {
    let sync = Sync::new();
    let _host = sync.start();
    let (mut first, mut second) = (sync.author(), sync.author());
    let old = lock(&mut first, "app.fenced", 30_000, 0)["token"].clone();
    let with = |token: &serde_json::Value| json!({ "fence": { "lock": "app.fenced", "token": token } });
    revision(&change(&mut first, "app.fenced", &json!(1), &with(&old)));
    assert_eq!(unlock(&mut first)["success"], true);
    let new = lock(&mut second, "app.fenced", 30_000, 0)["token"].clone();
    assert!(new.as_u64() > old.as_u64(), "{old} {new}");

    let late = change(&mut first, "app.fenced", &json!(2), &with(&old));
    assert_eq!((&late["success"], &late["code"]), (&json!(false), &json!("stale_fence")), "{late}");
    let other = change(&mut first, "app.fenced", &json!(2), &json!({}));
    assert_eq!(other["code"], "locked", "{other}");
    assert_eq!(other["error"], "Configuration is locked by another user", "the guide's text");
    revision(&change(&mut second, "app.fenced", &json!(3), &with(&new)));
    // Free, and fenced all the same.
    assert_eq!(unlock(&mut second)["success"], true);
    let late = change(&mut first, "app.fenced", &json!(4), &with(&old));
    assert_eq!(late["code"], "stale_fence", "{late}");
    revision(&change(&mut first, "app.fenced", &json!(5), &json!({})));
}

#[test]
fn a_lock_that_an_operator_takes_away_is_gone_with_its_token() {
    let sync = Sync::new();
    let host = sync.start();
    let mut holder = sync.author();
    let held = lock(&mut holder, "app.fenced", 30_000, 0);
    let mut watcher = sync.client();
    let forced = json!({ "config_key": "app.fenced", "admin_user_id": "root", "reason": "maintenance" });
    sync.call(&host, "lock.force_release", &forced);
    let told = watcher.next_of_type("config_unlocked");
    assert_eq!((&told["config_key"], &told["reason"]), (&json!("app.fenced"), &json!("forced")), "{told}");
    let fence = json!({ "fence": { "lock": "app.fenced", "token": held["token"] } });
    let late = change(&mut holder, "app.fenced", &json!(1), &fence);
    assert_eq!(late["code"], "stale_fence", "{late}");
    assert!(host.get("/v1/audit").body.contains("maintenance"), "why is in the audit");
}

fn unlock(client: &mut lockstep_test_support::WsClient) -> serde_json::Value {
    super::ask(client, json!({ "type": "config_unlock", "config_key": "app.fenced" }))
}
