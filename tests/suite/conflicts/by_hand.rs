//! Two authors, and whoever decides between them.

use super::{Clash, conflicts, listed, shown, start, sync};
use crate::log_acceptance::{change, key};
use lockstep_test_support::{LIMIT, Request, eventually};
use serde_json::{Value, json};

#[test]
fn a_conflict_is_shown_looked_through_and_decided_from_the_command_line() {
    let sync = sync("");
    let (host, mut authors) = start(&sync);
    let mut watcher = sync.client();
    watcher.subscribe(&["app.*"]);
    let clash = Clash::of(&mut authors, "app.pool");
    let (told, id) = (clash.resolution(), clash.id());
    assert_eq!((&told["resolved_value"], &told["resolved_revision"]), (&Value::Null, &Value::Null));
    assert_eq!(told["resolution_method"], "manual_resolution_pending");
    assert_eq!((&told["requires_human_intervention"], &told["siblings"]), (&json!(true), &json!(2)));
    let notice = watcher.next_of_type("conflict_detected");
    assert_eq!((&notice["conflict_id"], &notice["requires_human_intervention"]), (&json!(id), &json!(true)));
    assert_eq!(notice["competing_changes"][0]["user_id"], "eve");
    assert_eq!(key(&host, "app.pool")["new_value"], json!({ "max": 5, "min": 2 }), "the last write is shown");
    assert_eq!(key(&host, "app.pool")["metadata"]["pending_conflict"], json!(id));

    let site = &sync.site;
    assert_eq!(listed(site, ""), [id.as_str()]);
    let table = conflicts(site, "list").expect_code(0).stdout;
    assert!(table.contains(&id) && table.contains("app.pool") && table.contains("waits"), "{table}");
    let record = shown(site, &id);
    assert_eq!(record["status"], "pending_manual_resolution");
    assert_eq!(record["competing_changes"][1]["new_value"], json!({ "max": 5, "min": 2 }));
    conflicts(site, &format!("assign {id} carol --user boss")).expect_code(0);
    assert_eq!(listed(site, "--assigned-to carol"), [id.as_str()]);
    let preview = conflicts(site, &format!("preview {id}")).expect_code(0).stdout;
    for part in ["--use 1", "--use 2", "--strategy merge_strategies", r#"{"max":7,"min":2}"#] {
        assert!(preview.contains(part), "`{part}` in\n{preview}");
    }

    conflicts(site, &format!("resolve {id} --strategy merge_strategies --user carol --reason both"))
        .expect_code(0);
    assert_eq!(key(&host, "app.pool")["new_value"], json!({ "max": 7, "min": 2 }));
    assert_eq!(key(&host, "app.pool")["user_id"], "carol");
    assert!(key(&host, "app.pool").get("siblings").is_none());
    let record = shown(site, &id);
    assert_eq!((&record["status"], &record["resolution"]["user_id"]), (&json!("resolved"), &json!("carol")));
    assert_eq!(record["resolution"]["how"], json!({ "strategy": "merge_strategies", "reason": "both" }));
    assert_eq!((listed(site, ""), listed(site, "--status resolved")), (vec![], vec![id.clone()]));
    let resolved = watcher.next_of_type("conflict_resolved");
    assert_eq!((&resolved["conflict_id"], &resolved["user_id"]), (&json!(id), &json!("carol")));

    let audit = site.run(["audit", "list", "--json"]).expect_code(0).stdout;
    for part in ["conflict_detected", "conflict_assigned", "conflict_resolved", "carol", "boss", &id] {
        assert!(audit.contains(part), "`{part}` in\n{audit}");
    }
    let refused = conflicts(site, &format!("resolve {id} --use 1")).expect_code(1);
    assert!(refused.stderr.contains("carol decided it"), "{}", refused.stderr);
}

