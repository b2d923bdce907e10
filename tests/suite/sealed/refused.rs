//! What `lockstep validate` says about pipelines that seal.

use super::*;
use std::time::Instant;

const ENCRYPT: &str =
    "{ plugin: encrypt, config: { keys: ['app.*'], except: ['app.public.*'], ring: [ { id: k, env: K } ] } }";
const DECRYPT: &str = "{ plugin: decrypt, config: { keys: ['app.*'], ring: [ { id: k, env: K } ] } }";
const MERGING: &str = "{ plugin: resolver, config: { strategies: [ { match: 'app.plain.*', strategy: first_write_wins }, { match: 'app.*', strategy: merge_strategies } ] } }";
const LAST: &str = "{ plugin: resolver }";
const VALIDATE: &str =
    "{ plugin: validate, config: { schemas: [ { match: '*.port', schema: { type: integer } } ] } }";

/// What is said about a pipeline with these transforms: its source's own, its own, and its sink's own.
fn validated(chains: [&[&str]; 3], settings: &str) -> (bool, String) {
    let [source, own, sink] = chains.map(|chain| chain.join(", "));
    let yaml = format!(
        "
sources: [ {{ plugin: file, config: {{ path: in }}, transforms: [ {source} ] }} ]
transforms: [ {own} ]
sinks: [ {{ plugin: file, config: {{ path: out }}, transforms: [ {sink} ] }} ]
"
    );
    let site = Site::new().pipeline("p", &yaml);
    site.write("lockstep.yaml", settings);
    let said = site.run(["validate", "pipelines"]);
    assert!(matches!(said.code, Some(0 | 2)), "{said:?}");
    (said.code == Some(0), format!("{}{}", said.stdout, said.stderr))
}

#[track_caller]
fn refused(chains: [&[&str]; 3], says: &[&str]) {
    let (is_good, said) = validated(chains, "");
    assert!(!is_good, "{said}");
    says.iter().for_each(|part| assert!(said.contains(part), "`{part}` in\n{said}"));
}

#[track_caller]
fn accepted(chains: [&[&str]; 3]) -> String {
    let (is_good, said) = validated(chains, "");
    assert!(is_good, "{said}");
    said
}

#[test]
fn a_component_that_reads_values_behind_one_that_seals_them_is_refused() {
    refused(
        [&[], &[ENCRYPT, MERGING], &[]],
        &[
            "`resolver` reads the values of keys such as `app.x` to merge or transform them",
            "`encrypt` before it (transforms.0)",
            "p.yaml:3:",
            "put `encrypt` behind `resolver`",
        ],
    );
    refused([&[ENCRYPT], &[MERGING], &[]], &["such as `app.x`", "(sources.0.transforms.0)"]);
    refused(
        [&[], &[ENCRYPT, VALIDATE, LAST], &[]],
        &["`validate` reads the values of keys such as `app.port` to compare them with their schema"],
    );
    refused([&[], &[ENCRYPT, LAST], &[VALIDATE]], &["`validate` reads", "(transforms.0)"]);
    refused([&[], &[], &[ENCRYPT, VALIDATE]], &["(sinks.0.transforms.0)"]);
}

#[test]
fn whoever_reads_first_other_keys_or_opened_values_is_not() {
    accepted([&[], &[VALIDATE, ENCRYPT, "{ plugin: lock }", LAST], &[]]);
    accepted([&[DECRYPT], &[VALIDATE, MERGING], &[ENCRYPT]]);
    accepted([&[], &[ENCRYPT, LAST], &[DECRYPT, VALIDATE]]);
    let public = VALIDATE.replace("*.port", "app.public.*");
    accepted([&[], &[ENCRYPT, &public, LAST], &[]]);
    let first = VALIDATE.replace("schemas: [ ", "schemas: [ { match: 'app.*', schema: true }, ");
    accepted([&[], &[ENCRYPT, &first, LAST], &[]]);
    let plain = ENCRYPT.replace("'app.*'", "'app.plain.*'");
    accepted([&[], &[&plain, MERGING], &[]]);
    // One of the keys that are sealed is not opened.
    let fewer = DECRYPT.replace("'app.*'", "'app.a*'");
    refused([&[], &[ENCRYPT, LAST], &[&fewer, VALIDATE]], &["such as `app.port`"]);
}

