//! `state.encryption`: what lies in the data folder, who gets in without the key, and how one operates it.

use lockstep_test_support::{
    Finished, Host, LIMIT, Probe, Site, WsClient, append, eventually, free_port, random, scale,
};
use serde_json::{Value, json};
use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt, path::Path, process::Stdio, time::Duration};

const CANARY: &str = "canary-5b09e7d4";

/// A key of an even number of bytes in hexadecimal.
fn hex(n: u8) -> String {
    format!("{n:02x}").repeat(32)
}

/// A site whose pipeline goes through the log, with three keys: in a variable, in a file, and from a program.
fn site(port: u16) -> Site {
    let yaml = format!(
        "
sources:
  - {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port}, max_messages_per_second: 0 }} }}
  - {{ plugin: file, config: {{ path: SITE/in.ndjson }} }}
transforms:
  - plugin: faulty
    on_error: {{ retry: {{ attempts: 1, backoff: 10ms, max: 10ms }}, then: dead_letter }}
    config: {{ fault: {{ at: apply, how: nack, key: app.dead, mended: SITE/never }} }}
  - {{ plugin: resolver }}
sinks:
  - {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port}, max_messages_per_second: 0 }} }}
  - {{ plugin: probe, config: {{ dir: SITE/out }} }}
"
    );
    let site = Site::new()
        .pipeline("sync", &yaml)
        .env("STORE_KEY", hex(1))
        .env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h");
    site.write("keys/k2", [0xA7; 32]);
    let program = site.write("keys/k3.sh", format!("#!/bin/sh\necho $1 >&2\necho {}\n", hex(3)));
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("its owner may");
    site
}

const KEYS: &str = "
state:
  encryption:
    keys:
      - { id: k1, env: STORE_KEY }
      - { id: k2, file: keys/k2 }
      - { id: k3, exec: [keys/k3.sh, an argument] }
";

fn set(site: &Site, settings: &str) {
    site.write("lockstep.yaml", settings);
}

/// What a host that is not to start says.
fn refused(site: &Site) -> String {
    let Finished { stderr, stdout, .. } = site.run(["run", "pipelines"]).expect_code(2);
    format!("{stdout}{stderr}")
}

