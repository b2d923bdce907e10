use serde_json::json;

use super::*;

/// A record as tests write it: `change` is its change, or null for none.
#[derive(Default)]
struct Sample {
    key: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    value: Option<Value>,
    change: Value,
}

impl RecordView for Sample {
    fn key(&self) -> Option<&str> {
        self.key
    }
    fn value(&self) -> Option<FieldValue<'_>> {
        self.value.clone().map(FieldValue::Value)
    }
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
    fn headers(&self, each: &mut dyn FnMut(&str, &str)) {
        self.headers.iter().for_each(|(name, value)| each(name, value));
    }
    fn timestamp(&self) -> Option<i64> {
        Some(1_700_000_000_000)
    }
    fn change_field(&self, name: &str) -> Option<FieldValue<'_>> {
        self.change.get(name).cloned().map(FieldValue::Value)
    }
}

fn sample() -> Sample {
    Sample {
        key: Some("app.database.host"),
        headers: vec![("region", "eu")],
        value: Some(json!({ "port": 5432, "tags": ["a", "b"], "ratio": 0.5 })),
        change: json!({
            "event_type": "config_updated",
            "config_key": "app.database.host",
            "new_value": { "port": 5432 },
            "user_id": "ann",
            "source_node": "node-1",
        }),
    }
}

