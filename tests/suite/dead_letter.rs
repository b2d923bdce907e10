//! Records that fail: retried, then kept with everything one needs to know, then delivered when the cause is gone.

use lockstep_test_support::{Host, LIMIT, Probe, Site, WsClient, free_port};
use serde_json::{Value, json};

fn pipeline(then: &str) -> String {
    format!(
        "
sources: [ {{ plugin: probe, config: {{ dir: SITE/in, count: 100 }} }} ]
sinks:
  - name: out
    plugin: probe
    on_error: {{ retry: {{ attempts: 3, backoff: 20ms, max: 50ms }}, then: {then} }}
    config: {{ dir: SITE/out }}
"
    )
}

/// A site whose sink fails the record with number 17.
fn failing(then: &str) -> (Site, Probe, Host) {
    let site = Site::new().pipeline("flow", &pipeline(then));
    let sink = Probe::new(&site, "out");
    sink.fail(&["app.probe.17"]);
    let host = site.start();
    (site, sink, host)
}

pub(crate) fn dead_letters(site: &Site) -> Vec<Value> {
    let listed = site.run(["dlq", "list", "--json"]).expect_code(0).json();
    let list = if listed.is_array() { &listed } else { &listed["dead_letters"] };
    list.as_array().unwrap_or_else(|| panic!("a list: {listed}")).clone()
}

pub(crate) fn id_of(letter: &Value) -> String {
    letter["id"].as_str().map_or_else(|| letter["id"].to_string(), str::to_owned)
}

#[test]
fn a_record_that_fails_is_retried_kept_with_its_context_and_delivered_on_demand() {
    let (site, sink, mut host) = failing("dead_letter");
    host.wait_until("every other record", LIMIT, |_| sink.written().len() == 99);
    host.wait_until("a dead letter", LIMIT, |_| dead_letters(&site).len() == 1);
    let n_offered = sink.offered().iter().filter(|key| *key == "app.probe.17").count();
    assert_eq!(n_offered, 4, "the first try and three more");

    let letter = &dead_letters(&site)[0];
    for (field, value) in [("pipeline", "flow"), ("component", "out"), ("key", "app.probe.17")] {
        assert_eq!(letter[field], value, "{field} of {letter}");
    }
    let shown = site.run(["dlq", "show", &id_of(letter), "--json"]).expect_code(0);
    for part in ["told to fail", "failed", "attempts", "app.probe.17"] {
        assert!(shown.stdout.contains(part), "`{part}` in {}", shown.stdout);
    }

    sink.accept_all();
    site.run(["dlq", "retry", &id_of(letter)]).expect_code(0);
    host.wait_until("the record at its sink", LIMIT, |_| sink.written().len() == 100);
    assert_eq!(sink.written().last().map(String::as_str), Some("app.probe.17"));
    host.wait_until("an empty queue", LIMIT, |_| dead_letters(&site).is_empty());
}

#[test]
fn a_retried_dead_letter_that_fails_again_stays_one() {
    let (site, sink, mut host) = failing("dead_letter");
    host.wait_until("a dead letter", LIMIT, |_| dead_letters(&site).len() == 1);
    let n_offered = || sink.offered().iter().filter(|key| *key == "app.probe.17").count();
    let before = n_offered();
    site.run(["dlq", "retry", &id_of(&dead_letters(&site)[0])]);
    host.wait_until("another try", LIMIT, |_| n_offered() > before);
    host.wait_until("it to be dead again", LIMIT, |_| dead_letters(&site).len() == 1);
    assert_eq!(sink.written().len(), 99);
}

#[test]
fn a_rejected_record_is_not_retried() {
    let site = Site::new().pipeline("flow", &pipeline("dead_letter"));
    let sink = Probe::new(&site, "out");
    sink.reject(&["app.probe.17"]);
    let mut host = site.start();
    host.wait_until("a dead letter", LIMIT, |_| dead_letters(&site).len() == 1);
    let n_offered = sink.offered().iter().filter(|key| *key == "app.probe.17").count();
    assert_eq!(n_offered, 1, "it can never succeed");
    assert!(dead_letters(&site)[0].to_string().contains("invalid_value"), "{:?}", dead_letters(&site));
}

