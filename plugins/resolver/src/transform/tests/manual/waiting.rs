//! While nobody has decided: later changes, other hosts, and time.

use super::*;
use crate::manual::{self, Time};

const DAY_US: i64 = 86_400_000_000;

#[test]
fn d_44b_a_late_change_reopens_and_the_old_record_says_where_it_goes_on() {
    let (mut host, base, first) = in_conflict();
    ask(&host, "assign", &json!({ "conflict_id": first, "assigned_to": "carol" })).expect("assigned");
    let second =
        host.set("d", json!({ "base": base })).resolution["conflict_id"].as_str().expect("an id").to_owned();
    assert_ne!(first, second);
    let old = show(&host, &first);
    assert_eq!((&old["status"], &old["superseded_by"]), (&json!("superseded"), &json!(second)));
    assert_eq!(old["competing_changes"][0]["withheld"], "superseded");
    let new = show(&host, &second);
    assert_eq!((&new["supersedes"], &new["assigned_to"]), (&json!(first), &json!("carol")));
    assert_eq!((&new["open_since"], &new["n_changes"]), (&old["open_since"], &json!(3)));
    let notice = host.notices().pop().expect("a notice");
    assert_eq!(notice["metadata"]["superseded_record"]["superseded_by"], json!(second));
    let error = resolve(&mut host, json!({ "use": 1 }), &first).expect_err("it goes on elsewhere");
    assert_eq!(error.code(), Some("conflict"));

    // A change that nobody knew when it was decided.
    let decided = resolve(&mut host, json!({ "use": 3 }), &second).expect("resolved");
    let third =
        host.set("e", json!({ "base": base })).resolution["conflict_id"].as_str().expect("an id").to_owned();
    let old = show(&host, &second);
    assert_eq!((&old["status"], &old["superseded_by"]), (&json!("superseded"), &json!(third)));
    assert_eq!(old["resolution"]["event_id"], decided["winning_change"], "what was decided is not forgotten");
    assert_eq!(show(&host, &third)["supersedes"], json!(second));
    assert_eq!(ids(&ask(&host, "list", &json!({})).expect("a list")), [&third]);
    assert_eq!(ids(&ask(&host, "list", &json!({ "status": "over" })).expect("a list")), [&second, &first]);
}

#[test]
fn late_changes_do_not_set_back_when_somebody_is_told_again() {
    let (mut host, base, _) = in_conflict();
    let context = context_of(&host.memory);
    let now_us = time::now_us();
    let mut look = |after_us: i64| {
        host.set("late", json!({ "base": base }));
        let n_before = host.notices().len();
        let looked =
            manual::look_through(&context, patience(), Duration::from_secs(10), Time(now_us + after_us));
        assert_eq!(looked.expect("looked"), 1);
        let told = host.notices();
        (told.len() - n_before, told.last().expect("a notice")["metadata"].get("escalated").is_some())
    };
    assert_eq!(look(11_000_000), (1, false), "after the first interval");
    assert_eq!(look(60_000_000), (0, false), "the late change itself is told, and nothing on top of it");
    assert_eq!(look(DAY_US + 12_000_000), (1, false));
    assert_eq!(look(6 * DAY_US), (1, true), "it is as urgent as if nobody else had come");
    assert_eq!(look(6 * DAY_US + 2_000_000), (0, true), "and stays so, in the late change's own notice");
}

fn patience() -> crate::config::Patience {
    let days = |n: u64| Duration::from_secs(n * 86_400);
    crate::config::Patience { remind_every: days(1), escalate_after: days(6), keep_decided: days(90) }
}

