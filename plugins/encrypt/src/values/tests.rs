use super::*;
use serde_json::{Value, json};

/// Shows every text that is met, and gives it back in brackets.
struct Shout {
    seen: Vec<String>,
    inside: bool,
}

impl Rewrite for Shout {
    fn rewrite(&mut self, place: Place, field: Field, text: &str) -> Result<Option<String>> {
        self.seen.push(format!("{place} {field:?} {text}"));
        Ok(Some(format!("[{text}]")))
    }

    fn looks_into_conflicts(&self) -> bool {
        self.inside
    }
}

fn shouted(change: &Value, inside: bool) -> (Vec<String>, Value) {
    let mut read = Change::from_json(&change.to_string().into()).expect("a change");
    let mut shout = Shout { seen: Vec::new(), inside };
    rewrite(&mut read, &mut shout).expect("rewritten");
    (shout.seen, serde_json::from_slice(&read.to_json()).expect("JSON"))
}

#[test]
fn every_place_of_a_change_that_holds_a_value_is_met_once() {
    let (seen, written) = shouted(
        &json!({
            "config_key": "k", "new_value": 1, "old_value": 2, "ops": 3, "base_hash": "h", "metadata": {"why": 4},
            "siblings": [
                {"dot": 5, "new_value": 6, "old_value": 7, "ops": 8, "base_hash": "i", "user_id": "eve"},
                {"event_type": "config_deleted", "new_value": null, "old_value": 9},
                {"event_type": "config_updated", "new_value": null, "old_value": null},
            ],
        }),
        false,
    );
    assert_eq!(
        seen,
        [
            "/new_value Value 1",
            "/old_value Value 2",
            "/ops Ops 3",
            "/base_hash BaseHash h",
            "/siblings/0/new_value Value 6",
            "/siblings/0/old_value Value 7",
            "/siblings/0/ops Ops 8",
            "/siblings/0/base_hash BaseHash i",
            "/siblings/1/old_value Value 9",
            "/siblings/2/new_value Value null",
        ]
    );
    assert_eq!(written["base_hash"], "[h]", "a string stays one");
    assert_eq!(written["metadata"], json!({"why": 4}));
    let siblings = json!([
        {"dot": 5, "new_value": [6], "old_value": [7], "ops": [8], "base_hash": "[i]", "user_id": "eve"},
        {"event_type": "config_deleted", "new_value": null, "old_value": [9]},
        {"event_type": "config_updated", "new_value": [null], "old_value": null},
    ]);
    assert_eq!(written["siblings"], siblings);
}

#[test]
fn null_is_a_value_only_where_a_change_gives_one() {
    let seen = |event_type: &str| {
        shouted(&json!({"config_key": "k", "event_type": event_type, "new_value": null}), false).0
    };
    assert_eq!(seen("config_updated"), ["/new_value Value null"]);
    assert_eq!(seen("config_created"), ["/new_value Value null"]);
    assert!(seen("config_deleted").is_empty() && seen("config_locked").is_empty());
}

#[test]
fn what_a_notice_tells_of_a_conflict_is_a_value_as_a_whole_and_in_its_parts() {
    let notice = json!({
        "config_key": "k", "event_type": "conflict_detected", "new_value": 1,
        "metadata": {"conflict_id": "c", "conflicts": [{"path": "/a", "base": 2, "values": [3, null]}]},
    });
    let (seen, written) = shouted(&notice, false);
    assert_eq!(seen[1], r#"/metadata/conflicts Conflicts [{"path":"/a","base":2,"values":[3,null]}]"#);
    assert_eq!(written["metadata"]["conflict_id"], "c");
    let mut opened = notice.clone();
    opened["metadata"]["conflicts"] = json!([{"path": "/a", "base": 2, "values": [3, null]}]);
    // Here the whole is not wrapped, so that its parts are met as they are.
    struct Parts(Vec<String>);
    impl Rewrite for Parts {
        fn rewrite(&mut self, place: Place, field: Field, text: &str) -> Result<Option<String>> {
            self.0.push(format!("{place} {text}"));
            Ok((field == Field::Value).then(|| "0".to_owned()))
        }
        fn looks_into_conflicts(&self) -> bool {
            true
        }
    }
    let mut read = Change::from_json(&opened.to_string().into()).expect("a change");
    let mut parts = Parts(Vec::new());
    assert!(rewrite(&mut read, &mut parts).expect("rewritten"));
    assert_eq!(parts.0[2..], ["/metadata/conflicts/0/base 2", "/metadata/conflicts/0/values 3"]);
    let metadata: Value = read.metadata().expect("metadata").read().expect("JSON");
    assert_eq!(metadata["conflicts"], json!([{"path": "/a", "base": 0, "values": [0, null]}]));
}

#[test]
fn siblings_of_another_form_are_refused() {
    for siblings in [json!(5), json!([5]), json!([{"base_hash": 5}])] {
        let change = json!({"config_key": "k", "new_value": 1, "siblings": siblings});
        let mut read = Change::from_json(&change.to_string().into()).expect("a change");
        let error = rewrite(&mut read, &mut Shout { seen: Vec::new(), inside: false }).expect_err("refused");
        assert_eq!(error.code(), Some("bad_message"));
    }
}