#[test]
fn dead_letters_survive_a_crash_and_can_be_dropped() {
    let (site, sink, mut host) = failing("dead_letter");
    host.wait_until("every other record", LIMIT, |_| sink.written().len() == 99);
    host.wait_until("a dead letter", LIMIT, |_| dead_letters(&site).len() == 1);
    host.kill();
    let mut host = site.start();
    let letters = dead_letters(&site);
    assert_eq!(letters.len(), 1);
    site.run(["dlq", "drop", &id_of(&letters[0])]).expect_code(0);
    host.wait_until("an empty queue", LIMIT, |_| dead_letters(&site).is_empty());
    host.kill();
    let _host = site.start();
    assert_eq!(dead_letters(&site).len(), 0, "dropped for good");
}

#[test]
fn skip_leaves_the_record_out_and_says_so() {
    let (site, sink, mut host) = failing("skip");
    host.wait_until("every other record", LIMIT, |_| sink.written().len() == 99);
    assert_eq!(dead_letters(&site).len(), 0);
    host.wait_state("flow", "running");
    assert_eq!(host.logged("record skipped").len(), 1);
    assert_eq!(host.metrics().sum("lockstep_records_skipped_total", &[("component", "out")]), 1.0);
}

#[test]
fn stop_fails_the_pipeline_and_keeps_the_record_at_the_source() {
    let (site, sink, mut host) = failing("stop");
    host.wait_state("flow", "failed");
    assert!(host.status().errors("flow").contains("told to fail"), "{}", host.status().errors("flow"));
    assert_eq!(host.get("/healthz").code, 200);
    assert_ne!(host.get("/readyz").code, 200);
    sink.accept_all();
    host.kill();
    let mut host = site.start();
    host.wait_until("every record", LIMIT, |_| {
        let written = sink.written();
        Probe::keys(100).iter().all(|key| written.contains(key))
    });
}

#[test]
fn a_batch_whose_dead_letters_are_more_than_the_store_takes_at_once_is_kept_whole() {
    // As JSON in JSON each quote takes twice its bytes: 36 MB of records become 72 MB, and a commit has 64 MiB.
    let site = Site::new().pipeline(
        "flow",
        r#"
sources:
  - plugin: probe
    config: { dir: SITE/in, count: 45, bytes: 900000, filler: '\"' }
transforms:
  - plugin: validate
    config: { schemas: [ { match: app.*, schema: { properties: { number: { minimum: 41 } } } } ] }
sinks: [ { plugin: probe, config: { dir: SITE/out } } ]
delivery: { batch: { records: 100 } }
"#,
    );
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("the records that are valid", LIMIT, |_| sink.written() == Probe::keys(45)[40..]);
    assert_eq!(host.metrics().sum("lockstep_records_dead_lettered_total", &[]), 40.0);
    let keys =
        |letters: Vec<Value>| letters.iter().map(|letter| letter["key"].to_string()).collect::<Vec<_>>();
    let refused = Probe::keys(40).into_iter().map(|key| json!(key).to_string()).collect::<Vec<_>>();
    assert_eq!(keys(dead_letters(&site)), refused);
    host.wait_state("flow", "running");
}

#[test]
fn a_failing_record_that_stops_the_pipeline_is_answered_first_and_a_rejected_one_stops_nothing() {
    let port = free_port();
    let yaml = format!(
        "
sources: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }} ]
sinks:
  - plugin: probe
    on_error: {{ retry: {{ attempts: 0 }}, then: stop }}
    config: {{ dir: SITE/out }}
"
    );
    let site = Site::new().pipeline("sync", &yaml);
    let sink = Probe::new(&site, "out");
    sink.reject(&["app.rejected"]);
    sink.fail(&["app.failing"]);
    let mut host = site.start();
    host.wait_ready();
    let mut author = WsClient::connect(port);
    let rejected = author.change("app.rejected", &json!(1));
    assert_eq!(
        (&rejected["success"], &rejected["code"]),
        (&json!(false), &json!("invalid_value")),
        "{rejected}"
    );
    assert_eq!(author.change("app.good", &json!(1))["success"], true, "a rejection is the author's matter");
    let failed = author.change("app.failing", &json!(1));
    assert_eq!(failed["success"], false, "{failed}");
    host.wait_state("sync", "failed");
    assert!(host.status().errors("sync").contains("told to fail"), "{}", host.status().errors("sync"));
    assert_eq!(dead_letters(&site).len(), 0, "both authors were told");
}
