use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::*;

const CONFIG_SYNC: &str = r#"
name: config-sync
sources:
  - plugin: websocket
    config: { listen: 127.0.0.1:8765 }
  - name: devices
    plugin: mqtt@1.2
    transforms:
      - plugin: ./plugins/liblockstep_plugin_rename.so
    config: { broker_host: 127.0.0.1, patterns: ["app.*"] }
transforms:
  - plugin: validate
    when: has(change.tenant_id)
sinks:
  - plugin: websocket
    when: otherwise
  - plugin: kafka
    when: change.config_key.startsWith("app.")
    transforms:
      - { plugin: encrypt, config: { keys: ["app.security.*"] } }
    on_error: { retry: { attempts: 5, backoff: 500ms, max: 1m }, then: stop }
    config: { bootstrap_servers: ["127.0.0.1:9092"] }
delivery:
  batch: { records: 50, linger: 5ms }
  in_flight: { records: 500, bytes: 1MiB }
"#;

#[test]
fn every_field_arrives_in_the_pipeline() {
    let pipeline = accepted(CONFIG_SYNC);
    assert_eq!(pipeline.name, "config-sync");
    let named = |components: &[ComponentConfig]| -> Vec<String> {
        components.iter().map(|each| format!("{} = {} at {}", each.name, each.plugin, each.path)).collect()
    };
    assert_eq!(
        named(&pipeline.sources),
        ["websocket = websocket at sources.0", "devices = mqtt@1.2 at sources.1"]
    );
    assert_eq!(named(&pipeline.transforms), ["validate = validate at transforms.0"]);
    assert_eq!(named(&pipeline.sinks), ["websocket = websocket at sinks.0", "kafka = kafka at sinks.1"]);
    assert_eq!(named(&pipeline.sinks[1].transforms), ["encrypt = encrypt at sinks.1.transforms.0"]);
    let of_source = &pipeline.sources[1].transforms[0];
    assert_eq!(of_source.name, "rename");
    assert_eq!(of_source.plugin, PluginRef::Path(PathBuf::from("./plugins/liblockstep_plugin_rename.so")));
    assert_eq!(pipeline.sinks[0].when, Some(When::Otherwise));
    assert_eq!(pipeline.transforms[0].when, Some(When::Expression("has(change.tenant_id)".into())));
    assert_eq!(pipeline.sinks[1].config, json!({ "bootstrap_servers": ["127.0.0.1:9092"] }));
    let retry = Retry { attempts: 5, backoff: Duration::from_millis(500), max: Duration::from_secs(60) };
    assert_eq!(pipeline.sinks[1].on_error, OnError { retry, then: Then::Stop });
    assert_eq!(pipeline.delivery.batch, BatchLimits { records: 50, linger: Duration::from_millis(5) });
    assert_eq!(pipeline.delivery.in_flight, InFlightLimits { records: 500, bytes: 1 << 20 });
}

#[test]
fn what_is_left_out_has_its_default() {
    let pipeline = accepted("sources: [{ plugin: a }]\nsinks:\n  - plugin: b\n    config:\n");
    assert_eq!(pipeline.name, "p");
    let sink = &pipeline.sinks[0];
    assert_eq!((sink.when.clone(), sink.config.clone()), (None, json!({})));
    let retry = Retry { attempts: 3, backoff: Duration::from_secs(2), max: Duration::from_secs(8) };
    assert_eq!(sink.on_error, OnError { retry, then: Then::DeadLetter });
    assert_eq!(pipeline.delivery.batch, BatchLimits { records: 100, linger: Duration::ZERO });
    assert_eq!(pipeline.delivery.in_flight, InFlightLimits { records: 10_000, bytes: 64 << 20 });
}

#[test]
fn sources_transforms_and_sinks_have_their_own_names() {
    let pipeline =
        accepted("sources: [{ plugin: a }]\ntransforms: [{ plugin: a }]\nsinks: [{ plugin: a }]\n");
    assert_eq!(pipeline.sinks[0].name, "a");
}

#[test]
fn interpolated_values_have_the_type_that_yaml_gives_them() {
    let pipeline = accepted(
        r#"
sources: [{ plugin: a }]
sinks:
  - plugin: b
    config:
      port: ${env:PORT}
      text: "${env:PORT}"
      part: x${env:PORT}
      block: |
        ${env:PORT}
      password: ${env:PASSWORD}
      digits: ${env:DIGITS}
      empty: ${env:EMPTY}
      default: ${env:UNSET:-5s}
      list: [ "${env:PORT}", plain ]
      escaped: $${env:PORT}
"#,
    );
    let sink = &pipeline.sinks[0];
    assert_eq!(
        sink.config,
        json!({
            "port": 8080, "text": "8080", "part": "x8080", "block": "8080\n", "password": SECRET, "digits": "0815",
            "empty": "", "default": "5s", "list": ["8080", "plain"], "escaped": "${env:PORT}",
        })
    );
    assert!(sink.interpolated.contains("sinks.0.config.list.0"));
    assert!(!sink.interpolated.contains("sinks.0.config.escaped"));
    let redacted = sink.redacted_config(None);
    assert_eq!((&redacted["password"], &redacted["port"]), (&json!("***"), &json!("***")));
    assert_eq!((&redacted["list"], &redacted["escaped"]), (&json!(["***", "plain"]), &json!("${env:PORT}")));
    assert!(!format!("{pipeline:?}").contains(SECRET));
}

#[test]
fn anchors_and_aliases_share_values() {
    let pipeline = accepted(
        "sources: [{ plugin: a, config: &shared { host: h } }]\nsinks: [{ plugin: b, config: { tls: *shared } }]\n",
    );
    assert_eq!(pipeline.sinks[0].config, json!({ "tls": { "host": "h" } }));
}

#[test]
fn relative_files_are_relative_to_the_pipelines_file() {
    let yaml = "sources: [{ plugin: ./a.so }]\nsinks: [{ plugin: /opt/b.so }]\n";
    let file = Path::new("/etc/lockstep/pipelines/p.yaml");
    let (pipeline, _) = decode::pipeline(file, yaml.into(), &environment(), &SyncSettings::default());
    let pipeline = pipeline.unwrap();
    assert_eq!(pipeline.sources[0].plugin, PluginRef::Path("/etc/lockstep/pipelines/a.so".into()));
    assert_eq!(pipeline.sinks[0].plugin, PluginRef::Path("/opt/b.so".into()));
    assert_eq!(pipeline.source_text.dir(), Path::new("/etc/lockstep/pipelines"));
}

#[test]
fn the_reference_names_every_field() {
    let reference = format_reference();
    for field in ["sources", "plugin", "when", "on_error", "attempts", "linger", "in_flight", "config"] {
        assert!(reference.contains(&format!("| `{field}` |")), "{field}:\n{reference}");
    }
    assert!(reference.contains("| `max` | duration | 8s | Longest wait between two tries. |"), "{reference}");
    assert!(settings_reference().contains("| `admin.listen` | string | `127.0.0.1:8780` |"));
}
