//! No value of a change is ever logged: a canary goes through every path, with everything logged.

use lockstep_test_support::{LIMIT, Site, WsClient, append, free_port, lines};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

const CANARY: &str = "canary-8f3a61d2";

#[test]
fn a_canary_sent_through_every_path_appears_in_no_log() {
    let port = free_port();
    let yaml = format!(
        "
sources:
  - {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }}
  - {{ plugin: file, config: {{ path: SITE/in.ndjson }} }}
transforms:
  - plugin: validate
    config: {{ schemas: [ {{ match: typed.*, schema: SITE/number.json }} ] }}
  - {{ plugin: rename_key, config: {{ from: app.old., to: app.new. }} }}
  - plugin: faulty
    on_error: {{ retry: {{ attempts: 1, backoff: 10ms, max: 10ms }}, then: dead_letter }}
    config: {{ fault: {{ at: apply, how: nack, key: app.dead, mended: SITE/never }} }}
  - plugin: faulty
    name: panics
    config: {{ fault: {{ at: apply, how: panic, key: app.panic, mended: SITE/mended, once: true }} }}
sinks:
  - {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }}
  - {{ plugin: file, when: 'change.new_value != \"{CANARY}-not\"', config: {{ path: SITE/out.ndjson }} }}
  - {{ plugin: probe, config: {{ dir: SITE/probe }} }}
"
    );
    let site = Site::new()
        .pipeline("everything", &yaml)
        .env("LOCKSTEP_LOG__FILTER", "trace")
        .env("LOCKSTEP_RESTART__BACKOFF__MIN", "20ms");
    site.write("number.json", r#"{ "type": "number" }"#);
    let mut host = site.start();
    host.wait_ready();
    let output = site.path("out.ndjson");
    let arrived = |key: &str| lines(&output).iter().any(|line| line.contains(key) && line.contains(CANARY));

    let mut client = WsClient::connect(port);
    assert_eq!(client.change("app.old.good", &json!(CANARY))["success"], true);
    host.wait_until("the good change", LIMIT, |_| arrived("app.new.good"));
    assert_eq!(client.change("typed.x", &json!({ "nested": CANARY }))["code"], "invalid_value");
    client.change("app.dead", &json!(CANARY));
    for bad in [
        format!("{{\"type\": \"config_change\", \"new_value\": \"{CANARY}\"}}"),
        format!(
            "{{\"type\": \"config_change\", \"config_key\": \"{CANARY}/#\", \"new_value\": \"{CANARY}\"}}"
        ),
        format!("{{ not json {CANARY}"),
        format!("[\"{CANARY}\"]"),
        format!("{{\"type\": 5, \"new_value\": \"{CANARY}\"}}"),
    ] {
        client.send_frame(Message::text(bad));
    }
    client.send_frame(Message::binary(CANARY.as_bytes().to_vec()));
    append(
        &site.path("in.ndjson"),
        [
            format!(r#"{{"config_key":"app.old.line","new_value":"{CANARY}"}}"#),
            format!(r#"{{"config_key":"typed.line","new_value":"{CANARY}"}}"#),
            format!("not json {CANARY}"),
            format!(r#"{{"config_key":["{CANARY}"],"new_value":1}}"#),
            format!(r#"{{"config_key":"app.dead","new_value":"{CANARY}"}}"#),
            format!(r#"{{"config_key":"app.panic","new_value":"{CANARY}"}}"#),
            format!(r#"{{"config_key":"app.old.last","new_value":"{CANARY}"}}"#),
        ],
    );
    host.wait_until("the last line, after a restart", LIMIT, |_| arrived("app.new.last"));
    host.wait_until("dead letters", LIMIT, |_| {
        site.run(["dlq", "list", "--json"]).expect_code(0).stdout.contains("app.dead")
    });
    site.run(["dlq", "retry", "--all"]);
    host.terminate();
    host.wait_exit(LIMIT);

    let log = host.log();
    assert!(log.contains("\"DEBUG\"") || log.contains("\"TRACE\""), "everything was logged");
    let leaks: Vec<&str> = log.lines().filter(|line| line.contains(CANARY)).take(3).collect();
    assert!(leaks.is_empty(), "values in the log:\n{}", leaks.join("\n"));
}

#[test]
fn a_secret_from_the_environment_is_in_no_message_about_a_wrong_configuration() {
    for config in [
        "{ listen: '${env:CANARY}' }",
        "{ host: 127.0.0.1, port: '${env:CANARY}' }",
        "{ listen: 127.0.0.1:8765, no_such_field: '${env:CANARY}' }",
        "{ listen: 127.0.0.1:8765, ssl_context: { certfile: '${env:CANARY}', keyfile: x } }",
        "{ listen: 127.0.0.1:8765, max_connections: '${env:CANARY}' }",
    ] {
        let yaml = format!(
            "sources: [ {{ plugin: websocket, config: {config} }} ]\nsinks: [ {{ plugin: probe, config: {{ dir: x }} }} ]\n"
        );
        let site =
            Site::new().pipeline("secret", &yaml).env("CANARY", CANARY).env("LOCKSTEP_LOG__FILTER", "trace");
        for arguments in [["validate", "pipelines/secret.yaml"], ["validate", "--json"]] {
            let mut arguments: Vec<&str> = arguments.to_vec();
            if arguments[1] == "--json" {
                arguments.push("pipelines/secret.yaml");
            }
            let output = site.run(&arguments);
            let text = format!("{}{}", output.stdout, output.stderr);
            assert!(!text.contains(CANARY), "{config}\n{text}");
        }
    }
}
