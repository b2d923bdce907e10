//! Changes that were taken in elsewhere, and this host's own past.

use super::*;
use lockstep_plugin_api::time::now_us;

/// A record of another host about one change, or about several that stand against each other.
fn record(top: &crate::siblings::Sibling, beside: &[crate::siblings::Sibling]) -> Value {
    let siblings: Siblings = beside.iter().cloned().collect();
    let text = |value: &Option<Text>| -> Value {
        value.as_ref().map_or(Value::Null, |value| serde_json::from_str(value).expect("JSON"))
    };
    let mut record = json!({
        "config_key": "app.x", "new_value": text(&top.value), "old_value": text(&top.old_value), "dot": top.dot,
        "ctx": top.ctx, "hlc": top.hlc.to_string(), "event_id": top.event_id.as_str(),
        "strategy": top.strategy.name(),
    });
    if !beside.is_empty() {
        let json = wire::siblings_json(&siblings).expect("JSON");
        record["siblings"] = serde_json::from_str(json.as_str()).expect("JSON");
        record["new_value"] = text(&siblings.value());
    }
    record
}

#[test]
fn what_has_its_place_keeps_it_and_is_taken_in_once() {
    let mut host = Host::new(&json!({ "strategy": "first_write_wins" }));
    let foreign = record(&sibling("eu-1@a", 7, &[("us-1@b", 3)], 90_000), &[]);
    let entry = host.write(&foreign).entry;
    for field in ["dot", "ctx", "hlc", "event_id", "strategy", "new_value"] {
        assert_eq!(entry[field], foreign[field], "{field}");
    }
    assert_eq!(entry["event_type"], "config_created");
    assert!(host.take(&foreign).expect("taken in").is_none(), "it is known");
    let stale = record(&sibling("us-1@b", 3, &[], 80_000), &[]);
    assert!(host.take(&stale).expect("taken in").is_none(), "it was replaced before it came");
    let next = host.set("mine", json!({})).entry;
    assert_eq!((&next["ctx"]["eu-1@a"], &next["ctx"]["us-1@b"]), (&json!(7), &json!(3)));
}

#[test]
fn siblings_of_a_record_are_joined_with_what_stands_here() {
    let (one, two) = (sibling("eu-1@a", 7, &[], 90_000), sibling("us-1@b", 3, &[], 80_000));
    let (mut host, mut other) = (Host::new(&json!({})), Host::new(&json!({})));
    let together = host.write(&record(&two, &[one.clone(), two.clone()])).entry;
    other.write(&record(&two, &[]));
    let apart = other.write(&record(&one, &[])).entry;
    assert_eq!(together["siblings"], apart["siblings"]);
    assert_eq!((&together["new_value"], &apart["new_value"]), (&json!("eu-1@a#7"), &json!("eu-1@a#7")));
    assert_eq!(together["dot"], json!(two.dot), "the record stays about the change it was about");

    let mut third = Host::new(&json!({}));
    third.write(&record(&two, &[]));
    let news = third.write(&record(&two, &[one.clone(), two.clone()])).entry;
    assert_eq!(news["dot"], json!(one.dot), "what it was about is known, what stands beside it is not");
    assert_eq!((&news["event_id"], &news["siblings"]), (&json!("eu-1@a#7"), &together["siblings"]));
}

/// The element is what is kept, so it is what is told on: hosts behind this one must come to the same.
#[test]
fn a_record_that_says_two_things_of_one_change_goes_on_saying_one() {
    let change = sibling("eu-1@a", 7, &[], 90_000);
    let mut foreign = record(&change, std::slice::from_ref(&change));
    (foreign["hlc"], foreign["event_id"]) = (json!("5-0"), json!("another"));
    (foreign["ctx"], foreign["strategy"]) = (json!({ "us-1@b": 3 }), json!("manual_resolution"));
    let (mut host, mut behind) = (Host::new(&json!({})), Host::new(&json!({})));
    behind.write(&host.write(&foreign).entry);
    let place = Place::of(None, "app.x");
    let state = |host: &Host| host.memory.state("resolver", place.siblings());
    assert_eq!(state(&behind), state(&host));
}

#[test]
fn an_entry_that_another_host_made_is_read_back_as_the_same_state() {
    let (mut host, mut other) = (Host::new(&json!({})), Host::new(&json!({})));
    let base = host.set("a", json!({})).revision;
    let changes = [
        json!({ "config_key": "app.x", "new_value": "b", "base": base }),
        json!({ "config_key": "app.x", "new_value": { "c": null }, "base": base }),
        json!({ "config_key": "app.x", "event_type": "config_deleted", "base": base }),
        json!({ "config_key": "app.x", "new_value": null }),
        json!({ "config_key": "app.x", "new_value": "d" }),
        json!({ "config_key": "app.x", "event_type": "config_deleted" }),
    ];
    for change in changes {
        // The other host never heard of `a`, so what was there before is not the same on both.
        other.write(&host.write(&change).entry);
        let place = Place::of(None, "app.x");
        let state = |host: &Host| host.memory.state("resolver", place.siblings());
        assert_eq!(state(&other), state(&host), "{change}");
    }
}

