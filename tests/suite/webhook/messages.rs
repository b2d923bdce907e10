//! What receivers are sent.

use super::{
    SECRET, TOKEN, VALUE, assert_shows_no_canary, author, change, conflict, is_signed_by, keys, of_changes,
    site,
};
use lockstep_test_support::{HttpReceiver, LIMIT, append};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn a_conflict_is_told_when_it_is_detected_and_when_it_is_resolved() {
    let receiver = HttpReceiver::default();
    let url = receiver.url(&format!("/hooks/{TOKEN}?a=b"));
    let site = site(&format!("url: {url}\nsecret: {SECRET}\nheaders: {{ Authorization: 'Bearer {TOKEN}' }}"));
    let mut host = site.start();
    conflict(&site, &mut host);
    let detected = receiver.wait_for(1).remove(0);
    append(&site.path("in.ndjson"), [change("app.x", json!({}))]);
    let resolved = receiver.wait_for(2).remove(1);

    assert_eq!(detected.line, format!("POST /hooks/{TOKEN}?a=b"));
    assert_eq!(detected.header("content-type"), "application/json");
    assert_eq!(detected.header("authorization"), format!("Bearer {TOKEN}"));
    assert!(detected.header("user-agent").starts_with("lockstep-webhook/"), "{detected:?}");
    let (first, second) = (detected.json(), resolved.json());
    assert_eq!(
        (&first["event_type"], &second["event_type"]),
        (&json!("conflict_detected"), &json!("conflict_resolved"))
    );
    assert_eq!(first["config_key"], "app.x");
    assert_eq!(first["new_value"], json!([VALUE, 2]), "the value that is shown meanwhile");
    assert_eq!(first["metadata"]["conflict_id"], second["metadata"]["conflict_id"]);
    assert_eq!(first["metadata"]["siblings"], 2);

    for posted in [&detected, &resolved] {
        assert_eq!(posted.json()["event_id"], posted.header("webhook-id"));
        assert!(
            is_signed_by(SECRET, posted) && !is_signed_by("another secret of enough bytes", posted),
            "{posted:?}"
        );
        let time: u64 = posted.header("webhook-timestamp").parse().expect("seconds");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        assert!(now.abs_diff(time) < 60, "{time}");
    }
    host.wait_until("the counters", LIMIT, |host| {
        let metrics = host.metrics();
        metrics.sum("lockstep_plugin_webhook_messages_delivered_total", &[]) == 2.0
            && metrics.sum("lockstep_plugin_webhook_records_skipped_total", &[]) == 4.0
    });
    assert_shows_no_canary(&host.log());
    assert_shows_no_canary(&host.get("/v1/pipelines").body);
    host.stop();
    assert_eq!(receiver.requests().len(), 2, "the changes themselves were not asked for");
}

#[test]
fn while_secrets_change_receivers_with_either_are_content() {
    let receiver = HttpReceiver::default();
    let site =
        of_changes(&receiver, &format!("secret: the new secret of enough bytes\nprevious_secret: {SECRET}"));
    let host = site.start();
    author(&site, &["app.x"]);
    let posted = receiver.wait_for(1).remove(0);
    assert!(
        is_signed_by(SECRET, &posted) && is_signed_by("the new secret of enough bytes", &posted),
        "{posted:?}"
    );
    host.stop();
}

/// As the plugin's README has it.
const DECISIONS_ALONE: &str = "change.event_type == 'conflict_resolved' || change.event_type == 'conflict_detected' \
    && has(change.metadata.requires_human_intervention) && change.metadata.requires_human_intervention == true";

#[test]
fn slack_and_pagerduty_are_told_in_their_own_words_and_get_no_value() {
    let (slack, pagerduty, awake) =
        (HttpReceiver::default(), HttpReceiver::default(), HttpReceiver::default());
    let site = site(&format!("url: {}\ntemplate: slack", slack.url("/services/T/B")));
    let yaml = std::fs::read_to_string(site.path("pipelines/flow.yaml")).expect("the pipeline");
    let alerts = |receiver: &HttpReceiver| {
        let url = receiver.url("/v2/enqueue");
        format!("plugin: webhook, config: {{ url: '{url}', template: pagerduty, routing_key: {TOKEN} }}")
    };
    let (all, decisions) = (alerts(&pagerduty), alerts(&awake));
    let more = format!(
        "  - {{ name: all, {all} }}\n  - {{ name: decisions, when: \"{DECISIONS_ALONE}\", {decisions} }}\n"
    );
    site.write("pipelines/flow.yaml", format!("{yaml}{more}"));
    let mut host = site.start();
    conflict(&site, &mut host);
    append(&site.path("in.ndjson"), [change("app.x", json!({}))]);

    let told = slack.wait_for(2);
    let message = told[0].json();
    assert_eq!(message["text"], "Configuration conflict: app.x");
    let kinds: Vec<_> =
        message["blocks"].as_array().expect("blocks").iter().map(|block| block["type"].clone()).collect();
    assert_eq!(kinds, ["header", "section", "context"]);
    assert_eq!(told[1].json()["text"], "Configuration conflict resolved: app.x");

    let events: Vec<_> = pagerduty.wait_for(2).iter().map(|posted| posted.json()).collect();
    assert_eq!(
        (&events[0]["event_action"], &events[1]["event_action"]),
        (&json!("trigger"), &json!("resolve"))
    );
    assert_eq!(events[0]["dedup_key"], events[1]["dedup_key"]);
    assert_eq!(events[0]["dedup_key"], events[0]["payload"]["custom_details"]["metadata"]["conflict_id"]);
    for event in &events {
        assert_eq!(event["routing_key"], TOKEN);
        let payload = &event["payload"];
        assert!(["summary", "source", "severity"].iter().all(|field| payload[field].is_string()), "{event}");
    }
    assert_eq!(awake.wait_for(1)[0].json()["event_action"], "resolve", "nobody was asked to decide");
    for posted in told.iter().chain(&pagerduty.requests()) {
        assert!(!String::from_utf8_lossy(&posted.body).contains(VALUE), "{posted:?}");
    }
    host.stop();
}

