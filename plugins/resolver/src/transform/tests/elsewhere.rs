//! What was read somewhere: whether it is owed there, and whether it was read before.

use super::*;
use lockstep_plugin_api::record::ENDPOINT_HEADER;

/// Takes in what was read at some place, and says whether its entry still names that place.
fn read(host: &mut Host, change: &Value) -> Option<bool> {
    let mut record = Record::new(change.to_string());
    record.set_header(ENDPOINT_HEADER, "kafka:a");
    let applied = host.resolver.apply(vec![record]).expect("applied");
    assert!(applied.failed.is_empty(), "{:?}", applied.failed);
    let record = applied.out.into_iter().next()?;
    let is_named = record.header(ENDPOINT_HEADER).is_some();
    host.memory.append([record]);
    Some(is_named)
}

fn foreign(value: &str, node: &str, seq: u64, ctx: Value) -> Value {
    json!({ "config_key": "app.x", "new_value": value, "dot": { "node": node, "seq": seq }, "ctx": ctx,
        "hlc": format!("{seq}-0"), "event_id": format!("{node}{seq}") })
}

#[test]
fn an_entry_names_its_place_unless_the_key_shows_more_here_than_there() {
    let mut host = Host::new(&json!({}));
    assert_eq!(read(&mut host, &foreign("one", "a@1", 1, json!({}))), Some(true));
    assert_eq!(
        read(&mut host, &foreign("beside", "b@1", 1, json!({}))),
        Some(false),
        "two stand here, one there"
    );
    assert_eq!(read(&mut host, &foreign("beside", "b@1", 1, json!({}))), None, "known");
    assert_eq!(read(&mut host, &foreign("both", "c@1", 1, json!({"a@1": 1, "b@1": 1}))), Some(true));
    assert_eq!(
        read(&mut host, &json!({ "config_key": "app.x", "new_value": 1 })),
        Some(true),
        "without a dot"
    );
}

#[test]
fn a_message_without_a_dot_is_taken_in_once_also_after_it_was_replaced() {
    let mut host = Host::new(&json!({}));
    let event_id = lockstep_plugin_api::wire::derived_event_id(&[b"apg/config/global/app/x", b"then"]);
    let message = json!({ "config_key": "app.x", "new_value": "old", "event_id": event_id.as_str() });
    assert_eq!(read(&mut host, &message), Some(true));
    host.set("new", json!({}));
    assert_eq!(read(&mut host, &message), None, "the broker retains it and shows it again");
}

#[test]
fn a_message_that_another_host_took_in_is_known_too() {
    let (mut here, mut there) = (Host::new(&json!({})), Host::new(&json!({})));
    let event_id = lockstep_plugin_api::wire::derived_event_id(&[b"t", b"then"]);
    let message = json!({ "config_key": "app.x", "new_value": "old", "event_id": event_id.as_str() });
    let entry = there.write(&message).entry;
    read(&mut here, &entry);
    here.set("new", json!({}));
    assert_eq!(read(&mut here, &message), None);
}

#[test]
fn a_message_that_deletes_a_key_nobody_knows_is_no_news_and_no_failure() {
    let mut host = Host::new(&json!({}));
    let name = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, b"message").to_string();
    let deletion = json!({ "config_key": "app.x", "event_type": "config_deleted", "event_id": name });
    assert!(host.take(&deletion).expect("no failure").is_none(), "its author hears of nothing");
}
