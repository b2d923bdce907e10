//! Rings that change, and configurations that cannot be used.

use super::*;
use std::time::{Duration, Instant};

fn kid(driver: &mut TransformDriver) -> String {
    let sealed = through(driver, &update(&json!(1))).expect("sealed");
    sealed["new_value"]["$enc"]["kid"].as_str().expect("text").to_owned()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_file_that_changes_is_a_new_ring_while_old_values_still_open() {
    let bench = Bench::new();
    let (mut encrypt, mut decrypt) = (bench.encrypt(At::Direct), bench.decrypt(At::Direct));
    let old = through(&mut encrypt, &update(&json!("hunter2"))).expect("sealed");
    bench.ring(&[("k2", '2'), ("k1", '1')]);
    wait_for("the new key in use", || kid(&mut encrypt) == "k2");
    let new = through(&mut encrypt, &update(&json!("hunter2"))).expect("sealed");
    wait_for("both to open", || [&old, &new].iter().all(|sealed| through(&mut decrypt, sealed).is_ok()));
    bench.ring(&[("k2", '2')]);
    wait_for("the old key to be forgotten", || through(&mut decrypt, &old).is_err());
    assert_eq!(through(&mut decrypt, &new).expect("opened")["new_value"], "hunter2");
}

#[test]
fn data_keys_are_one_per_tenant_and_new_after_their_lifetime() {
    let bench = Bench::new();
    let mut encrypt = bench.encrypt_with(At::Direct, &json!({ "data_key_lifetime": "1s" }));
    let mut dk = |tenant: &str| {
        let mut change = update(&json!(1));
        change["tenant_id"] = json!(tenant);
        through(&mut encrypt, &change).expect("sealed")["new_value"]["$enc"]["dk"].clone()
    };
    let (one, other) = (dk("t1"), dk("t2"));
    assert_ne!(one, other);
    wait_for("a new data key", || dk("t1") != one);
}

#[test]
fn status_tells_every_component_of_the_process() {
    let bench = Bench::new();
    let place = bench.place(At::BeforeLog);
    let config = json!({ "keys": ["*"], "ring": [{ "file": "ring" }] }).to_string();
    let mut encrypt = testing::transform_at::<Encrypt>(&config, &place).expect("encrypt");
    through(&mut encrypt, &update(&json!(1))).expect("sealed");
    let status = place.host.call("encrypt.status", &json!({})).expect("answered");
    let components = status["components"].as_array().expect("a list");
    let is_ours = |one: &&Value| {
        one["plugin"] == "encrypt" && one["values_sealed"] == 1 && one["standing"] == "before_log"
    };
    let ours = components.iter().find(is_ours).expect("listed");
    assert_eq!((&ours["current"], &ours["kids"]), (&json!("k1"), &json!(["k1"])));
}

#[test]
fn every_place_a_key_may_come_from_is_read() {
    let bench = Bench::new();
    let hex = "a".repeat(64);
    fs::write(bench.dir.path().join("one.key"), &hex).expect("written");
    fs::write(bench.dir.path().join("raw.key"), [7; 32]).expect("written");
    let ring = json!([
        { "id": "file", "file": "one.key" },
        { "id": "raw", "file": "raw.key" },
        { "id": "program", "exec": ["echo", hex] },
        { "exec": ["printf", "%s\\n", format!("listed: {hex}")] },
    ]);
    for current in ["file", "raw", "program", "listed"] {
        let mut encrypt = bench.encrypt_with(At::Direct, &json!({ "ring": ring, "current": current }));
        assert_eq!(kid(&mut encrypt), current);
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_its_field() {
    let bench = Bench::new();
    let file = json!({ "file": "ring" });
    for (more, at, says) in [
        (json!({ "keys": [] }), "keys", "at least one"),
        (json!({ "keys": ["a", "["] }), "keys.1", "glob"),
        (json!({ "except": ["a+"] }), "except.0", "glob"),
        (json!({ "ring": [] }), "ring", "1 to 100"),
        (json!({ "ring": [{ "id": "k" }] }), "ring.0", "`env`, `file` or `exec`"),
        (json!({ "ring": [{ "env": "A", "file": "b" }] }), "ring.0", "`env`, `file` or `exec`"),
        (json!({ "ring": [{ "id": "a b", "env": "A" }] }), "ring.0.id", "character"),
        (json!({ "ring": [{ "id": "a", "env": "A" }, { "id": "a", "env": "B" }] }), "ring.1.id", "two keys"),
        (json!({ "ring": [{ "exec": [] }] }), "ring.0.exec", "program"),
        (json!({ "ring": [{ "env": "" }] }), "ring.0.env", "empty"),
        (json!({ "ring": [{ "id": "a", "env": "A" }], "current": "b" }), "current", "`b`"),
        (json!({ "ring": [file], "current": "b" }), "ring", "`b`"),
        (json!({ "data_key_lifetime": 0 }), "data_key_lifetime", "1 s"),
        (json!({ "exec_timeout": "60s" }), "exec_timeout", "20 s"),
        (json!({ "ring": [{ "id": "k", "env": "LOCKSTEP_NO_SUCH_KEY" }] }), "ring", "not set"),
        (json!({ "ring": [{ "id": "k", "file": "none" }] }), "ring", "cannot be read"),
    ] {
        let mut config = json!({ "keys": ["app.*"], "ring": [{ "file": "ring" }] });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let made = testing::transform_at::<Encrypt>(&config.to_string(), &bench.place(At::Direct));
        let error = made.err().expect("refused");
        assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, at), "{more}: {error}");
        assert!(error.message().contains(says), "{more}: {error}");
    }
}

#[test]
fn a_program_that_has_no_key_yet_is_asked_again() {
    let bench = Bench::new();
    let config = json!({ "keys": ["app.*"], "ring": [{ "id": "k", "exec": ["false"] }] }).to_string();
    let made = testing::transform_at::<Encrypt>(&config, &bench.place(At::Direct));
    let error = made.err().expect("not yet");
    assert_eq!(error.kind(), ErrorKind::NOT_CONNECTED);
    assert!(error.message().contains("program `false`: it ended with"), "{error}");
}
