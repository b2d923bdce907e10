use super::*;

const MINIMAL: &str = "sources: [{ plugin: a }]\nsinks: [{ plugin: b }]\n";

#[test]
fn unknown_fields_point_at_their_name() {
    refused(
        "sources: [{ plugin: a }]\nsinks:\n  - plugin: b\n    on_eror: { then: skip }\n    banana: 1\ndelivry: {}\n",
        "
        error[unknown-field]: unknown field `on_eror`
         --> p.yaml:4:5
          |
        4 |     on_eror: { then: skip }
          |     ^^^^^^^
          |
        help: did you mean `on_error`?

        error[unknown-field]: unknown field `banana`
         --> p.yaml:5:5
          |
        5 |     banana: 1
          |     ^^^^^^
          |
        help: expected one of `name`, `plugin`, `when`, `transforms`, `on_error`, `isolation`, `tasks`, `config`

        error[unknown-field]: unknown field `delivry`
         --> p.yaml:6:1
          |
        6 | delivry: {}
          | ^^^^^^^
          |
        help: did you mean `delivery`?
        ",
    );
}

#[test]
fn missing_fields_point_at_the_item() {
    refused(
        "sources:\n  - name: a\n    config: {}\n",
        "
        error[missing-field]: missing field `sinks`
         --> p.yaml:1:1
          |
        1 | sources:
          | ^^^^^^^^
          |
        help: `sinks`: Where records go; each sink gets every record that its `when` lets pass.

        error[missing-field]: missing field `plugin`
         --> p.yaml:2:5
          |
        2 |   - name: a
          |     ^^^^^^^
          |
        help: `plugin`: `my_plugin`, `my_plugin@1.2` for one version of several, or `./my_plugin.so`, relative to this file.
        ",
    );
}

#[test]
fn a_misspelt_required_field_is_one_mistake() {
    refused(
        "sources: [{ plugn: a }]\nsinks: [{ plugin: b }]\n",
        "
        error[unknown-field]: unknown field `plugn`
         --> p.yaml:1:13
          |
        1 | sources: [{ plugn: a }]
          |             ^^^^^
          |
        help: did you mean `plugin`?
        ",
    );
}