#[test]
fn a_decision_about_what_stands_no_more_is_refused() {
    let (mut host, base, id) = in_conflict();
    let claim = json!({ "config_key": "app.x", "new_value": "z", "metadata": { "resolves_conflict": id } });
    let late = json!({ "config_key": "app.x", "new_value": "z", "base": base, "metadata": { "resolves_conflict": id } });
    assert_eq!(host.take(&late).expect_err("it has not seen them").code(), Some("conflict"));
    host.set("d", json!({ "base": base }));
    assert_eq!(host.take(&claim).expect_err("another one stands").code(), Some("conflict"));
    let wrong = json!({ "config_key": "app.x", "new_value": 1, "metadata": { "resolves_conflict": 5 } });
    assert_eq!(host.take(&wrong).expect_err("no id").code(), Some("bad_message"));
    // Who does not say which conflict it is about decides what stands.
    assert!(host.set("z", json!({})).entry.get("siblings").is_none());
    assert_eq!(host.take(&claim).expect_err("nothing stands").code(), Some("conflict"));
}

#[test]
fn two_hosts_name_one_conflict_alike_and_a_decision_ends_it_on_both() {
    let (mut here, mut there) = (manual(), manual());
    let first = here.set("a", json!({})).entry;
    there.write(&first);
    let (one, two) = (here.set("b", json!({})).entry, there.set("c", json!({ "user_id": "adam" })).entry);
    let ids = [here.write(&two), there.write(&one)].map(|answer| answer.resolution["conflict_id"].clone());
    assert_eq!(ids[0], ids[1]);
    let id = ids[0].as_str().expect("an id");
    resolve(&mut here, json!({ "use": 2, "user_id": "carol" }), id).expect("resolved");
    let decision = here.memory.append([]);
    let context = context_of(&here.memory);
    let EntryAt::Entry(entry) = context.entry_at(None, "app.x", decision).expect("readable") else {
        panic!("an entry")
    };
    there.write(&entry.json().expect("JSON"));
    for host in [&here, &there] {
        let record = show(host, id);
        assert_eq!(
            (&record["status"], &record["resolution"]["user_id"]),
            (&json!("resolved"), &json!("carol"))
        );
    }
}

#[test]
fn d_44b_whoever_has_to_decide_is_told_again_and_urgently_before_the_record_ends() {
    let (mut host, _, id) = in_conflict();
    let context = context_of(&host.memory);
    let patience = patience();
    let now_us = time::now_us();
    let look = |after_us: i64| {
        let interval = Duration::from_secs(10);
        let n = manual::look_through(&context, patience, interval, Time(now_us + after_us)).expect("looked");
        sweep::sweep(&context, interval, now_us + after_us).expect("swept");
        n
    };
    assert_eq!((look(5_000_000), host.notices().len()), (1, 1), "it has just been told");
    let told = |host: &Host| host.notices().last().expect("a notice")["metadata"].clone();
    for (after_us, n_notices, is_urgent) in [
        (11_000_000, 2, false),
        (60_000_000, 2, false),
        (DAY_US + 12_000_000, 3, false),
        (6 * DAY_US, 4, true),
        (6 * DAY_US + 2_000_000, 4, true),
        (8 * DAY_US, 5, true),
    ] {
        assert_eq!(look(after_us), 1);
        assert_eq!(host.notices().len(), n_notices, "{after_us}");
        assert!(told(&host)["open_since"].is_string() && told(&host)["expires_at"].is_string());
        assert_eq!(told(&host).get("escalated").is_some(), is_urgent, "{after_us}");
    }
    let expires = time::parse_us(told(&host)["expires_at"].as_str().expect("text")).expect("a time");
    assert!((expires - now_us - 7 * DAY_US).abs() < 60_000_000);
    assert_eq!(look(400 * DAY_US), 1, "what is not decided is never forgotten");

    resolve(&mut host, json!({ "use": 1 }), &id).expect("resolved");
    assert_eq!(look(89 * DAY_US), 0);
    assert_eq!(show(&host, &id)["status"], "resolved");
    look(91 * DAY_US);
    let error = ask(&host, "show", &json!({ "conflict_id": id })).expect_err("forgotten");
    assert_eq!(error.code(), Some("not_found"));
}
