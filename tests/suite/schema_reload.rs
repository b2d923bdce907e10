//! Schemas whose files change while the real host runs under load, and rules for some tenants alone.

use lockstep_test_support::{Host, LIMIT, Site, append, eventually, lines, scale};
use serde_json::{Value, json};
use std::{fs, path::Path, thread::sleep, time::Duration};

fn site(validate: &str) -> Site {
    let yaml = format!(
        "
sources: [ {{ plugin: file, config: {{ path: SITE/in.ndjson }} }} ]
transforms:
  - plugin: validate
    config:
{}
  - {{ plugin: resolver }}
sinks: [ {{ plugin: file, config: {{ path: SITE/out.ndjson }} }} ]
",
        validate.trim_matches('\n').lines().map(|line| format!("      {line}\n")).collect::<String>()
    );
    Site::new().pipeline("flow", &yaml).env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h")
}

/// As deployments do it: the new file has its name at once.
fn replace(site: &Site, name: &str, schema: &str) {
    let aside = site.write(format!("{name}.new"), schema);
    fs::rename(aside, site.path(name)).expect("renamed");
}

fn written(site: &Site) -> Vec<(String, Value)> {
    let entry = |line: &String| {
        let entry: Value = serde_json::from_str(line).expect("a JSON line");
        (entry["config_key"].as_str().expect("a key").to_owned(), entry["new_value"].clone())
    };
    lines(&site.path("out.ndjson")).iter().map(entry).collect()
}

fn change(key: &str, value: &Value) -> String {
    json!({ "event_type": "config_updated", "config_key": key, "new_value": value }).to_string()
}

/// Makes the same change under new keys until it passes, or is refused. A mark behind each shows that it was checked.
fn until(site: &Site, host: &mut Host, name: &str, value: &Value, passes: bool) {
    let mut n_tried = 0;
    host.wait_until(&format!("{value} to pass: {passes}"), LIMIT, |_| {
        n_tried += 1;
        let (probe, mark) = (format!("probe.{name}.{n_tried}"), format!("mark.{name}.{n_tried}"));
        append(&site.path("in.ndjson"), [change(&probe, value), change(&mark, value)]);
        let has = |key: &str| written(site).iter().any(|(known, _)| known == key);
        eventually(LIMIT, || has(&mark).then_some(())).expect("the mark");
        has(&probe) == passes
    });
}

#[test]
fn schemas_that_change_under_load_lose_no_change_and_refuse_none_wrongly() {
    let site = site("schemas: [ { match: 'app.*', schema: ../schemas/app.json } ]\nreload_interval: 100ms");
    // Each version allows what the load is made of; they differ in files, size and what else they allow.
    let version = |n: usize| {
        json!({ "$comment": "x".repeat(n * 7), "$ref": format!("type-{}.json", n % 3) }).to_string()
    };
    for (n, kinds) in
        [json!(["integer"]), json!(["integer", "string"]), json!(["integer", "null"])].iter().enumerate()
    {
        site.write(format!("schemas/type-{n}.json"), json!({ "type": kinds }).to_string());
    }
    site.write("schemas/app.json", version(0));
    let mut host = site.start();
    let (n_rounds, n_each) = (scale(25, 400), 200);
    for round in 1..=n_rounds {
        let load = (0..n_each).map(|n| change(&format!("app.{round}.{n}"), &json!(n)));
        append(&site.path("in.ndjson"), load);
        match round % 5 {
            // Broken in between, and half written: the last good one stays.
            4 => site.write("schemas/app.json", "{ \"type\": ").as_path(),
            _ => {
                replace(&site, "schemas/app.json", &version(round));
                Path::new("")
            }
        };
        sleep(Duration::from_millis(40));
    }
    replace(&site, "schemas/app.json", &version(1));
    let n_all = n_rounds * n_each;
    host.wait_until("every change", LIMIT, |_| lines(&site.path("out.ndjson")).len() >= n_all);
    let written = written(&site);
    let keys: std::collections::BTreeSet<&str> = written.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!((written.len(), keys.len()), (n_all, n_all), "each once");
    assert_eq!(host.metrics().sum("lockstep_plugin_validate_rejected_total", &[]), 0.0);
    // On a machine that was too busy to look meanwhile, too.
    let mut round = 1;
    host.wait_until("some reloads", LIMIT, |host| {
        round += 1;
        replace(&site, "schemas/app.json", &version(round));
        host.metrics().sum("lockstep_plugin_validate_schemas_reloaded_total", &[]) >= 3.0
    });
    host.stop();
}

