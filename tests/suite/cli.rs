//! The command line: exit codes, help that teaches, JSON, and refusals that point at the place.

use lockstep_test_support::{Finished, Site, workspace_dir};
use std::{
    fs,
    io::{Seek, Write},
    process::Stdio,
};

const GOOD: &str = "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 10 } } ]
sinks: [ { plugin: probe, config: { dir: SITE/out } } ]
";

/// The line and column of a mark `§` in a text, and the text without it.
fn unmark(marked: &str) -> (String, usize, usize) {
    let at = marked.find('§').expect("a mark");
    let before = &marked[..at];
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (marked.replace('§', ""), before.matches('\n').count() + 1, column)
}

/// Validates a pipeline with a mark at what is wrong with it: refused there, in these words, with a caret.
fn refused_at(marked: &str, words: &[&str]) {
    let (yaml, line, column) = unmark(marked);
    let site = Site::new().env("SET", "yes");
    site.write("bad.yaml", &yaml);
    let Finished { stderr, .. } = site.run(["validate", "bad.yaml"]).expect_code(2);
    let place = format!("bad.yaml:{line}:{column}");
    assert!(stderr.contains(&place), "`{place}` in\n{stderr}");
    assert!(stderr.lines().any(|line| line.contains('^')), "a caret in\n{stderr}");
    let quoted = yaml.lines().nth(line - 1).expect("the line").trim();
    assert!(stderr.contains(quoted), "the line itself in\n{stderr}");
    for word in words {
        assert!(stderr.contains(word), "`{word}` in\n{stderr}");
    }
    let json = site.run(["validate", "--json", "bad.yaml"]).expect_code(2).json().to_string();
    for part in ["bad.yaml", &format!("\"line\":{line}"), &format!("\"column\":{column}")] {
        assert!(json.contains(part), "`{part}` in {json}");
    }
}

const SINK: &str = "sinks: [ { plugin: probe, config: { dir: out } } ]\n";

#[test]
fn yaml_syntax_is_refused_where_it_breaks() {
    refused_at(
        "sources:\n  - plugin: probe\n    config: { dir: x, count: 1 }\n §- plugin: file\nsinks: []\n",
        &[],
    );
}

#[test]
fn an_unknown_field_is_refused_with_the_nearest_name() {
    refused_at(
        &format!("sources: [ {{ plugin: probe, §confg: {{ dir: x, count: 1 }} }} ]\n{SINK}"),
        &["confg", "`config`"],
    );
    refused_at(&format!("§source: []\n{SINK}"), &["source", "`sources`"]);
}

#[test]
fn a_missing_field_is_refused_by_name() {
    refused_at(&format!("sources: [ §{{ config: {{ dir: x }} }} ]\n{SINK}"), &["plugin"]);
}

#[test]
fn a_duplicate_key_is_refused() {
    refused_at(
        &format!("sources: [ {{ plugin: probe, config: {{ dir: x, count: 1, §dir: y }} }} ]\n{SINK}"),
        &["dir"],
    );
}

#[test]
fn a_wrong_type_is_refused() {
    let delivery = "delivery:\n  batch: { records: §many }\n";
    refused_at(
        &format!("sources: [ {{ plugin: probe, config: {{ dir: x, count: 1 }} }} ]\n{SINK}{delivery}"),
        &["records", "many"],
    );
}

#[test]
fn an_unset_variable_is_refused() {
    refused_at(
        &format!(
            "sources: [ {{ plugin: probe, config: {{ dir: '§${{env:NOT_SET}}', count: 1 }} }} ]\n{SINK}"
        ),
        &["NOT_SET"],
    );
    let site = Site::new().env("WHERE", "in");
    site.write(
        "good.yaml",
        format!("sources: [ {{ plugin: probe, config: {{ dir: '${{env:WHERE}}', count: 1 }} }} ]\n{SINK}"),
    );
    site.run(["validate", "good.yaml"]).expect_code(0);
}

#[test]
fn what_a_plugins_own_schema_refuses_is_shown_in_the_pipeline() {
    refused_at(
        &format!("sources: [ {{ plugin: probe, config: {{ dir: x, §cuont: 1 }} }} ]\n{SINK}"),
        &["cuont", "`count`"],
    );
    refused_at(
        &format!("sources: [ {{ plugin: probe, config: {{ dir: x, count: §several }} }} ]\n{SINK}"),
        &["count"],
    );
    refused_at(&format!("sources: [ {{ plugin: probe, config: §{{ dir: x }} }} ]\n{SINK}"), &["count"]);
}

#[test]
fn conditions_are_type_checked() {
    let source = "sources: [ { plugin: probe, config: { dir: x, count: 1 } } ]\n";
    let sink = |when: &str| {
        format!("{source}sinks:\n  - plugin: probe\n    when: {when}\n    config: {{ dir: out }}\n")
    };
    refused_at(&sink("change.config_key.startsWith(§"), &[]);
    refused_at(&sink("change.§confg_key == 'a'"), &["confg_key", "config_key"]);
    refused_at(&sink("§change.config_key"), &["true or false", "string"]);
}

