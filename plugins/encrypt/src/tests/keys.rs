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
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
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
    write_keys(&bench.dir.path().join("one.key"), &hex);
    write_keys(&bench.dir.path().join("raw.key"), [7; 32]);
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
        (json!({ "ring": [{ "id": "k", "env": "LOCKSTEP_NO_SUCH_KEY" }] }), "ring.0.env", "not set"),
        (json!({ "ring": [{ "id": "k", "file": "none" }] }), "ring.0.file", "cannot be read"),
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
fn a_key_that_is_not_there_is_a_warning_before_the_start_and_one_that_is_wrong_a_refusal() {
    let bench = Bench::new();
    let write = |name: &str, text: &str, mode: u32| {
        let path = bench.dir.path().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
    };
    let hex = "a".repeat(64);
    write("good", &hex, 0o600);
    write("read-by-all", &hex, 0o644);
    write("written-by-all", &hex, 0o666);
    write("short", "abc", 0o600);
    let entry = |file: &str| json!([{ "id": "k", "file": file }]);
    for (ring, warned, refused) in [
        (entry("good"), None, None),
        (entry("none"), Some(("ring.0.file", "does not start")), None),
        (json!([{ "id": "k", "env": "LOCKSTEP_NO_SUCH_KEY" }]), Some(("ring.0.env", "is not set")), None),
        (json!([{ "id": "k", "exec": ["false"] }]), None, None),
        (entry("read-by-all"), Some(("ring.0.file", "chmod o-r")), None),
        (entry("written-by-all"), None, Some(("ring.0.file", "chmod o-w"))),
        (entry("short"), None, Some(("ring.0.file", "32 bytes"))),
        (json!([{ "file": "short" }]), None, Some(("ring.0.file", "line 1"))),
        (
            json!([{ "file": "ring" }, { "id": "k1", "file": "good" }]),
            Some(("ring.0.file", "chmod")),
            Some(("ring", "`k1`")),
        ),
    ] {
        for at in [At::BeforeLog, At::Direct] {
            let config = json!({ "keys": ["app.*"], "ring": ring }).to_string();
            let said = [
                testing::transform_advice::<Encrypt>(&config, &bench.place(at)),
                testing::transform_advice::<Decrypt>(&config, &bench.place(at)),
            ];
            for advice in said.map(|advice| advice.expect("readable")) {
                let found = [advice.warnings().first(), advice.refusals(Way::Direct).next()];
                for (found, expected) in found.into_iter().zip([warned, refused]) {
                    let found = found.map(|error| (error.detail(), error.message()));
                    let (at, says) = expected.unzip();
                    assert_eq!(found.map(|(at, _)| at), at, "{ring}: {found:?}");
                    assert!(
                        found.is_none_or(|(_, message)| message.contains(says.unwrap_or_default())),
                        "{found:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn another_key_under_a_name_that_the_host_knows_is_refused_at_the_start() {
    let bench = Bench::new();
    let place = bench.place(At::BeforeLog);
    let config = json!({ "keys": ["app.*"], "ring": [{ "file": "ring" }] }).to_string();
    let start = || testing::transform_at::<Encrypt>(&config, &place).map(drop);
    start().expect("the first start");
    start().expect("the same key");
    bench.ring(&[("k1", '2')]);
    let error = start().expect_err("another key");
    assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, "ring"));
    assert!(error.message().contains("`k1` was the name of another key"), "{error}");
    bench.ring(&[("k2", '2')]);
    start().expect("a name of its own");
    bench.ring(&[("k2", '2'), ("k1", '2')]);
    start().expect_err("also after it was taken away");
    bench.ring(&[("k2", '2'), ("k1", '1')]);
    start().expect("the old one is back");
    let status = place.host.call("encrypt.status", &json!({})).expect("answered");
    assert!(status["components"].is_array());
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