/// Runs a condition both ways where there are two, and compares.
fn check(text: &str, expect: Result<bool, &str>) {
    let mut condition = Condition::compile(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let quick = condition.matches(&sample());
    assert_eq!(quick, expect.map_err(str::to_owned), "{text}");
    condition.fast = None;
    let slow = condition.matches(&sample());
    match expect {
        Ok(expect) => assert_eq!(slow, Ok(expect), "{text}, by the engine"),
        Err(_) => assert!(slow.is_err(), "{text}, by the engine: {slow:?}"),
    }
}

/// The refusal as a caret would show it: the marked text, the message, the help.
fn refused(text: &str, marked: &str, message: &str, help: Option<&str>) {
    let error = Condition::compile(text).expect_err(text);
    assert_eq!(error.message, message, "{text}");
    assert_eq!(&text[error.offset..error.offset + error.length], marked, "{text}");
    assert_eq!(error.help.as_deref(), help, "{text}");
}

#[test]
fn conditions_look_at_every_part_of_a_record() {
    check("key == 'app.database.host'", Ok(true));
    check("'x' != key", Ok(true));
    check("headers['region'] == 'eu' && headers.region == 'eu'", Ok(true));
    check("'region' in headers && !('zone' in headers)", Ok(true));
    check("value.port > 1024 && value.ratio < 1.0", Ok(true));
    check("'b' in value.tags && size(value.tags) == 2", Ok(true));
    check("timestamp > 1600000000000", Ok(true));
    check("change.new_value.port == 5432", Ok(true));
    check("change.config_key.startsWith('app.')", Ok(true));
    check("change.config_key.endsWith('.port') || change.user_id.contains('nn')", Ok(true));
    check("change.config_key.matches('^app\\\\.[a-z]+')", Ok(true));
    check("matches(key, 'base')", Ok(true));
    check("change.tenant_id.matches('a')", Err("the field `tenant_id` is absent"));
    check("!change.config_key.startsWith('app.')", Ok(false));
    check("value.tags.exists(tag, tag == 'a') && value.tags.all(tag, size(tag) == 1)", Ok(true));
    check("headers.exists(name, name == 'region')", Ok(true));
    check("key in ['a', 'app.database.host']", Ok(true));
    check("change.event_type == 'config_updated' ? key != 'x' : false", Ok(true));
}

#[test]
fn an_absent_field_has_no_answer_unless_it_is_asked_for() {
    check("has(change.tenant_id)", Ok(false));
    check("has(change.user_id)", Ok(true));
    check("has(change.tenant_id) && change.tenant_id == 'acme'", Ok(false));
    check("!has(change.tenant_id) || change.tenant_id == 'acme'", Ok(true));
    check("change.tenant_id == 'acme'", Err("the field `tenant_id` is absent"));
    check("change.tenant_id.startsWith('a')", Err("the field `tenant_id` is absent"));
    check("headers.zone == 'x'", Err("the field `zone` is absent"));
    check("change.metadata.team == 'x'", Err("the field `metadata` is absent"));
    check("change.tenant_id == 'acme' || key == 'app.database.host'", Ok(true));
    check("change.tenant_id == 'acme' && key == 'x'", Ok(false));
}

#[test]
fn a_record_that_is_no_change_has_no_fields_of_one() {
    let record = Sample { key: None, ..Sample::default() };
    let ask = |text: &str| Condition::compile(text).unwrap().matches(&record);
    assert_eq!(ask("has(change.config_key)"), Ok(false));
    assert_eq!(ask("change.config_key == 'a'"), Err("the field `config_key` is absent".into()));
    assert_eq!(ask("key == 'a'"), Ok(false));
    assert_eq!(ask("key == null"), Ok(true));
    assert_eq!(ask("key.startsWith('a')"), Err("the record has no `key`".into()));
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    refused("chnge.config_key == 'a'", "chnge", "`chnge` is not known", Some("did you mean `change`?"));
    refused(
        "config_key == 'a'",
        "config_key",
        "`config_key` is not known",
        Some("did you mean `change.config_key`?"),
    );
    refused(
        "key == 'a' && change.confg_key == 'a'",
        "confg_key",
        "a change has no field `confg_key`",
        Some("did you mean `config_key`?"),
    );
    refused(
        "has(change.tenant)",
        "tenant",
        "a change has no field `tenant`",
        Some("did you mean `tenant_id`?"),
    );
    refused(
        "change.config_key.startWith('a')",
        "startWith",
        "there is no function `startWith`",
        Some("did you mean `startsWith`?"),
    );
}

#[test]
fn what_is_neither_true_nor_false_is_refused() {
    let message = |kind| format!("a condition gives true or false, this gives {kind}");
    refused("change.config_key", "change.config_key", &message("a string"), None);
    refused("1 + 2", "1 + 2", &message("a number"), None);
    refused("'app.*'", "'app.*'", &message("a string"), None);
    refused("value.tags.map(tag, tag)", "value.tags.map(tag, tag)", &message("a list"), None);
    refused("key == 'a' ? 'x' : 'y'", "key == 'a' ? 'x' : 'y'", &message("a string"), None);
    assert!(Condition::compile("value.enabled").is_ok());
    assert!(Condition::compile("true").is_ok());
}

#[test]
fn types_that_never_fit_are_refused() {
    refused("change.config_key == 5", "change.config_key == 5", "a string never equals a number", None);
    refused("key > 5", "key > 5", "a string cannot be compared with a number", None);
    refused("key && true", "key", "`&&` takes true or false, this is a string", None);
    refused("size(key) == '1'", "size(key) == '1'", "a number never equals a string", None);
    refused("key.contains(5)", "5", "`contains` takes a string, this is a number", None);
    refused("key.field == 'x'", "key.field", "a string has no field `field`", None);
    refused("'a' in key", "key", "`in` takes a list or a map, this is a string", None);
    refused("key + 1 == 'a'", "key + 1", "a string and a number cannot be added", None);
    refused("key.matches('[')", "'['", "this regular expression cannot be used", None);
}

#[test]
fn syntax_errors_point_at_their_place() {
    for (text, marked) in [("key == ", ""), ("key = 'a'", "="), ("key == 'a", "'"), ("(key == 'a'", "")] {
        let error = Condition::compile(text).expect_err(text);
        assert!(error.message.starts_with("not a CEL expression: "), "{error:?}");
        assert_eq!(&text[error.offset..error.offset + error.length], marked, "{text}: {error:?}");
    }
    let error = Condition::compile("key == 'a' and true").unwrap_err();
    assert_eq!(error.help.as_deref(), Some("write `&&` for and, `||` for or, `!` for not"));
    assert_eq!(Condition::compile("key = 'a'").unwrap_err().help.as_deref(), Some("write `==` to compare"));
    assert!(
        Condition::compile(&"(".repeat(5000)).unwrap_err().message.starts_with("a condition has at most")
    );
}

#[test]
fn no_condition_exhausts_the_stack() {
    for nested in ["(", "[", "{", "!", "-", "key.", "f(", "true ? ", "!("] {
        let _ = Condition::compile(&nested.repeat(MAX_LENGTH / nested.len()));
        let _ = Condition::compile(&format!("{}true", nested.repeat((MAX_LENGTH - 4) / nested.len())));
    }
    for joint in ["+", "-", "*", "&&", "||", "==", "<", ".a", "[0]", " in "] {
        let text = format!("1{}", format!("{joint}1").repeat((MAX_LENGTH - 1) / (joint.len() + 1)));
        let _ = Condition::compile(&text).map(|condition| condition.matches(&sample()));
        let chain = format!("value{}", joint.repeat(900));
        let _ = Condition::compile(&chain).map(|condition| condition.matches(&sample()));
    }
}

#[test]
fn positions_count_bytes_of_the_text() {
    refused("key == 'ñandú' && kez == 'a'", "kez", "`kez` is not known", Some("did you mean `key`?"));
}

#[test]
fn only_what_is_named_is_asked_for() {
    struct Strict;
    impl RecordView for Strict {
        fn key(&self) -> Option<&str> {
            panic!("key was not named")
        }
        fn value(&self) -> Option<FieldValue<'_>> {
            panic!("value was not named")
        }
        fn header(&self, _: &str) -> Option<&str> {
            panic!("headers were not named")
        }
        fn headers(&self, _: &mut dyn FnMut(&str, &str)) {
            panic!("headers were not named")
        }
        fn timestamp(&self) -> Option<i64> {
            panic!("timestamp was not named")
        }
        fn change_field(&self, name: &str) -> Option<FieldValue<'_>> {
            assert_eq!(name, "user_id");
            Some(FieldValue::Text("ann".into()))
        }
    }
    assert_eq!(Condition::compile("change.user_id == 'ann'").unwrap().matches(&Strict), Ok(true));
    assert_eq!(Condition::compile("size(change.user_id) == 3").unwrap().matches(&Strict), Ok(true));
}