#[test]
fn an_unknown_plugin_is_refused_with_the_nearest_name() {
    refused_at(
        &format!("sources: [ {{ plugin: §prob, config: {{ dir: x, count: 1 }} }} ]\n{SINK}"),
        &["prob", "`probe`"],
    );
    refused_at(&format!("sources: [ {{ plugin: §versioned@1.0 }} ]\n{SINK}"), &["versioned", "source"]);
}

#[test]
fn isolation_by_process_is_refused_with_its_explanation() {
    let source = "sources:\n  - plugin: probe\n    §isolation: process\n    config: { dir: x, count: 1 }\n";
    refused_at(&format!("{source}{SINK}"), &["isolation"]);
}

#[test]
fn every_problem_of_a_file_is_told_at_once() {
    let site = Site::new();
    site.write(
        "bad.yaml",
        "sources: [ { plugin: prob, confg: {} } ]\nsinks: [ { plugin: prope } ]\nnope: 1\n",
    );
    let stderr = site.run(["validate", "bad.yaml"]).expect_code(2).stderr;
    for word in ["confg", "nope"] {
        assert!(stderr.contains(word), "`{word}` in\n{stderr}");
    }
}

#[test]
fn a_good_pipeline_validates_and_says_what_is_guaranteed() {
    let site = Site::new().pipeline("good", GOOD);
    let said = site.run(["validate", "pipelines"]).expect_code(0);
    assert!(said.stdout.contains("at least once"), "{}", said.stdout);
    let json = site.run(["validate", "--json", "pipelines/good.yaml"]).expect_code(0).json();
    assert!(json.to_string().contains("good"), "{json}");
    assert!(!site.path("data/store").exists() && !site.path("in").exists(), "nothing was started");
}

#[test]
fn a_refused_pipeline_is_refused_before_anything_starts() {
    let site = Site::new().pipeline(
        "bad",
        "sources: [ { plugin: nothing } ]\nsinks: [ { plugin: probe, config: { dir: SITE/out } } ]\n",
    );
    let refused = site.run(["run", "pipelines"]).expect_code(2);
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains("nothing"), "{refused:?}");
    assert!(!site.path("out").exists(), "nothing was started");
}

#[test]
fn help_teaches_and_unknown_commands_are_refused() {
    let site = Site::new();
    let help = site.run(["--help"]).expect_code(0).stdout;
    for command in ["run", "validate", "plugins", "schema", "config", "dlq", "completions"] {
        assert!(help.contains(command), "`{command}` in\n{help}");
        let own = site.run([command, "--help"]).expect_code(0).stdout;
        assert!(own.contains("Usage"), "{own}");
    }
    assert!(help.contains("quickstart") || help.contains("Example"), "an example in\n{help}");
    let unknown = site.run(["validat"]).expect_code(2);
    assert!(unknown.stderr.contains("validate"), "the nearest command: {}", unknown.stderr);
}

#[test]
fn plugins_lists_what_is_installed_and_what_is_refused() {
    let site = Site::new();
    site.write("plugins/libbroken.so", "not a library");
    let list = site.run(["plugins"]);
    for name in ["websocket", "file", "validate", "rename_key", "1.1.0"] {
        assert!(list.stdout.contains(name), "`{name}` in\n{}", list.stdout);
    }
    assert!(format!("{}{}", list.stdout, list.stderr).contains("libbroken.so"), "{list:?}");
    let json = site.run(["plugins", "--json"]).json();
    assert!(json.to_string().contains("\"websocket\""), "{json}");
}

#[test]
fn schema_is_one_json_schema_with_every_installed_plugin() {
    let site = Site::new();
    let schema = site.run(["schema"]).expect_code(0).json();
    assert!(schema["$schema"].as_str().is_some_and(|text| text.contains("2020-12")), "{}", schema["$schema"]);
    let text = schema.to_string();
    for name in ["max_connections", "delay_us", "rename_key", "on_error"] {
        assert!(text.contains(name), "`{name}` in the schema");
    }
}

