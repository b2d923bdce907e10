//! The same concurrent changes arrive in every order: the value that is shown is the same.

use super::{Added, Sync, key};
use lockstep_test_support::{LIMIT, append, random, scale};
use serde_json::{Value, json};

/// What arrives for one key: a change, one made on top of it, and two beside it, one of which wins by its clock.
fn changes(name: &str, key: usize) -> Vec<Value> {
    let change = |node: &str, seq: usize, known: Value, ms: u64, value: &str| {
        let node = format!("{node}@{key}");
        json!({
            "event_type": "config_updated", "config_key": name, "new_value": value, "user_id": "author",
            "source_node": node, "timestamp": "2026-01-01T00:00:00Z",
            "event_id": format!("00000000-0000-4000-8000-{key:06}{seq:02}{ms:04}"),
            "dot": { "node": node, "seq": seq }, "ctx": known, "hlc": format!("{ms}-0"),
            "strategy": "last_write_wins",
        })
    };
    let first = format!("a@{key}");
    vec![
        change("a", 1, json!({}), 4000, "superseded, whatever its clock says"),
        change("a", 2, json!({ first.as_str(): 1 }), 1000, "on top of it"),
        change("b", 1, json!({ first.as_str(): 1 }), 3000, "the greatest clock"),
        change("c", 1, json!({ first.as_str(): 1 }), 2000, "beside it"),
    ]
}

#[test]
fn dotted_changes_in_any_order_and_twice_show_the_same_value() {
    let n_keys = scale(48, 480);
    let mut random = random("arrival order");
    let sync = Sync::with(Added {
        sources: "  - { plugin: file, config: { path: SITE/in.ndjson } }",
        ..Added::default()
    });
    let name = |number: usize| format!("app.shuffled.{number}");
    let mut arriving: Vec<Value> = Vec::new();
    for number in 0..n_keys {
        let of_key = changes(&name(number), number);
        arriving.extend(of_key.iter().cloned());
        // Some come a second time, from wherever.
        arriving.extend(of_key.into_iter().filter(|_| random.u8(..) < 64));
    }
    random.shuffle(&mut arriving);
    append(&sync.site.path("in.ndjson"), arriving.iter().map(Value::to_string));
    let mut host = sync.start();
    host.wait_until("everything that arrives", LIMIT, |host| {
        let metrics = host.metrics();
        let of_file = [("component", "file"), ("kind", "source")];
        metrics.sum("lockstep_records_acked_total", &of_file) >= arriving.len() as f64
    });
    for number in 0..n_keys {
        let shown = key(&host, &name(number));
        assert_eq!(shown["new_value"], "the greatest clock", "{shown}");
        assert_eq!(shown["siblings"].as_array().map(Vec::len), Some(3), "{shown}");
    }
    let dead = sync.site.run(["dlq", "list", "--json"]).expect_code(0).stdout;
    assert!(!dead.contains("app.shuffled"), "{dead}");
}
