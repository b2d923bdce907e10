//! What `decrypt` makes of a sealed value, and of what was done to one.

use super::*;

/// One value of tenant `t1`, sealed for its way.
fn sealed(bench: &Bench) -> Value {
    let mut change = placed(update(&json!("hunter2")));
    change["tenant_id"] = json!("t1");
    through(&mut bench.encrypt(At::BehindLog), &change).expect("sealed")
}

#[test]
fn a_value_opens_under_its_tenant_and_its_key_alone() {
    let bench = Bench::new();
    let (sealed, mut decrypt) = (sealed(&bench), bench.decrypt(At::BeforeLog));
    assert_eq!(through(&mut decrypt, &sealed).expect("opened")["new_value"], "hunter2");
    for (field, other) in
        [("tenant_id", json!("t2")), ("tenant_id", Value::Null), ("config_key", json!("app.pin2"))]
    {
        let mut moved = sealed.clone();
        moved[field] = other;
        let refused = refusal(&mut decrypt, &moved);
        assert!(refused.contains("does not open") && refused.contains("/new_value"), "{refused}");
    }
    // What is a value there are no operations here.
    let mut moved = sealed.clone();
    moved["ops"] = sealed["new_value"].clone();
    assert!(refusal(&mut decrypt, &moved).contains("/ops"));
    let mut next = sealed.clone();
    next["old_value"] = sealed["new_value"].clone();
    assert_eq!(
        through(&mut decrypt, &next).expect("opened")["old_value"],
        "hunter2",
        "it is the old value next"
    );
}

#[test]
fn a_value_without_a_tenant_is_no_tenants() {
    let bench = Bench::new();
    let sealed = through(&mut bench.encrypt(At::Direct), &update(&json!("hunter2"))).expect("sealed");
    let mut moved = sealed.clone();
    moved["tenant_id"] = json!("none");
    assert!(refusal(&mut bench.decrypt(At::Direct), &moved).contains("does not open"));
    moved["tenant_id"] = json!("");
    assert!(through(&mut bench.decrypt(At::Direct), &moved).is_ok());
}

#[test]
fn every_flipped_character_of_an_envelope_is_found() {
    let bench = Bench::new();
    let (sealed, mut decrypt) = (sealed(&bench), bench.decrypt(At::BeforeLog));
    for field in ["ct", "n", "dk", "kid", "alg"] {
        let text = sealed["new_value"]["$enc"][field].as_str().expect("text").to_owned();
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] = if bytes[i] == b'A' { b'B' } else { b'A' };
            let mut flipped = sealed.clone();
            flipped["new_value"]["$enc"][field] = json!(String::from_utf8(bytes).expect("text"));
            refusal(&mut decrypt, &flipped);
        }
    }
}

#[test]
fn a_truncated_envelope_and_one_of_another_version_are_damaged() {
    let bench = Bench::new();
    let (sealed, mut decrypt) = (sealed(&bench), bench.decrypt(At::BeforeLog));
    for field in ["v", "alg", "kid", "dk", "n", "ct"] {
        let mut cut = sealed.clone();
        cut["new_value"]["$enc"].as_object_mut().expect("an object").remove(field);
        assert!(refusal(&mut decrypt, &cut).contains("damaged"), "{field}");
    }
    for (field, value) in [("v", json!(2)), ("alg", json!("none")), ("ct", json!("!")), ("more", json!(1))] {
        let mut other = sealed.clone();
        other["new_value"]["$enc"][field] = value;
        assert!(refusal(&mut decrypt, &other).contains("damaged"), "{field}");
    }
    for field in ["ct", "n", "dk"] {
        let mut cut = sealed.clone();
        cut["new_value"]["$enc"][field] = json!("");
        assert!(refusal(&mut decrypt, &cut).contains("does not open"), "{field}");
    }
}

#[test]
fn an_unknown_key_is_named_and_may_pass() {
    let bench = Bench::new();
    let sealed = sealed(&bench);
    bench.ring(&[("k2", '2')]);
    assert!(refusal(&mut bench.decrypt(At::BeforeLog), &sealed).contains("`k1`"));
    let mut lenient = bench.decrypt_with(At::BeforeLog, &json!({ "on_unknown_key": "pass" }));
    assert_eq!(through(&mut lenient, &sealed).expect("passed on"), sealed);
    let mut strange = sealed.clone();
    strange["new_value"]["$enc"]["kid"] = json!("\u{1b}[31mhunter2");
    refusal(&mut bench.decrypt(At::BeforeLog), &strange);

    bench.ring(&[("k1", '2')]);
    assert!(
        refusal(&mut bench.decrypt(At::BeforeLog), &sealed).contains("under another key of the same name")
    );
}

#[test]
fn what_is_not_sealed_passes_unless_it_must_be() {
    let bench = Bench::new();
    let text = r#"{"config_key":"app.pin",  "new_value":1,"anything":2}"#;
    let record = record_through(&mut bench.decrypt(At::BeforeLog), Record::new(text)).expect("passed on");
    assert_eq!(record.raw_value().map(|bytes| bytes.to_vec()), Some(text.as_bytes().to_vec()));

    let mut strict =
        bench.decrypt_with(At::BeforeLog, &json!({ "on_clear": "reject", "except": ["app.public"] }));
    assert!(refusal(&mut strict, &update(&json!("hunter2"))).contains("on_clear"));
    assert!(refusal(&mut strict, &update(&Value::Null)).contains("on_clear"));
    assert!(through(&mut strict, &sealed(&bench)).is_ok());
    assert!(
        through(&mut strict, &json!({ "config_key": "app.pin", "event_type": "config_deleted" })).is_ok()
    );
    assert!(through(&mut strict, &json!({ "config_key": "app.public", "new_value": 1 })).is_ok());
}

#[test]
fn what_was_sealed_for_the_log_stays_sealed_before_it_and_opens_behind_it() {
    let bench = Bench::new();
    let for_the_log =
        placed(through(&mut bench.encrypt(At::BeforeLog), &update(&json!("hunter2"))).expect("sealed"));
    assert_eq!(through(&mut bench.decrypt(At::BeforeLog), &for_the_log).expect("passed on"), for_the_log);
    for at in [At::BehindLog, At::Direct] {
        assert_eq!(through(&mut bench.decrypt(at), &for_the_log).expect("opened")["new_value"], "hunter2");
    }
    let mut without_place = for_the_log.clone();
    without_place.as_object_mut().expect("an object").remove("dot");
    let opened = through(&mut bench.decrypt(At::BeforeLog), &without_place).expect("opened");
    assert_eq!(opened["new_value"], "hunter2", "nobody has it as a change yet");
}

#[test]
fn the_values_that_a_notice_of_the_log_tells_open_one_by_one() {
    let bench = Bench::new();
    let of = |value: &str| {
        through(&mut bench.encrypt(At::BeforeLog), &update(&json!(value))).expect("sealed")["new_value"]
            .clone()
    };
    let notice = json!({
        "config_key": "app.pin", "event_type": "conflict_detected", "new_value": of("b"),
        "metadata": { "conflicts": [{ "path": "", "kind": "edit_edit", "values": [of("a"), of("b"), null] }] },
    });
    let opened = through(&mut bench.decrypt(At::BehindLog), &notice).expect("opened");
    let conflict = json!({ "path": "", "kind": "edit_edit", "values": ["a", "b", null] });
    assert_eq!(opened["metadata"]["conflicts"], json!([conflict]));
}