#[test]
fn a_conflict_that_waits_for_a_decision_is_one_alert_until_it_is_decided() {
    let (pagerduty, slack) = (HttpReceiver::default(), HttpReceiver::default());
    let url = pagerduty.url("/v2/enqueue");
    let site = site(&format!("url: {url}\ntemplate: pagerduty\nrouting_key: {TOKEN}"));
    let yaml = std::fs::read_to_string(site.path("pipelines/flow.yaml")).expect("the pipeline");
    let manual = "{ plugin: resolver, config: { strategy: manual_resolution } }";
    let alerts = yaml
        .replace("{ plugin: resolver }", manual)
        .replace("plugin: webhook", &format!("plugin: webhook\n    when: \"{DECISIONS_ALONE}\""));
    let config = format!("{{ url: '{}', template: slack }}", slack.url("/"));
    site.write(
        "pipelines/flow.yaml",
        format!("{alerts}  - {{ name: slack, plugin: webhook, config: {config} }}\n"),
    );
    let mut host = site.start();
    conflict(&site, &mut host);
    let first = pagerduty.wait_for(1)[0].json();
    assert_eq!((&first["event_action"], &first["payload"]["severity"]), (&json!("trigger"), &json!("error")));

    // A further change of somebody who had seen neither makes it another conflict.
    append(&site.path("in.ndjson"), [change("app.x", json!({ "base": 1, "new_value": [VALUE, 3] }))]);
    let posted = pagerduty.wait_for(3);
    let (earlier, joined) = (posted[1].json(), posted[2].json());
    assert_eq!((&earlier["event_action"], &earlier["dedup_key"]), (&json!("resolve"), &first["dedup_key"]));
    assert_eq!(joined["event_action"], "trigger");
    assert_ne!(joined["dedup_key"], first["dedup_key"]);
    assert_ne!(posted[1].header("webhook-id"), posted[2].header("webhook-id"));

    append(&site.path("in.ndjson"), [change("app.x", json!({}))]);
    let decided = pagerduty.wait_for(4)[3].json();
    assert_eq!((&decided["event_action"], &decided["dedup_key"]), (&json!("resolve"), &joined["dedup_key"]));
    let said: Vec<_> = slack.wait_for(3).iter().map(|posted| posted.json()["text"].clone()).collect();
    let needed = "Configuration conflict needs a decision: app.x";
    assert_eq!(said, [needed, needed, "Configuration conflict resolved: app.x"]);
    for posted in pagerduty.requests().iter().chain(&slack.requests()) {
        assert!(!String::from_utf8_lossy(&posted.body).contains(VALUE), "{posted:?}");
    }
    host.stop();
}

#[test]
fn a_message_can_be_of_the_operators_own_making() {
    let receiver = HttpReceiver::default();
    let body = r#"body: '{"text": "{{config_key}} by {{user_id}}", "value": {{new_value.port}}, "revision": {{revision}}}'"#;
    let site = of_changes(&receiver, body);
    let host = site.start();
    let more = json!({ "new_value": { "port": 5432 }, "user_id": "ann \"the admin\"" });
    append(&site.path("in.ndjson"), [change("app.x", more)]);
    let expected = json!({ "text": "app.x by ann \"the admin\"", "value": 5432, "revision": 1 });
    assert_eq!(receiver.wait_for(1)[0].json(), expected);
    host.stop();
}

#[test]
fn several_receivers_all_get_everything_in_order_and_locks_are_told_too() {
    let receivers = [HttpReceiver::default(), HttpReceiver::default()];
    let site =
        site(&format!("urls: [ '{}', '{}' ]\non: ['*']", receivers[0].url("/a"), receivers[1].url("/b")));
    let yaml = std::fs::read_to_string(site.path("pipelines/flow.yaml")).expect("the pipeline");
    site.write("pipelines/flow.yaml", yaml.replace("transforms: [", "transforms: [ { plugin: lock },"));
    let mut host = site.start();
    host.wait_ready();
    site.run(["locks", "run", "app.x", "--", "true"]).expect_code(0);
    let names = super::numbered(30);
    author(&site, &names.iter().map(String::as_str).collect::<Vec<_>>());
    for receiver in &receivers {
        let posted = receiver.wait_for(32);
        let kinds: Vec<_> = posted[..2].iter().map(|posted| posted.json()["event_type"].clone()).collect();
        assert_eq!(kinds, ["config_locked", "config_unlocked"], "{posted:?}");
        assert_eq!(keys(&posted[2..]), names);
    }
    host.stop();
}
