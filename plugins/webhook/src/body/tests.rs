use super::*;
use serde_json::{Value, json};

/// A conflict as the log tells of it.
fn conflict(metadata: Value) -> Change {
    let mut change = Change::new("app.db.<port>", Json::write(&json!({ "port": "hunter2" })).expect("JSON"));
    change.set_event_type("conflict_detected");
    change.set_tenant_id(Some("acme".into()));
    change.set_timestamp_us(Some(1_704_110_400_000_000));
    change.set_source_node(Some("eu-1".into()));
    change.set_revision(Some(7));
    let mut whole = json!({
        "conflict_id": "c-1", "resolution_method": "manual_resolution_pending", "siblings": 2,
        "discarded_changes": ["e-1"],
        "conflicts": [{ "path": "/port", "kind": "edit_edit", "values": ["hunter2", 1] }],
    });
    whole.as_object_mut().expect("an object").extend(metadata.as_object().expect("an object").clone());
    change.set_metadata(Some(Json::write(&whole).expect("JSON")));
    change
}

fn all_rendered(body: &Body, change: &Change) -> Vec<(String, Value)> {
    let messages = body.render(&Facts::new(change, "0198-id"), "node-1").expect("messages");
    let read = |one: Rendered| (one.id.to_string(), serde_json::from_slice(&one.bytes).expect("JSON"));
    messages.into_iter().map(read).collect()
}

fn rendered(body: &Body, change: &Change) -> Value {
    let [(id, message)] = all_rendered(body, change).try_into().expect("one message");
    assert_eq!(id, "0198-id");
    message
}

fn pagerduty(severity: Option<Severity>) -> Body {
    Body::PagerDuty { routing_key: Secret::from("r0ut1ng"), severity, values: false }
}

#[test]
fn the_raw_message_has_the_contracts_fields_and_values_only_if_they_are_wanted() {
    let mut change = conflict(json!({}));
    change.set_old_value(Some(Json::write("hunter2").expect("JSON")));
    change.set_dot(Some(Json::write(&json!({ "node": "eu-1", "seq": 1 })).expect("JSON")));
    let with = rendered(&Body::Raw { values: true }, &change);
    assert_eq!((&with["new_value"], &with["old_value"]), (&json!({ "port": "hunter2" }), &json!("hunter2")));
    assert_eq!(with["metadata"]["conflicts"][0]["values"], json!(["hunter2", 1]));
    let without = rendered(&Body::Raw { values: false }, &change);
    assert_eq!(
        without,
        json!({
            "event_id": "0198-id", "event_type": "conflict_detected", "config_key": "app.db.<port>", "tenant_id": "acme",
            "timestamp": "2024-01-01T12:00:00.000000Z", "source_node": "eu-1", "revision": 7,
            "metadata": {
                "conflict_id": "c-1", "resolution_method": "manual_resolution_pending", "siblings": 2,
                "discarded_changes": ["e-1"], "conflicts": [{ "path": "/port", "kind": "edit_edit" }],
            },
        })
    );
}