#[test]
fn a_schema_is_replaced_while_the_host_runs_and_a_broken_one_is_told_and_not_used() {
    let site =
        site("schemas: [ { match: 'probe.*', schema: ../schemas/probe.json } ]\nreload_interval: 100ms");
    site.write("schemas/probe.json", r#"{"type":"integer"}"#);
    let mut host = site.start();
    until(&site, &mut host, "a", &json!("text"), false);
    replace(&site, "schemas/probe.json", r#"{"type":"string"}"#);
    until(&site, &mut host, "b", &json!("text"), true);
    assert_eq!(host.logged("schema reloaded").len(), 1);

    replace(&site, "schemas/probe.json", r#"{"type":"strnig"}"#);
    host.wait_until("the broken file to be told", LIMIT, |host| {
        host.metrics().sum("lockstep_plugin_validate_schemas_broken", &[]) == 1.0
    });
    let told = host.logged("the schema cannot be used, the last good one stays in force");
    assert_eq!(told.len(), 1, "{told:?}");
    let line = told[0].to_string();
    assert!(
        line.contains("schemas/probe.json") && line.contains("strnig") && line.contains("ERROR"),
        "{line}"
    );
    until(&site, &mut host, "c", &json!("text"), true);
    until(&site, &mut host, "d", &json!(1), false);
    assert_eq!(host.get("/readyz").code, 200);

    replace(&site, "schemas/probe.json", r#"{"type":"integer"}"#);
    until(&site, &mut host, "e", &json!(1), true);
    host.wait_until("the mended file to be told", LIMIT, |host| {
        host.metrics().sum("lockstep_plugin_validate_schemas_broken", &[]) == 0.0
    });
    let metrics = host.metrics();
    assert_eq!(metrics.sum("lockstep_plugin_validate_schema_failures_total", &[]), 1.0);
    assert_eq!(host.logged("the schema cannot be used").len(), 1, "once");
    host.stop();
}

#[test]
fn what_may_be_changed_and_how_is_each_tenants_own() {
    let site = site(
        "
keys: { by_tenant: [ { tenant: guest-*, deny: ['*'] } ] }
schemas:
  - { match: 'app.*', tenant: acme, schema: { type: string } }
  - { match: 'app.*', tenant: global, schema: { type: integer } }
",
    );
    let mut host = site.start();
    host.wait_ready();
    for (tenant, value, expected) in [
        (Some("acme"), "text", None),
        (Some("acme"), "1", Some("invalid_value")),
        (None, "1", None),
        (None, "text", Some("invalid_value")),
        (Some("other"), "text", None),
        (Some("guest-7"), "1", Some("bad_key")),
    ] {
        let tenant: Vec<&str> = tenant.iter().flat_map(|tenant| ["--tenant", tenant]).collect();
        let value = if value == "1" { vec!["1"] } else { vec!["--string", value] };
        let set = site.run([&["set", "app.x"], &value[..], &tenant[..]].concat());
        let said = format!("{}{}", set.stdout, set.stderr);
        match expected {
            None => assert_eq!(set.code, Some(0), "{tenant:?} {value:?}: {said}"),
            Some(code) => assert!(set.code == Some(1) && said.contains(code), "{tenant:?} {value:?}: {said}"),
        }
    }
    host.stop();

    let refused = self::site("schemas: [ { match: '*', tenant: default, schema: true } ]");
    let checked = refused.run(["validate", "pipelines"]).expect_code(2);
    assert!(
        checked.stderr.contains("reserved name") && checked.stderr.contains("`global`"),
        "{}",
        checked.stderr
    );
    assert!(checked.stderr.contains("tenant: default"), "the place is shown: {}", checked.stderr);
}
