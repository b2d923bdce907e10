//! What commands say when there is no result: to people, to programs, and by their exit code.

use lockstep_test_support::{Site, free_port};
use serde_json::{Value, json};

/// A host on which conflicts are left to a person, with its store sealed.
fn site() -> Site {
    let pipeline = format!(
        "
sources: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }} ]
transforms:
  - plugin: lock
  - plugin: resolver
    config: {{ strategy: manual_resolution }}
sinks: [ {{ plugin: file, config: {{ path: SITE/changes.ndjson }} }} ]
",
        port = free_port()
    );
    let site = Site::new().pipeline("flow", &pipeline).env("USER", "ann").env("STORE_KEY", "01".repeat(32));
    site.write("lockstep.yaml", "state: { encryption: { keys: [ { id: k1, env: STORE_KEY } ] } }");
    site
}

/// What a program is told, in one line on stdout, by a command that ends with this code.
fn told(site: &Site, line: &str, code: i32) -> Value {
    let finished = site.words(&format!("{line} --json")).expect_code(code);
    assert_eq!(finished.stdout.lines().count(), 1, "{line}: {finished:?}");
    assert!(finished.stderr.starts_with("error"), "people are told too: {finished:?}");
    let told = finished.json();
    assert!(told["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{line}: {told}");
    told["error"].clone()
}

/// Two changes of each of these keys that do not know of each other.
fn clash(site: &Site, keys: &[&str]) {
    for key in keys {
        let first = site.words(&format!("set {key} 1 --json")).expect_code(0).json();
        for n in [2, 3] {
            site.words(&format!("set {key} {n} --base-revision {}", first["revision"])).expect_code(0);
        }
    }
}

#[test]
fn a_folder_that_does_not_open_is_no_broken_chain() {
    let site = site();
    let host = site.started();
    site.words("set app.x 1").expect_code(0);
    host.stop();
    let commands = ["audit verify", "audit list", "audit export", "dlq list"];
    for line in commands {
        site.words(line).expect_code(0);
    }
    for key in ["", "02", "no key"] {
        for line in commands {
            let mut command = site.command(line.split_whitespace());
            command.env("STORE_KEY", key.repeat(32));
            let output = command.output().expect("a command");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{line} with {key:?}: {said}");
            assert!(said.contains("`k1`") && output.stdout.is_empty(), "{said}");
        }
    }
    let site = site.env("STORE_KEY", "");
    assert_eq!(told(&site, "audit verify", 2)["code"], "no_key");
    assert_eq!(told(&site, "dlq list", 2)["code"], "no_key");
}

#[test]
fn a_program_reads_on_stdout_what_was_refused() {
    let site = site();
    assert_eq!(told(&site, "get app.x", 2)["code"], "no_host");
    assert_eq!(told(&site, "dlq retry 1", 2)["code"], "no_host");
    let host = site.started();
    assert_eq!(told(&site, "get app.x", 1)["code"], "not_found");
    assert_eq!(told(&site, "set app..x 1", 1)["code"], "bad_key");
    let refused = told(&site, "locks acquire a/b", 1);
    assert_eq!(refused["code"], "bad_key");
    assert!(refused["details"][0]["reason"].as_str().is_some_and(|reason| reason.contains("characters /")));
    site.words("locks acquire app.held --user bob").expect_code(0);
    let held = told(&site, "set app.held 1", 1);
    assert_eq!((&held["code"], &held["details"]["locked_by"]), (&json!("locked"), &json!("bob")));
    for line in [
        "set app.x text",
        "history app.x --limit 0",
        "nothing",
        "locks list --tenant bad/tenant",
        "watch [ab",
    ] {
        assert_eq!(told(&site, line, 2)["code"], "bad_argument", "{line}");
    }
    assert_eq!(told(&site, "conflicts show nothing", 1)["code"], "bad_message");
    assert_eq!(told(&site, "get app.held --at 99", 1)["code"], "unknown_base");
    host.stop();
    site.write("lockstep.yaml", "colour: red\n");
    let refused = told(&site, "get app.x", 2);
    assert_eq!((&refused["code"], &refused["details"][0]["line"]), (&json!("bad_settings"), &json!(1)));
    // `run` logs JSON, and says nothing else with it.
    assert!(site.words("run pipelines --json").expect_code(2).stdout.is_empty());
}

#[test]
fn why_a_name_is_no_name_is_said() {
    let site = site();
    let host = site.started();
    let long = "k".repeat(4096);
    for (key, code, why) in [
        ("a/b", "bad_key", "one of the characters /"),
        (&long, "too_large", "more than 512 bytes"),
        ("", "bad_key", "is empty"),
    ] {
        let refused = site.run(["locks", "acquire", key]).expect_code(1).stderr;
        assert!(refused.contains(code) && refused.contains(why), "`{why}` in {refused}");
    }
    host.stop();
}

#[test]
fn what_lists_cannot_mean_is_refused_and_nothing_is_not_taken_for_an_answer() {
    let site = site();
    let host = site.started();
    clash(&site, &["app.a", "app.b", "app.c"]);
    for line in ["conflicts list", "history app.a", "audit list", "keys", "dlq list"] {
        let refused = site.words(&format!("{line} --limit 0")).expect_code(2);
        assert!(refused.stderr.contains("from 1 on") && refused.stdout.is_empty(), "{refused:?}");
    }
    for line in ["conflicts list", "locks list", "keys", "get app.a", "audit list", "watch"] {
        let refused = site.words(&format!("{line} --tenant bad/tenant")).expect_code(2);
        assert!(refused.stderr.contains("bad/tenant") && refused.stdout.is_empty(), "{refused:?}");
    }
    for (arguments, code) in [(r#"{"limit":0}"#, "bad_message"), (r#"{"tenant_id":"a/b"}"#, "bad_tenant")] {
        let refused = site.run(["call", "conflicts.list", arguments]).expect_code(1).stderr;
        assert!(refused.contains(code), "{refused}");
    }

    // Page by page, there are as many as at once.
    let page =
        |more: &str| site.words(&format!("conflicts list --limit 1 --json {more}")).expect_code(0).json();
    let (mut found, mut next) = (Vec::new(), String::new());
    while let Some(conflict) = page(&next)["conflicts"].as_array().and_then(|page| page.first().cloned()) {
        let after = page(&next)["next"].as_str().map(|next| format!("--after {next}"));
        found.push(conflict["config_key"].clone());
        let Some(after) = after else { break };
        next = after;
    }
    assert_eq!(found, ["app.a", "app.b", "app.c"]);
    let said = site.words("conflicts list --limit 1").expect_code(0).stderr;
    assert!(said.contains("there may be more: --after "), "{said}");

    // A variable says whose they are where no flag does.
    let site = site.env("LOCKSTEP_TENANT", "acme");
    for line in ["conflicts list", "locks list"] {
        site.words(&format!("{line} --all-tenants")).expect_code(0);
        site.words(&format!("{line} --all-tenants --tenant acme")).expect_code(2);
    }
    let listed = |line: &str| site.words(line).expect_code(0).stdout.lines().count();
    assert_eq!((listed("conflicts list"), listed("conflicts list --all-tenants")), (0, 4));
    host.stop();
}

#[test]
fn who_only_looks_leaves_no_trace_in_the_audit() {
    let site = site();
    let host = site.started();
    clash(&site, &["app.a"]);
    let n_entries =
        || site.words("audit list --limit 1000 --json").json()["entries"].as_array().map(Vec::len);
    let before = n_entries();
    let id = site.words("conflicts list --json").json()["conflicts"][0]["conflict_id"].clone();
    let id = id.as_str().expect("an id");
    for line in [
        &*format!("conflicts show {id}"),
        &*format!("conflicts preview {id}"),
        "conflicts list",
        "locks list",
        "locks info app.a",
        "call resolver.merge {\"base\":1,\"changes\":[]}",
    ] {
        site.words(line);
        assert_eq!(n_entries(), before, "{line}");
    }
    let offered = site.words("operations --json").json();
    let reads = offered.as_array().expect("a list").iter().filter(|one| one["only_reads"] == true);
    let reads: Vec<_> = reads.map(|one| one["name"].as_str().expect("a name")).collect();
    let expected = [
        "conflicts.list",
        "conflicts.preview",
        "conflicts.show",
        "lock.info",
        "lock.list",
        "resolver.merge",
        "resolver.ot",
    ];
    assert_eq!(reads, expected);
    site.words(&format!("conflicts assign {id} bob")).expect_code(0);
    assert!(n_entries() > before);
    let table = site.words("audit list --type admin_operation").expect_code(0).stdout;
    assert!(table.contains(" -  ") && table.contains("target=conflicts.assign"), "{table}");
    host.stop();
}

#[test]
fn a_decision_is_shown_with_how_and_why_and_history_with_when_it_was_committed() {
    let site = site();
    let host = site.started();
    clash(&site, &["app.a"]);
    let id = site.words("conflicts list --json").json()["conflicts"][0]["conflict_id"].clone();
    let id = id.as_str().expect("an id");
    site.words(&format!("conflicts resolve {id} --use 2 --user zoe --reason agreed")).expect_code(0);
    let shown = site.words(&format!("conflicts show {id}")).expect_code(0).stdout;
    for part in ["was shown", "by zoe at", "change 2, of ann (--use 2)", "reason     agreed"] {
        assert!(shown.contains(part), "`{part}` in\n{shown}");
    }
    let history = site.words("history app.a --json").expect_code(0).json();
    let table = site.words("history app.a").expect_code(0).stdout;
    for change in history["changes"].as_array().expect("changes") {
        let at = change["committed_at"].as_str().expect("a time");
        assert!(table.contains(at), "{at} in\n{table}");
        let then = site.words(&format!("get app.a --json --at {at}")).expect_code(0).json();
        assert_eq!((&then["revision"], &then["committed_at"]), (&change["revision"], &json!(at)));
    }
    host.stop();
}
