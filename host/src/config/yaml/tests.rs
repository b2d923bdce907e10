use std::borrow::Cow;

use proptest::{prelude::*, test_runner::RngSeed};
use saphyr::Scalar;
use serde_json::json;

use super::*;

/// What saphyr makes of a plain scalar, as JSON.
fn by_saphyr(text: &str) -> Value {
    match Scalar::parse_from_cow(Cow::Borrowed(text)) {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => json!(value),
        Scalar::Integer(value) => json!(value),
        Scalar::FloatingPoint(value) => json!(value.into_inner()),
        Scalar::String(text) => json!(text),
    }
}

fn by_serde_yaml(text: &str) -> Option<Value> {
    serde_yaml::from_str(text).ok()
}

/// Texts on which the two libraries are known to differ, so that a change of library is a change of this list.
fn differs(text: &str) -> bool {
    let (unsigned, rest) = (text.trim_start_matches(['+', '-']), text.trim_start_matches(['+', '-', '0']));
    let is_whole = unsigned.bytes().all(|b| b.is_ascii_digit());
    let (octal_or_hex, binary) =
        (unsigned.starts_with("0x") || unsigned.starts_with("0o"), unsigned.starts_with("0b"));
    // `007` is text to serde_yaml and a number to saphyr.
    (is_whole && unsigned.len() > 1 && unsigned.starts_with('0'))
        // `+0x1` and `0b1` are numbers to serde_yaml alone.
        || (octal_or_hex && unsigned != text)
        || binary
        // Beyond 64 bits saphyr goes on as a float.
        || (is_whole && rest.len() > 18)
}

/// Places of all values, to compare with the values themselves.
fn places(node: &Rc<Node>, at: Vec<String>, into: &mut Vec<(Vec<String>, Range<usize>, Style)>) {
    match &node.children {
        Children::Map(entries) => {
            entries.iter().for_each(|(key, child)| {
                places(child, [at.as_slice(), std::slice::from_ref(&key.name)].concat(), into)
            });
        }
        Children::List(items) => items.iter().enumerate().for_each(|(n, child)| {
            places(child, [at.as_slice(), &[n.to_string()]].concat(), into);
        }),
        Children::Alias(target) => places(target, at.clone(), into),
        Children::None => {}
    }
    into.push((at, node.span.clone(), node.style));
}

fn lookup<'a>(value: &'a Value, at: &[String]) -> Option<&'a Value> {
    at.iter().try_fold(value, |value, segment| match value {
        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
        value => value.get(segment),
    })
}

fn n_values(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(n_values).sum(),
        Value::Object(fields) => fields.values().map(n_values).sum(),
        _ => 0,
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-z]{1,6}",
        "[ -~]{0,12}",
        "[a-zñ☃:#'\"\\n -]{0,12}",
        Just("true".to_owned()),
        Just("12".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text.prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-zñ.]{1,5}", inner, 0..4)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// The same cases each time, as in every random test of the host.
fn settings() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() }
}

#[test]
fn what_yaml_calls_a_number_or_a_boolean_is_written_down() {
    for (text, value) in [
        ("0o7", json!(7)),
        ("1_000", json!("1_000")),
        ("yes", json!("yes")),
        ("~", json!(null)),
        ("1e3", json!(1000.0)),
        ("True", json!(true)),
        ("007", json!("007")),
    ] {
        assert_eq!(plain_scalar(text), value, "{text}");
    }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn places_and_values_agree(value in proptest::collection::btree_map("[a-z]{1,5}", any_value(), 1..5)) {
        let value: Value = value.into_iter().collect();
        let text = serde_yaml::to_string(&value).unwrap();
        let document = parse(&text).unwrap();
        prop_assert_eq!(&document.problems, &[]);
        prop_assert_eq!(&values(&text).unwrap(), &value);
        let mut found = Vec::new();
        places(&document.root, Vec::new(), &mut found);
        prop_assert_eq!(found.len(), n_values(&value), "{}", text);
        for (at, span, style) in found {
            let there = lookup(&value, &at);
            prop_assert!(there.is_some(), "{at:?} of {text}");
            if !matches!(style, Style::Collection | Style::Block) {
                let read = serde_yaml::from_str::<Value>(&text[span]).ok();
                prop_assert_eq!(read.as_ref(), there, "{:?} of {}", at, text);
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[-:,#&*!|>'\"%@{}\\[\\] \t\na-c1ñ?~.<$]{0,60}") {
        if parse(&text).is_ok() {
            let _ = values(&text);
        }
    }

    #[test]
    fn plain_scalars_mean_the_same_to_both_libraries(
        text in "[-+]?(0[xob]?)?[0-9_]{0,6}(\\.[0-9]{0,3})?([eE][-+]?[0-9]{1,2})?|[-+.]{0,2}(inf|Inf|nan|NaN|NAN)|(yes|no|on|off|y|n|True|TRUE|tRue|~|null|Null|nULL)"
    ) {
        let compared = !text.is_empty() && text != "-" && !differs(&text);
        if let Some(value) = compared.then(|| by_serde_yaml(&text)).flatten() {
            prop_assert_eq!(by_saphyr(&text), value, "{}", text);
        }
    }
}
