//! What is read, what is ignored, and what is refused with which field.

use super::*;

fn request(text: &str) -> Result<Request<'_>, Refusal> {
    read(text).and_then(|incoming| incoming.request.map_err(|refused| refused.refusal))
}

/// A change of this shape, or the field that is wrong in it.
fn change(fields: &str) -> Result<ChangeRequest<'_>, String> {
    match request(fields) {
        Ok(Request::Change(change)) => Ok(change),
        Ok(_) => panic!("no change: {fields}"),
        Err(refusal) => Err(field_of(refusal)),
    }
}

fn field_of(refusal: Refusal) -> String {
    assert_eq!(refusal.code, "bad_message");
    let details: serde_json::Value =
        serde_json::from_str(refusal.details().expect("a field").get()).expect("JSON");
    assert!(details[0]["reason"].is_string(), "{details}");
    details[0]["path"].as_str().expect("a path").to_owned()
}

#[test]
fn unknown_and_missing_types_are_ignored_whatever_else_they_hold() {
    for text in ["{}", r#"{"type":"hello","patterns":5}"#, r#"{"type":null}"#] {
        assert!(matches!(request(text), Ok(Request::Unknown)), "{text}");
    }
}

#[test]
fn what_is_no_object_is_refused() {
    for text in [
        "",
        "ping",
        "[]",
        r#"["ping"]"#,
        "1",
        r#"{"type":"ping""#,
        r#"{"type":"ping"} x"#,
        r#"{"id":1,"id":2}"#,
    ] {
        assert_eq!(read(text).map(drop).expect_err(text), NOT_JSON);
    }
}

