use super::*;
use lockstep_plugin_api::testing::{self, Place, TransformDriver};
use serde_json::json;

mod schemas;

fn validate(config: &Value) -> TransformDriver {
    testing::transform::<Validate>(&config.to_string()).expect("a validate")
}

fn with_schema(schema: Value) -> TransformDriver {
    validate(&json!({ "schemas": [{ "match": "*", "schema": schema }] }))
}

/// Code and details of the rejection of one record, `None` if it passed.
fn rejection(validate: &mut TransformDriver, record: Record) -> Option<(String, Value)> {
    let applied = validate.apply(vec![record]).expect("applied");
    assert_eq!(applied.out.len() + applied.failed.len(), 1);
    let (_, error) = applied.failed.into_iter().next()?;
    assert_eq!(error.kind(), ErrorKind::REJECTED);
    let details = error.details().map_or(Value::Null, |details| serde_json::from_str(details).expect("JSON"));
    Some((error.code().expect("a code").to_owned(), details))
}

fn change(value: &Value) -> Record {
    Record::new(json!({ "config_key": "app.database.port", "new_value": value }).to_string())
}

fn code(validate: &mut TransformDriver, text: &str) -> Option<String> {
    rejection(validate, Record::new(text)).map(|(code, _)| code)
}

fn refusal(config: Value, place: &Place) -> Error {
    let made = testing::transform_at::<Validate>(&config.to_string(), place);
    let error = made.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::CONFIG, "{error}");
    error
}

#[test]
fn a_value_must_match_the_first_schema_whose_glob_fits() {
    let mut validate = validate(&json!({ "schemas": [
        { "match": "app.database.port", "schema": { "type": "integer", "maximum": 65535 } },
        { "match": "app.database.*", "schema": { "type": "string" } },
        { "match": "app.frozen.*", "schema": false },
    ]}));
    let mut passes = |key: &str, value: Value| {
        let record = Record::new(json!({ "config_key": key, "new_value": value }).to_string());
        rejection(&mut validate, record).is_none()
    };
    assert!(passes("app.database.port", json!(5432)));
    assert!(!passes("app.database.port", json!("5432")));
    assert!(!passes("app.database.port", json!(70000)));
    assert!(passes("app.database.host", json!("db")));
    assert!(!passes("app.database.host", json!(null)));
    assert!(!passes("app.frozen.x", json!(1)));
    assert!(passes("other", json!({ "any": ["thing"] })));
}