/// What a host refused for what is said beside a change, it would never have: its state would differ from the others' for ever.
#[test]
fn what_is_said_beside_a_change_of_another_host_is_no_reason_to_refuse_it() {
    for metadata in
        [json!({ "resolves_conflict": 5 }), json!(["resolves_conflict"]), json!("resolves_conflict")]
    {
        let mut host = Host::new(&json!({}));
        let mut foreign = record(&sibling("eu-1@a", 7, &[("us-1@b", 3)], 90_000), &[]);
        foreign["metadata"] = metadata.clone();
        assert_eq!(host.write(&foreign).entry["dot"], foreign["dot"], "{metadata}");
        let authored = json!({ "config_key": "app.y", "new_value": 1, "metadata": metadata });
        let error = host.take(&authored).expect_err("an author of this host hears of it");
        assert_eq!(error.code(), Some("bad_message"), "{metadata}");
    }
}

#[test]
fn d_22_a_stamp_that_is_far_ahead_is_taken_as_it_is_and_moves_this_clock_no_further_than_allowed() {
    let mut host = Host::new(&json!({ "max_clock_ahead": "500ms" }));
    let hour_ahead = crate::clock::Hlc::at((now_us() / 1000) as u64 + 3_600_000);
    let foreign = record(&sibling("eu-1@a", 7, &[], hour_ahead.bits()), &[]);
    assert_eq!(host.write(&foreign).entry["hlc"], hour_ahead.to_string());
    assert_eq!(host.memory.counter("resolver_clock_ahead"), 1);
    let authored = host.set("mine", json!({ "hlc": hour_ahead.to_string() })).entry;
    let own: crate::clock::Hlc = authored["hlc"].as_str().expect("text").parse().expect("an HLC");
    assert!(own.ms() < (now_us() / 1000) as u64 + 1000, "{own}");
    assert_eq!(authored["new_value"], "mine", "it knew the other one, whatever the clocks say");
}

#[test]
fn a_host_that_meets_its_own_forgotten_past_goes_on_under_another_name() {
    let mut before = Host::new(&json!({}));
    let past = before.set("a", json!({})).entry;
    let node = past["dot"]["node"].as_str().expect("a node").to_owned();
    let mut restored = Host::new(&json!({}));
    let mine = restored.set("b", json!({})).entry["dot"]["node"].clone();
    assert_ne!(mine, node.as_str(), "a lost state is a new incarnation");

    let seq = 50;
    let own = sibling(mine.as_str().expect("text"), seq, &[], 5);
    restored.write(&record(&own, &[]));
    assert_ne!(restored.set("c", json!({})).entry["dot"]["node"], mine, "its number 50 was given already");
}

/// A store that was put back to an earlier day: others do not send the forgotten changes any more, but they know them.
#[test]
fn a_host_learns_from_what_others_knew_that_it_has_forgotten_changes_of_its_own() {
    for seen in [50, 1] {
        let mut restored = Host::new(&json!({}));
        // Number 1 is another key's here: it was given twice before this host came to know it.
        let other = json!({ "config_key": "app.other", "new_value": 1 });
        let mine = restored.write(&other).entry["dot"]["node"].clone();
        let name = mine.as_str().expect("text");
        restored.write(&record(&sibling("us-1@b", 3, &[(name, seen)], 5), &[]));
        let next = restored.take(&json!({ "config_key": "app.x", "new_value": "mine" })).expect("taken in");
        let entry = next.expect("a new change is never taken for one that was replaced").entry;
        assert_ne!(entry["dot"]["node"], mine, "its numbers up to {seen} were given already");
        assert_eq!(entry["new_value"], "mine");
    }
}

#[test]
fn a_change_without_a_dot_is_recognised_by_its_event_id() {
    let mut host = Host::new(&json!({}));
    let change = json!({ "config_key": "app.x", "new_value": 1, "event_id": "5b3e" });
    host.write(&change);
    let numbers = host.memory.state("resolver", b"n");
    assert!(host.take(&change).expect("taken in").is_none());
    assert_eq!(host.memory.state("resolver", b"n"), numbers, "no number was used up");
}

#[test]
fn events_that_are_no_changes_pass_as_notices_and_touch_no_key() {
    let mut host = Host::new(&json!({}));
    let heartbeat = json!({ "config_key": "app.x", "event_type": "heartbeat", "new_value": null });
    let applied = host.resolver.apply(vec![Record::new(heartbeat.to_string())]).expect("applied");
    assert!(applied.out[0].is_notice());
    assert!(host.memory.state("resolver", Place::of(None, "app.x").siblings()).is_none());
}

#[test]
fn state_of_another_version_stops_the_pipeline_instead_of_being_overwritten() {
    let memory = MemoryHost::default();
    let mut host = Host::on(memory.clone(), &json!({}));
    host.set("a", json!({}));
    let place = TestPlace { through_log: true, host: memory, ..TestPlace::default() };
    let mut planted = testing::transform_at::<Plant>("{}", &place).expect("a plant");
    planted.apply(vec![Record::new("")]).expect("applied");
    let error = host.resolver.apply(vec![Record::new(r#"{"config_key":"app.x","new_value":1}"#)]);
    assert_eq!(error.expect_err("unreadable").kind(), ErrorKind::FATAL);
}

/// Puts a value of another version under the key.
struct Plant(Context);

#[config]
struct NoConfig {}

impl Transform for Plant {
    type Config = NoConfig;
    fn new(_: NoConfig, context: &Context) -> Result<Self> {
        Ok(Self(context.clone()))
    }
    fn apply(&mut self, _: Record, _: &mut Output) -> Result<()> {
        let place = Place::of(None, "app.x");
        self.0.state(crate::ledger::NAMESPACE).stage(place.siblings(), Some(Bytes::from(vec![9, 1, 2])))
    }
}