#[test]
fn duplicate_keys_are_refused_wherever_they_stand() {
    refused(
        "sources: [{ plugin: a }]\nsinks:\n  - plugin: b\n    config: { x: 1, \"x\": 2 }\n    plugin: c\n",
        "
        error[duplicate-key]: `x` is given twice
         --> p.yaml:4:21
          |
        4 |     config: { x: 1, \"x\": 2 }
          |                     ^^^
          |
        help: it was given first on line 4; keep one of them

        error[duplicate-key]: `plugin` is given twice
         --> p.yaml:5:5
          |
        5 |     plugin: c
          |     ^^^^^^
          |
        help: it was given first on line 3; keep one of them
        ",
    );
}

#[test]
fn wrong_types_and_values_point_at_the_value() {
    refused(
        "sources: []\nsinks:\n  - plugin: [b]\n    when: 5\n    on_error:\n      retry: { attempts: many, backoff: 5 light }\n      then: explode\ndelivery: { batch: { records: 0 }, in_flight: { bytes: 64Mib } }\n",
        "
        error[out-of-range]: needs at least 1 item
         --> p.yaml:1:10
          |
        1 | sources: []
          |          ^^

        error[wrong-type]: expected a string, found a list
         --> p.yaml:3:13
          |
        3 |   - plugin: [b]
          |             ^^^

        error[wrong-type]: expected a string, found the number 5
         --> p.yaml:4:11
          |
        4 |     when: 5
          |           ^

        error[wrong-type]: expected a whole number, found the string `many`
         --> p.yaml:6:26
          |
        6 |       retry: { attempts: many, backoff: 5 light }
          |                          ^^^^

        error[wrong-value]: `5 light` is not a duration: write `30s`, `250ms` or `1h30m`
         --> p.yaml:6:41
          |
        6 |       retry: { attempts: many, backoff: 5 light }
          |                                         ^^^^^^^

        error[wrong-value]: expected `dead_letter`, `stop` or `skip`, found the string `explode`
         --> p.yaml:7:13
          |
        7 |       then: explode
          |             ^^^^^^^

        error[out-of-range]: must be at least 1, found the number 0
         --> p.yaml:8:31
          |
        8 | delivery: { batch: { records: 0 }, in_flight: { bytes: 64Mib } }
          |                               ^

        error[wrong-value]: `64Mib` is not a size: write `64MiB`, `10KB` or a number of bytes
         --> p.yaml:8:56
          |
        8 | delivery: { batch: { records: 0 }, in_flight: { bytes: 64Mib } }
          |                                                        ^^^^^
        ",
    );
}

#[test]
fn columns_count_characters() {
    refused(
        "# ñandú ☃\nsources: [{ plugin: a, name: 'ñandú ☃', when: 5 }]\nsinks: [{ plugin: b }]\n",
        "
        error[wrong-type]: expected a string, found the number 5
         --> p.yaml:2:47
          |
        2 | sources: [{ plugin: a, name: 'ñandú ☃', when: 5 }]
          |                                               ^
        ",
    );
}

#[test]
fn what_is_planned_says_so() {
    refused(
        "sources: [{ plugin: a, isolation: process }]\nsinks: [{ plugin: b, tasks: 4 }]\n",
        "
        error[planned]: `isolation` is planned: a child process per plugin; this version runs plugins in the host's process
         --> p.yaml:1:24
          |
        1 | sources: [{ plugin: a, isolation: process }]
          |                        ^^^^^^^^^
          |
        help: remove the line

        error[planned]: `tasks` is planned: several instances of one component; this version runs one
         --> p.yaml:2:22
          |
        2 | sinks: [{ plugin: b, tasks: 4 }]
          |                      ^^^^^
          |
        help: remove the line
        ",
    );
}

#[test]
fn fields_without_a_meaning_on_their_kind_are_refused() {
    refused(
        "sources:\n  - plugin: a\n    when: key == 'a'\n    on_error: {}\ntransforms:\n  - plugin: t\n    transforms: []\n    when: otherwise\nsinks: [{ plugin: b, when: otherwise }]\n",
        "
        error[misplaced-field]: a source has no `when`: put it on a transform or a sink
         --> p.yaml:3:5
          |
        3 |     when: key == 'a'
          |     ^^^^

        error[misplaced-field]: a source has no `on_error`: put it on the transform or sink that may fail
         --> p.yaml:4:5
          |
        4 |     on_error: {}
          |     ^^^^^^^^

        error[misplaced-field]: a transform has no chain of its own: list its steps one after the other
         --> p.yaml:7:5
          |
        7 |     transforms: []
          |     ^^^^^^^^^^

        error[condition]: `otherwise` is what no other sink takes; a transform needs a condition
         --> p.yaml:8:11
          |
        8 |     when: otherwise
          |           ^^^^^^^^^

        error[condition]: `otherwise` needs another sink with a condition
         --> p.yaml:9:28
          |
        9 | sinks: [{ plugin: b, when: otherwise }]
          |                            ^^^^^^^^^
          |
        help: remove this line: without it the sink gets every record
        ",
    );
}

#[test]
fn names_are_unique_among_their_kind() {
    refused(
        "sources: [{ plugin: a, transforms: [{ plugin: t }] }]\ntransforms: [{ plugin: t }]\nsinks:\n  - plugin: b\n  - { name: b, plugin: c }\n  - { name: a b, plugin: '@1' }\n  - plugin: d@latest\n",
        "
        error[duplicate-name]: two transforms are called `t`
         --> p.yaml:2:24
          |
        2 | transforms: [{ plugin: t }]
          |                        ^
          |
        help: the first is on line 1; give one of them another `name`

        error[duplicate-name]: two sinks are called `b`
         --> p.yaml:5:13
          |
        5 |   - { name: b, plugin: c }
          |             ^
          |
        help: the first is on line 4; give one of them another `name`

        error[name]: `a b` is not a valid name
         --> p.yaml:6:13
          |
        6 |   - { name: a b, plugin: '@1' }
          |             ^^^
          |
        help: a name has 1 to 64 of the characters A-Z a-z 0-9 . _ -

        error[plugin]: `@1` is not the name of a plugin
         --> p.yaml:6:26
          |
        6 |   - { name: a b, plugin: '@1' }
          |                          ^^^^
          |
        help: write `my_plugin`, `my_plugin@1.2`, or a path such as `./my_plugin.so`

        error[plugin]: `latest` is not a version
         --> p.yaml:7:15
          |
        7 |   - plugin: d@latest
          |               ^^^^^^
          |
        help: write the number or its beginning: `d@1`, `d@1.2` or `d@1.2.3`
        ",
    );
}

#[test]
fn conditions_point_at_the_word_that_is_wrong() {
    refused(
        "sources: [{ plugin: a }]\nsinks:\n  - plugin: b\n    when: key == 'a' && chnge.config_key == 'b'\n  - plugin: c\n    when: \"change.config_key == \\\"a\\\" && change.user == 'b'\"\n  - plugin: d\n    when: >-\n      key == 'a' &&\n      size(key)\n",
        "
        error[condition]: `chnge` is not known
         --> p.yaml:4:25
          |
        4 |     when: key == 'a' && chnge.config_key == 'b'
          |                         ^^^^^
          |
        help: did you mean `change`?

        error[condition]: a change has no field `user`
         --> p.yaml:6:49
          |
        6 |     when: \"change.config_key == \\\"a\\\" && change.user == 'b'\"
          |                                                 ^^^^
          |
        help: did you mean `user_id`?

        error[condition]: `&&` takes true or false, this is a number
          --> p.yaml:10:7
           |
        10 |       size(key)
           |       ^^^^^^^^^
        ",
    );
}

#[test]
fn an_unset_variable_points_at_its_reference() {
    refused(
        "sources: [{ plugin: a }]\nsinks:\n  - plugin: b\n    config:\n      a: ${env:PASWORD}\n      b: \"x ${env:NOPE} y\"\n      c: ${exec:pass}\n      d: ${PORT}\n      e: ${env:PORT\n",
        "
        error[unset-variable]: the environment variable `PASWORD` is not set
         --> p.yaml:5:10
          |
        5 |       a: ${env:PASWORD}
          |          ^^^^^^^^^^^^^^
          |
        help: did you mean `PASSWORD`?

        error[unset-variable]: the environment variable `NOPE` is not set
         --> p.yaml:6:13
          |
        6 |       b: \"x ${env:NOPE} y\"
          |             ^^^^^^^^^^^
          |
        help: set it, or give a default: ${env:NOPE:-value}

        error[exec]: `${exec:...}` is planned; this version runs no programs for a value
         --> p.yaml:7:10
          |
        7 |       c: ${exec:pass}
          |          ^^^^^^^^^^^^
          |
        help: use `${file:...}` or `${env:...}`

        error[interpolation]: `${PORT}` does not say where the value comes from
         --> p.yaml:8:10
          |
        8 |       d: ${PORT}
          |          ^^^^^^^
          |
        help: write `${env:PORT}`, or `$${` for a plain `${`

        error[interpolation]: this `${` is not closed
         --> p.yaml:9:10
          |
        9 |       e: ${env:PORT
          |          ^^^^^^^^^^
          |
        help: close it with `}`, or write `$${` for a plain `${`
        ",
    );
}

#[test]
fn delivery_limits_fit_each_other() {
    refused(
        &format!("{MINIMAL}delivery: {{ in_flight: {{ records: 10 }} }}\n"),
        "
        error[out-of-range]: a batch of 100 records is more than may be in flight, 10
         --> p.yaml:3:11
          |
        3 | delivery: { in_flight: { records: 10 } }
          |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        ",
    );
}

#[test]
fn text_that_is_not_yaml_is_refused_at_its_place() {
    refused(
        "sources:\n\t- plugin: a\n",
        "
        error[syntax]: not valid YAML: tabs disallowed within this context (block indentation)
         --> p.yaml:2:2
          |
        2 |     - plugin: a
          |     ^
          |
        help: indent with spaces, not tabs
        ",
    );
    refused("", "error[empty]: the file is empty\n --> p.yaml:1:1\n  |\n1 |\n  | ^");
    refused(
        "- a\n- b\n",
        "
        error[wrong-type]: expected a map of fields at the top of the file
         --> p.yaml:1:1
          |
        1 | - a
          | ^^^
        ",
    );
    refused(
        &format!("{MINIMAL}---\n{MINIMAL}"),
        "
        error[several-documents]: a second YAML document starts here
         --> p.yaml:3:1
          |
        3 | ---
          | ^^^
          |
        help: write one document per file, and remove this `---`
        ",
    );
    refused(
        "sources: [{ plugin: a, config: { port: ${env:PORT} } }]\nsinks: [{ plugin: b }]\n",
        "
        error[syntax]: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'
         --> p.yaml:1:41
          |
        1 | sources: [{ plugin: a, config: { port: ${env:PORT} } }]
          |                                         ^
          |
        help: inside `{ }` and `[ ]`, quote what contains `${...}`: \"${env:NAME}\"
        ",
    );
    refused(
        "sources: [{ plugin: a, config: { 1: x, y: !secret z, w: .nan } }]\nsinks: [{ plugin: b }]\n",
        "
        error[syntax]: the key `1` is not a string
         --> p.yaml:1:34
          |
        1 | sources: [{ plugin: a, config: { 1: x, y: !secret z, w: .nan } }]
          |                                  ^
          |
        help: quote it: \"1\"

        error[tag]: YAML tags have no meaning here
         --> p.yaml:1:43
          |
        1 | sources: [{ plugin: a, config: { 1: x, y: !secret z, w: .nan } }]
          |                                           ^^^^^^^^^
          |
        help: remove the tag; to make a string of a number, quote it

        error[syntax]: `.nan` is a number that JSON does not have
         --> p.yaml:1:57
          |
        1 | sources: [{ plugin: a, config: { 1: x, y: !secret z, w: .nan } }]
          |                                                         ^^^^
        ",
    );
}

#[test]
fn bombs_do_not_go_off() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..9 {
        let previous = format!("*a{}", n - 1);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![previous; 9].join(", ")));
    }
    refused(
        &bomb,
        "error[alias]: aliases stand for more than 10000 values\n --> p.yaml:1:1\n  |\n1 | a0: &a0 [x, x, x, x, x, x, x, x, x]\n  | ^",
    );
    for (open, expect) in [
        ("[", "recursion limit exceeded"),
        ("- ", "nested more than 64 levels deep"),
        ("{a: ", "recursion limit exceeded"),
    ] {
        let (_, problems) = read_pipeline(&format!("a:\n  {}", open.repeat(100_000)));
        let message = problems.iter().next().map(|problem| problem.message().to_owned()).unwrap_or_default();
        assert!(message.contains(expect), "{open}: {message}");
    }
    let (_, problems) = read_pipeline("a: &a [*a]\n");
    assert_eq!(problems.iter().next().map(Diagnostic::code_name), Some("alias"));
}

