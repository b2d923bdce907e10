//! What a receiver refuses for good, and what `lockstep validate` refuses before anything is sent.

use super::{SECRET, TOKEN, VALUE, assert_shows_no_canary, author, change, conflict, of_changes, site};
use crate::dead_letter::{dead_letters, id_of};
use lockstep_test_support::{HttpReceiver, LIMIT, Reply, append};
use serde_json::json;

#[test]
fn what_a_receiver_refuses_lies_in_the_dead_letter_queue_with_the_status_and_no_value() {
    let receiver = HttpReceiver::default();
    let body = format!("no, not {VALUE}").into_bytes();
    receiver.answer(move |posted| match posted.json()["config_key"] == "app.bad" {
        true => Reply { body: body.clone(), ..Reply::status(400) },
        false => Reply::status(200),
    });
    let site = of_changes(&receiver, &format!("secret: {SECRET}"));
    let mut host = site.start();
    author(&site, &["app.a", "app.bad", "app.b"]);
    receiver.wait_for(3);
    host.wait_until("the dead letter", LIMIT, |_| dead_letters(&site).len() == 1);
    let letter = dead_letters(&site).remove(0);
    assert_eq!((&letter["key"], &letter["component"]), (&json!("app.bad"), &json!("webhook")));
    let expected = format!("http://127.0.0.1:{} answered 400", receiver.port());
    assert_eq!(letter["error"]["message"], expected, "{letter}");
    assert_shows_no_canary(&host.log());
    assert_shows_no_canary(&letter["error"].to_string());
    receiver.answer(|_| Reply::status(200));
    site.run(["dlq", "retry", &id_of(&letter)]).expect_code(0);
    host.wait_until("no dead letter", LIMIT, |_| dead_letters(&site).is_empty());
    let posted = receiver.requests();
    let of_bad: Vec<_> = posted.iter().filter(|posted| posted.json()["config_key"] == "app.bad").collect();
    assert_eq!(of_bad.len(), 2, "refused once, taken once");
    assert_eq!(of_bad[0].header("webhook-id"), of_bad[1].header("webhook-id"));
    host.stop();
}

#[test]
fn a_refused_notice_is_a_dead_letter_too_and_can_be_told_again() {
    let receiver = HttpReceiver::default();
    receiver.answer(|_| Reply::status(422));
    let site = site(&format!("url: {}", receiver.url("/")));
    let mut host = site.start();
    conflict(&site, &mut host);
    host.wait_until("the dead letter", LIMIT, |_| dead_letters(&site).len() == 1);
    receiver.answer(|_| Reply::status(200));
    site.run(["dlq", "retry", &id_of(&dead_letters(&site)[0])]).expect_code(0);
    let posted = receiver.wait_for(2);
    assert_eq!(posted[1].json()["event_type"], "conflict_detected");
    assert_eq!(posted[0].header("webhook-id"), posted[1].header("webhook-id"));
    host.stop();
}

#[test]
fn a_redirect_is_not_followed_and_no_proxy_is_asked() {
    let (receiver, elsewhere) = (HttpReceiver::default(), HttpReceiver::default());
    let place = format!("Location: {}", elsewhere.url("/"));
    receiver.answer(move |_| Reply { headers: vec![place.clone()], ..Reply::status(307) });
    let site = of_changes(&receiver, "")
        .env("HTTP_PROXY", elsewhere.url("/"))
        .env("http_proxy", elsewhere.url("/"))
        .env("ALL_PROXY", elsewhere.url("/"));
    let mut host = site.start();
    author(&site, &["app.a"]);
    host.wait_until("the dead letter", LIMIT, |_| dead_letters(&site).len() == 1);
    let letter = dead_letters(&site).remove(0);
    let message = letter["error"]["message"].as_str().expect("a message");
    assert!(message.ends_with("answered 307, and redirects are not followed: is `url` right?"), "{message}");
    assert_eq!(
        (receiver.requests().len(), elsewhere.requests().len()),
        (2, 0),
        "as often as `on_error` says"
    );
    host.stop();
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let receiver = HttpReceiver::default();
    receiver.answer(|_| Reply { body: vec![b'x'; 64 << 20], ..Reply::status(200) });
    let site = of_changes(&receiver, "");
    let mut host = site.start();
    host.wait_ready();
    let before = host.rss();
    author(&site, &["app.a", "app.b", "app.c"]);
    receiver.wait_for(3);
    host.wait_until("everything to count as written", LIMIT, |host| {
        host.status().component("flow", "sinks", "webhook")["delivery"]["revision"] == 3
    });
    assert!(host.rss() < before + (32 << 20), "{} after {before}", host.rss());
    host.stop();
}

