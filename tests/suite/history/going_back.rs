//! The way back: what it changes, what it does not overwrite, and why it does not work.

use super::Past;
use lockstep_test_support::{Request, WsClient};
use serde_json::{Value, json};

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
    let audit = past.run("audit list --json").expect_code(0).json();
    let entries = audit["entries"].as_array().expect("entries").iter().map(|entry| &entry["entry"]);
    let entry = entries.into_iter().find(|entry| entry["rollback_to"] == 1).expect("the rollback");
    assert_eq!(
        (&entry["event_type"], &entry["user_id"], &entry["source"], &entry["base"]["revision"]),
        (&json!("config_updated"), &json!("bob"), &json!("admin"), &json!(2))
    );
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
