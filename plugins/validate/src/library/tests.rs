use super::*;
use crate::transform::Validate;
use lockstep_plugin_api::testing::{self, Place};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink, path::PathBuf, time::Instant};

/// A folder with schemas, and a transform that looks at them often.
struct Desk {
    folder: tempfile::TempDir,
    place: Place,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place { base_dir: folder.path().to_owned(), ..Place::default() };
        Self { folder, place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl ToString) {
        fs::create_dir_all(self.path(name).parent().expect("a parent")).expect("made");
        fs::write(self.path(name), text.to_string()).expect("written");
    }

    /// As editors and deployments do it.
    fn replace(&self, name: &str, text: impl ToString) {
        self.write("aside", text);
        fs::rename(self.path("aside"), self.path(name)).expect("renamed");
    }

    fn validate(&self, schemas: Value) -> testing::TransformDriver {
        let config = json!({ "schemas": schemas, "reload_interval": "100ms" });
        testing::transform_at::<Validate>(&config.to_string(), &self.place).expect("schemas that can be used")
    }

    fn reloaded(&self) -> u64 {
        self.place.host.counter("validate_schemas_reloaded")
    }

    fn failures(&self) -> u64 {
        self.place.host.counter("validate_schema_failures")
    }

    fn broken(&self) -> i64 {
        self.place.host.gauge("validate_schemas_broken")
    }
}