#[test]
fn messages_never_contain_values() {
    let record = Sample { value: Some(json!({ "a": "canary", "b": 1 })), ..Sample::default() };
    for text in [
        "value.a > value.b",
        "value.a + value.b == 1",
        "int(value.a) == 1",
        "value.a",
        "value.a[0] == 1",
        "value.b / 0 == value.a",
    ] {
        let error = Condition::compile(text).unwrap().matches(&record).expect_err(text);
        assert!(!error.contains("canary"), "{text}: {error}");
    }
}

#[test]
fn both_parsers_of_the_engine_agree() {
    let conditions = [
        "key == 'a' && change.config_key.startsWith(\"b\") || !has(change.tenant_id)",
        "value.tags.exists(tag, tag == 'a') ? headers['x'] in ['a', 'b'] : -1 + 2 * 3 % 4 >= 5.0",
    ];
    for text in conditions {
        let other = cel::parser::PrattParser::new().parse(text).unwrap();
        let program = Program::compile(text).unwrap();
        assert_eq!(unnumbered(program.expression()), unnumbered(&other), "{text}");
    }
}

/// The tree without the numbers of its nodes, which each parser gives in its own order.
fn unnumbered(expr: &cel::IdedExpr) -> String {
    let text = format!("{:?}", expr.expr);
    text.split("id: ").map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit())).collect()
}

#[test]
fn a_condition_can_be_moved_to_the_thread_that_asks_it() {
    fn is_send<T: Send + Sync>() {}
    is_send::<Condition>();
    is_send::<crate::config::Config>();
}
