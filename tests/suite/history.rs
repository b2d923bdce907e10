//! What a key was, how it came about and the way back: commands and HTTP on a running host, with authors on both of its
//! sides.

mod going_back;

use lockstep_test_support::{Finished, Host, LIMIT, Site, WsClient, eventually, free_port};
use serde_json::{Value, json};

struct Past {
    site: Site,
    port: u16,
}

impl Past {
    fn new() -> Self {
        let port = free_port();
        let server = format!("{{ listen: 127.0.0.1:{port}, max_messages_per_second: 0 }}");
        let pipeline = format!(
            "
sources: [ {{ plugin: websocket, config: {server} }} ]
transforms:
  - plugin: validate
    config: {{ schemas: [ {{ match: app.port, schema: {{ type: integer }} }} ] }}
  - plugin: lock
  - plugin: resolver
    config: {{ strategies: [ {{ match: app.first, strategy: first_write_wins }} ] }}
sinks: [ {{ plugin: websocket, config: {server} }} ]
"
        );
        Self { site: Site::new().pipeline("flow", &pipeline).env("USER", "ann"), port }
    }

    /// With a host that keeps little history.
    fn short() -> Self {
        let Self { site, port } = Self::new();
        let site = site
            .env("LOCKSTEP_STATE__HISTORY__RECORDS", "20")
            .env("LOCKSTEP_SYNC_SETTINGS__CLEANUP_INTERVAL", "100ms");
        Self { site, port }
    }

    fn start(&self) -> Host {
        let mut host = self.site.start();
        host.wait_ready();
        host
    }

    /// A command by its words; none of them has a space.
    fn run(&self, line: &str) -> Finished {
        self.site.run(line.split_whitespace())
    }

    fn set(&self, key: &str, value: &Value) -> u64 {
        let done = self.site.run(["set", key, &value.to_string(), "--json"]).expect_code(0).json();
        done["revision"].as_u64().expect("a revision")
    }

    fn stdout(&self, line: &str) -> String {
        self.run(line).expect_code(0).stdout
    }

    /// What a refused command says.
    fn refusal(&self, line: &str) -> String {
        self.run(line).expect_code(1).stderr
    }
}

/// Words of the lines of a table, without its heading.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn a_keys_past_is_told_whoever_made_it() {
    let past = Past::new();
    let host = past.start();
    past.set("app.features", &json!({ "dark": false, "limits": { "cpu": 1 }, "tags": ["a", "b"] }));
    past.set("other", &json!(0));
    let value = json!({ "dark": true, "limits": { "cpu": 1 }, "tags": ["new", "a", "b"] });
    let answer = WsClient::connect(past.port).change("app.features", &value);
    assert_eq!(answer["revision"], 3, "{answer}");
    past.stdout("set app.features {\"dark\":true,\"limits\":{\"cpu\":4}} --user bob");

    let history = past.stdout("history app.features");
    let heading: Vec<_> = history.lines().next().expect("a heading").split_whitespace().collect();
    assert_eq!(heading, ["REVISION", "WHEN", "COMMITTED", "WHO", "SOURCE", "STRATEGY", "WHAT"]);
    let rows = rows(&history);
    let who: Vec<_> = rows.iter().map(|row| (row[0], row[3], row[5])).collect();
    let lww = "last_write_wins";
    assert_eq!(who, [("4", "bob", lww), ("3", "suite", lww), ("1", "ann", lww)], "{history}");

    let diff = past.stdout("diff app.features");
    assert!(diff.starts_with("--- revision 3  ") && diff.contains("\n+++ revision 4  "), "{diff}");
    assert!(diff.contains("suite") && diff.contains("bob"), "{diff}");
    let changes: Vec<_> =
        diff.lines().skip(2).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(
        changes,
        [vec!["changed", "/limits/cpu", "1", "->", "4"], vec!["removed", "/tags", "[\"new\",\"a\",\"b\"]"]]
    );
    let patch = past.run("diff app.features --from 2 --to 3 --json").expect_code(0).json();
    assert_eq!(
        patch,
        json!([{ "op": "replace", "path": "/dark", "value": true }, { "op": "add", "path": "/tags/0", "value": "new" }])
    );
    let same = past.run("diff app.features --from 1 --to 2").expect_code(0);
    assert!(same.stdout.is_empty() && same.stderr.contains("no difference"), "{}", same.stderr);

    assert_eq!(past.stdout("get app.features --at 2"), past.stdout("get app.features --at 1"));
    assert_eq!(past.run("get app.features --at 3").expect_code(0).json(), value);
    let blame = past.stdout("blame app.features");
    let by: Vec<_> = self::rows(&blame)
        .into_iter()
        .map(|row| (row[0].to_owned(), row[2].to_owned(), row[3].to_owned()))
        .collect();
    let expected = [("3", "suite", "/dark"), ("4", "bob", "/limits/cpu")];
    assert_eq!(by, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())), "{blame}");
    host.stop();
}

