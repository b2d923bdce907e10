//! `state.encryption` in its layers: what is refused where, and what is never shown.

use std::path::Path;

use super::layers::{refused, settings};
use super::*;

const TWO_KEYS: &str = "
state:
  encryption:
    keys:
      - { id: k1, env: STORE_KEY }
      - { id: k2, file: ./secrets/k2 }
      - { id: k3, exec: [vault, kv, get, -token=canary] }
    current: k2
";

#[test]
fn keys_are_told_by_where_they_are_found_and_each_has_its_line() {
    let config = settings(TWO_KEYS, Environment::default(), &[]).unwrap();
    let encryption = &config.settings.state.encryption;
    assert_eq!(encryption.current(), Some("k2"));
    let file = encryption.keys[1].file.as_deref().unwrap();
    assert!(file.is_absolute() && file.ends_with("secrets/k2"), "relative to the file: {}", file.display());
    let shown = |path: &str| config.shown.iter().find(|shown| shown.path == path).unwrap();
    assert!(shown("state.encryption.keys.0.env").origin.to_string().ends_with("lockstep.yaml:5"));
    assert!(shown("state.encryption.keys.1.file").origin.to_string().ends_with("lockstep.yaml:6"));
    assert_eq!(
        shown("state.encryption.keys.2.exec").value,
        serde_json::json!(["vault", "***", "***", "***"])
    );
    let all: Vec<String> = config.shown.iter().map(ShownSetting::to_string).collect();
    assert!(!all.join("\n").contains("canary"));
}

#[test]
fn without_keys_nothing_is_sealed_and_the_first_is_the_current_one() {
    let config = settings("", Environment::default(), &[]).unwrap();
    assert_eq!(config.settings.state.encryption, EncryptionSettings::default());
    assert_eq!(config.settings.state.encryption.current(), None);
    let yaml = "state: { encryption: { keys: [ { id: a, env: A }, { id: b, env: B } ] } }\n";
    let config = settings(yaml, Environment::default(), &[]).unwrap();
    assert_eq!(config.settings.state.encryption.current(), Some("a"));
}

#[test]
fn the_environment_names_keys_and_the_current_one() {
    let environment = Environment::from([
        ("LOCKSTEP_STATE__ENCRYPTION__KEYS", r#"[{id="7", env="STORE_KEY"}, {id=k2, file="/run/k2"}]"#),
        ("LOCKSTEP_STATE__ENCRYPTION__CURRENT", "7"),
        ("STORE_KEY", "canary"),
    ]);
    let config = settings(TWO_KEYS, environment, &[]).unwrap();
    let encryption = &config.settings.state.encryption;
    assert_eq!((encryption.keys.len(), encryption.current()), (2, Some("7")));
    assert_eq!(encryption.keys[1].file.as_deref(), Some(Path::new("/run/k2")));
    let shown = config.shown.iter().find(|shown| shown.path == "state.encryption.keys.0.env").unwrap();
    assert_eq!(shown.origin.to_string(), "LOCKSTEP_STATE__ENCRYPTION__KEYS");
}

#[test]
fn what_cannot_be_meant_is_refused_at_its_place() {
    let keys = |keys: &str| format!("state:\n  encryption:\n    keys:\n{keys}");
    let check = |yaml: &str, expect: &[&str]| refused(yaml, Environment::default(), &[], expect);
    check(&keys("      - { id: k1 }\n"), &["4:9: it is not said where the key `k1` is found"]);
    check(
        &keys("      - { id: k1, env: A, file: b }\n"),
        &["4:9: the key `k1` is found in one place, and more than one is given"],
    );
    check(
        &keys("      - { id: k1, exec: [] }\n"),
        &["4:25: the first element is the program, and it is missing"],
    );
    check(&keys("      - { id: k1, env: 'A=B' }\n"), &["4:24: this is no name of an environment variable"]);
    check(
        &keys("      - { id: k1, env: A }\n      - { id: k1, env: B }\n"),
        &["5:15: two keys are called `k1`"],
    );
    check(&keys("      - { id: k1, evn: A }\n"), &["4:19: unknown field `evn`"]);
    check(&keys("      - { id: k1, env: A }\n    current: k2\n"), &["5:14: no key is called `k2`"]);
    check(
        "state: { encryption: { unseal: true } }\n",
        &["1:32: a store cannot be unsealed without the key it is sealed under"],
    );
    refused(
        &keys("      - { id: k1, env: A }\n"),
        Environment::from([("LOCKSTEP_STATE__ENCRYPTION__CURRENT", "other")]),
        &[],
        &["environment variable LOCKSTEP_STATE__ENCRYPTION__CURRENT: no key is called `other`"],
    );
}
