//! What becomes of messages, by topic and payload.

use super::*;
use crate::identity::register_publisher;

fn reader(patterns: &[&str]) -> Reader {
    Reader {
        tree: Tree::new("apg/config"),
        wanted: Wanted::Changes(patterns.iter().map(|pattern| Glob::new(pattern).expect("a glob")).collect()),
        through_log: true,
        pipeline: "reader-test".into(),
        node_id: "node-1".into(),
    }
}

fn message(topic: &str, payload: &str) -> Message {
    Message {
        topic: topic.into(),
        payload: payload.to_owned().into(),
        ack: None,
        is_retained: false,
        is_said_again: false,
        properties: Vec::new(),
        content_type: None,
    }
}

fn read(topic: &str, payload: &str) -> Option<Record> {
    reader(&["*"]).read(message(topic, payload))
}

fn change(topic: &str, payload: &str) -> Record {
    let record = read(topic, payload).expect("a record");
    assert!(record.error().is_none(), "{:?}", record.error());
    record
}

fn code(topic: &str, payload: &str) -> String {
    let record = read(topic, payload).expect("a record");
    assert_eq!(&*record.value().expect("bytes"), payload.as_bytes(), "nothing is lost");
    record.error().and_then(Error::code).expect("rejected").to_owned()
}

const SEED: &str = r#"{"config_key":"app.database.host","new_value":"db1","timestamp":"2024-01-01T12:00:00",
    "publisher_id":"apg_config_pub_11223344"}"#;

#[test]
fn mq_09_a_message_of_the_guides_publisher_is_a_change() {
    let mut record = change("apg/config/company-tenant/app/database/host", SEED);
    assert_eq!(record.key_str(), Some("app.database.host"));
    let change = record.change().expect("a change");
    assert_eq!((change.config_key(), change.tenant_id()), ("app.database.host", Some("company-tenant")));
    assert_eq!(change.new_value().as_str(), "\"db1\"");
    assert_eq!(change.timestamp_us(), Some(1_704_110_400_000_000));
    let mut record = self::change("apg/config/global/app/database/host", SEED);
    assert_eq!(record.change().expect("a change").tenant_id(), None);
}

#[test]
fn a_second_sight_of_a_plain_message_has_the_same_name() {
    let id = |message: Message| {
        let mut record = reader(&["*"]).read(message).expect("a record");
        record.change().expect("a change").event_id().map(str::to_owned)
    };
    let topic = "apg/config/global/app/database/host";
    let live = id(message(topic, SEED)).expect("it has a time");
    assert_eq!(id(Message { is_retained: true, ..message(topic, SEED) }), Some(live.clone()));
    let again = || id(Message { is_said_again: true, ..message(topic, SEED) });
    assert!(
        again() != Some(live.clone()) && again() == again(),
        "something older stands since the first sight"
    );
    assert_ne!(id(message("apg/config/t1/app/database/host", SEED)), Some(live));
    let timeless = r#"{"config_key":"app.x","new_value":1}"#;
    assert_eq!(id(message("apg/config/global/app/x", timeless)), None, "the same value may be set twice");
    let retained = || Message { is_retained: true, ..message("apg/config/global/app/x", timeless) };
    assert!(id(retained()).is_some() && id(retained()) == id(retained()));
    let named = r#"{"config_key":"app.x","new_value":1,"event_id":"mine","timestamp":"2024-01-01T12:00:00"}"#;
    assert_eq!(id(message("apg/config/global/app/x", named)).as_deref(), Some("mine"));
}

