use serde_json::{Value, json};

use super::*;

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["host"],
        "properties": {
            "host": { "type": "string", "description": "Where the server is.\nMore." },
            "port": { "type": "integer", "minimum": 1, "maximum": 65535 },
            "password": { "$ref": "#/$defs/Secret" },
            "mode": { "oneOf": [{ "const": "fast", "description": "x" }, { "const": "safe" }] },
            "tls": { "anyOf": [{ "$ref": "#/$defs/Tls" }, { "type": "null" }] },
            "rules": { "type": "array", "items": { "$ref": "#/$defs/Rule" } },
            "auth": { "oneOf": [
                { "type": "object", "required": ["kind", "user"], "additionalProperties": false,
                  "properties": { "kind": { "const": "basic" }, "user": { "type": "string" } } },
                { "type": "object", "required": ["kind", "issuer"], "additionalProperties": false,
                  "properties": { "kind": { "const": "jwt" }, "issuer": { "type": "string" } } },
            ] },
        },
        "$defs": {
            "Secret": { "type": "string", "writeOnly": true },
            "Tls": { "type": "object", "additionalProperties": false, "required": ["certfile"],
                     "properties": { "certfile": { "type": "string" }, "verify": { "type": "boolean" } } },
            "Rule": { "type": "object", "additionalProperties": false,
                      "properties": { "match": { "type": "string", "pattern": "^[a-z.*]+$" } } },
        },
    })
}

/// What the schema above says about the configuration of the only sink.
#[track_caller]
fn check(config: &str, expect: &str) {
    let indented: String = config.lines().map(|line| format!("      {line}\n")).collect();
    let pipeline =
        accepted(&format!("sources: [{{ plugin: a }}]\nsinks:\n  - plugin: b\n    config:\n{indented}"));
    let sink = &pipeline.sinks[0];
    let problems =
        check_against_schema(&pipeline.source_text, &sink.config_path(&[]), &sink.config, &schema());
    let mut problems: Diagnostics = problems.into_iter().collect();
    problems.sort();
    compare(&problems, expect);
}

#[test]
fn a_configuration_that_fits_is_accepted() {
    check(
        "host: h\nport: ${env:PORT}\nmode: fast\ntls: { certfile: c }\nauth: { kind: jwt, issuer: i }\n",
        "",
    );
    check("host: h\ntls: null\nrules: [{ match: a.* }]\n", "");
}

#[test]
fn every_mistake_is_told_at_its_place() {
    check(
        "hots: h\nport: 70000\nmode: fats\ntls:\n  certfle: x\n  verify: maybe\nrules:\n  - match: a.*\n  - match: A\n  - mach: b\n",
        "
        error[unknown-field]: unknown field `hots`
         --> p.yaml:5:7
          |
        5 |       hots: ***
          |       ^^^^
          |
        help: did you mean `host`?

        error[out-of-range]: must be at most 65535, found the number 70000
         --> p.yaml:6:13
          |
        6 |       port: 70000
          |             ^^^^^

        error[wrong-value]: expected `fast` or `safe`, found the string `fats`
         --> p.yaml:7:13
          |
        7 |       mode: fats
          |             ^^^^
          |
        help: did you mean `fast`?

        error[unknown-field]: unknown field `certfle`
         --> p.yaml:9:9
          |
        9 |         certfle: x
          |         ^^^^^^^
          |
        help: did you mean `certfile`?

        error[wrong-type]: expected `true` or `false`, found the string `maybe`
          --> p.yaml:10:17
           |
        10 |         verify: maybe
           |                 ^^^^^

        error[wrong-value]: expected text like `^[a-z.*]+$`, found the string `A`
          --> p.yaml:13:18
           |
        13 |         - match: A
           |                  ^

        error[unknown-field]: unknown field `mach`
          --> p.yaml:14:11
           |
        14 |         - mach: b
           |           ^^^^
           |
        help: did you mean `match`?
        ",
    );
}

#[test]
fn a_missing_field_is_told_with_its_meaning() {
    check(
        "port: 1\n",
        "
        error[missing-field]: missing field `host`
         --> p.yaml:5:7
          |
        5 |       port: 1
          |       ^^^^^^^
          |
        help: `host`: Where the server is.
        ",
    );
}

