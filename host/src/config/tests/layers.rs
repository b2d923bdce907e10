use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

/// Loads a `lockstep.yaml` with these variables and flags.
pub fn settings(
    yaml: &str,
    environment: Environment,
    flags: &[(&str, &str, Value)],
) -> Result<Config, Diagnostics> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lockstep.yaml");
    fs::write(&file, yaml).unwrap();
    let flags = flags
        .iter()
        .map(|(name, path, value)| Flag { name: (*name).into(), path: (*path).into(), value: value.clone() })
        .collect();
    load(&LoadOptions { settings: SettingsFile::Named(file), pipelines: Vec::new(), environment, flags })
}

#[track_caller]
pub fn refused(yaml: &str, environment: Environment, flags: &[(&str, &str, Value)], expect: &[&str]) {
    let problems = settings(yaml, environment, flags).expect_err("refused");
    let shown: Vec<String> = problems
        .iter()
        .map(|problem| {
            let value = problem.to_json();
            let place = match (&value["line"], &value["origin"]) {
                (Value::Null, origin) => origin.as_str().unwrap_or_default().to_owned(),
                (line, _) => format!("{line}:{}", value["column"]),
            };
            format!("{place}: {}", problem.message())
        })
        .collect();
    assert_eq!(shown, expect);
}

#[test]
fn each_layer_wins_over_those_before_it() {
    let environment = Environment::from([
        ("LOCKSTEP_WATCHDOG", "45s"),
        ("LOCKSTEP_LOG__FORMAT", "json"),
        ("LOCKSTEP_NODE_ID", "7"),
        ("LOCKSTEP_RESTART__CRASH_LOOP__FAILURES", "9"),
        ("LOCKSTEP_PLUGIN_PATH", "/a:/b"),
        ("LOCKSTEP_GRACE_PERIOD", ""),
    ]);
    let flags = [("--log", "log.filter", json!("debug")), ("--grace", "grace_period", json!("1s"))];
    let yaml = "watchdog: 40s\ncall_timeout: 5\nlog:\n  format: text\n  filter: warn\ngrace_period: 2m\n";
    let config = settings(yaml, environment, &flags).unwrap();
    let settings = &config.settings;
    assert_eq!(settings.watchdog, Duration::from_secs(45));
    assert_eq!(settings.call_timeout, Duration::from_secs(5));
    assert_eq!(settings.log, LogSettings { format: LogFormat::Json, filter: "debug".into() });
    assert_eq!(settings.node_id.as_deref(), Some("7"));
    assert_eq!(settings.restart.crash_loop, CrashLoop { failures: 9, within: Duration::from_secs(60) });
    assert_eq!(settings.plugin_path, ["/a", "/b"].map(PathBuf::from));
    let origin = |path: &str| {
        let shown = config.shown.iter().find(|shown| shown.path == path).unwrap();
        shown.origin.to_string().rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(origin("watchdog"), "LOCKSTEP_WATCHDOG");
    assert_eq!(origin("call_timeout"), "lockstep.yaml:2");
    assert_eq!(origin("log.filter"), "--log");
    assert_eq!(origin("grace_period"), "--grace");
    assert_eq!(origin("restart.crash_loop.failures"), "LOCKSTEP_RESTART__CRASH_LOOP__FAILURES");
    assert_eq!(origin("restart.crash_loop.within"), "default");
    let shown = config.shown.iter().find(|shown| shown.path == "call_timeout").unwrap();
    assert!(shown.to_string().starts_with("call_timeout: 5s  # "), "{shown}");
}

#[test]
fn a_refusal_names_the_layer() {
    refused(
        "watchdg: 1s\nlog: { format: xml }\n",
        Environment::from([("LOCKSTEP_CALL_TIMEOUT", "soon"), ("LOCKSTEP_ADMIN__LISTN", "x")]),
        &[("--grace", "grace_period", json!(true))],
        &[
            "environment variable LOCKSTEP_ADMIN__LISTN: unknown field `listn`",
            "environment variable LOCKSTEP_CALL_TIMEOUT: `soon` is not a duration: write `30s`, `250ms` or `1h30m`",
            "flag --grace: expected a number or a string, found `true`",
            "1:1: unknown field `watchdg`",
            "2:16: expected `text` or `json`, found the string `xml`",
        ],
    );
    refused(
        "watchdog: 5s\n",
        Environment::default(),
        &[],
        &["1:11: `call_timeout` must be shorter than `watchdog`"],
    );
    refused(
        "admin: { listen: 8780 }\n",
        Environment::default(),
        &[],
        &["1:18: expected a string, found the number 8780"],
    );
    refused(
        "admin: { listen: localhost }\n",
        Environment::default(),
        &[],
        &["1:18: expected `host:port`, for example `127.0.0.1:8780`, or `off`"],
    );
}

#[test]
fn variables_of_others_are_left_alone_and_near_misses_warned_about() {
    let environment = Environment::from([
        ("LOCKSTEP_PORT", "tcp://10.0.0.1:80"),
        ("LOCKSTEP_SERVICE_HOST", "10.0.0.1"),
        ("LOCKSTEP_WATCHDG", "1s"),
    ]);
    let config = settings("", environment, &[]).unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(|warning| warning.to_json()).collect();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0]["origin"], "environment variable LOCKSTEP_WATCHDG");
    assert_eq!(warnings[0]["help"], "did you mean `LOCKSTEP_WATCHDOG`?");
}

#[test]
fn paths_in_the_file_are_relative_to_it() {
    let config = settings("data_dir: ./state\n", Environment::default(), &[]).unwrap();
    assert!(config.settings.data_dir.is_absolute() && config.settings.data_dir.ends_with("state"));
    assert!(config.settings.plugin_cache_dir().ends_with("state/plugins"));
    let config = settings("", Environment::default(), &[]).unwrap();
    assert_eq!(config.settings.data_dir, Path::new("./lockstep-data"));
    assert_eq!(config.settings.plugin_path.len(), 2);
}

const EXAMPLE: &str = include_str!("../../../lockstep.example.yaml");

#[test]
fn the_example_is_made_from_the_settings() {
    assert_eq!(
        EXAMPLE,
        settings_example(),
        "write what `settings_example` gives to host/lockstep.example.yaml"
    );
}

#[test]
fn the_example_shows_every_default() {
    let defaults = settings("", Environment::default(), &[]).unwrap();
    assert_eq!(settings(EXAMPLE, Environment::default(), &[]).unwrap().settings, defaults.settings);
    let uncommented: String =
        EXAMPLE.lines().filter_map(|line| line.strip_prefix("# ")).map(|line| format!("{line}\n")).collect();
    let written =
        settings(&uncommented, Environment::default(), &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let expected = HostSettings { data_dir: written.settings.data_dir.clone(), ..defaults.settings };
    assert_eq!(written.settings, expected);
    let missing: Vec<_> = written
        .shown
        .iter()
        .filter(|shown| {
            let has_no_default = ["node_id", "plugin_cache_dir", "state.encryption.current"];
            shown.origin == Origin::Default && !has_no_default.contains(&&*shown.path)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