#[test]
fn secrets_are_not_shown_even_by_an_early_refusal() {
    refused(
        "sources: [{ plugin: a }]\nsinks: [{ plugin: b, config: { password: canary-4711, x: 1, x: 2 } }]\n",
        "
        error[duplicate-key]: `x` is given twice
         --> p.yaml:2:61
          |
        2 | sinks: [{ plugin: b, config: { password: ***, x: 1, x: 2 } }]
          |                                                     ^
          |
        help: it was given first on line 2; keep one of them
        ",
    );
    refused(
        "sources: [{ plugin: a }]\nsinks: [{ plugin: b, config: { password: \"canary-4711 }]\n",
        "
        error[syntax]: not valid YAML: while scanning a quoted scalar, found unexpected end of stream
         --> p.yaml:2:42
          |
        2 | sinks: [{ plugin: b, config: { password: ***
          |                                          ^^^
        ",
    );
}

#[test]
fn programs_read_the_same_as_json() {
    let (_, problems) = read_pipeline("sources: [{ plugn: a }]\nsinks: [{ plugin: b }]\n");
    assert_eq!(
        problems.to_json(),
        serde_json::json!([{
            "severity": "error", "code": "unknown-field", "message": "unknown field `plugn`",
            "help": "did you mean `plugin`?", "file": "p.yaml", "line": 1, "column": 13,
            "path": "sources.0.plugn", "origin": null,
        }])
    );
    assert!(problems.render(true).contains("\u{1b}["));
    assert!(!problems.to_string().contains('\u{1b}'));
}
