//! The examples in the READMEs work: every YAML block validates, and the first pipeline of each plugin's README runs.

use crate::pipelines::{EXAMPLE, example_site, with_port};
use lockstep_test_support::{
    Brokers, Host, HttpReceiver, LIMIT, MqttClient, Site, WsClient, append, free_port, lines, workspace_dir,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every README of the project.
fn readmes() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![workspace_dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if name == "README.md" {
                found.push(path);
            }
        }
    }
    found
}

/// The YAML blocks of a Markdown file, with the line each starts at.
fn yaml_blocks(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut block {
            None if line.trim_start().starts_with("```yaml") => block = Some((number + 2, String::new())),
            None => {}
            Some(_) if line.trim_start().starts_with("```") => blocks.extend(block.take()),
            Some((_, text)) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    blocks
}

/// Whether a block is a whole pipeline, and not host settings or a part of one.
fn is_pipeline(block: &str) -> bool {
    block.lines().any(|line| line.starts_with("sources:"))
        && block.lines().any(|line| line.starts_with("sinks:"))
}

#[test]
fn every_yaml_block_in_a_readme_validates() {
    let mut n_pipelines = 0;
    for readme in readmes() {
        for (line, block) in yaml_blocks(&readme) {
            let site = example_site(&block, readme.parent().expect("a folder"));
            let checked = if is_pipeline(&block) {
                n_pipelines += 1;
                site.write("pipelines/example.yaml", &block);
                site.run(["validate", "pipelines/example.yaml"])
            } else {
                // What is no pipeline are the host's settings.
                site.write("lockstep.yaml", &block);
                site.run(["config", "show", "--config", "lockstep.yaml"])
            };
            assert_eq!(
                checked.code,
                Some(0),
                "{}:{line}\n{}\n{}",
                readme.display(),
                checked.stdout,
                checked.stderr
            );
        }
    }
    assert!(n_pipelines >= 5, "the READMEs show whole pipelines: {n_pipelines}");
}

/// How the pipeline of each plugin's README shows that it works.
fn drive(
    plugin: &str,
    site: &Site,
    host: &mut Host,
    port: u16,
    yaml: &str,
    (brokers, receiver): (Option<&Brokers>, Option<&HttpReceiver>),
) {
    match plugin {
        "websocket" => {
            let mut subscriber = WsClient::connect(port);
            let mut author = WsClient::connect(port);
            assert_eq!(author.change("app.readme", &json!(1))["success"], true);
            assert_eq!(subscriber.next_of_type("config_sync")["config_key"], "app.readme");
        }
        "file" => {
            let (input, output) = (path_after(yaml, "sources:"), path_after(yaml, "sinks:"));
            append(&site.path("pipelines").join(input), [r#"{"config_key":"app.readme","new_value":1}"#]);
            let output = site.path("pipelines").join(output);
            host.wait_until("the line in the output", LIMIT, |_| {
                lines(&output).iter().any(|line| line.contains("app.readme"))
            });
        }
        "lock" | "resolver" | "validate" => unconstrained(site, host, port, yaml),
        "encrypt" => sealed_and_opened(site, host),
        "webhook" => told_of_a_conflict(site, host, port, receiver.expect("its receiver")),
        "kafka" | "mqtt" | "redis" => through_a_broker(plugin, site, host, brokers.expect("its broker")),
        other => panic!("plugins/{other} has no test of its README's pipeline: add one here"),
    }
}

/// One sink has the value sealed, the other has it open.
fn sealed_and_opened(site: &Site, host: &mut Host) {
    let pin = r#"{"config_key":"app.security.pin","new_value":"4711-readme"}"#;
    append(&site.path("pipelines/in.ndjson"), [pin]);
    let read = |name: &str| lines(&site.path("pipelines").join(name)).concat();
    host.wait_until("the line in both outputs", LIMIT, |_| {
        read("sealed.ndjson").contains("app.security.pin")
            && read("opened.ndjson").contains("app.security.pin")
    });
    let (sealed, opened) = (read("sealed.ndjson"), read("opened.ndjson"));
    assert!(sealed.contains("$enc") && !sealed.contains("4711-readme"), "{sealed}");
    assert!(opened.contains("4711-readme") && !opened.contains("$enc"), "{opened}");
}

/// Two changes from one state stand against each other, and the receiver is told.
fn told_of_a_conflict(site: &Site, host: &mut Host, port: u16, receiver: &HttpReceiver) {
    let mut author = WsClient::connect(port);
    assert_eq!(author.change("app.readme", &json!(0))["revision"], 1);
    for value in [1, 2] {
        let (kind, seen) = ("config_change", 1);
        author.send(
            &json!({ "type": kind, "config_key": "app.readme", "new_value": value, "base_revision": seen }),
        );
        assert_eq!(author.next_of_type("config_change_response")["success"], true);
    }
    let told = receiver.wait_for(1).remove(0);
    assert_eq!(told.json()["event_type"], "conflict_detected", "{told:?}");
    assert!(told.header("webhook-signature").starts_with("v1,"), "{told:?}");
    assert!(!host.log().contains(EXAMPLE), "{}", site.path("").display());
}

/// What another program says at the broker is known here, and what is set here is at the broker.
fn through_a_broker(plugin: &str, site: &Site, host: &mut Host, brokers: &Brokers) {
    let said = json!({ "config_key": "app.readme.said", "new_value": 1 }).to_string();
    let (kafka, redis) = (brokers.kafka.client(), &brokers.redis);
    let mut device = MqttClient::connect(brokers.mqtt.port);
    match plugin {
        "kafka" => drop(kafka.produce(KAFKA_TOPIC, Some("default:app.readme.said"), said, &[])),
        "mqtt" => device.publish("apg/config/global/app/readme/said", said, true),
        _ => drop(redis.command::<String>(&["XADD", "apg-config:log:global", "*", "data", &said])),
    }
    host.wait_until("what was said at the broker", LIMIT, |host| {
        host.get("/v1/keys/app.readme.said").json()["new_value"] == 1
    });
    site.run(["set", "app.readme.set", "2"]).expect_code(0);
    host.wait_until("what was set at the broker", LIMIT, |_| {
        let shown: Vec<Value> = match plugin {
            "kafka" => kafka.read_all(KAFKA_TOPIC).iter().map(|message| message.json()).collect(),
            "mqtt" => MqttClient::retained(brokers.mqtt.port, "apg/config/#")
                .iter()
                .filter_map(|message| serde_json::from_slice(&message.payload).ok())
                .collect(),
            _ => {
                let cells: Vec<String> = redis.command(&["HVALS", "apg-config:cache:global"]);
                cells.iter().map(|cell| serde_json::from_str(cell).expect("JSON")).collect()
            }
        };
        shown.iter().any(|change| change["config_key"] == "app.readme.set" && change["new_value"] == 2)
    });
}

/// Where keys go that are of no other kind.
const KAFKA_TOPIC: &str = "apg-config-general";

/// The example with brokers that are here.
fn with_brokers(yaml: &str, brokers: &Brokers) -> String {
    let (kafka, mqtt) = (brokers.kafka.plaintext(), brokers.mqtt_url());
    yaml.replace("127.0.0.1:9092", &kafka)
        .replace("broker_host: 127.0.0.1", &format!("url: '{mqtt}'"))
        .replace(" host: 127.0.0.1", &format!(" url: '{}'", brokers.redis_url()))
}

/// A change of a key that no schema is about and that nobody has locked passes, whatever the source is.
fn unconstrained(site: &Site, host: &mut Host, port: u16, yaml: &str) {
    if yaml.contains("plugin: websocket") {
        let mut author = WsClient::connect(port);
        assert_eq!(author.change("readme.unconstrained", &json!("x"))["success"], true);
    } else {
        let (input, output) = (path_after(yaml, "sources:"), path_after(yaml, "sinks:"));
        append(
            &site.path("pipelines").join(input),
            [r#"{"config_key":"readme.unconstrained","new_value":1}"#],
        );
        let output = site.path("pipelines").join(output);
        host.wait_until("the line in the output", LIMIT, |_| {
            lines(&output).iter().any(|line| line.contains("unconstrained"))
        });
    }
}

/// The first `path:` after a heading of the pipeline.
fn path_after(yaml: &str, heading: &str) -> String {
    let after = yaml.split(heading).nth(1).expect("the heading");
    let value = after.split("path:").nth(1).expect("a path").trim_start();
    value.split([',', '}', '\n', ' ']).next().expect("a value").trim_matches(['\'', '"']).to_owned()
}

#[test]
fn the_complete_pipeline_of_every_plugins_readme_runs() {
    let plugins = workspace_dir().join("plugins");
    let mut n_run = 0;
    for entry in fs::read_dir(plugins).expect("the plugins").flatten().filter(|entry| entry.path().is_dir()) {
        let plugin = entry.file_name().to_string_lossy().into_owned();
        let readme = entry.path().join("README.md");
        let blocks = yaml_blocks(&readme);
        let (_, yaml) = blocks
            .iter()
            .find(|(_, block)| is_pipeline(block))
            .unwrap_or_else(|| panic!("{plugin}: no whole pipeline"));
        println!("{plugin}");
        run_example(&plugin, yaml, &entry.path());
        n_run += 1;
    }
    assert!(n_run >= 3);
}

fn run_example(plugin: &str, yaml: &str, beside: &Path) {
    let port = free_port();
    let brokers = ["kafka", "mqtt", "redis"].contains(&plugin).then(Brokers::start);
    let mut yaml = with_port(yaml, port);
    if let Some(brokers) = &brokers {
        brokers.kafka.create_guide_topics();
        yaml = with_brokers(&yaml, brokers);
    }
    let receiver = (plugin == "webhook").then(HttpReceiver::default);
    if let Some(receiver) = &receiver {
        yaml = yaml.replace("https://hooks.example.com", &receiver.url(""));
    }
    let site = example_site(&yaml, beside);
    site.write("pipelines/example.yaml", &yaml);
    // What its reader makes first.
    site.write("pipelines/kek.key", "4a".repeat(32));
    let mut host = site.start_with(site.command(["run", "pipelines/example.yaml"]));
    let name = host.status().only();
    host.wait_state(&name, "running");
    host.wait_ready();
    drive(plugin, &site, &mut host, port, &yaml, (brokers.as_ref(), receiver.as_ref()));
    host.stop();
}
