//! What a key was, how it came about and the way back: commands and HTTP on a running host, with authors on both of its
//! sides.

use lockstep_test_support::{Finished, Host, LIMIT, Request, Site, WsClient, eventually, free_port};
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
    assert_eq!(heading, ["REVISION", "WHEN", "WHO", "SOURCE", "STRATEGY", "WHAT"]);
    let rows = rows(&history);
    let who: Vec<_> = rows.iter().map(|row| (row[0], row[2], row[4])).collect();
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
fn a_key_goes_back_by_a_change_like_any_other() {
    let past = Past::new();
    let host = past.start();
    past.set("app.x", &json!({ "a": 1, "keep": true }));
    past.set("app.x", &json!({ "a": 2, "keep": true }));
    let tried = past.run("rollback app.x --to 1 --dry-run").expect_code(0);
    assert!(
        tried.stderr.contains("changed  /a  2 -> 1") && tried.stdout.contains("nothing was changed"),
        "{tried:?}"
    );
    assert_eq!(past.run("get app.x --json").json()["revision"], 2);

    let mut watcher = WsClient::connect(past.port);
    watcher.subscribe(&["app.*"]);
    let done = past.run("rollback app.x --to 1 --user bob").expect_code(0);
    assert_eq!(done.stdout, "revision 3\n");
    assert!(done.stderr.contains("changed  /a  2 -> 1"), "{}", done.stderr);
    let seen = watcher.next_of_type("config_sync");
    assert_eq!((&seen["new_value"], &seen["user_id"]), (&json!({ "a": 1, "keep": true }), &json!("bob")));
    let shown = past.run("get app.x --json").json();
    assert_eq!((&shown["metadata"], shown.get("siblings")), (&json!({ "rollback_to": 1 }), None), "{shown}");
    assert!(past.stdout("history app.x").contains("(rollback to 1)"));
    let again = past.run("rollback app.x --to 1 --json").expect_code(0).json();
    assert_eq!((&again["changed"], &again["revision"]), (&json!(false), &json!(3)));

    past.stdout("delete app.x");
    assert_eq!(past.stdout("rollback app.x --to 2"), "revision 5\n");
    assert_eq!(past.run("get app.x").json(), json!({ "a": 2, "keep": true }));
    assert_eq!(past.stdout("rollback app.x --to 4"), "revision 6\n");
    assert!(past.refusal("get app.x").contains("deleted"));
    past.set("app.new", &json!(1));
    past.stdout("rollback app.new --to 6");
    past.refusal("get app.new");
    host.stop();
}

#[test]
fn a_way_back_passes_every_transform_and_says_why_it_does_not_work() {
    let past = Past::new();
    let host = past.start();
    past.set("app.x", &json!(1));
    past.set("app.x", &json!(2));
    for (line, parts) in [
        ("rollback app.x --to 9", ["unknown_base", "there is no revision 9 yet: the newest one is 2"]),
        ("rollback app.x --to another:1", ["unknown_base", "another log"]),
        ("rollback app.x --to 1 --if-revision 1", ["conflict", "its newest revision is 2"]),
        ("rollback none --to 1", ["not_found", "there is no key `none`"]),
        ("get app.x --at 9", ["unknown_base", "lockstep history"]),
        ("diff app.x --from 9", ["unknown_base", "newest one is 2"]),
        ("diff none", ["not_found", "there is no key `none`"]),
        ("blame none", ["not_found", "there is no key `none`"]),
    ] {
        let refusal = past.refusal(line);
        assert!(parts.iter().all(|part| refusal.contains(part)), "{line}: {refusal}");
    }
    for line in [
        "rollback app.x",
        "rollback app.x --to soon",
        "get app.x --at soon",
        "rollback app.x --to 1 --retry --dry-run",
    ] {
        past.run(line).expect_code(2);
    }
    let lease = past.run("locks acquire app.x --user eve --json").expect_code(0).json();
    let locked = past.refusal("rollback app.x --to 1");
    assert!(locked.contains("locked") && locked.contains("eve holds it until"), "{locked}");
    let session = lease["session"].as_str().expect("a session");
    assert_eq!(
        past.stdout(&format!("rollback app.x --to 1 --session {session} --if-revision 2")),
        "revision 4\n"
    );
    host.stop();
}