#[test]
fn a_late_change_reopens_and_whoever_decided_about_less_is_told() {
    let sync = sync("");
    let (host, mut authors) = start(&sync);
    let clash = Clash::of(&mut authors, "app.pool");
    let (site, first) = (&sync.site, clash.id());
    let late = change(&mut authors[0], "app.pool", &json!({ "max": 9, "min": 1 }), &clash.base);
    let second = late["resolution"]["conflict_id"].as_str().expect("an id").to_owned();
    assert_eq!(late["resolution"]["siblings"], 3);
    let refused = conflicts(site, &format!("resolve {first} --use 2")).expect_code(1);
    assert!(refused.stderr.contains(&format!("conflicts show {second}")), "{}", refused.stderr);
    assert_eq!(shown(site, &first)["superseded_by"], json!(second));
    assert_eq!((listed(site, ""), listed(site, "--status superseded")), (vec![second.clone()], vec![first]));

    // Plain REST is enough, and a value as it was written.
    let body = json!({ "conflict_id": second, "new_value": { "max": 8 }, "user_id": "dave" });
    let request = Request::new("POST", "/v1/operations/conflicts.resolve").bearer(&sync.token()).json(&body);
    let answer = request.send(host.admin()).expect("an answer");
    assert_eq!(answer.code, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(
        (&answer["resolution_method"], &answer["status"]),
        (&json!("manual_resolution"), &json!("resolved"))
    );
    let entry = key(&host, "app.pool");
    assert_eq!(
        (&entry["new_value"], &entry["revision"]),
        (&json!({ "max": 8 }), &answer["resolved_revision"])
    );

    // Nobody knew of it when it was decided.
    let later = change(&mut authors[1], "app.pool", &json!({ "max": 1 }), &clash.base);
    let third = later["resolution"]["conflict_id"].as_str().expect("an id");
    assert_eq!(shown(site, &second)["superseded_by"], json!(third));
    conflicts(site, &format!("resolve {third} --delete --user dave")).expect_code(0);
    assert_eq!(host.get("/v1/keys/app.pool").code, 404);
}

#[test]
fn a_decision_goes_through_every_transform_and_its_help_teaches() {
    let sync = sync("");
    let (host, mut authors) = start(&sync);
    let (site, id) = (&sync.site, Clash::of(&mut authors, "app.pool").id());
    site.run(["locks", "acquire", "app.pool", "--user", "ann", "--session", "s1", "--ttl", "60s"])
        .expect_code(0);
    let refused = conflicts(site, &format!("resolve {id} --use 1 --user bob")).expect_code(1);
    assert!(refused.stderr.contains("ann holds it"), "{}", refused.stderr);
    conflicts(site, &format!("resolve {id} --use 1 --user ann --session s1")).expect_code(0);
    assert_eq!(key(&host, "app.pool")["new_value"], json!({ "max": 7, "min": 1 }));

    for (words, code) in [
        (format!("resolve {id}"), 2),
        (format!("resolve {id} --use 1 --delete"), 2),
        (format!("resolve {id} --value text"), 2),
        ("show 0b6f6d58-6a4e-5c0c-8a1e-0d9d2f0c7b11".to_owned(), 1),
        ("show nothing".to_owned(), 1),
        ("list --pattern [".to_owned(), 1),
    ] {
        let refused = conflicts(site, &words).expect_code(code);
        assert!(!refused.stderr.is_empty(), "{words}");
    }
    for command in ["list", "show", "assign", "preview", "resolve"] {
        let help = conflicts(site, &format!("{command} --help")).expect_code(0).stdout;
        let examples = help.split("Examples:\n").nth(1).expect("examples");
        let own = format!("  lockstep conflicts {command} ");
        assert!(
            help.contains("Exit codes:") && examples.lines().all(|line| line.starts_with(&own)),
            "{help}"
        );
    }
    let nothing = conflicts(site, "list").expect_code(0);
    assert!(nothing.stdout.is_empty() && nothing.stderr.contains("no conflict"), "{nothing:?}");
}

#[test]
fn d_44b_whoever_has_to_decide_is_told_again_and_then_urgently() {
    let sync = sync(", remind_every: 1s, escalate_after: 2s")
        .env("LOCKSTEP_SYNC_SETTINGS__CONFLICT_RESOLUTION_INTERVAL", "200ms");
    let (_host, mut authors) = start(&sync);
    let mut watcher = sync.client();
    watcher.subscribe(&["app.*"]);
    let id = Clash::of(&mut authors, "app.pool").id();
    let mut told = Vec::new();
    let escalated = eventually(LIMIT, || {
        told.push(watcher.next_of_type("conflict_detected"));
        told.last().filter(|notice| notice["escalated"] == true).cloned()
    });
    let escalated = escalated.unwrap_or_else(|| panic!("{told:?}"));
    assert!(told.len() >= 3, "at once, once more, and urgently: {told:?}");
    assert!(told.iter().all(|notice| notice["conflict_id"] == *id));
    assert!(escalated["expires_at"].is_string() && escalated["open_since"].is_string(), "{escalated}");
    let table = conflicts(&sync.site, "list").expect_code(0).stdout;
    assert!(table.contains("waits for long"), "{table}");
}