#[test]
fn a_deletion_needs_no_value_and_a_null_does() {
    let mut validate = with_schema(json!({ "type": "integer" }));
    let deletion = r#"{"config_key":"a","event_type":"config_deleted"}"#;
    assert_eq!(code(&mut validate, deletion), None);
    assert_eq!(
        code(&mut validate, r#"{"config_key":"a","new_value":null}"#).as_deref(),
        Some("invalid_value")
    );
}

#[test]
fn what_operations_make_has_to_be_said_where_it_has_a_schema() {
    let mut validate = with_schema(json!({ "type": ["string", "null"], "maxLength": 3 }));
    assert_eq!(
        code(&mut validate, r#"{"config_key":"app.x","ops":["abcd"]}"#).as_deref(),
        Some("invalid_value")
    );
    let said = |value: &str| format!(r#"{{"config_key":"app.x","new_value":"{value}","ops":["{value}"]}}"#);
    assert_eq!(code(&mut validate, &said("abcd")).as_deref(), Some("invalid_value"));
    assert_eq!(code(&mut validate, &said("abc")), None);
    assert_eq!(code(&mut self::validate(&json!({})), r#"{"config_key":"app.x","ops":["abcd"]}"#), None);
}

#[test]
fn every_reason_names_its_place_and_never_the_value() {
    let schema = json!({
        "type": "object",
        "properties": {
            "type": { "type": ["integer", "null"] }, "enum": { "enum": ["a", "b"] }, "const": { "const": 1 },
            "max": { "maximum": 65535 }, "min": { "exclusiveMinimum": 0 }, "multiple": { "multipleOf": 5 },
            "long": { "maxLength": 3 }, "short": { "minLength": 100 }, "pattern": { "pattern": "^[0-9]+$" },
            "format": { "format": "ipv4" }, "items": { "items": { "type": "integer" }, "maxItems": 1 },
            "unique": { "uniqueItems": true }, "any": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
            "not": { "not": { "type": "string" } }, "a/b~c": { "type": "integer" },
            "names": { "propertyNames": { "maxLength": 2 } }, "never": false,
        },
        "required": ["missing"],
    });
    let value = json!({
        "type": "hunter2", "enum": "hunter2", "const": "hunter2", "max": 77777, "min": -77777, "multiple": 77777,
        "long": "hunter2", "short": "hunter2", "pattern": "hunter2", "format": "hunter2", "items": ["hunter2", 77777],
        "unique": ["hunter2", "hunter2"], "any": "hunter2", "not": "hunter2", "a/b~c": "hunter2",
        "names": { "hunter2": 1 }, "never": "hunter2",
    });
    let expected = [
        ("", "lacks the required property \"missing\""),
        ("/a~1b~0c", "is not of type \"integer\""),
        ("/any", "matches none of the alternatives"),
        ("/const", "is not 1"),
        ("/enum", "is not one of [\"a\",\"b\"]"),
        ("/format", "is not a valid \"ipv4\""),
        ("/items", "has more than 1 item"),
        ("/items/0", "is not of type \"integer\""),
        ("/long", "is longer than 3 characters"),
        ("/max", "is greater than the maximum of 65535"),
        ("/min", "is not greater than 0"),
        ("/multiple", "is not a multiple of 5"),
        ("/names", "has a property whose name is longer than 2 characters"),
        ("/never", "is not allowed here"),
        ("/not", "matches what the schema forbids"),
        ("/pattern", "does not match the pattern ^[0-9]+$"),
        ("/short", "is shorter than 100 characters"),
        ("/type", "is not of type \"null\" or \"integer\""),
        ("/unique", "has equal items"),
    ];
    for (path, reason) in expected {
        // One property at a time, because a rejection has at most 16 reasons.
        let name = path.split('/').nth(1).unwrap_or_default().replace("~1", "/").replace("~0", "~");
        let mut part = json!({ "missing": 1 });
        match value.get(&name) {
            Some(wrong) => part[&name] = wrong.clone(),
            None => part = json!({}),
        }
        let (code, details) = rejection(&mut with_schema(schema.clone()), change(&part)).expect("rejected");
        assert_eq!(code, "invalid_value");
        let details = details.as_array().expect("a list");
        assert!(details.contains(&json!({ "path": path, "reason": reason })), "{path}: {details:?}");
    }
    let (_, details) = rejection(&mut with_schema(schema), change(&value)).expect("rejected");
    assert_eq!(details.as_array().map(Vec::len), Some(16));
    let said = details.to_string();
    assert!(!said.contains("hunter2") && !said.contains("77777"), "{said}");
}

#[test]
fn an_unknown_property_is_named_by_its_path() {
    let mut validate = with_schema(json!({ "properties": { "host": {} }, "additionalProperties": false }));
    let (_, details) = rejection(&mut validate, change(&json!({ "hots": 1 }))).expect("rejected");
    assert_eq!(details, json!([{ "path": "/hots", "reason": "is not a known property" }]));
}

#[test]
fn names_and_sizes_are_checked_before_any_schema() {
    let mut validate =
        validate(&json!({ "max_value_bytes": 20, "keys": { "allow": ["app.*"], "deny": ["*.secret"] } }));
    let mut code = |text: &str| code(&mut validate, text);
    assert_eq!(code(r#"{"config_key":"app.x","new_value":1}"#), None);
    assert_eq!(code(r#"{"config_key":"app..x","new_value":1}"#).as_deref(), Some("bad_key"));
    assert_eq!(code(r#"{"config_key":"db.x","new_value":1}"#).as_deref(), Some("bad_key"));
    assert_eq!(code(r#"{"config_key":"app.secret","new_value":1}"#).as_deref(), Some("bad_key"));
    assert_eq!(code(r#"{"config_key":"app.x","tenant_id":"a b"}"#).as_deref(), Some("bad_tenant"));
    let large = r#"{"config_key":"app.x","new_value":"hunter2hunter2hunter2"}"#;
    assert_eq!(code(large).as_deref(), Some("too_large"));
}

#[test]
fn what_is_no_change_is_rejected_or_passes_as_configured() {
    let texts = ["not json", "[1]", r#"{"new_value":1}"#, r#"{"config_key":5}"#];
    for text in texts {
        assert_eq!(code(&mut validate(&json!({})), text).as_deref(), Some("bad_message"), "{text}");
        assert_eq!(code(&mut validate(&json!({ "on_other": "pass" })), text), None, "{text}");
    }
    let mut strict = validate(&json!({ "require_schema": true }));
    assert_eq!(code(&mut strict, r#"{"config_key":"a","new_value":1}"#).as_deref(), Some("invalid_value"));
}

#[test]
fn json_that_is_nested_too_deeply_is_rejected_wherever_it_is() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    for field in ["new_value", "old_value", "metadata"] {
        for (n, expect) in
            [(DEEPEST, None), (DEEPEST + 1, Some("bad_message")), (100_000, Some("bad_message"))]
        {
            let text = format!(r#"{{"config_key":"a","{field}":{}}}"#, nested(n));
            let schema = json!({ "schemas": [{ "match": "*", "schema": true }] });
            assert_eq!(code(&mut validate(&schema), &text).as_deref(), expect, "{field} {n}");
        }
    }
}

#[test]
fn a_large_wrong_value_is_rejected_without_a_reason_per_item() {
    let mut validate = with_schema(json!({ "items": { "type": "string" } }));
    let value = Value::from(vec![1; 200_000]);
    let (_, details) = rejection(&mut validate, change(&value)).expect("rejected");
    assert_eq!(details, json!([{ "path": "/0", "reason": "is not of type \"string\"" }]));
}

#[test]
fn a_hostile_pattern_takes_no_exponential_time() {
    let mut validate = with_schema(json!({ "pattern": "^(a|a)*$" }));
    let (code, _) =
        rejection(&mut validate, change(&json!(format!("{}b", "a".repeat(100_000))))).expect("rejected");
    assert_eq!(code, "invalid_value");
}

#[test]
fn a_schema_that_refers_to_itself_is_followed_as_deep_as_the_value() {
    let mut validate = with_schema(json!({
        "type": "object", "additionalProperties": false, "properties": { "child": { "$ref": "#" } },
    }));
    assert!(rejection(&mut validate, change(&json!({ "child": { "child": {} } }))).is_none());
    let (_, details) =
        rejection(&mut validate, change(&json!({ "child": { "child": 1 } }))).expect("rejected");
    assert_eq!(details[0]["path"], "/child/child");
}

#[test]
fn a_schema_that_only_refers_to_itself_ends() {
    for schema in
        [json!({ "$ref": "#" }), json!({ "allOf": [{ "$ref": "#" }] }), json!({ "not": { "$ref": "#" } })]
    {
        rejection(&mut with_schema(schema), change(&json!(1)));
    }
}

#[test]
fn what_cannot_work_is_refused_with_its_field() {
    let place = Place::default();
    for (config, at) in [
        (json!({ "schemas": [{ "match": "[", "schema": true }] }), "schemas.0.match"),
        (json!({ "keys": { "allow": ["ok", "a+"] } }), "keys.allow.1"),
        (json!({ "max_key_bytes": 513 }), "max_key_bytes"),
        (json!({ "max_value_bytes": 0 }), "max_value_bytes"),
        (json!({ "schemas": [{ "match": "*", "schema": 5 }] }), "schemas[0].schema"),
    ] {
        assert_eq!(refusal(config.clone(), &place).detail(), at, "{config}");
    }
}

#[test]
fn the_first_rule_that_fits_key_and_tenant_counts() {
    let mut validate = validate(&json!({ "schemas": [
        { "match": "app.port", "tenant": "acme", "schema": { "type": "string" } },
        { "match": "app.*", "tenant": ["eu-*", "global"], "schema": { "type": "integer" } },
        { "match": "app.*", "tenant": "*", "schema": { "type": "boolean" } },
    ]}));
    let mut passes = |tenant: Option<&str>, key: &str, value: Value| {
        let record = json!({ "config_key": key, "tenant_id": tenant, "new_value": value });
        rejection(&mut validate, Record::new(record.to_string())).is_none()
    };
    assert!(
        passes(Some("acme"), "app.port", json!("5432")) && !passes(Some("acme"), "app.port", json!(5432))
    );
    assert!(passes(Some("acme"), "app.host", json!(true)), "the rule for everybody with a tenant");
    assert!(passes(Some("eu-1"), "app.port", json!(1)) && !passes(Some("eu-1"), "app.port", json!("1")));
    assert!(passes(None, "app.port", json!(1)) && !passes(None, "app.port", json!(true)));
    assert!(passes(None, "db.x", json!({})), "no rule is about it");
}

#[test]
fn keys_are_allowed_and_denied_by_tenant_and_the_first_that_fits_counts() {
    let mut validate = validate(&json!({ "keys": {
        "deny": ["app.internal.*"],
        "by_tenant": [
            { "tenant": "acme", "allow": ["app.acme.*"] },
            { "tenant": ["guest-*", "global"], "deny": ["*"] },
            { "tenant": "acme", "deny": ["*"] },
        ],
    }}));
    let mut code = |tenant: Option<&str>, key: &str| {
        code(&mut validate, &json!({ "config_key": key, "tenant_id": tenant, "new_value": 1 }).to_string())
    };
    assert_eq!(code(Some("acme"), "app.acme.x"), None);
    assert_eq!(code(Some("acme"), "app.x").as_deref(), Some("bad_key"));
    assert_eq!(code(Some("guest-1"), "app.x").as_deref(), Some("bad_key"));
    assert_eq!(code(None, "app.x").as_deref(), Some("bad_key"));
    assert_eq!(code(Some("other"), "app.x"), None);
    assert_eq!(code(Some("other"), "app.internal.x").as_deref(), Some("bad_key"));
    assert_eq!(code(Some("global"), "app.x").as_deref(), Some("bad_tenant"), "nobody is called that");
}

#[test]
fn only_a_sealed_value_with_a_dot_passes_unseen() {
    let sealed = json!({ "$enc": { "v": 1, "alg": "A256GCM", "kid": "k", "dk": "", "n": "", "ct": "" } });
    let change = |key: &str, value: &Value, more: Value| {
        let mut change = json!({ "config_key": key, "new_value": value });
        change.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        change.to_string()
    };
    let dot = json!({ "dot": { "node": "a@1", "seq": 1 }, "ctx": {} });
    let mut validate = validate(&json!({ "require_schema": true, "schemas": [
        { "match": "app.frozen", "schema": false }, { "match": "app.*", "schema": { "type": "string" } },
    ]}));
    let mut code = |text: String| code(&mut validate, &text);
    assert_eq!(code(change("app.x", &sealed, dot.clone())), None);
    assert_eq!(
        code(change("app.x", &sealed, json!({}))).as_deref(),
        Some("invalid_value"),
        "it was made here"
    );
    assert_eq!(code(change("app.x", &json!(1), dot.clone())).as_deref(), Some("invalid_value"));
    let half = json!({ "$enc": {}, "port": 1 });
    assert_eq!(code(change("app.x", &half, dot.clone())).as_deref(), Some("invalid_value"));
    assert_eq!(code(change("app.frozen", &sealed, dot.clone())).as_deref(), Some("invalid_value"));
    assert_eq!(code(change("db.x", &sealed, dot)).as_deref(), Some("invalid_value"), "no rule is about it");
}

#[test]
fn a_rule_that_names_nobody_is_refused_with_its_field() {
    let place = Place::default();
    for (config, at) in [
        (json!({ "schemas": [{ "match": "*", "schema": true, "tenant": "" }] }), "schemas.0.tenant"),
        (
            json!({ "schemas": [{ "match": "*", "schema": true, "tenant": ["a", "default"] }] }),
            "schemas.0.tenant.1",
        ),
        (json!({ "keys": { "by_tenant": [{ "tenant": [], "allow": ["*"] }] } }), "keys.by_tenant.0.tenant"),
        (json!({ "keys": { "by_tenant": [{ "tenant": "a", "deny": ["["] }] } }), "keys.by_tenant.0.deny.0"),
        (json!({ "reload_interval": "50ms" }), "reload_interval"),
    ] {
        assert_eq!(refusal(config.clone(), &place).detail(), at, "{config}");
    }
}