#[test]
fn a_sealed_value_is_passed_as_it_is() {
    let sealed = r#"{"$enc":{"v":1,"alg":"A256GCM","kid":"k","dk":"ZA==","n":"bg==","ct":"Y3Q="}}"#;
    let change = Change::new("app.x", Json::parse(sealed).expect("JSON"));
    let messages = Body::Raw { values: true }.render(&Facts::new(&change, "i"), "n").expect("a message");
    let text = String::from_utf8_lossy(&messages[0].bytes);
    assert!(text.contains(&format!(r#""new_value":{sealed}"#)), "{text}");
}

/// Block Kit: a header of plain text up to 150 characters, a section of up to 10 fields, mrkdwn in which `&`, `<` and `>`
/// are escaped; beside the blocks the text that a notification shows.
#[test]
fn slack_gets_blocks_of_facts() {
    let message =
        rendered(&Body::Slack { values: false }, &conflict(json!({ "requires_human_intervention": true })));
    assert_eq!(message["text"], "Configuration conflict needs a decision: app.db.&lt;port&gt; (tenant acme)");
    let blocks = message["blocks"].as_array().expect("blocks");
    let kinds: Vec<&str> = blocks.iter().filter_map(|block| block["type"].as_str()).collect();
    assert_eq!(kinds, ["header", "section", "context"]);
    assert_eq!(
        blocks[0]["text"],
        json!({ "type": "plain_text", "text": "Configuration conflict needs a decision" })
    );
    let fields = blocks[1]["fields"].as_array().expect("fields");
    assert!(fields.len() <= 10 && fields.iter().all(|field| field["type"] == "mrkdwn"));
    for text in [
        "*Key*\napp.db.&lt;port&gt;",
        "*Tenant*\nacme",
        "*Conflict*\nc-1",
        "*Strategy*\nmanual_resolution_pending",
        "*Competing changes*\n2",
        "*In conflict at*\n/port",
        "*Node*\neu-1",
        "*Revision*\n7",
    ] {
        assert!(fields.iter().any(|field| field["text"] == text), "{text:?} in {fields:?}");
    }
    let about = "2024-01-01T12:00:00.000000Z · event 0198-id";
    assert_eq!(blocks[2]["elements"], json!([{ "type": "mrkdwn", "text": about }]));
    assert!(!message.to_string().contains("hunter2"));
}

#[test]
fn slack_gets_values_only_if_they_are_wanted_and_within_its_limits() {
    let mut change = conflict(json!({}));
    change.set_new_value(Json::write(&"<!channel> ``` ".repeat(1000)).expect("JSON"));
    let message = rendered(&Body::Slack { values: true }, &change);
    let shown = message["blocks"][2]["text"]["text"].as_str().expect("a text");
    assert!(shown.starts_with("*Now*\n```\"&lt;!channel&gt; '''") && shown.ends_with("…```"), "{shown}");
    assert!(shown.chars().count() <= 3000);
    assert_eq!(shown.matches("```").count(), 2, "nothing inside ends the block");
}

/// Events API v2: `routing_key`, `event_action`, `dedup_key`, and a payload with `summary`, `source`, `severity`.
#[test]
fn pagerduty_opens_and_resolves_one_alert_per_conflict() {
    let mut change = conflict(json!({}));
    let opened = rendered(&pagerduty(None), &change);
    let expected = json!({
        "routing_key": "r0ut1ng", "event_action": "trigger", "dedup_key": "c-1", "client": "Lockstep",
        "payload": {
            "summary": "Configuration conflict: app.db.<port> (tenant acme)", "source": "eu-1", "severity": "warning",
            "timestamp": "2024-01-01T12:00:00.000000Z", "component": "app.db.<port>", "group": "acme",
            "class": "conflict_detected", "custom_details": rendered(&Body::Raw { values: false }, &change),
        },
    });
    assert_eq!(opened, expected);
    change.set_event_type("conflict_resolved");
    let resolved = rendered(&pagerduty(None), &change);
    assert_eq!((&resolved["event_action"], &resolved["dedup_key"]), (&json!("resolve"), &json!("c-1")));
    change.set_source_node(None);
    assert_eq!(rendered(&pagerduty(None), &change)["payload"]["source"], "node-1");
}

#[test]
fn a_conflict_that_goes_on_from_another_takes_the_place_of_its_alert() {
    let change = conflict(json!({ "supersedes": "c-0", "requires_human_intervention": true }));
    let messages = all_rendered(&pagerduty(None), &change);
    let told: Vec<_> = messages
        .iter()
        .map(|(id, event)| (id.as_str(), event["event_action"].as_str(), event["dedup_key"].as_str()))
        .collect();
    let expected =
        [("0198-id-superseded", Some("resolve"), Some("c-0")), ("0198-id", Some("trigger"), Some("c-1"))];
    assert_eq!(told, expected);
    let told_again = conflict(json!({ "supersedes": "c-0", "open_since": "2024-01-01T12:00:00.000000Z" }));
    assert_eq!(rendered(&pagerduty(None), &told_again)["dedup_key"], "c-1");
}

#[test]
fn what_competing_authors_want_is_a_value() {
    let mut change =
        conflict(json!({ "superseded_record": { "a": "hunter2" }, "resolution": { "a": "hunter2" } }));
    change.set_siblings(Some(Json::write(&json!([{ "new_value": "hunter2" }])).expect("JSON")));
    assert_eq!(rendered(&Body::Raw { values: true }, &change)["siblings"][0]["new_value"], "hunter2");
    assert!(!rendered(&Body::Raw { values: false }, &change).to_string().contains("hunter2"));
    assert!(!rendered(&pagerduty(None), &change).to_string().contains("hunter2"));
}

#[test]
fn an_own_body_without_values_shows_none_wherever_it_looks() {
    let change = conflict(json!({
        "conflicts": [{ "path": "/port", "kind": "edit_edit", "base": "hunter2", "values": ["hunter2", 1] }],
        "superseded_record": { "shown_value": "hunter2" }, "resolved_value": "hunter2",
    }));
    let places = ["metadata", "metadata.conflicts", "metadata.conflicts.0", "metadata.conflicts.0.base"];
    for place in
        places.into_iter().chain(["metadata.superseded_record.shown_value", "metadata.resolved_value"])
    {
        let own = |values| {
            let template =
                Template::parse(&format!(r#"["{{{{{place}}}}}",{{{{{place}}}}}]"#)).expect("a template");
            rendered(&Body::Own { template, values }, &change).to_string()
        };
        assert!(own(true).contains("hunter2") && !own(false).contains("hunter2"), "{place}: {}", own(false));
    }
    let template = Template::parse(r#"["{{metadata.conflicts.0.path}}","{{metadata.conflict_id}}"]"#);
    let told = rendered(&Body::Own { template: template.expect("a template"), values: false }, &change);
    assert_eq!(told, json!(["/port", "c-1"]));
}

#[test]
fn pagerduty_is_told_how_bad_it_is() {
    let severity = |configured, metadata| {
        rendered(&pagerduty(configured), &conflict(metadata))["payload"]["severity"]
            .as_str()
            .map(str::to_owned)
    };
    let (waits, escalated) = (
        json!({ "requires_human_intervention": true }),
        json!({ "requires_human_intervention": true, "escalated": true }),
    );
    assert_eq!(severity(None, waits.clone()).as_deref(), Some("error"));
    assert_eq!(severity(Some(Severity::Info), waits).as_deref(), Some("info"));
    assert_eq!(severity(Some(Severity::Info), escalated).as_deref(), Some("critical"));
}

#[test]
fn what_names_no_conflict_is_no_alert() {
    let mut change = conflict(json!({}));
    change.set_metadata(None);
    let error = pagerduty(None).render(&Facts::new(&change, "i"), "n").map(drop).expect_err("no conflict");
    assert_eq!(error.code(), Some("bad_message"));
}

#[test]
fn long_texts_are_cut_between_characters() {
    assert_eq!(shortened("äöü", 3), "äöü");
    assert_eq!(shortened("äöüß", 3), "äö…");
}
