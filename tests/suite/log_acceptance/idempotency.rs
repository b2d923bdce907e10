//! A change is sent again with the key it had: it is committed once, and answered alike.

use super::{Added, Sync, change, key, revision};
use lockstep_test_support::{LIMIT, Probe, WsClient, last_revision, written_history};
use serde_json::{Value, json};

fn send(client: &mut WsClient, name: &str, number: u64, idempotency_key: &str) -> Value {
    change(client, name, &json!({ "n": number }), &json!({ "idempotency_key": idempotency_key }))
}

#[test]
fn a_change_that_is_sent_twice_has_one_revision_also_over_a_kill_of_the_host() {
    let sync = Sync::new();
    let mut host = sync.start();
    let mut author = sync.author();
    let first = revision(&send(&mut author, "app.x", 1, "once"));
    let between = revision(&send(&mut author, "app.x", 2, "another"));
    assert!(first < between);
    assert_eq!(revision(&send(&mut author, "app.x", 1, "once")), first, "on the same connection");
    assert_eq!(revision(&send(&mut sync.author(), "app.x", 1, "once")), first, "on another one");
    host.kill();
    let mut host = sync.start();
    let mut author = sync.author();
    assert_eq!(revision(&send(&mut author, "app.x", 1, "once")), first, "after a crash");
    assert_eq!(key(&host, "app.x")["new_value"]["n"], 2, "what was first written does not come back");
    let end = revision(&send(&mut author, "app.end", 3, "end"));
    host.wait_until("the file sink", LIMIT, |_| last_revision(&sync.output()) >= Some(end));
    let history = written_history(&sync.output());
    history.assert_complete();
    assert_eq!(history.len(), 3);
}

#[test]
fn a_change_whose_answer_was_lost_in_a_crash_is_committed_once_when_it_is_sent_again() {
    let sync = Sync::with(Added {
        between: "  - { plugin: probe, config: { dir: SITE/gate } }",
        ..Added::default()
    });
    let gate = Probe::new(&sync.site, "gate");
    // Some are killed before the commit, some after it; nobody waits for the answer.
    for number in 1..=6_u64 {
        let mut host = sync.start();
        let mut author = sync.author();
        let message = json!({ "type": "config_change", "config_key": "app.x", "new_value": { "n": number },
            "user_id": "suite", "idempotency_key": format!("key-{number}") });
        let is_held = number % 2 == 0;
        gate.shut(if is_held { &["app.x"] } else { &[] });
        let n_reached = gate.reached().len();
        author.send(&message);
        host.wait_until("the change on its way", LIMIT, |_| gate.reached().len() > n_reached);
        if !is_held {
            host.wait_until("its commit", LIMIT, |_| last_revision(&sync.output()) >= Some(number));
        }
        host.kill();
        gate.open();
        let host = sync.start();
        let mut author = sync.author();
        let again = revision(&send(&mut author, "app.x", number, &format!("key-{number}")));
        assert_eq!(again, number, "one revision for each");
        host.stop();
    }
}

#[test]
fn two_changes_of_different_users_may_have_one_idempotency_key() {
    let sync = Sync::new();
    let _host = sync.start();
    let mut author = sync.author();
    let of = |user: &str| json!({ "idempotency_key": "same", "user_id": user });
    let one = revision(&change(&mut author, "app.x", &json!(1), &of("alice")));
    let two = revision(&change(&mut author, "app.x", &json!(2), &of("bob")));
    assert!(one < two);
    assert_eq!(revision(&change(&mut author, "app.x", &json!(1), &of("alice"))), one);
}
