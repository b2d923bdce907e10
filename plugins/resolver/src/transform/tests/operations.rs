//! What operations of an author must not make of a value, or of this host.

use super::*;
use std::time::{Duration, Instant};

fn read(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// What one host takes in, every other one has to take in: a deeper value is refused by whoever reads it from a broker.
#[test]
fn operations_make_no_value_deeper_than_one_may_be() {
    let place = "0,".repeat(100);
    for (depth, is_taken) in [(25, true), (29, false)] {
        let mut host = Host::new(&json!({}));
        host.write(&json!({ "config_key": "app.x", "new_value": read(&nested(100)) }));
        let ops = format!(r#"[{place}{{"i":{}}}]"#, nested(depth));
        let taken = host.take(&json!({ "config_key": "app.x", "ops": read(&ops) }));
        match is_taken {
            true => drop(taken.expect("taken in")),
            false => assert_eq!(taken.expect_err("too deep").code(), Some("bad_message")),
        }
    }
}

/// Every change waits for the one before it.
#[test]
fn an_author_that_sends_operations_by_the_thousands_holds_nobody_up() {
    let insert = |content: &Value| json!({ "op_type": "insert", "position": 0, "content": content });
    for (old, content) in [(json!([1, 2]), json!(9)), (json!("x".repeat((1 << 20) - 100)), json!("y"))] {
        let mut host = Host::new(&json!({}));
        host.write(&json!({ "config_key": "app.x", "new_value": old }));
        let ops: Vec<Value> = (0..15_000).map(|_| insert(&content)).collect();
        let begun = Instant::now();
        let taken = host.take(&json!({ "config_key": "app.x", "ops": ops }));
        assert_eq!(taken.expect_err("too many").code(), Some("too_large"));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let some: Vec<Value> = (0..20).map(|_| insert(&content)).collect();
        host.write(&json!({ "config_key": "app.x", "ops": some }));
    }
}
