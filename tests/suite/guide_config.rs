//! The guide's own configuration, and the plugins it takes.

use lockstep_test_support::{Site, built_library, workspace_dir};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

/// The plugins that a release has.
const RELEASED: [&str; 8] = ["file", "kafka", "lock", "mqtt", "redis", "resolver", "validate", "websocket"];

/// A site whose plugins are those of a release and nothing else.
fn released() -> Site {
    let site = Site::new();
    fs::remove_dir_all(site.path("plugins")).expect("the site can be written");
    fs::create_dir(site.path("plugins")).expect("the site can be written");
    RELEASED.iter().for_each(|name| site.install(&built_library(&format!("lockstep_plugin_{name}"))));
    site
}

#[test]
fn a_folder_with_the_released_plugins_is_listed_with_their_components_and_versions() {
    let site = released();
    let listed = site.run(["plugins", "--json"]).expect_code(0).json();
    assert_eq!(listed["refused"], Value::Array(Vec::new()));
    let plugins = listed["plugins"].as_array().expect("a list");
    let mut found = BTreeSet::new();
    for plugin in plugins {
        assert_eq!(plugin["version"], env!("CARGO_PKG_VERSION"), "{plugin}");
        for component in plugin["components"].as_array().expect("a list") {
            let part = |name: &str| component[name].as_str().unwrap_or_default().to_owned();
            found.insert(format!("{} {}", part("kind"), part("name")));
        }
    }
    assert_eq!(plugins.len(), RELEASED.len());
    let expected = [
        "sink file",
        "sink kafka",
        "sink mqtt",
        "sink redis",
        "sink websocket",
        "source file",
        "source kafka",
        "source mqtt",
        "source redis",
        "source websocket",
        "transform lock",
        "transform resolver",
        "transform validate",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
    let table = site.run(["plugins"]).expect_code(0);
    assert_eq!((table.stdout.lines().count(), table.stderr.as_str()), (1 + expected.len(), ""), "{table:?}");
}

#[test]
fn the_guides_advanced_configuration_validates_unchanged() {
    let site = released();
    let fixture = workspace_dir().join("tests/fixtures/guide_config");
    for file in ["lockstep.yaml", "config-sync.yaml"] {
        site.write(file, fs::read(fixture.join(file)).expect("the fixture"));
    }
    // None of its hosts is there, and nothing asks for them.
    let told = site.run(["validate", "config-sync.yaml"]).expect_code(0);
    assert!(told.stdout.starts_with("ok  config-sync"), "{}", told.stdout);
    let json = site.run(["validate", "--json", "config-sync.yaml"]).expect_code(0).json();
    let pairs = json["pipelines"][0]["guarantees"].as_array().expect("pairs");
    assert_eq!(pairs.len(), 16);
    assert!(pairs.iter().all(|pair| pair["delivery"] == "at_least_once"), "{json}");
    // The guide opens its server to everybody, and that is said.
    let warnings = json["diagnostics"].as_array().expect("a list");
    assert!(warnings.iter().all(|warning| warning["severity"] == "warning"), "{json}");
    assert!(told.stderr.contains("reachable from other machines"), "{}", told.stderr);
    let settings = site.run(["config", "show", "--config", "lockstep.yaml"]).expect_code(0).stdout;
    assert!(settings.contains("lockstep.yaml"), "{settings}");
    assert!(!format!("{told:?}{settings}").contains("-password"), "secrets are shown nowhere");
}

/// What `validate` says between a source and a sink with these configurations.
fn promised(source: &str, sink: &str) -> String {
    let site = Site::new();
    site.write("flow.yaml", format!("sources: [ {source} ]\nsinks: [ {sink} ]\n"));
    let told = site.run(["validate", "--json", "flow.yaml"]).expect_code(0).json();
    told["pipelines"][0]["guarantees"][0]["delivery"].as_str().expect("a promise").to_owned()
}

#[test]
fn what_is_guaranteed_depends_on_how_a_broker_is_used() {
    let kafka = "{ plugin: kafka, config: { topic: any } }";
    let file = "{ plugin: file, config: { path: out } }";
    let mqtt = |qos: u8, topic: &str| format!("{{ plugin: mqtt, config: {{ qos: {qos}, {topic} }} }}");
    let redis = "{ plugin: redis }";
    let (read, written) = (|qos| mqtt(qos, "topics: [any]"), |qos| mqtt(qos, "topic: any"));
    for (source, sink, promise) in [
        (kafka, kafka, "at_least_once"),
        (redis, file, "at_least_once"),
        (&read(1), redis, "at_least_once"),
        (&read(2), file, "at_least_once"),
        (&read(0), redis, "at_most_once"),
        (&mqtt(1, "topics: [any], session_expiry: 0s"), redis, "at_most_once"),
        (kafka, &written(1), "at_least_once"),
        (kafka, &written(0), "at_most_once"),
        ("{ plugin: file, config: { path: '-' } }", kafka, "at_most_once"),
    ] {
        assert_eq!(promised(source, sink), promise, "{source} -> {sink}");
    }
}
