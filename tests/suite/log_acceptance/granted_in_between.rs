//! A lock is granted between the check of a change and its commit: the batch is applied again, and the author is told.

use super::{Added, Sync, change, lock, revision};
use lockstep_test_support::{LIMIT, Probe};
use serde_json::json;

#[test]
fn a_lease_granted_between_check_and_commit_makes_the_batch_run_again() {
    let sync = Sync::with(Added {
        between: "  - { plugin: probe, config: { dir: SITE/gate } }",
        ..Added::default()
    });
    let gate = Probe::new(&sync.site, "gate");
    gate.shut(&["app.raced"]);
    let mut host = sync.start();
    let (mut author, mut holder) = (sync.author(), sync.author());
    author.send_change("app.raced", &json!("too late"));
    host.wait_until("the change behind the lock's check", LIMIT, |_| !gate.reached().is_empty());

    let held = lock(&mut holder, "app.raced", 60_000, 0);
    assert_eq!(held["success"], true, "a lease does not wait for a batch: {held}");
    gate.open();
    let answer = author.next_of_type("config_change_response");
    assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!("locked")), "{answer}");
    assert_eq!(answer["error"], "Configuration is locked by another user");
    assert_eq!(host.get("/v1/keys/app.raced").code, 404, "nothing was committed");
    revision(&change(&mut holder, "app.raced", &json!("in time"), &json!({})));
}

#[test]
fn a_lease_that_is_not_of_the_key_does_not_disturb_the_batch() {
    let sync = Sync::with(Added {
        between: "  - { plugin: probe, config: { dir: SITE/gate } }",
        ..Added::default()
    });
    let gate = Probe::new(&sync.site, "gate");
    gate.shut(&["app.alone"]);
    let mut host = sync.start();
    let (mut author, mut holder) = (sync.author(), sync.author());
    author.send_change("app.alone", &json!(1));
    host.wait_until("the change behind the lock's check", LIMIT, |_| !gate.reached().is_empty());
    assert_eq!(lock(&mut holder, "app.other", 60_000, 0)["success"], true);
    gate.open();
    revision(&author.next_of_type("config_change_response"));
    assert_eq!(gate.reached(), ["app.alone"], "applied once");
}
