//! What `encrypt` makes of a change, by where it stands.

use super::*;

const CANARY: &str = "hunter2";

#[test]
fn an_authors_value_is_sealed_and_nothing_else_is_touched() {
    let bench = Bench::new();
    let change = json!({
        "config_key": "app.pin", "event_type": "config_updated", "tenant_id": "t1", "new_value": CANARY, "old_value": CANARY,
        "user_id": "eve", "metadata": { "why": "rotation" }, "base": 7, "value": CANARY,
    });
    let sealed = through(&mut bench.encrypt(At::BeforeLog), &change).expect("sealed");
    assert!(is_envelope(&sealed["new_value"]) && is_envelope(&sealed["old_value"]));
    assert_eq!(
        (&sealed["user_id"], &sealed["metadata"], &sealed["base"]),
        (&json!("eve"), &json!({"why": "rotation"}), &json!(7))
    );
    assert!(!sealed.to_string().contains(CANARY), "a field that no change has goes, too: {sealed}");
    assert_eq!(layer(&bench, &sealed), Layer::Log);
    assert_eq!(sealed["new_value"]["$enc"]["kid"], "k1");
}

#[test]
fn only_the_chosen_keys_are_sealed() {
    let bench = Bench::new();
    let mut encrypt = bench.encrypt_with(At::BeforeLog, &json!({ "except": ["app.public.*"] }));
    for (key, is_chosen) in [("app.pin", true), ("app.public.x", false), ("db.pin", false)] {
        let text = format!("{{\"config_key\":\"{key}\", \"new_value\":1}}");
        let record = record_through(&mut encrypt, Record::new(text.clone())).expect("passed on");
        assert_eq!(
            record.raw_value().map(|bytes| bytes.to_vec()) == Some(text.into_bytes()),
            !is_chosen,
            "{key}"
        );
    }
}

#[test]
fn a_deletion_stays_one_and_null_is_sealed_like_every_value() {
    let bench = Bench::new();
    for at in [At::BeforeLog, At::BehindLog, At::Direct] {
        let mut encrypt = bench.encrypt(at);
        let deletion = json!({ "config_key": "app.pin", "event_type": "config_deleted", "new_value": null });
        assert_eq!(through(&mut encrypt, &deletion).expect("passed on"), deletion);
        assert!(is_envelope(&through(&mut encrypt, &update(&Value::Null)).expect("sealed")["new_value"]));
    }
}

#[test]
fn what_is_no_change_is_refused() {
    let bench = Bench::new();
    for text in ["not json", "[1]", r#"{"new_value":1}"#] {
        let error = record_through(&mut bench.encrypt(At::Direct), Record::new(text)).expect_err(text);
        assert_eq!(error.code(), Some("bad_message"));
    }
}

#[test]
fn an_authors_own_envelope_is_sealed_anew_if_it_opens_and_refused_if_not() {
    let bench = Bench::new();
    let mut encrypt = bench.encrypt(At::BeforeLog);
    let sealed = through(&mut encrypt, &update(&json!(CANARY))).expect("sealed");
    bench.ring(&[("k2", '2'), ("k1", '1')]);
    let again = through(&mut bench.encrypt(At::BeforeLog), &sealed).expect("it opens");
    assert_eq!(again["new_value"]["$enc"]["kid"], "k2", "so stored values get the key in use");
    let opened = through(&mut bench.decrypt(At::Direct), &again).expect("it opens");
    assert_eq!(opened["new_value"], CANARY);

    let mut elsewhere = sealed.clone();
    elsewhere["config_key"] = json!("app.other");
    assert!(refusal(&mut encrypt, &elsewhere).contains("does not open"));
    assert!(refusal(&mut encrypt, &update(&json!({ "$enc": { "v": 1 } }))).contains("damaged"));
}

