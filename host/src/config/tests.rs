use std::path::Path;

use serde_json::json;

use super::*;

const PREFIX: &str = "sources: [{ plugin: a }]\nsinks:\n";

/// Reads one pipeline; `expect` is what a terminal shows, or nothing for a file that is accepted.
fn check(yaml: &str, expect: &str) -> Option<PipelineConfig> {
    let environment = Environment::from([("PORT", "8080"), ("PASSWORD", "canary"), ("NAME", "12")]);
    let (pipeline, problems) =
        decode::pipeline(Path::new("p.yaml"), yaml.into(), &environment, &SyncSettings::default());
    let mut problems: Diagnostics = problems.into_iter().collect();
    problems.sort();
    assert!(pipeline.is_some() || !problems.is_empty(), "a refusal says why");
    let shown = problems.render(false);
    assert_eq!(shown.trim(), expect.trim(), "\n{shown}\n");
    assert!(!shown.contains("canary"));
    pipeline
}
#[test]
fn x() {
    check("sources: [{ plugin: a }]\nsinks:\n  - plugin: b\n    conf: 1\n", "");
}
#[test]
fn x2() {
    check(
        "name: ñ\nsources:\n  - plugin: b\n    isolation: process\n    config: {a: b, a: c}\n    when: true\nsinks:\n  - plugn: 1\n    on_error: { retry: { backoff: 5 light, attempts: -1 }, then: explode }\ndelivery: 5\n",
        "",
    );
}
#[test]
fn x3() {
    check(
        "sources:\n  - plugin: b\n    when: key == 'a'\n  - plugin: b@latest\n  - plugin: b\nsinks:\n  - plugin: ./x\n    when: \"change.confg_key == 'a'\"\n    config:\n      a: ${env:NOPE}\n      b: x${env:PASWORD}\n",
        "",
    );
}
#[test]
fn x4() {
    check("sources:\n\t- plugin: b\n", "");
}
#[test]
fn x5() {
    println!("{}", format_reference());
    println!("{}", settings_reference());
    println!("{}", serde_json::to_string_pretty(&pipeline_schema()).unwrap());
    panic!();
}