#[test]
fn what_dead_letters_do_not_keep_is_said_unless_the_store_is_sealed() {
    let warning = "becomes a dead letter without its value";
    let said = accepted([&[], &[ENCRYPT, LAST], &[]]);
    assert!(said.contains(warning) && said.contains("`state.encryption`"), "{said}");
    let settings = "state: { encryption: { keys: [ { id: k, env: K } ] } }\n";
    let (is_good, said) = validated([&[], &[ENCRYPT, LAST], &[]], settings);
    assert!(is_good && !said.contains(warning), "{said}");
    assert!(!accepted([&[DECRYPT], &[LAST], &[]]).contains(warning));
    let passing = DECRYPT.replace("config: { ", "config: { on_unknown_key: pass, ");
    for chains in [[&[][..], &[LAST], &[DECRYPT]], [&[], &[LAST], &[&passing]], [&[], &[DECRYPT], &[]]] {
        let said = accepted(chains);
        let expected = "a record that fails behind `decrypt`, which opens it, becomes a dead letter without";
        assert!(said.contains(expected) && said.contains("`state.encryption`"), "{said}");
    }
}

#[test]
fn no_key_and_no_value_of_a_variable_is_shown() {
    let site = Site::new().env("K", "canary-key-31f0").pipeline(
        "p",
        "
sources: [ { plugin: file, config: { path: in } } ]
transforms: [ { plugin: encrypt, config: { keys: ['*'], ring: [ { id: k, env: K } ] } } ]
sinks: [ { plugin: file, config: { path: out } } ]
",
    );
    site.write("in", "");
    for command in [&["validate", "pipelines"][..], &["run", "--admin-listen", "127.0.0.1:0", "pipelines"]] {
        let said = site.run(command).expect_code(2);
        let said = format!("{}{}", said.stdout, said.stderr);
        assert!(said.contains("environment variable `K`") && said.contains("a key is 32 bytes"), "{said}");
        assert!(!said.contains("canary-key-31f0"), "{said}");
    }
}

#[test]
fn a_condition_that_looks_into_sealed_values_is_refused_and_one_that_asks_for_the_key_is_warned_of() {
    let said = |when: &str, own: &str, sink: &str| {
        let yaml = format!(
            "
sources: [ {{ plugin: file, config: {{ path: in }} }} ]
transforms: [ {own} ]
sinks:
  - plugin: file
    when: {when}
    transforms: [ {sink} ]
    config: {{ path: out }}
"
        );
        let site = Site::new().pipeline("p", &yaml);
        let said = site.run(["validate", "pipelines"]);
        (said.code, format!("{}{}", said.stdout, said.stderr))
    };
    let port = "change.new_value.port > 5";
    let (code, text) = said(port, ENCRYPT, "");
    let expected = [
        "looks into the values of keys such as `app.",
        "but `encrypt` before it (transforms.0)",
        "p.yaml:6:",
    ];
    assert!(code == Some(2) && expected.iter().all(|part| text.contains(part)), "{text}");
    // It is asked before the sink's own transforms open anything.
    assert_eq!(said(port, ENCRYPT, DECRYPT).0, Some(2));
    let transform = format!(
        "{ENCRYPT}, {{ plugin: decrypt, when: '{port}', config: {{ ring: [ {{ id: k, env: K }} ] }} }}"
    );
    let (code, text) = said("has(change.new_value)", &transform, "");
    assert!(code == Some(2) && text.contains("`when` of `decrypt`"), "{text}");
    assert_eq!(said("has(change.new_value)", ENCRYPT, "").0, Some(0));
    assert_eq!(said(port, "", ENCRYPT).0, Some(0), "it is sealed later");
    assert_eq!(said(port, &format!("{ENCRYPT}, {DECRYPT}"), "").0, Some(0), "it is opened before");
    let (code, text) = said(&format!("change.config_key == 'app.public.x' && {port}"), ENCRYPT, "");
    assert!(code == Some(0) && text.contains("looks into the values of keys"), "{text}");
}

#[test]
fn globs_that_take_too_long_to_tell_apart_are_given_up_and_that_is_said() {
    let globs = |end: &str| (0..400).map(|n| format!("'*{n}{end}'")).collect::<Vec<_>>();
    let ring = "ring: [ { id: k, env: K } ]";
    let encrypt = format!("{{ plugin: encrypt, config: {{ keys: [ {} ], {ring} }} }}", globs("a").join(", "));
    let decrypt = format!("{{ plugin: decrypt, config: {{ keys: [ {} ], {ring} }} }}", globs("c").join(", "));
    let schemas = globs("b")
        .iter()
        .map(|glob| format!("{{ match: {glob}, schema: {{ type: integer }} }}"))
        .collect::<Vec<_>>();
    let validate = format!("{{ plugin: validate, config: {{ schemas: [ {} ] }} }}", schemas.join(", "));
    let began = Instant::now();
    let said = accepted([&[], &[&encrypt, &decrypt, &validate, LAST], &[]]);
    assert!(said.contains("there are too many globs to tell"), "{said}");
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}