fn passes(validate: &mut testing::TransformDriver, value: &Value) -> bool {
    let record = Record::new(json!({ "config_key": "app.x", "new_value": value }).to_string());
    validate.apply(vec![record]).expect("applied").failed.is_empty()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn of(kind: &str) -> Value {
    json!({ "type": kind })
}

#[test]
fn a_changed_file_takes_the_place_of_the_old_one_however_it_is_replaced() {
    let desk = Desk::new();
    desk.write("a.json", of("integer"));
    let mut validate = desk.validate(json!([{ "match": "*", "schema": "a.json" }]));
    assert!(passes(&mut validate, &json!(1)) && !passes(&mut validate, &json!("1")));
    desk.write("a.json", of("string"));
    eventually("a file that was written over", || passes(&mut validate, &json!("1")));
    desk.replace("a.json", of("boolean"));
    eventually("a file that was replaced", || passes(&mut validate, &json!(true)));
    assert_eq!((desk.reloaded(), desk.failures()), (2, 0));
}

#[test]
fn a_file_that_another_one_refers_to_counts_too() {
    let desk = Desk::new();
    desk.write("schemas/a.json", json!({ "$ref": "types/x.json" }));
    desk.write("schemas/types/x.json", of("integer"));
    desk.write("beside.json", of("integer"));
    let inline = json!({ "$ref": "beside.json" });
    let mut from_file = desk.validate(json!([{ "match": "*", "schema": "schemas/a.json" }]));
    let mut from_inline = desk.validate(json!([{ "match": "*", "schema": inline }]));
    assert!(!passes(&mut from_file, &json!("1")) && !passes(&mut from_inline, &json!("1")));
    desk.replace("schemas/types/x.json", of("string"));
    desk.replace("beside.json", of("string"));
    eventually("the file behind a file", || passes(&mut from_file, &json!("1")));
    eventually("the file behind an inline schema", || passes(&mut from_inline, &json!("1")));
}

/// As Kubernetes mounts a ConfigMap: every file is a link through `..data`, which is turned to another folder.
#[test]
fn a_folder_that_is_swapped_is_seen_in_whole() {
    let desk = Desk::new();
    for (version, kind) in [("..1", "integer"), ("..2", "string")] {
        // Only what is referred to differs.
        desk.write(&format!("{version}/a.json"), json!({ "$ref": "x.json" }));
        desk.write(&format!("{version}/x.json"), of(kind));
    }
    symlink("..1", desk.path("..data")).expect("linked");
    for name in ["a.json", "x.json"] {
        symlink(format!("..data/{name}"), desk.path(name)).expect("linked");
    }
    symlink("..1", desk.path("whole")).expect("linked");
    let mut by_file = desk.validate(json!([{ "match": "*", "schema": "a.json" }]));
    let mut by_folder = desk.validate(json!([{ "match": "*", "schema": "whole/a.json" }]));
    assert!(!passes(&mut by_file, &json!("1")) && !passes(&mut by_folder, &json!("1")));
    for link in ["..data", "whole"] {
        symlink("..2", desk.path("aside")).expect("linked");
        fs::rename(desk.path("aside"), desk.path(link)).expect("turned");
    }
    fs::remove_dir_all(desk.path("..1")).expect("removed");
    eventually("the files of the new folder", || passes(&mut by_file, &json!("1")));
    eventually("the new folder", || passes(&mut by_folder, &json!("1")));
    assert_eq!(desk.failures(), 0);
}

#[test]
fn what_cannot_be_used_leaves_the_last_good_one_in_force_and_is_told_once() {
    let desk = Desk::new();
    desk.write("a.json", of("integer"));
    desk.write("b.json", of("integer"));
    let mut validate = desk.validate(json!([
        { "match": "app.b", "schema": "b.json" },
        { "match": "*", "schema": "a.json" },
        { "match": "never", "schema": "a.json" },
    ]));
    for (n, broken) in (1..).zip(["{", r#"{"type":"intger"}"#, r#"{"$ref":"nowhere.json"}"#, ""]) {
        desk.replace("a.json", broken);
        eventually("the failure to be told", || desk.failures() == n);
        eventually("the gauge", || desk.broken() == 1);
        assert_eq!(desk.reloaded(), 0, "two rules have one file");
        assert!(passes(&mut validate, &json!(1)) && !passes(&mut validate, &json!("1")), "{broken}");
    }
    fs::remove_file(desk.path("a.json")).expect("removed");
    eventually("its removal to be told", || desk.failures() == 5);
    assert!(passes(&mut validate, &json!(1)) && !passes(&mut validate, &json!("1")));
    desk.write("a.json", of("string"));
    eventually("the good one", || passes(&mut validate, &json!("1")));
    eventually("the gauge", || desk.broken() == 0);
    assert_eq!((desk.failures(), desk.reloaded()), (5, 1));
}

#[test]
fn a_file_that_a_broken_schema_waits_for_mends_it() {
    let desk = Desk::new();
    desk.write("a.json", of("integer"));
    let mut validate = desk.validate(json!([{ "match": "*", "schema": "a.json" }]));
    desk.replace("a.json", json!({ "$ref": "later.json" }));
    eventually("the failure", || desk.failures() == 1);
    desk.write("later.json", of("string"));
    eventually("the mended schema", || passes(&mut validate, &json!("1")));
    eventually("the gauge", || desk.broken() == 0);
}

#[test]
fn files_that_take_each_others_content_are_another_schema() {
    let desk = Desk::new();
    desk.write("a.json", json!({ "$ref": "one.json", "$defs": { "other": { "$ref": "two.json" } } }));
    let content = |one: &str, two: &str| {
        desk.write("one.json", of(one));
        desk.write("two.json", of(two));
        let mut compiled = schema::compile(&Source::File(desk.path("a.json")));
        compiled.take().expect("a schema");
        compiled.content()
    };
    assert_ne!(content("integer", "string"), content("string", "integer"));
    assert_eq!(content("integer", "string"), content("integer", "string"));
}

/// A folder that is swapped for one with the same files has the same schema.
#[test]
fn the_same_files_behind_another_link_are_no_new_schema() {
    let desk = Desk::new();
    for version in ["..1", "..2"] {
        desk.write(&format!("{version}/a.json"), json!({ "$ref": "x.json" }));
        desk.write(&format!("{version}/x.json"), of("integer"));
    }
    symlink("..1", desk.path("whole")).expect("linked");
    let source = Source::File(desk.path("whole/a.json"));
    let mut before = schema::compile(&source);
    before.take().expect("a schema");
    symlink("..2", desk.path("aside")).expect("linked");
    fs::rename(desk.path("aside"), desk.path("whole")).expect("turned");
    assert!(before.may_differ());
    assert_eq!(schema::compile(&source).content(), before.content());
}

#[test]
fn a_touched_file_is_no_new_schema_and_nothing_is_watched_after_the_end() {
    let desk = Desk::new();
    desk.write("a.json", of("integer"));
    let mut validate = desk.validate(json!([{ "match": "*", "schema": "a.json" }]));
    desk.replace("a.json", of("integer"));
    desk.write("other.json", of("integer"));
    let mut other = desk.validate(json!([{ "match": "*", "schema": "other.json" }]));
    desk.replace("other.json", of("string"));
    eventually("the other one", || passes(&mut other, &json!("1")));
    assert!(passes(&mut validate, &json!(1)));
    assert_eq!(desk.reloaded(), 1, "of the other one");
    drop((validate, other));
}

#[test]
fn without_an_interval_files_are_read_at_the_start_alone() {
    let desk = Desk::new();
    desk.write("a.json", of("integer"));
    desk.write("b.json", of("integer"));
    let config = json!({ "schemas": [{ "match": "*", "schema": "a.json" }], "reload_interval": 0 });
    let mut fixed =
        testing::transform_at::<Validate>(&config.to_string(), &desk.place).expect("a usable schema");
    let mut watching = desk.validate(json!([{ "match": "*", "schema": "b.json" }]));
    desk.replace("a.json", of("string"));
    desk.replace("b.json", of("string"));
    eventually("the one that is watched", || passes(&mut watching, &json!("1")));
    assert!(passes(&mut fixed, &json!(1)));
}