#[test]
fn a_rule_that_came_later_keeps_an_old_value_from_coming_back() {
    let past = Past::new();
    let strict = std::fs::read_to_string(past.site.path("pipelines/flow.yaml")).expect("the pipeline");
    past.site.write("pipelines/flow.yaml", strict.replace("type: integer", "type: string"));
    let host = past.start();
    past.set("app.port", &json!("5432"));
    host.stop();
    past.site.write("pipelines/flow.yaml", &strict);
    let host = past.start();
    past.set("app.port", &json!(5432));
    let refusal = past.refusal("rollback app.port --to 1");
    assert!(refusal.contains("invalid_value") && refusal.contains("integer"), "{refusal}");
    host.stop();
}

#[test]
fn authors_at_the_same_moment_and_a_way_back_do_not_overwrite_each_other_unseen() {
    let past = Past::new();
    let host = past.start();
    let token = std::fs::read_to_string(past.site.path("data/admin.token")).expect("the token");
    let address = host.admin().to_owned();
    let go_back = |key: &str| -> Value {
        let path = format!("/v1/keys/{key}/rollback");
        let request = Request::new("POST", &path).bearer(token.trim()).json(&json!({ "to": 1 }));
        let answer = request.send(&address).expect("an answer");
        assert_eq!(answer.code, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    };
    past.set("app.before", &json!(0));
    for key in ["app.x", "app.first"] {
        past.set(key, &json!(0));
        let mut author = WsClient::connect(past.port);
        let mut met = None;
        for round in 0..200 {
            // So many are on their way that one is committed between the look at the key and the way back.
            (0..20).for_each(|n| author.send_change(key, &json!(round * 20 + n)));
            let done = go_back(key);
            let revisions =
                (0..20).map(|_| author.next_of_type("config_change_response")["revision"].as_u64());
            let [base, own] = [&done["base_revision"], &done["revision"]].map(|revision| revision.as_u64());
            let is_between = revisions.filter(|revision| base < *revision && *revision < own).count() > 0;
            assert_eq!(is_between, done.get("resolution").is_some(), "{base:?} {own:?}: {done}");
            met = met.or(done.get("resolution").cloned());
            if met.is_some() {
                break;
            }
        }
        let met = met.expect("they meet in one of 200 rounds");
        let (method, won) =
            if key == "app.first" { ("first_write_wins", false) } else { ("last_write_wins", true) };
        assert_eq!((&met["resolution_method"], &met["won"]), (&json!(method), &json!(won)), "{met}");
    }
    host.stop();
}

#[test]
fn a_conflict_is_shown_with_everybody_in_it_and_a_way_back_ends_it() {
    let past = Past::new();
    let host = past.start();
    past.set("app.x", &json!(1));
    past.stdout("set app.x 2 --base-revision 1 --user bob");
    past.stdout("set app.x 3 --base-revision 1 --user eve");
    let shown = past.run("get app.x").expect_code(0);
    assert_eq!(shown.stdout, "3\n");
    assert!(shown.stderr.contains("conflict of 2") && shown.stderr.contains("bob, eve"), "{}", shown.stderr);
    let history = past.stdout("history app.x");
    assert!(
        history.lines().nth(1).is_some_and(|line| line.contains("last_write_wins, conflict of 2")),
        "{history}"
    );
    let siblings = past.run("get app.x --at 3 --json").json();
    assert_eq!(siblings["siblings"].as_array().map(Vec::len), Some(2), "{siblings}");
    // It shows what it is to show, and the changes that stand against each other are ended all the same.
    let tried = past.run("rollback app.x --to 3 --dry-run").expect_code(0);
    assert!(tried.stdout.contains("would end the conflict"), "{}", tried.stdout);
    past.stdout("rollback app.x --to 3");
    let shown = past.run("get app.x --json").json();
    assert_eq!((&shown["new_value"], shown.get("siblings")), (&json!(3), None), "{shown}");
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