/// The files below `dir` that hold the canary.
fn leaks(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir).expect("a folder").flatten() {
        let (path, kind) = (item.path(), item.file_type().expect("a kind"));
        if kind.is_dir() {
            found.extend(leaks(&path));
        } else if kind.is_file() && holds(&fs::read(&path).unwrap_or_default()) {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Page by page, and not in those that are all zero: journals are allocated ahead.
fn holds(bytes: &[u8]) -> bool {
    const PAGE: usize = 4096;
    let found = |(n, page): (usize, &[u8])| {
        let start = (n * PAGE).saturating_sub(CANARY.len());
        let around = &bytes[start..n * PAGE + page.len()];
        page != &[0; PAGE][..page.len()] && around.windows(CANARY.len()).any(|part| part == CANARY.as_bytes())
    };
    bytes.chunks(PAGE).enumerate().any(found)
}

/// Values of every kind the host keeps: entries and siblings, history, state, a dead letter, the audit, what was seen.
fn fill(site: &Site, host: &mut Host, port: u16) {
    let mut client = WsClient::connect(port);
    for n in 0..30 {
        let value = json!({ "value": format!("{CANARY}-{n}"), "n": n });
        let answer = client.change(&format!("app.key.{}", n % 5), &value);
        assert_eq!(answer["success"], true, "{answer}");
    }
    // Two that did not know of each other: siblings, a conflict, an entry of the audit.
    for n in 0..2 {
        client.send(&json!({
            "type": "config_change", "id": format!("old-{n}"), "config_key": "app.key.0", "user_id": format!("u{n}"),
            "new_value": format!("{CANARY}-old-{n}"), "base_revision": 1, "idempotency_key": format!("once-{n}"),
        }));
    }
    append(
        &site.path("in.ndjson"),
        [format!(r#"{{"config_key":"app.dead","new_value":"{CANARY}-dead","event_type":"config_updated"}}"#)],
    );
    host.wait_until("a dead letter", LIMIT, |_| {
        site.run(["dlq", "list", "--json"]).expect_code(0).stdout.contains("app.dead")
    });
    host.wait_until("everything in the sink", LIMIT, |_| Probe::new(site, "out").written().len() >= 30);
}

/// What is kept can be read through every command.
fn check_filled(site: &Site) {
    let get = site.run(["get", "app.key.4"]).expect_code(0);
    assert!(get.stdout.contains(&format!("{CANARY}-29")), "{}", get.stdout);
    let history = site.run(["history", "app.key.3", "--json"]).expect_code(0);
    assert!(history.stdout.contains(&format!("{CANARY}-3\"")), "{}", history.stdout);
    let letters = site.run(["dlq", "list", "--json"]).expect_code(0).json();
    let id = letters["dead_letters"][0]["id"].to_string();
    let letter = site.run(["dlq", "show", &id, "--json"]).expect_code(0);
    assert!(letter.stdout.contains(&format!("{CANARY}-dead")), "{}", letter.stdout);
}

fn status(site: &Site) -> Value {
    site.run(["state", "status", "--json"]).expect_code(0).json()
}

#[test]
fn a_value_is_in_no_file_of_a_sealed_data_folder_and_every_change_of_form_and_key_keeps_it() {
    let port = free_port();
    let site = site(port);
    let data = site.path("data");

    // The control: without keys it is there.
    let mut host = site.started();
    fill(&site, &mut host, port);
    assert_eq!(status(&site)["sealed"], false);
    site.run(["state", "rotate-key"]).expect_code(1);
    host.stop();
    assert!(!leaks(&data).is_empty());

    set(&site, KEYS);
    let mut host = site.started();
    assert!(!host.logged("sealing the store").is_empty());
    check_filled(&site);
    fill(&site, &mut host, port);
    assert_eq!(leaks(&data), [""; 0], "while the host runs");
    let sealed = json!({ "key": "k1", "data_key": 1, "older_data_keys": 0, "resealing": null });
    assert_eq!(status(&site), json!({ "health": "ok", "sealed": true, "sealing": sealed }));
    site.run(["state", "rotate-key", "--wait"]).expect_code(0);
    let sealed = json!({ "key": "k1", "data_key": 2, "older_data_keys": 0, "resealing": null });
    assert_eq!(status(&site)["sealing"], sealed);
    assert!(site.run(["state", "status"]).expect_code(0).stdout.contains("k1"));
    host.kill();
    assert_eq!(leaks(&data), [""; 0], "after a crash");
    let offline = site.run(["dlq", "list", "--json"]).expect_code(0);
    assert!(offline.stdout.contains("app.dead"), "read without a host: {}", offline.stdout);

    // Another current key, without the host's being told the old one after it.
    for (current, id) in [("k2", "{ id: k2, file: keys/k2 }"), ("k3", "{ id: k3, exec: [keys/k3.sh, x] }")] {
        set(&site, &format!("{KEYS}    current: {current}\n"));
        let host = site.started();
        assert_eq!(status(&site)["sealing"]["key"], current);
        check_filled(&site);
        host.stop();
        set(&site, &format!("state: {{ encryption: {{ keys: [ {id} ] }} }}\n"));
        let host = site.started();
        check_filled(&site);
        host.stop();
        assert_eq!(leaks(&data), [""; 0], "under {current}");
    }

    set(&site, "");
    let told = refused(&site);
    assert!(told.contains("is sealed under the key `k3`") && told.contains("unseal: true"), "{told}");
    set(&site, &format!("{KEYS}    unseal: true\n"));
    let host = site.started();
    check_filled(&site);
    assert_eq!(status(&site)["sealed"], false);
    host.stop();
    set(&site, "");
    let host = site.started();
    check_filled(&site);
    assert!(!leaks(&data).is_empty() && !data.join("store.keys").exists());
    host.stop();
}

#[test]
fn without_the_right_key_a_start_is_refused_where_the_settings_name_it() {
    let port = free_port();
    let site = site(port);
    set(&site, KEYS);
    let mut host = site.started();
    fill(&site, &mut host, port);
    host.stop();
    let key_file = site.path("data/store.keys");
    let sound = fs::read(&key_file).expect("the key file");

    let with_key = |value: &str| {
        let mut command = site.command(["run", "pipelines"]);
        command.env("STORE_KEY", value);
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let told =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(value.len() < 40 || !told.contains(value), "the key is shown: {told}");
        told
    };
    let told = with_key(&hex(9));
    assert!(told.contains("the key `k1` does not open") && told.contains("store.keys"), "{told}");
    let told = with_key("AAAA");
    assert!(
        told.contains("lockstep.yaml:5")
            && told.contains("STORE_KEY holds no key: decoded it has another length"),
        "{told}"
    );
    let told = with_key("");
    assert!(told.contains("STORE_KEY holds no key: it is empty"), "{told}");

    set(&site, "state: { encryption: { keys: [ { id: other, file: keys/k2 } ] } }\n");
    let told = refused(&site);
    assert!(told.contains("sealed under the key `k1`") && told.contains("it has `other`"), "{told}");

    set(&site, KEYS);
    for place in [2, sound.len() / 2] {
        let mut changed = sound.clone();
        changed[place] ^= 4;
        fs::write(&key_file, &changed).expect("written");
        let told = refused(&site);
        assert!(told.contains("store.keys is damaged") && told.contains("backup"), "{told}");
        assert_eq!(fs::read(&key_file).expect("there"), changed, "left as it is");
    }
    fs::remove_file(&key_file).expect("removed");
    let told = refused(&site);
    assert!(told.contains("store.keys is missing"), "{told}");
    fs::write(&key_file, &sound).expect("written");
    let host = site.started();
    check_filled(&site);
    host.stop();
}

#[test]
fn a_data_folder_that_is_being_sealed_or_unsealed_survives_kills_and_goes_on() {
    let mut random = random("sealed store");
    let port = free_port();
    let site = site(port);
    let host = site.started();
    let mut client = WsClient::connect(port);
    let n_keys = scale(300, 5_000);
    for n in 0..n_keys {
        assert_eq!(
            client.change(&format!("app.many.{n}"), &json!({ "n": n, "fill": CANARY.repeat(60) }))["success"],
            true
        );
    }
    host.stop();
    let (mut n_half_way, n_kills) = (0, scale(8, 60));
    let is_started = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    let is_half_way =
        || ["store", "store.sealed"].iter().all(|folder| site.path("data").join(folder).exists());
    // Enough of them in the middle of the work, however fast this machine is with it.
    for n in 0..10 * n_kills {
        if n >= n_kills && 4 * n_half_way >= n_kills {
            break;
        }
        // Mostly towards the other form, sometimes the same again, sometimes back before it is done.
        let unseal = if n % 4 < 2 { "" } else { "    unseal: true\n" };
        set(&site, &format!("{KEYS}{unseal}"));
        let mut command = site.command(["run", "pipelines"]);
        let mut killed = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        eventually(LIMIT, || (is_half_way() || is_started()).then_some(()));
        std::thread::sleep(Duration::from_millis(random.u64(0..60)));
        killed.kill().expect("kill -9");
        killed.wait().expect("it is gone");
        n_half_way += usize::from(is_half_way());
    }
    println!("{n_half_way} of {n_kills} kills were half way");
    assert!(4 * n_half_way >= n_kills, "{n_half_way} of {n_kills} kills were half way");
    set(&site, KEYS);
    let host = site.started();
    let keys = site.run(["keys", "app.many.", "--limit", &(n_keys + 1).to_string()]).expect_code(0).stdout;
    assert_eq!(keys.lines().filter(|line| line.contains("app.many.")).count(), n_keys);
    assert_eq!(leaks(&site.path("data")), [""; 0]);
    host.stop();
}