#[test]
fn validate_names_the_field_and_shows_no_secret() {
    for (config, code, says) in [
        (format!("{{ url: 'hooks.example/{TOKEN}' }}"), 2, "is no URL: write `https://host/path`"),
        (format!("{{ url: 'ftp://hooks.example/{TOKEN}' }}"), 2, "begins with neither"),
        ("{ }".to_owned(), 2, "`url` is missing"),
        (format!("{{ url: 'https://hooks.example/{TOKEN}', secret: {TOKEN} }}"), 2, "at least 24 bytes"),
        ("{ template: pagerduty }".to_owned(), 2, "PagerDuty needs the `routing_key`"),
        (
            format!("{{ url: 'https://hooks.example/{TOKEN}', templat: slack }}"),
            2,
            "did you mean `template`?",
        ),
        ("{ url: 'https://h.example/', body: '{{colour}}' }".to_owned(), 2, "no field `colour`"),
        ("{ url: 'https://h.example/', timeout: 1m }".to_owned(), 2, "between 100ms and 10s"),
        (
            "{ url: 'https://h.example/', 'on': [conflict_detekted] }".to_owned(),
            0,
            "no event type `conflict_detekted`",
        ),
        (
            format!("{{ url: 'http://hooks.example/{TOKEN}' }}"),
            0,
            "http://hooks.example is spoken to without TLS",
        ),
    ] {
        let site = site("url: http://127.0.0.1:1/");
        let yaml = std::fs::read_to_string(site.path("pipelines/flow.yaml")).expect("the pipeline");
        let (before, _) = yaml.split_once("    config:\n").expect("the sink's");
        site.write("pipelines/flow.yaml", format!("{before}    config: {config}\n"));
        let checked = site.run(["validate", "pipelines/flow.yaml"]).expect_code(code);
        let text = format!("{}{}", checked.stdout, checked.stderr);
        assert!(text.contains(says) && text.contains("flow.yaml"), "{config}: {text}");
        assert_shows_no_canary(&text);
    }
}

#[test]
fn a_direct_pipeline_tells_of_changes_and_says_that_it_has_no_notices() {
    let receiver = HttpReceiver::default();
    for (on, n_warnings) in [("['config_*']", 0), ("[conflict_detected]", 1)] {
        let site = of_changes(&receiver, "");
        let yaml = std::fs::read_to_string(site.path("pipelines/flow.yaml")).expect("the pipeline");
        let direct = yaml.replace("transforms: [ { plugin: resolver } ]", "").replace("['config_*']", on);
        site.write("pipelines/flow.yaml", direct);
        let mut host = site.start();
        host.wait_state("flow", "running");
        assert_eq!(host.logged("a direct pipeline has no notices").len(), n_warnings);
        append(&site.path("in.ndjson"), [change("app.x", json!({ "event_id": "e-1" }))]);
        host.wait_until("its position", LIMIT, |host| {
            host.metrics().sum("lockstep_records_acked_total", &[("component", "file")]) == 1.0
        });
        host.stop();
    }
    let posted = receiver.requests();
    assert_eq!(posted.len(), 1);
    assert_eq!((posted[0].header("webhook-id"), &posted[0].json()["new_value"]), ("e-1", &json!(VALUE)));
}
