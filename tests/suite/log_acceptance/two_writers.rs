//! Two writers have seen the same value and both change it: both learn what became of theirs.

use super::{Added, Sync, change, key, revision};
use lockstep_test_support::{Host, LIMIT, WsClient, lines};
use serde_json::{Value, json};

/// Two authors who have both read `app.shared` at one revision, and somebody who watches.
struct Scene {
    sync: Sync,
    host: Host,
    authors: [WsClient; 2],
    watcher: WsClient,
    base: Value,
}

fn scene(strategy: &str) -> Scene {
    let resolver = format!("strategy: {strategy}");
    let sync = Sync::with(Added { resolver: &resolver, ..Added::default() });
    let host = sync.start();
    let mut watcher = sync.client();
    let epoch = watcher.subscribe(&["app.*"])["epoch"].clone();
    let mut authors = [sync.author(), sync.author()];
    let read = revision(&authors[0].change("app.shared", &json!("first")));
    watcher.next_of_type("config_sync");
    Scene { sync, host, authors, watcher, base: json!({ "base": { "epoch": epoch, "revision": read } }) }
}

impl Scene {
    /// Both change the value that both have seen, one after the other.
    fn both_change(&mut self) -> [Value; 2] {
        let base = self.base.clone();
        let one = change(&mut self.authors[0], "app.shared", &json!("one"), &base);
        let two = change(&mut self.authors[1], "app.shared", &json!("two"), &base);
        [one, two]
    }
}

#[test]
fn the_later_of_two_writers_with_one_base_wins_and_both_are_told() {
    let mut scene = scene("last_write_wins");
    let [one, two] = scene.both_change();
    assert!(revision(&one) < revision(&two), "{one} {two}");
    assert_eq!(fate(&one), None, "nothing stood against it yet: {one}");
    let told = fate(&two).unwrap_or_else(|| panic!("the second writer is told of the first: {two}"));
    assert_eq!(told["resolution_method"], "last_write_wins", "{told}");
    assert_eq!(told["discarded_changes"].as_array().map(Vec::len), Some(1), "{told}");
    // The first one learns of it as everybody does who follows the key.
    let seen = until_conflict(&mut scene.watcher);
    assert!(seen.iter().any(|message| message["new_value"] == "one"), "{seen:?}");
    assert!(seen.iter().any(|message| message["new_value"] == "two"), "{seen:?}");
    assert_eq!(key(&scene.host, "app.shared")["new_value"], "two");
    assert_eq!(scene.host.get("/v1/audit").body.matches("conflict_resolved").count(), 1);
}

#[test]
fn the_earlier_of_two_writers_with_one_base_stays_if_the_first_write_wins() {
    let mut scene = scene("first_write_wins");
    let [one, two] = scene.both_change();
    assert!(revision(&one) < revision(&two), "{one} {two}");
    let told = fate(&two).unwrap_or_else(|| panic!("the second writer is told: {two}"));
    assert_eq!(told["resolution_method"], "first_write_wins", "{told}");
    assert_eq!(key(&scene.host, "app.shared")["new_value"], "one", "{two}");
    until_conflict(&mut scene.watcher);
}

#[test]
fn a_stale_base_overwrites_nothing_in_silence_however_the_writers_interleave() {
    let mut random = lockstep_test_support::random("two writers");
    let mut scene = scene("last_write_wins");
    let epoch = scene.base["base"]["epoch"].clone();
    for round in 0..lockstep_test_support::scale(40, 400) {
        let name = format!("app.round.{round}");
        let mut known = [0; 2];
        let mut newest = 0;
        for step in 0..6 {
            let writer = random.usize(0..2);
            // Either it reads again before it writes, or it relies on what it has seen.
            if known[writer] == 0 || random.bool() {
                known[writer] = newest;
            }
            let is_stale = known[writer] != newest;
            let base = match known[writer] {
                0 => json!({}),
                revision => json!({ "base": { "epoch": epoch, "revision": revision } }),
            };
            let answer = change(&mut scene.authors[writer], &name, &json!([writer, step]), &base);
            newest = revision(&answer);
            known[writer] = newest;
            assert_eq!(fate(&answer).is_some(), is_stale, "{answer}");
            assert_eq!(key(&scene.host, &name)["new_value"], json!([writer, step]), "{answer}");
        }
    }
}

#[test]
fn a_base_that_this_log_does_not_know_is_refused() {
    let mut scene = scene("last_write_wins");
    let other = json!({ "base": { "epoch": "00000000-0000-4000-8000-000000000000", "revision": 1 } });
    let mut future = scene.base.clone();
    future["base"]["revision"] = json!(1_000_000);
    for base in [other, future] {
        let answer = change(&mut scene.authors[0], "app.shared", &json!("x"), &base);
        assert_eq!(answer["code"], "unknown_base", "{answer}");
    }
    assert_eq!(key(&scene.host, "app.shared")["new_value"], "first");
    assert!(lines(&scene.sync.output()).len() <= 1, "nothing was committed");
}

/// What the resolver says of a change that met a concurrent one: the guide's result, wherever the answer holds it.
fn fate(answer: &Value) -> Option<&Value> {
    match answer {
        Value::Object(fields) if fields.contains_key("resolution_method") => Some(answer),
        Value::Object(fields) => fields.values().find_map(fate),
        _ => None,
    }
}

/// Everything up to the notice that changes stand against each other.
fn until_conflict(watcher: &mut WsClient) -> Vec<Value> {
    let start = std::time::Instant::now();
    let mut seen = Vec::new();
    loop {
        let message = watcher.next_message();
        let is_notice =
            message["type"] == "conflict_detected" || message["event_type"] == "conflict_detected";
        seen.push(message);
        if is_notice {
            return seen;
        }
        assert!(start.elapsed() < LIMIT, "no notice of the conflict: {seen:?}");
    }
}
