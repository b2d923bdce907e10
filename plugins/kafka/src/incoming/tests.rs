use super::*;
use serde_json::json;

const READER: Reader<'_> = Reader { node_id: "node-1", max_message_bytes: 1000 };

fn message(value: Option<&str>, headers: &[(&str, &[u8])]) -> Record {
    let mut record = Record::new("").with_key("default:app.x");
    record.set_value(value.map(Bytes::from));
    record.set_timestamp_us(1_700_000_000_000_000);
    headers.iter().for_each(|(name, value)| record.set_header(name, *value));
    record
}

fn change(value: serde_json::Value, headers: &[(&str, &[u8])]) -> Record {
    match READER.read("apg-config-general", message(Some(&value.to_string()), headers)) {
        Reading::Change(record) => record,
        Reading::Own => panic!("own"),
        Reading::Unreadable(_, error) => panic!("{error}"),
    }
}

fn refusal(record: Record) -> String {
    let before = (record.key().cloned(), record.raw_value().cloned(), record.headers().len());
    let Reading::Unreadable(record, error) = READER.read("t", record) else { panic!("readable") };
    assert_eq!(error.kind(), ErrorKind::REJECTED);
    let after = (record.key().cloned(), record.raw_value().cloned(), record.headers().len());
    assert_eq!(before, after, "what cannot be read is kept as it is");
    error.code().expect("a code").to_owned()
}