#[test]
fn of_several_shapes_the_one_that_was_meant_is_told() {
    check(
        "host: h\nauth: { kind: jwt, isuer: i }\n",
        "
        error[unknown-field]: unknown field `isuer`
         --> p.yaml:6:26
          |
        6 |       auth: { kind: jwt, isuer: i }
          |                          ^^^^^
          |
        help: did you mean `issuer`?
        ",
    );
    check(
        "host: h\nauth: 5\ntls: yes\n",
        "
        error[wrong-type]: expected a map, found the number 5
         --> p.yaml:6:13
          |
        6 |       auth: 5
          |             ^

        error[wrong-type]: expected a map, found the string `yes`
         --> p.yaml:7:12
          |
        7 |       tls: yes
          |            ^^^
        ",
    );
}

#[test]
fn secrets_and_interpolated_values_are_never_quoted() {
    check(
        "host: h\npassword: [canary-4711]\nport: ${env:PASSWORD}\nmode: \"${env:PASSWORD}\"\npasword: canary-4711\n",
        "
        error[wrong-type]: expected a string, found a list
         --> p.yaml:6:17
          |
        6 |       password: [***]
          |                 ^^^^^

        error[wrong-type]: expected a whole number, found a string
         --> p.yaml:7:13
          |
        7 |       port: ${env:PASSWORD}
          |             ^^^^^^^^^^^^^^^

        error[wrong-value]: expected `fast` or `safe`, found a string
         --> p.yaml:8:13
          |
        8 |       mode: \"${env:PASSWORD}\"
          |             ^^^^^^^^^^^^^^^^^

        error[unknown-field]: unknown field `pasword`
         --> p.yaml:9:7
          |
        9 |       pasword: ***
          |       ^^^^^^^
          |
        help: expected one of `host`, `port`, `password`, `mode`, `tls`, `rules`, `auth`
        ",
    );
    check(
        "host: ${env:PORT}\n",
        "
        error[wrong-type]: expected a string, found a number
         --> p.yaml:5:13
          |
        5 |       host: ${env:PORT}
          |             ^^^^^^^^^^^
          |
        help: quote the `${...}` if its text is meant, whatever it looks like
        ",
    );
}

#[test]
fn durations_and_sizes_of_plugins_are_explained_like_the_hosts_own() {
    use lockstep_plugin_api::config::{Seconds, Size};
    #[derive(schemars::JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Limits {
        /// How long.
        timeout: Option<Seconds>,
        size: Size,
    }
    let schema = schemars::schema_for!(Limits).to_value();
    let pipeline = accepted(
        "sources: [{ plugin: a }]\nsinks:\n  - plugin: b\n    config: { timeout: 5 light, size: 1 stone }\n",
    );
    let sink = &pipeline.sinks[0];
    let problems = check_against_schema(&pipeline.source_text, "sinks.0.config", &sink.config, &schema);
    let messages: Vec<_> = problems.iter().map(Diagnostic::message).collect();
    assert_eq!(
        messages,
        [
            "`5 light` is not a duration: write `30s`, `250ms` or `1h30m`",
            "`1 stone` is not a size: write `64MiB`, `10KB` or a number of bytes",
        ]
    );
}

#[test]
fn secrets_are_redacted_where_a_configuration_is_shown() {
    let pipeline = accepted(
        "sources: [{ plugin: a }]\nsinks: [{ plugin: b, config: { host: h, password: canary-4711, pasword: x } }]\n",
    );
    let shown = pipeline.sinks[0].redacted_config(Some(&schema()));
    assert_eq!(shown, json!({ "host": "h", "password": "***", "pasword": "***" }));
}

#[test]
fn a_schema_that_is_broken_is_the_plugins_fault() {
    let pipeline = accepted("sources: [{ plugin: a }]\nsinks: [{ plugin: b }]\n");
    let problems =
        check_against_schema(&pipeline.source_text, "sinks.0.config", &json!({}), &json!({ "type": 5 }));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].code_name(), "plugin-schema");
    assert_eq!(problems[0].line_column(), Some((2, 9)));
}

#[test]
fn other_rooms_point_at_any_value() {
    let pipeline = accepted("sources: [{ plugin: a }]\nsinks:\n  - plugin: kafak\n");
    let source = &pipeline.source_text;
    let help = Some("did you mean `kafka`?".to_owned());
    let problem = source
        .diagnostic("sinks.0.plugin", Anchor::Value, "no plugin is called `kafak`", help)
        .code("plugin");
    compare(
        &problem.into(),
        "
        error[plugin]: no plugin is called `kafak`
         --> p.yaml:3:13
          |
        3 |   - plugin: kafak
          |             ^^^^^
          |
        help: did you mean `kafka`?
        ",
    );
}