#[test]
fn config_show_names_the_place_of_each_value() {
    let site = Site::new();
    site.write("lockstep.yaml", "grace_period: 7s\nlog: { filter: debug }\n");
    let site = site.env("LOCKSTEP_LOG__FILTER", "warn").env("LOCKSTEP_WATCHDOG", "12s");
    let shown = site.run(["config", "show"]).expect_code(0).stdout;
    let line = |setting: &str| {
        shown.lines().find(|line| line.contains(setting)).unwrap_or_else(|| panic!("{setting}\n{shown}"))
    };
    assert!(line("grace_period").contains("7s") && line("grace_period").contains("lockstep.yaml"), "{shown}");
    assert!(line("watchdog").contains("12s") && line("watchdog").contains("LOCKSTEP_WATCHDOG"), "{shown}");
    assert!(line("filter").contains("warn") && line("filter").contains("LOCKSTEP_LOG__FILTER"), "{shown}");
    assert!(line("retry_attempts").contains('3') && line("retry_attempts").contains("default"), "{shown}");
    let json = site.run(["config", "show", "--json"]).expect_code(0).json();
    assert!(json.to_string().contains("LOCKSTEP_WATCHDOG"), "{json}");
}

#[test]
fn a_wrong_setting_is_refused_where_it_was_made() {
    let site = Site::new().pipeline("good", GOOD);
    site.write("lockstep.yaml", "grace_perod: 7s\n");
    let refused = site.run(["run", "pipelines"]).expect_code(2);
    let text = format!("{}{}", refused.stdout, refused.stderr);
    for part in ["lockstep.yaml:1:1", "grace_perod", "grace_period"] {
        assert!(text.contains(part), "`{part}` in\n{text}");
    }
    fs::remove_file(site.path("lockstep.yaml")).expect("the site can be written");
    let site = site.env("LOCKSTEP_WATCHDOG", "soon");
    let refused = site.run(["run", "pipelines"]).expect_code(2);
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains("LOCKSTEP_WATCHDOG"), "{refused:?}");
}

#[test]
fn completions_are_written_for_the_usual_shells() {
    let site = Site::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = site.run(["completions", shell]).expect_code(0).stdout;
        assert!(script.contains("lockstep") && script.len() > 500, "{shell}: {script}");
    }
}

#[test]
fn the_formats_reference_is_up_to_date() {
    let file = workspace_dir().join("pipelines/README.md");
    let text = fs::read_to_string(&file).expect("pipelines/README.md");
    for (name, reference) in [
        ("the format", lockstep::config::format_reference()),
        ("the settings", lockstep::config::settings_reference()),
    ] {
        assert!(
            text.contains(reference.trim()),
            "{name} in pipelines/README.md is not what the code says; put this in:\n{reference}"
        );
    }
}

#[test]
fn a_log_is_text_for_people_or_json_for_collectors() {
    let site = Site::new().pipeline("good", GOOD);
    let mut json = site.start();
    json.wait_ready();
    json.terminate();
    json.wait_exit(lockstep_test_support::LIMIT);
    let log = json.log();
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn a_command_for_a_running_host_says_so_when_there_is_none() {
    let site = Site::new();
    let refused = site.run(["dlq", "list"]);
    assert!(matches!(refused.code, Some(1 | 2)), "{refused:?}");
    assert!(refused.stderr.contains("data") || refused.stderr.contains("running"), "{refused:?}");
}

#[test]
fn an_operation_of_a_plugin_is_called_without_a_host() {
    let site = Site::new();
    let call =
        |operation: &str, arguments: &str| site.run(["plugins", "call", "resolver", operation, arguments]);
    let changes =
        r#"{"id":7,"base":{"a":1},"changes":[{"value":{"a":1,"b":2},"hlc":"1-0"},{"value":{},"hlc":"2-0"}]}"#;
    let merged = serde_json::json!({ "id": 7, "ok": true, "value": { "b": 2 }, "conflicts": [] });
    for name in ["merge", "resolver.merge"] {
        assert_eq!(call(name, changes).expect_code(0).json(), merged);
    }
    for (asked, error) in [("{}", "missing field `changes`"), ("[]", "it must be an object")] {
        let refused = serde_json::json!({ "id": null, "ok": false, "error": error });
        assert_eq!(call("merge", asked).expect_code(1).json(), refused);
    }
    let lines = format!("{changes}\n\n  \n{{\"id\":8}}\n");
    let mut input = tempfile::tempfile().expect("a file");
    input.write_all(lines.as_bytes()).and_then(|()| input.rewind()).expect("written");
    let mut command = site.command(["plugins", "call", "resolver", "merge", "--jsonl"]);
    let done = command.stdin(Stdio::from(input)).output().expect("started");
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let stdout = String::from_utf8(done.stdout).expect("UTF-8");
    let answers: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let refused = serde_json::json!({ "id": 8, "ok": false, "error": "missing field `changes`" });
    assert_eq!(answers, [merged, refused], "an empty line is no call");
    let Finished { stderr, .. } = call("mrege", "{}").expect_code(2);
    assert!(stderr.contains("resolver.merge"), "it names what there is: {stderr}");
    call("merge", "no JSON").expect_code(2);
    site.run(["plugins", "call", "nobody", "merge"]).expect_code(2);
    assert!(!site.path("data").join("admin.sock").exists(), "no host was started");
}