#[test]
fn d_18_what_is_not_a_change_is_refused_with_its_reason() {
    for (value, code) in [
        ("{", "bad_message"),
        ("[]", "bad_message"),
        ("\"x\"", "bad_message"),
        (r#"{"new_value":1}"#, "bad_message"),
        (r#"{"config_key":5}"#, "bad_message"),
        (r#"{"config_key":"app.x","timestamp":"yesterday"}"#, "bad_message"),
        (r#"{"config_key":"app.x","tenant_id":7}"#, "bad_message"),
        (r#"{"config_key":"app.x","newvalue":1}"#, "bad_message"),
        (r#"{"config_key":"app..x","new_value":1}"#, "bad_key"),
        (r#"{"config_key":"","new_value":1}"#, "bad_key"),
        (&format!(r#"{{"config_key":"{}","new_value":1}}"#, "k".repeat(513)), "too_large"),
        (r#"{"config_key":"app.x","tenant_id":"a:b","new_value":1}"#, "bad_tenant"),
        (r#"{"config_key":"app.x","tenant_id":"global","new_value":1}"#, "bad_tenant"),
    ] {
        assert_eq!(refusal(message(Some(value), &[])), code, "{value}");
    }
    let large = json!({"config_key": "app.x", "new_value": "x".repeat(1000)}).to_string();
    assert_eq!(refusal(message(Some(&large), &[])), "too_large");
    let fine = json!({"config_key": "app.x"}).to_string();
    assert_eq!(refusal(message(Some(&fine), &[("tenant_id", b"\xff")])), "bad_message");
}

/// GAP-10.
#[test]
fn operations_need_no_value() {
    let mut record = change(json!({ "config_key": "app.x", "ops": [1, "x"], "base": 7 }), &[]);
    let change = record.change().expect("a change");
    assert!(change.is_unapplied() && change.event_id().is_some());
    assert_eq!(change.base().map(Json::as_str), Some("7"));
}

/// KF-09.
#[test]
fn d_19_the_header_wins_an_empty_one_is_absent_and_a_contradiction_is_refused() {
    let cases: [(Option<&str>, &[u8], Option<&str>); 6] = [
        (None, b"t1", Some("t1")),
        (Some("t1"), b"t1", Some("t1")),
        (Some("t1"), b"", Some("t1")),
        (Some(""), b"t1", Some("t1")),
        (Some(""), b"", None),
        (None, b"", None),
    ];
    for (body, in_header, tenant) in cases {
        let value = json!({"config_key": "app.x", "new_value": 1, "tenant_id": body});
        let record = change(value, &[("tenant_id", in_header)]);
        assert_eq!(record.known_change().expect("read").tenant_id(), tenant, "{body:?} {in_header:?}");
    }
    let value = json!({"config_key": "app.x", "tenant_id": "t1"}).to_string();
    assert_eq!(refusal(message(Some(&value), &[("tenant_id", b"t2")])), "bad_message");

    let deleted = change(json!({"config_key": "app.x"}), &[("event_type", b"config_deleted")]);
    assert!(deleted.known_change().expect("read").is_deletion());
    let own = change(
        json!({"config_key": "app.x", "new_value": 1, "event_type": "config_created"}),
        &[("event_type", b"")],
    );
    assert_eq!(own.known_change().expect("read").event_type(), "config_created");
}

/// KF-10.
#[test]
fn d_20_a_plain_message_of_this_host_is_passed_over_and_one_with_a_dot_is_not() {
    let own = json!({"config_key": "app.x", "new_value": 1, "source_node": "node-1"});
    assert!(matches!(READER.read("t", message(Some(&own.to_string()), &[])), Reading::Own));
    let dotted = json!({"config_key": "app.x", "new_value": 1, "source_node": "node-1", "dot": {"node": "node-1@a", "seq": 1}, "ctx": {}});
    let record = change(dotted.clone(), &[("event_type", b"config_updated"), ("tenant_id", b"")]);
    assert_eq!(record.raw_value().expect("as it was"), dotted.to_string().as_bytes());
    change(json!({"config_key": "app.x", "new_value": 1, "source_node": "node-2"}), &[]);
}

#[test]
fn a_message_without_a_name_is_given_the_same_one_at_every_sight() {
    let value = json!({"config_key": "app.x", "new_value": 1, "source_node": "legacy"});
    let name = |record: Record| record.known_change().expect("read").event_id().expect("a name").to_owned();
    let first = name(change(value.clone(), &[]));
    assert_eq!(first, name(change(value.clone(), &[("tenant_id", b"")])));
    assert_ne!(
        first,
        name(change(json!({"config_key": "app.x", "new_value": 2, "source_node": "legacy"}), &[]))
    );
    let named = change(json!({"config_key": "app.x", "new_value": 1, "event_id": "mine"}), &[]);
    assert_eq!(named.known_change().expect("read").event_id(), Some("mine"));
    let mut timeless = message(Some(&value.to_string()), &[]);
    timeless.set_timestamp_us(0);
    let Reading::Change(record) = READER.read("t", timeless) else { panic!("readable") };
    assert_eq!(record.known_change().expect("read").event_id(), None);
}

/// GAP-11: ours is never null, so this is another program's wish.
#[test]
fn a_message_without_a_value_deletes_the_key_of_its_key() {
    let read = |key: &str, headers: &[(&str, &[u8])]| READER.read("t", message(None, headers).with_key(key));
    let Reading::Change(record) = read("t1:app.x", &[]) else { panic!("readable") };
    let change = record.known_change().expect("read");
    assert!(change.is_deletion() && change.event_id().is_some());
    assert_eq!((change.tenant_id(), change.config_key()), (Some("t1"), "app.x"));
    let Reading::Change(record) = read("default:app.x", &[]) else { panic!("readable") };
    assert_eq!(record.known_change().expect("read").tenant_id(), None);
    assert!(matches!(read("t1:app.x", &[("tenant_id", b"t2")]), Reading::Unreadable(..)));
    for key in ["app.x", "t1:", ""] {
        assert!(matches!(read(key, &[]), Reading::Unreadable(..)), "{key}");
    }
}

#[test]
fn the_record_is_that_of_the_change_whatever_its_message_looked_like() {
    let record = change(
        json!({"config_key": "app.x", "new_value": 1}),
        &[("event_type", b"config_updated"), ("timestamp", b"1700000000"), ("traceparent", b"00-1")],
    );
    assert_eq!(record.key_str(), Some("app.x"));
    assert_eq!(record.headers().map(|(name, _)| name).collect::<Vec<_>>(), ["traceparent"]);
    assert_eq!(record.timestamp_us(), 1_700_000_000_000_000);
}

#[test]
fn what_headers_add_hides_nothing_of_what_a_message_is_named_by() {
    let name = |value: u32, headers: &[(&str, &[u8])]| {
        let body = json!({"config_key": "app.x", "new_value": value, "source_node": "legacy"});
        change(body, headers).known_change().expect("read").event_id().expect("a name").to_owned()
    };
    let both: [(&str, &[u8]); 2] = [("tenant_id", b"t1"), ("event_type", b"config_created")];
    for headers in [&both[..1], &both[1..], &both] {
        assert_ne!(name(1, headers), name(2, headers), "two changes within one millisecond");
        assert_eq!(name(1, headers), name(1, headers));
    }
}
