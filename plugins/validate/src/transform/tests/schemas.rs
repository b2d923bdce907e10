//! Schemas in files: what they may refer to, and what is said of those that cannot be used.

use super::*;
use std::fs;

#[test]
fn schemas_are_read_from_files_and_refer_to_their_own_folder_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place { base_dir: folder.path().to_owned(), ..Place::default() };
    let write = |name: &str, schema: Value| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, schema.to_string()).expect("written");
    };
    write(
        "schemas/database.json",
        json!({ "properties": { "port": { "$ref": "types/port.json#/$defs/port" } } }),
    );
    write("schemas/types/port.json", json!({ "$defs": { "port": { "type": "integer" } } }));
    write("outside.json", json!(true));
    write("schemas/escape.json", json!({ "$ref": "../outside.json" }));
    write("schemas/remote.json", json!({ "$ref": "https://example.com/schema.json" }));
    write("schemas/missing.json", json!({ "$ref": "nowhere.json" }));

    let rules = |schema: Value| json!({ "schemas": [{ "match": "*", "schema": schema }] });
    let config = rules(json!("./schemas/database.json")).to_string();
    let mut validate = testing::transform_at::<Validate>(&config, &place).expect("compiled");
    assert!(rejection(&mut validate, change(&json!({ "port": 1 }))).is_none());
    assert!(rejection(&mut validate, change(&json!({ "port": "1" }))).is_some());

    for (schema, says) in [
        (json!("schemas/escape.json"), "own folder"),
        (json!("schemas/remote.json"), "never fetched"),
        (json!("schemas/missing.json"), "nowhere.json"),
        (json!("schemas/absent.json"), "cannot read the schema"),
        (json!({ "$ref": "https://example.com/schema.json" }), "never fetched"),
        (json!({ "$ref": "file:///etc/hostname" }), "own folder"),
        (json!({ "type": "intger" }), "intger"),
        (json!({ "pattern": "(?=a)" }), "(?=a)"),
        (json!({ "format": "ipv5" }), "ipv5"),
        (json!({ "$schema": "http://json-schema.org/draft-07/schema#" }), "draft-07"),
    ] {
        let error = refusal(rules(schema.clone()), &place);
        assert_eq!(error.detail(), "schemas.0.schema");
        assert!(error.message().contains(says), "{schema}: {error}");
        // And before anything is started.
        let advice = testing::transform_advice::<Validate>(&rules(schema).to_string(), &place).expect("read");
        let said = advice.refusals(Way::Direct).next().expect("refused");
        assert_eq!((said.message(), said.detail()), (error.message(), "schemas.0.schema"));
    }
    assert!(
        testing::transform_advice::<Validate>(&config, &place)
            .expect("read")
            .refusals(Way::Direct)
            .next()
            .is_none()
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_own_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let place = Place { base_dir: folder.path().to_owned(), ..Place::default() };
    fs::write(at("broken.json"), "{ \"type\": ").expect("written");
    fs::write(at("type.json"), r#"{ "type": "x" }"#).expect("written");
    fs::write(at("old.json"), r#"{ "$schema": "http://json-schema.org/draft-07/schema#" }"#)
        .expect("written");
    for (name, says) in [
        ("broken.json", "line 1"),
        ("type.json", "(at /type)"),
        ("old.json", "draft-07"),
        ("none.json", "No such file"),
    ] {
        let message = |schema: &str| {
            let config = json!({ "schemas": [{ "match": "*", "schema": schema }] });
            refusal(config, &place).message().to_owned()
        };
        let (named, own) = (format!("schema `{}`", at(name).display()), message(name));
        assert!(own.contains(&named) && own.contains(says), "{own}");
        fs::write(at("refers.json"), json!({ "items": { "$ref": name } }).to_string()).expect("written");
        let referring = format!("the schema `{}` cannot be used: it refers to", at("refers.json").display());
        let target = format!("{referring} `{}`: ", at(name).display());
        let referred = message("refers.json");
        assert!(referred.starts_with(&target) && referred.contains(says), "{referred}");
    }
}

#[test]
fn what_no_schema_can_be_compared_with_is_refused_for_that_and_not_as_broken_json() {
    for value in ["1e400", r#"{"a":[-1e999]}"#, r#""\ud800""#] {
        let record = || Record::new(format!(r#"{{"config_key":"app.x","new_value":{value}}}"#));
        let (code, details) = rejection(&mut with_schema(json!({})), record()).expect("rejected");
        assert_eq!((code.as_str(), &details[0]["path"]), ("invalid_value", &json!("")), "{value}");
        assert!(details[0]["reason"].as_str().is_some_and(|reason| reason.starts_with("cannot be compared")));
        assert_eq!(rejection(&mut with_schema(json!(true)), record()), None, "{value}: nothing is compared");
    }
}