#[test]
fn d_25_status_messages_are_no_changes() {
    assert!(read("apg/config/status/apg_config_pub_11223344", "online").is_none());
    assert!(read("apg/config/status/a/b", r#"{"config_key":"a.b","new_value":1}"#).is_none());
    assert!(read("elsewhere/app/x", SEED).is_none());
}

#[test]
fn d_26_the_payload_names_the_key_and_the_topic_must_agree() {
    let encoded = r#"{"config_key":"app.rate%","new_value":1}"#;
    for topic in ["apg/config/global/app/rate%25", "apg/config/global/app/rate%"] {
        assert_eq!(change(topic, encoded).key_str(), Some("app.rate%"));
    }
    assert_eq!(code("apg/config/global/app/other", SEED), "bad_message");
    assert_eq!(code("apg/config/global/app.database.host", SEED), "bad_message");
    let keyless = r#"{"new_value":{"a":[1,2]},"user_id":"eve"}"#;
    let mut record = change("apg/config/t1/app/size", keyless);
    let change = record.change().expect("a change");
    assert_eq!(
        (change.config_key(), change.user_id(), change.new_value().as_str()),
        ("app.size", Some("eve"), r#"{"a":[1,2]}"#)
    );
}

#[test]
fn d_19_a_message_has_one_tenant() {
    let with = |tenant: &str| format!(r#"{{"config_key":"app.x","new_value":1,"tenant_id":{tenant}}}"#);
    for tenant in ["\"t1\"", "null", "\"\""] {
        let mut record = change("apg/config/t1/app/x", &with(tenant));
        assert_eq!(record.change().expect("a change").tenant_id(), Some("t1"), "{tenant}");
    }
    assert_eq!(code("apg/config/t2/app/x", &with("\"t1\"")), "bad_message");
    assert_eq!(code("apg/config/global/app/x", &with("\"t1\"")), "bad_message");
    assert_eq!(code("apg/config/default/app/x", &with("null")), "bad_tenant");
    assert_eq!(code("apg/config/a b/app/x", &with("null")), "bad_tenant");
}

#[test]
fn mq_11_what_cannot_be_read_is_handed_over_with_its_bytes() {
    let topic = "apg/config/global/app/x";
    for payload in [
        "{",
        "not JSON",
        "[]",
        "17",
        r#"{"config_key":7,"new_value":1}"#,
        r#"{"config_key":"app.x"}"#,
        r#"{"config_key":"app.x","new_value":1,"timestamp":"yesterday"}"#,
        r#"{"config_key":"app.x","new_value":1,"user_id":{}}"#,
    ] {
        assert_eq!(code(topic, payload), "bad_message", "{payload}");
    }
    let deep = format!(r#"{{"config_key":"app.x","new_value":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(code(topic, &deep), "bad_message");
    assert_eq!(code("apg/config/global/app//x", r#"{"config_key":"app..x","new_value":1}"#), "bad_key");
    let null = change(topic, r#"{"config_key":"app.x","new_value":null}"#);
    assert!(null.error().is_none(), "null is a value");
    let long = "k".repeat(513);
    let payload = format!(r#"{{"config_key":"{long}","new_value":1}}"#);
    assert_eq!(code(&format!("apg/config/global/{long}"), &payload), "too_large");
}

/// GAP-10.
#[test]
fn operations_need_no_value_and_two_of_one_moment_are_two_changes() {
    let name = |ops: &str| {
        let payload = format!(r#"{{"config_key":"app.x","timestamp":"2024-01-01T12:00:00Z","ops":{ops}}}"#);
        let mut record = change("apg/config/global/app/x", &payload);
        let change = record.change().expect("a change");
        assert!(change.is_unapplied(), "{ops}");
        change.event_id().expect("a name").to_owned()
    };
    assert_ne!(name(r#"[1,"x"]"#), name(r#"[1,"y"]"#));
}

#[test]
fn d_28_the_pipelines_own_plain_messages_are_not_taken_in_again() {
    register_publisher("reader-test", "apg_config_pub_0wn00000");
    let topic = "apg/config/global/app/x";
    let own = r#"{"config_key":"app.x","new_value":1,"publisher_id":"apg_config_pub_0wn00000"}"#;
    assert!(read(topic, own).is_none());
    assert!(read(topic, r#"{"config_key":"app.x","new_value":1,"source_node":"node-1"}"#).is_none());
    let dotted = r#"{"config_key":"app.x","new_value":1,"publisher_id":"apg_config_pub_0wn00000","source_node":"node-1",
        "dot":{"node":"node-1@a","seq":1},"ctx":{},"hlc":"1","event_id":"e"}"#;
    assert!(
        read(topic, dotted).is_some(),
        "the dot decides, and a host that lost its disk gets its past back"
    );
}

#[test]
fn gap_11_an_empty_message_removes_the_key_of_its_topic() {
    let mut record = change("apg/config/t1/app/x", "");
    let change = record.change().expect("a change");
    assert!(change.is_deletion() && change.event_id().is_none());
    assert_eq!((change.config_key(), change.tenant_id()), ("app.x", Some("t1")));
    assert!(read("apg/config/status/apg_config_pub_1", "").is_none());
}

#[test]
fn d_27_only_keys_that_were_asked_for_come_through() {
    let reader = reader(&["app.features.*", "app.data*"]);
    let is_read = |key: &str| {
        let topic = Tree::new("apg/config").of_change(None, key);
        let payload = format!(r#"{{"config_key":"{key}","new_value":1}}"#);
        reader.read(message(&topic, &payload)).is_some()
    };
    assert!(is_read("app.features.x") && is_read("app.features.x.y") && is_read("app.database.host"));
    assert!(!is_read("app.features") && !is_read("app.security.tls"));
}

#[test]
fn a_direct_pipeline_is_given_messages_as_they_are() {
    let direct = Reader { through_log: false, wanted: Wanted::Topics(vec!["#".into()]), ..reader(&["*"]) };
    let properties =
        vec![("unit".to_owned(), "C".to_owned()), ("lockstep.session".to_owned(), "x".to_owned())];
    let record = direct
        .read(Message { properties, content_type: Some("text/plain".into()), ..message("room/1", "{21.5") })
        .expect("a record");
    assert_eq!((record.key_str(), &*record.value().expect("bytes")), (Some("room/1"), &b"{21.5"[..]));
    let headers: Vec<_> = record.headers().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(headers, ["unit", "content_type"]);

    let changes = Reader { through_log: false, ..reader(&["app.*"]) };
    let record = changes.read(message("apg/config/t1/app/x", "{")).expect("a record");
    assert_eq!(record.key_str(), Some("app.x"));
    assert_eq!(record.header("tenant_id").map(|tenant| tenant.to_vec()), Some(b"t1".to_vec()));
    assert!(changes.read(message("apg/config/status/a", "online")).is_none());
}

#[test]
fn a_message_of_thousands_of_properties_is_set_aside_at_once() {
    let direct = Reader { through_log: false, ..reader(&["*"]) };
    let properties = (0..100_000).map(|n| (n.to_string(), String::new())).collect();
    let message = Message { properties, ..message("apg/config/global/app/x", "21.5") };
    let begun = std::time::Instant::now();
    let record = direct.read(message).expect("a record");
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(record.error().and_then(Error::code), Some("bad_message"));
    assert_eq!((&*record.value().expect("bytes"), record.headers().count()), (&b"21.5"[..], 0));
}

/// What a host takes in of its own authors, the next one takes in of the broker, with everything around the value.
#[test]
fn a_value_is_as_deep_here_as_by_every_other_door() {
    let topic = "apg/config/global/app/x";
    let of_depth = |depth: usize| {
        let (value, rest) =
            (format!("{}{}", "[".repeat(depth), "]".repeat(depth)), r#""ctx":{},"hlc":"1","event_id":"e""#);
        let sibling = format!(r#"{{"dot":{{"node":"n@a","seq":1}},{rest},"new_value":{value}}}"#);
        format!(
            r#"{{"config_key":"app.x","new_value":{value},"dot":{{"node":"n@a","seq":1}},{rest},"siblings":[{sibling}]}}"#
        )
    };
    change(topic, &of_depth(128));
    assert_eq!(code(topic, &of_depth(129)), "bad_message");
}
