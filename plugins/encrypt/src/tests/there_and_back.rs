//! Whatever goes through `encrypt` and `decrypt` comes out as it was, byte for byte.

use super::*;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just(" 1.50e3 ".trim().to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        ".*".prop_map(|text| json!(text).to_string()),
        Just(r#"{"$enc":{"v":1}}"#.to_owned()),
        Just(r#"{ "b" : 1, "a":[ ] }"#.to_owned()),
    ];
    prop_oneof![
        scalar.clone(),
        prop::collection::vec(scalar, 0..3).prop_map(|items| format!("[{}]", items.join(" ,")))
    ]
}

fn optional(name: &'static str, value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::option::of(value)
        .prop_map(move |value| value.map(|value| format!(",\"{name}\":{value}")).unwrap_or_default())
}

fn event_type() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["config_created", "config_updated", "config_deleted"])
        .prop_map(|text| format!("\"{text}\""))
}

fn base_hash() -> impl Strategy<Value = String> {
    "[0-9a-f]{1,64}".prop_map(|text| format!("\"{text}\""))
}

fn sibling() -> impl Strategy<Value = String> {
    let fields = (
        optional("event_type", event_type()),
        optional("new_value", value()),
        optional("old_value", value()),
        optional("ops", value()),
        optional("base_hash", base_hash()),
    );
    fields.prop_map(|(a, b, c, d, e)| {
        format!(
            "{{\"dot\":{{\"node\":\"a\",\"seq\":1}}{a}{b}{c}{d}{e},\"strategy\":\"operational_transform\"}}"
        )
    })
}

fn change() -> impl Strategy<Value = String> {
    let siblings = prop::collection::vec(sibling(), 0..3).prop_map(|list| format!("[{}]", list.join(",")));
    let fields = (
        optional("tenant_id", Just("\"t1\"".to_owned())),
        optional("event_type", event_type()),
        optional("new_value", value()),
        optional("old_value", value()),
        optional("ops", value()),
        optional("base_hash", base_hash()),
        optional("siblings", siblings),
    );
    fields.prop_map(|(a, b, c, d, e, f, g)| {
        format!("{{\"config_key\":\"app.pin\",\"dot\":{{\"node\":\"a\",\"seq\":1}},\"ctx\":{{}}{a}{b}{c}{d}{e}{f}{g}}}")
    })
}

#[test]
fn a_peer_that_opens_what_was_sealed_has_the_very_same_change() {
    let bench = Bench::new();
    for (seals, opens) in
        [(At::BehindLog, At::BeforeLog), (At::Direct, At::Direct), (At::Direct, At::BeforeLog)]
    {
        let (encrypt, decrypt) = (bench.encrypt(seals), bench.decrypt(opens));
        let drivers = std::cell::RefCell::new((encrypt, decrypt));
        proptest!(ProptestConfig::with_cases(300), |(text in change())| {
            let (encrypt, decrypt) = &mut *drivers.borrow_mut();
            let before = Change::from_json(&Bytes::from(text.as_str())).expect("a change");
            let sealed = record_through(encrypt, Record::new(text)).expect("sealed");
            let on_the_way = Record::new(sealed.value().expect("a value"));
            let mut after = record_through(decrypt, on_the_way).expect("opened");
            let (before, after) = (before.to_json(), after.change().expect("a change").to_json());
            prop_assert_eq!(std::str::from_utf8(&before), std::str::from_utf8(&after));
        });
    }
}

#[test]
fn both_ways_of_sealing_go_together() {
    let bench = Bench::new();
    // Sealed for the log at its origin, and once more for the way only where that was not done.
    let in_the_log =
        placed(through(&mut bench.encrypt(At::BeforeLog), &update(&json!("hunter2"))).expect("sealed"));
    let on_the_way = through(&mut bench.encrypt(At::BehindLog), &in_the_log).expect("passed on");
    let received = through(&mut bench.decrypt(At::BeforeLog), &on_the_way).expect("passed on");
    let in_its_log = through(&mut bench.encrypt(At::BeforeLog), &received).expect("taken");
    assert_eq!(in_its_log, in_the_log, "the same change is the same on every host");
}