#[test]
fn whatever_is_wrong_the_id_survives_and_the_field_is_named() {
    for (fields, field) in [
        (r#""type":"config_change""#, "/config_key"),
        (r#""type":"config_change","config_key":5,"new_value":1"#, "/config_key"),
        (r#""type":"config_change","config_key":"k""#, "/new_value"),
        (r#""type":"config_change","config_key":"k","ops":null"#, "/new_value"),
        (r#""type":"config_change","config_key":"k","ops":5"#, "/ops"),
        (r#""type":"config_change","config_key":"k","new_value":1,"op":"erase""#, "/op"),
        (r#""type":"config_change","config_key":"k","new_value":5,"op":"delete""#, "/new_value"),
        (r#""type":"config_change","config_key":"k","ops":[1],"op":"delete""#, "/ops"),
        (r#""type":"config_change","config_key":"k","new_value":1,"user_id":{}"#, "/user_id"),
        (r#""type":"config_change","config_key":"k","new_value":1,"base_revision":"7""#, "/base_revision"),
        (r#""type":"config_change","config_key":"k","new_value":1,"fence":{"lock":"k"}"#, "/fence"),
        (r#""type":"config_lock""#, "/config_key"),
        (r#""type":"config_lock","config_key":"k","ttl_ms":"1s""#, "/ttl_ms"),
        (r#""type":"config_lock","config_key":"k","ttl_ms":-1"#, "/ttl_ms"),
        (r#""type":"config_lock","config_key":"k","wait_ms":1e12"#, "/wait_ms"),
        (r#""type":"config_lock","config_key":"k","metadata":[1]"#, "/metadata"),
        (r#""type":7"#, "/type"),
        (r#""type":"subscribe","patterns":"*""#, "/patterns"),
        (r#""type":"subscribe","patterns":[1]"#, "/patterns"),
        (r#""type":"subscribe","since":7"#, "/since"),
    ] {
        let text = format!(r#"{{"id":"7",{fields}}}"#);
        let incoming = read(&text).expect(fields);
        assert_eq!(incoming.id.map(RawValue::get), Some(r#""7""#), "{fields}");
        let Err(refused) = incoming.request else { panic!("taken: {fields}") };
        assert_eq!(field_of(refused.refusal), field, "{fields}");
    }
    let incoming = read(r#"{"type":"ping","id":[1]}"#).expect("an object");
    assert!(incoming.id.is_none() && incoming.request.is_err(), "an id is a string or a number");
}

#[test]
fn what_names_a_key_is_answered_about_it() {
    let answered_by = |text| match read(text).map(|incoming| incoming.request) {
        Ok(Err(refused)) => refused.by,
        _ => panic!("taken: {text}"),
    };
    let wrong = answered_by(r#"{"type":"config_change","config_key":"k","new_value":1,"id":{}}"#);
    assert!(matches!(wrong, AnsweredBy::Change(key) if key == "k"));
    let without_key = answered_by(r#"{"type":"config_change","new_value":1}"#);
    let without_value = answered_by(r#"{"type":"config_change","config_key":"k"}"#);
    assert!(matches!((without_key, without_value), (AnsweredBy::Error, AnsweredBy::Error)), "WS-09");
    let lock = answered_by(r#"{"type":"config_lock","config_key":"k","ttl_ms":"1s"}"#);
    assert!(matches!(lock, AnsweredBy::Lock(Some(key)) if key == "k"));
    assert!(matches!(answered_by(r#"{"type":"config_unlock","config_key":5}"#), AnsweredBy::Lock(None)));
}

#[test]
fn null_is_a_value_and_absence_is_not() {
    let null = change(r#"{"type":"config_change","config_key":"k","new_value":null,"user_id":null}"#);
    let null = null.expect("a change");
    assert_eq!((null.new_value.map(RawValue::get), null.user_id), (Some("null"), None));
    for value in ["", r#""new_value":null,"#] {
        let text = format!(r#"{{"type":"config_change","config_key":"k",{value}"op":"delete"}}"#);
        let deletion = change(&text).expect("a deletion");
        assert!(deletion.is_deletion && deletion.new_value.is_none());
    }
}

/// GAP-10.
#[test]
fn operations_stand_in_the_place_of_a_value_or_beside_it() {
    for ops in [r#"[5,"x"]"#, r#"{"op_type":"insert","position":5,"content":"x"}"#] {
        for (value, said) in
            [("", None), (r#""new_value":null,"#, Some("null")), (r#""new_value":1,"#, Some("1"))]
        {
            let text = format!(r#"{{"type":"config_change","config_key":"k",{value}"ops":{ops}}}"#);
            let change = change(&text).expect("a change");
            assert_eq!(
                (change.ops.map(RawValue::get), change.new_value.map(RawValue::get)),
                (Some(ops), said)
            );
            assert!(!change.is_deletion);
        }
    }
}

#[test]
fn what_the_author_had_seen_is_said_in_one_of_two_ways() {
    let base = |fields: &str| {
        let text = format!(r#"{{"type":"config_change","config_key":"k","new_value":1,{fields}}}"#);
        change(&text).map(|change| change.base)
    };
    let seen = |epoch: Option<&str>| SeenAt { epoch: epoch.map(str::to_owned), revision: 7 };
    assert_eq!(base(r#""base":{"epoch":"e","revision":7}"#), Ok(Some(seen(Some("e")))));
    assert_eq!(base(r#""base_revision":7"#), Ok(Some(seen(None))));
    assert_eq!(base(r#""base":null"#), Ok(None));
    for (both, field) in [
        (r#""base":{"epoch":"e","revision":7},"base_revision":7"#, "/base_revision"),
        (r#""base":7"#, "/base"),
        (r#""base_revision":-1"#, "/base_revision"),
    ] {
        assert_eq!(base(both), Err(field.to_owned()), "{both}");
    }
    assert_eq!(base(r#""fence":{"lock":"k","token":1}"#), Ok(None));
}

#[test]
fn depth_counts_what_is_open_outside_of_strings() {
    for field in ["new_value", "ops"] {
        let is_too_deep = |n: usize| {
            let (open, close) = ("[".repeat(n), "]".repeat(n));
            let text = format!(r#"{{"type":"config_change","config_key":"k","{field}":{open}{close}}}"#);
            change(&text).expect("a change").check_depth().is_err()
        };
        assert!(!is_too_deep(128) && is_too_deep(129) && is_too_deep(300_000));
    }
}
