//! Dead letters that are tried again: by one operator at a time, and only where they belong.

use crate::dead_letter::{dead_letters, id_of};
use lockstep_test_support::{LIMIT, Probe, Site, append};

/// Two sinks: those of a level above 3, and the rest; a record without a level is not decided.
fn by_level(when: &str) -> String {
    format!(
        "
sources: [ {{ plugin: file, config: {{ path: SITE/in.ndjson }} }} ]
sinks:
  - {{ name: vip, plugin: probe, when: '{when}', config: {{ dir: SITE/vip }} }}
  - {{ name: rest, plugin: probe, when: otherwise, config: {{ dir: SITE/rest }} }}
"
    )
}

fn change(key: &str, more: &str) -> String {
    format!(r#"{{"event_type":"config_updated","config_key":"{key}","new_value":1{more}}}"#)
}

#[test]
fn a_record_no_condition_can_be_decided_for_is_dead_and_decided_again_when_it_is_retried() {
    let site = Site::new().pipeline("flow", &by_level("change.metadata.level > 3"));
    append(
        &site.path("in.ndjson"),
        [
            change("app.high", r#","metadata":{"level":5}"#),
            change("app.none", ""),
            change("app.empty", r#","metadata":{}"#),
            change("app.low", r#","metadata":{"level":1}"#),
        ],
    );
    let (vip, rest) = (Probe::new(&site, "vip"), Probe::new(&site, "rest"));
    let mut host = site.start();
    host.wait_until("the decided records", LIMIT, |_| {
        !vip.written().is_empty() && !rest.written().is_empty()
    });
    host.wait_until("the others to be dead", LIMIT, |_| dead_letters(&site).len() == 2);
    let letters = dead_letters(&site);
    let (none, empty) = (&letters[0], &letters[1]);
    for (letter, key) in [(none, "app.none"), (empty, "app.empty")] {
        assert_eq!((&letter["component"], &letter["key"]), (&"vip".into(), &key.into()), "{letter}");
        assert!(letter["error"]["message"].to_string().contains("cannot be decided"), "{letter}");
    }

    let refused = site.run(["dlq", "retry", &id_of(none)]).expect_code(1);
    assert!(
        refused.stderr.contains("the `when` of sink `vip` does not take this record"),
        "{}",
        refused.stderr
    );
    assert_eq!(dead_letters(&site).len(), 2, "a refused letter stays");
    host.stop();

    let site = site.pipeline("flow", &by_level(r#"!has(change.metadata) || change.metadata.level > 3"#));
    let mut host = site.start();
    host.wait_ready();
    site.run(["dlq", "retry", &id_of(none)]).expect_code(0);
    site.run(["dlq", "retry", &id_of(empty)]).expect_code(1);
    assert_eq!(vip.written(), ["app.high", "app.none"]);
    assert_eq!(rest.written(), ["app.low"], "a record that is not decided is not one that nobody wants");
    assert_eq!(dead_letters(&site).iter().map(id_of).collect::<Vec<_>>(), [id_of(empty)]);
}

fn failing(count: u64) -> String {
    format!(
        "
sources: [ {{ plugin: probe, config: {{ dir: SITE/in, count: {count} }} }} ]
sinks: [ {{ plugin: probe, on_error: {{ retry: {{ attempts: 0 }} }}, config: {{ dir: SITE/out }} }} ]
"
    )
}

#[test]
fn a_dead_letter_that_is_being_retried_can_be_neither_retried_nor_dropped_meanwhile() {
    let site = Site::new().pipeline("flow", &failing(20));
    let sink = Probe::new(&site, "out");
    sink.fail(&["app.probe.17"]);
    let mut host = site.start();
    host.wait_until("a dead letter", LIMIT, |_| dead_letters(&site).len() == 1);
    let id = id_of(&dead_letters(&site)[0]);
    sink.block();
    sink.accept_all();
    site.run(["dlq", "retry", "--no-wait", &id]).expect_code(0);
    for command in [&["dlq", "retry", "--no-wait", &id][..], &["dlq", "drop", &id]] {
        let refused = site.run(command).expect_code(1);
        assert!(refused.stderr.contains("being tried again just now"), "{}", refused.stderr);
    }
    sink.unblock();
    host.wait_until("an empty queue", LIMIT, |_| dead_letters(&site).is_empty());
    let n_written = sink.written().iter().filter(|key| *key == "app.probe.17").count();
    assert_eq!((n_written, sink.written().len()), (1, 20));
}

#[test]
fn a_letters_number_is_given_to_no_other_letter_after_a_restart() {
    let site = Site::new().pipeline("flow", &failing(20));
    let sink = Probe::new(&site, "out");
    sink.fail(&["app.probe.17", "app.probe.30"]);
    let mut host = site.start();
    host.wait_until("the first letter", LIMIT, |_| dead_letters(&site).len() == 1);
    let first = id_of(&dead_letters(&site)[0]);
    site.run(["dlq", "drop", &first]).expect_code(0);
    host.stop();

    let site = site.pipeline("flow", &failing(40));
    let mut host = site.start();
    host.wait_until("another letter", LIMIT, |_| dead_letters(&site).len() == 1);
    assert_ne!(id_of(&dead_letters(&site)[0]), first);
    site.run(["dlq", "show", &first]).expect_code(1);
}