#[test]
fn a_past_is_the_same_after_a_restart_and_is_found_by_time() {
    let past = Past::new();
    let host = past.start();
    past.set("app.x", &json!({ "a": 1, "b": "one\ntwo\n" }));
    let shown = past.run("history app.x --json").json();
    let first_time = shown["changes"][0]["timestamp"].as_str().expect("a time").to_owned();
    past.set("app.x", &json!({ "a": 1, "b": "one\n2\n" }));
    let told =
        || ["history app.x", "diff app.x", "blame app.x", "get app.x --at 1"].map(|line| past.stdout(line));
    let before = told();
    assert!(before[1].contains("\n    - two\n    + 2\n"), "{}", before[1]);
    let by: Vec<_> = rows(&before[2]).into_iter().map(|row| (row[0], row[3..].join(" "))).collect();
    let expected = [("1", "/a 1"), ("1", "/b line 1 \"one\\n\""), ("2", "/b line 2 \"2\\n\"")];
    assert_eq!(by, expected.map(|(revision, part)| (revision, part.to_owned())));
    host.stop();
    let host = past.start();
    assert_eq!(told(), before);
    past.refusal("get app.x --at 2020-01-01T00:00:00Z");
    assert_eq!(past.run("get app.x --at 2999-01-01T00:00:00Z --json").json()["revision"], 2);
    // The author's clock is this one, and the commit came after it.
    let at = past.run(&format!("get app.x --at {first_time} --json"));
    assert!(at.code == Some(1) || at.json()["revision"] == 1, "{}", at.stderr);
    host.stop();
}

#[test]
fn what_is_no_longer_kept_is_said_and_nothing_is_made_up() {
    let past = Past::short();
    let host = past.start();
    past.set("app.rare", &json!({ "old": 1, "new": 1 }));
    past.set("app.rare", &json!({ "old": 1, "new": 2 }));
    let mut author = WsClient::connect(past.port);
    let is_forgotten = || {
        (0..10).for_each(|n| drop(author.change("app.often", &json!(n))));
        (past.run("get app.rare --at 1").code == Some(1)).then_some(())
    };
    eventually(LIMIT, is_forgotten).expect("the first revision is given up");
    let refusal = past.refusal("get app.rare --at 1");
    assert!(refusal.contains("no longer kept: its history reaches back to revision 2"), "{refusal}");
    assert!(past.refusal("rollback app.rare --to 1").contains("unknown_base"));
    assert!(past.refusal("diff app.rare --from 1").contains("no longer kept"));
    let history = past.run("history app.rare").expect_code(0);
    assert!(rows(&history.stdout).len() == 1 && history.stderr.contains("no longer kept"), "{history:?}");

    let diff = past.stdout("diff app.rare");
    assert!(
        diff.contains("--- what the change replaced") && diff.contains("changed  /new  1 -> 2"),
        "{diff}"
    );
    let blame = past.run("blame app.rare").expect_code(0);
    let by: Vec<_> = rows(&blame.stdout).into_iter().map(|row| (row[0], row[3])).collect();
    assert_eq!(by, [("2", "/new"), ("older", "/old")]);
    assert!(blame.stderr.contains("reaches back to revision 2"), "{}", blame.stderr);
    past.set("app.young", &json!(1));
    assert_eq!(past.run("history app.young").expect_code(0).stderr, "", "it is whole");
    host.stop();
}

#[test]
fn sealed_values_are_told_as_sealed() {
    let past = Past::new();
    let host = past.start();
    let sealed = |text: &str| json!({ "$enc": { "v": 1, "alg": "A256GCM", "kid": "k", "dk": "", "n": "", "ct": text } });
    past.set("app.secret", &sealed("canary-1"));
    past.set("app.secret", &sealed("canary-2"));
    for line in ["history app.secret", "diff app.secret", "blame app.secret"] {
        let told = past.stdout(line);
        assert!(told.contains("(sealed)") && !told.contains("canary"), "{line}: {told}");
    }
    let patch = past.run("diff app.secret --json").expect_code(0).json();
    assert_eq!(
        patch,
        json!([{ "op": "replace", "path": "", "value": sealed("canary-2") }]),
        "it is one value"
    );
    host.stop();
}

#[test]
fn tenants_have_a_past_of_their_own() {
    let past = Past::new();
    let host = past.start();
    past.set("app.x", &json!("nobody's"));
    past.stdout("set app.x 1 --tenant acme");
    past.stdout("set app.x 2 --tenant acme");
    assert_eq!(past.stdout("get app.x --at 2 --tenant acme"), "1\n");
    assert_eq!(past.run("diff app.x --tenant acme --json").json()[0]["value"], 2);
    assert_eq!(rows(&past.stdout("blame app.x --tenant acme"))[0][0], "3");
    assert_eq!(past.stdout("rollback app.x --to 2 --tenant acme"), "revision 4\n");
    assert_eq!(past.stdout("get app.x --tenant acme"), "1\n");
    assert_eq!(past.stdout("get app.x"), "\"nobody's\"\n");
    host.stop();
}

#[test]
fn help_teaches_each_command_of_the_past() {
    let site = Site::new();
    for (command, parts) in [
        ("diff", ["RFC 6902", "--from"]),
        ("blame", ["older", "RFC 6901"]),
        ("rollback", ["--dry-run", "rollback_to"]),
        ("get", ["--at", "EPOCH:42"]),
        ("history", ["conflict", "--limit"]),
    ] {
        let help = site.run([command, "--help"]).expect_code(0).stdout;
        for part in parts.into_iter().chain(["Examples:", "Exit codes:", "--tenant", "--json"]) {
            assert!(help.contains(part), "`{part}` in the help of {command}: {help}");
        }
    }
}