#[test]
fn before_the_log_a_change_of_another_host_is_taken_as_it_is_sealed() {
    let bench = Bench::new();
    let mut encrypt = bench.encrypt(At::BeforeLog);
    let sealed = placed(through(&mut encrypt, &update(&json!(CANARY))).expect("sealed"));
    assert_eq!(through(&mut encrypt, &sealed).expect("taken"), sealed, "one dot has one value");

    let clear = placed(update(&json!(CANARY)));
    assert!(refusal(&mut encrypt, &clear).contains("clear_from_elsewhere"));
    let mut lenient = bench.encrypt_with(At::BeforeLog, &json!({ "clear_from_elsewhere": "pass" }));
    assert_eq!(through(&mut lenient, &clear).expect("taken"), clear);

    let on_its_way = through(&mut bench.encrypt(At::BehindLog), &clear).expect("sealed");
    assert!(refusal(&mut encrypt, &on_its_way).contains("`decrypt`"));
}

#[test]
fn behind_the_log_every_value_of_a_message_is_sealed() {
    let bench = Bench::new();
    let sibling = |n: u64| {
        json!({
            "dot": { "node": "a", "seq": n }, "ctx": {}, "hlc": "1-1", "event_id": "e", "event_type": "config_updated",
            "new_value": { CANARY: n }, "old_value": CANARY, "ops": [CANARY], "base_hash": CANARY, "user_id": "eve",
        })
    };
    let mut message = placed(update(&json!(CANARY)));
    message["old_value"] = json!([CANARY]);
    message["ops"] = json!([{ "i": CANARY }]);
    message["base_hash"] = json!(CANARY);
    message["siblings"] = json!([sibling(1), sibling(2)]);
    let sealed = through(&mut bench.encrypt(At::BehindLog), &message).expect("sealed");
    assert!(!sealed.to_string().contains(CANARY), "{sealed}");
    assert!(is_sealed(sealed["base_hash"].as_str().expect("a string still")));
    for field in ["dot", "ctx", "hlc", "event_id", "event_type", "user_id"] {
        assert_eq!(sealed["siblings"][1][field], message["siblings"][1][field], "{field}");
    }
    assert_eq!(layer(&bench, &sealed), Layer::Wire);
}

#[test]
fn what_was_sealed_before_is_not_sealed_twice_and_what_only_looks_so_is_a_value() {
    let bench = Bench::new();
    let for_the_log =
        placed(through(&mut bench.encrypt(At::BeforeLog), &update(&json!(CANARY))).expect("sealed"));
    let for_the_way =
        through(&mut bench.encrypt(At::BehindLog), &placed(update(&json!(CANARY)))).expect("sealed");
    let mut behind = bench.encrypt(At::BehindLog);
    assert_eq!(through(&mut behind, &for_the_log).expect("passed on"), for_the_log);
    let mut direct = bench.encrypt(At::Direct);
    assert_eq!(through(&mut direct, &for_the_log).expect("passed on"), for_the_log);
    assert_eq!(through(&mut direct, &for_the_way).expect("passed on"), for_the_way);

    // Somebody made a value of what they saw on the way: it comes out at the other end as it is in the log here.
    for copied in [for_the_way["new_value"].clone(), json!({ "$enc": { "v": 1, "kid": "x" } })] {
        let sealed = through(&mut behind, &placed(update(&copied))).expect("sealed");
        assert_ne!(sealed["new_value"], copied);
        let opened = through(&mut bench.decrypt(At::BeforeLog), &sealed).expect("it opens");
        assert_eq!(opened["new_value"], copied);
    }
}

#[test]
fn a_notice_tells_no_more_than_a_change() {
    let bench = Bench::new();
    let mut notice = Change::new("app.pin", Json::write(CANARY).expect("JSON"));
    notice.set_event_type("conflict_detected");
    let metadata =
        json!({ "conflict_id": "c1", "conflicts": [{ "path": "", "base": CANARY, "values": [CANARY, 2] }] });
    notice.set_metadata(Some(Json::write(&metadata).expect("JSON")));
    let sealed =
        record_through(&mut bench.encrypt(At::BehindLog), Record::notice(notice.clone())).expect("sealed");
    assert!(sealed.is_notice());
    let text = String::from_utf8(sealed.value().expect("a value").to_vec()).expect("text");
    assert!(!text.contains(CANARY) && text.contains("\"conflict_id\":\"c1\""), "{text}");
    let opened = record_through(&mut bench.decrypt(At::Direct), sealed).expect("opened");
    assert_eq!(opened.value(), Record::notice(notice).value());
}
