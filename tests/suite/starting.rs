//! What could never start is refused by `lockstep validate`, and what fails at its start says where and why.

use lockstep_test_support::{LIMIT, Site};
use std::{fs, os::unix::fs::PermissionsExt};

const ENCRYPT: &str = "{ plugin: encrypt, config: { keys: ['app.*'], ring: [ { id: k, file: kek } ] } }";

/// A site with one direct pipeline of these transforms.
fn site(transforms: &str) -> Site {
    let yaml = format!(
        "
sources: [ {{ plugin: file, config: {{ path: in.ndjson }} }} ]
transforms:
  - {transforms}
sinks: [ {{ plugin: file, config: {{ path: out.ndjson }} }} ]
"
    );
    let site = Site::new().pipeline("p", &yaml);
    site.write("pipelines/in.ndjson", "");
    site
}

fn validated(site: &Site) -> (Option<i32>, String) {
    let said = site.run(["validate", "pipelines"]);
    (said.code, format!("{}{}", said.stdout, said.stderr))
}

#[test]
fn a_schema_that_cannot_be_used_is_refused_with_its_file_and_its_place() {
    let site = site("{ plugin: validate, config: { schemas: [ { match: '*', schema: schemas/a.json } ] } }");
    for (text, says) in [
        (None, "its folder"),
        (Some("{ \"type\": "), "cannot read the schema"),
        (Some(r#"{ "type": "x" }"#), "(at /type)"),
        (Some(r#"{ "$schema": "http://json-schema.org/draft-07/schema#" }"#), "draft-07"),
        (Some(r#"{ "pattern": "(?=a)" }"#), "(?=a)"),
        (Some(r#"{ "$ref": "https://example.com/x.json" }"#), "never fetched"),
        (Some(r#"{ "$ref": "../in.ndjson" }"#), "own folder"),
    ] {
        text.iter().for_each(|text| drop(site.write("pipelines/schemas/a.json", text)));
        let (code, said) = validated(&site);
        let expected = [says, "schemas/a.json", "p.yaml:4:"];
        assert!(code == Some(2) && expected.iter().all(|part| said.contains(part)), "{text:?}: {said}");
        let ran = site.run(["run", "--admin-listen", "127.0.0.1:0", "pipelines"]).expect_code(2);
        assert!(ran.stderr.contains(says), "{ran:?}");
    }
    site.write("pipelines/schemas/a.json", r#"{ "type": "integer" }"#);
    assert_eq!(validated(&site).0, Some(0));
}

#[test]
fn what_needs_a_log_is_refused_in_a_direct_pipeline() {
    let (code, said) = validated(&site("{ plugin: lock }"));
    assert!(code == Some(2) && said.contains("locks need a pipeline through the log"), "{said}");
    assert!(said.contains("p.yaml:4:"), "{said}");
    let (code, said) = validated(&site("{ plugin: lock }\n  - { plugin: resolver }"));
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_key_file_is_looked_at_before_the_start_by_who_may_write_and_read_it() {
    let site = site(ENCRYPT);
    let key = |mode: Option<u32>| {
        let path = site.write("pipelines/kek", "ab".repeat(32));
        match mode {
            Some(mode) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
            None => fs::remove_file(path),
        }
        .expect("done");
        validated(&site)
    };
    for (mode, code, says) in [
        (None, 0, "without it the pipeline does not start"),
        (Some(0o600), 0, "ok"),
        (Some(0o644), 0, "everybody on this machine may read it"),
        (Some(0o666), 2, "everybody on this machine may write it"),
    ] {
        let (found, said) = key(mode);
        assert!(found == Some(code) && said.contains(says), "{mode:?}: {said}");
        assert_eq!(
            said.contains("warning"),
            code == 0 && says != "ok" || said.contains("dead letter"),
            "{said}"
        );
    }
}

#[test]
fn so_is_one_of_the_store() {
    let site = site("{ plugin: validate, config: {} }");
    site.write("lockstep.yaml", "state: { encryption: { keys: [ { id: k, file: kek } ] } }\n");
    let (code, said) = validated(&site);
    assert!(code == Some(0) && said.contains("the key `k` cannot be had"), "{said}");
    for (mode, code, says) in [(0o644, 0, "may read it"), (0o666, 2, "may write it")] {
        let path = site.write("kek", "ab".repeat(32));
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        let (found, said) = validated(&site);
        assert!(found == Some(code) && said.contains(says) && said.contains("lockstep.yaml"), "{said}");
    }
    let path = site.write("kek", "short");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("set");
    for command in [&["validate", "pipelines"][..], &["run", "--admin-listen", "127.0.0.1:0", "pipelines"]] {
        let said = site.run(command).expect_code(2);
        assert!(
            said.stderr.contains("kek holds no key") && said.stderr.contains("lockstep.yaml"),
            "{said:?}"
        );
    }
}

#[test]
fn a_start_that_fails_is_logged_with_file_and_field_and_that_nothing_is_left() {
    let site = site(ENCRYPT);
    let mut host = site.start();
    host.wait_until("the failure", LIMIT, |host| host.log().contains("no pipeline runs any more"));
    let log = host.log();
    let line = log.lines().find(|line| line.contains("task failed")).expect("told");
    assert!(line.contains("p.yaml: at `config.ring.0.file`: file `") && line.contains("kek"), "{line}");
}
