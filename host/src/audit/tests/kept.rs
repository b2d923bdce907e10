//! What entries hold, which are kept, and which of them are listed.

use lockstep_plugin_api::Json;

use super::*;

#[test]
fn the_oldest_entries_go_by_number_bytes_and_age_and_the_rest_can_be_verified() {
    let few = |change: fn(&mut Limits)| {
        let mut limits =
            Limits { entries: 1_000_000, bytes: 1 << 30, age: Duration::from_secs(90 * 24 * 3600) };
        change(&mut limits);
        limits
    };
    for limits in [few(|limits| limits.entries = 3), few(|limits| limits.bytes = 400)] {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, audit) = open(dir.path(), AuditOptions { limits, ..options() });
        (0..20).for_each(|n| write(&audit, &store, [json!({ "n": n })]));
        let head = audit.chain().head;
        audit.forget_old().expect("forgotten");
        let chain = audit.chain();
        assert!((2..=5).contains(&chain.n_entries()) && chain.n_bytes <= 400, "{limits:?}: {chain:?}");
        let found = walk(&store, &[head]).expect("whole");
        assert_eq!((found.anchor, found.head), (chain.anchor, head), "{limits:?}");
        assert!(matches!(verified(exported(&store).as_bytes(), &[head]), Ok(n) if n == chain.n_entries()));
        let forgotten = Link { number: 2, hash: Hash::default() };
        let gone = walk(&store, &[forgotten]).expect_err("nobody knows");
        assert_eq!(gone.problem, Problem::Forgotten { anchor: chain.anchor.number });
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (store, audit) = open(dir.path(), options());
    write(&audit, &store, [json!({ "n": 1 }), json!({ "n": 2 })]);
    drop(audit);
    let limits = few(|limits| limits.age = Duration::from_secs(3600));
    let now_us = || 1_700_000_000_000_000 + 2 * HOUR_US;
    let audit = Audit::open(store.clone(), AuditOptions { limits, now_us, ..options() }).expect("an audit");
    write(&audit, &store, [json!({ "n": 3 })]);
    audit.forget_old().expect("forgotten");
    assert_eq!((audit.chain().anchor.number, audit.chain().head.number), (2, 3));
    assert!(walk(&store, &[]).is_ok());
}

#[test]
fn a_walk_goes_on_while_entries_come_and_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let limits = Limits { entries: 100, bytes: 1 << 30, age: Duration::from_secs(3600) };
    let (store, audit) = open(dir.path(), AuditOptions { limits, ..options() });
    (0..50).for_each(|_| write(&audit, &store, (0..100).map(|n| json!({ "n": n }))));
    let mut walk = Walk::begin(store.clone(), Vec::new()).expect("an anchor");
    let first = walk.step().expect("whole");
    write(&audit, &store, [json!({})]);
    audit.forget_old().expect("forgotten");
    assert!(
        matches!(first, Step::On) || audit.chain().n_entries() <= 113,
        "more than a page, or shortened before"
    );
    let end = walk.step().expect("whole");
    assert!(matches!(end, Step::End(verified) if verified.head == audit.chain().head));
}

#[test]
fn a_change_is_told_with_size_and_hash_and_never_with_its_value() {
    let dir = tempfile::tempdir().expect("a folder");
    let redact = vec!["secrets.*".to_owned()];
    let (store, audit) = open(dir.path(), AuditOptions { redact, ..options() });
    let mut change = Change::new("app.x", Json::parse("\"canary\"").expect("JSON"));
    change.set_user_id(Some("ann".into()));
    change.set_tenant_id(Some("acme".into()));
    let mut commit = Commit::default();
    let operator = Operator { by: "uid 7".into(), remote: "socket, pid 8".into() };
    audit.add_change(&mut commit, &change, 0, &Author { source: "ws", operator: None });
    change.set_config_key("secrets.pin");
    audit.add_change(&mut commit, &change, 0, &Author { source: "admin", operator: Some(&operator) });
    let text = |at: usize| serde_json::from_str::<Value>(&commit.audit[at].entry).expect("JSON");
    // printf '"canary"' | sha256sum
    let hash = "57255a3192513e0ba439a993cb51f113b5b965801b3e9445aae04dff98e35676";
    assert_eq!(text(0)["value_bytes"], 8);
    assert_eq!(text(0)["value_sha256"], hash);
    assert_eq!((&text(0)["user_id"], &text(0)["tenant_id"]), (&json!("ann"), &json!("acme")));
    assert_eq!((&text(0)["source"], &text(0)["by"]), (&json!("ws"), &Value::Null));
    assert_eq!((&text(1)["by"], &text(1)["remote"]), (&json!("uid 7"), &json!("socket, pid 8")));
    assert!(text(1).get("value_sha256").is_none() && text(1).get("value_bytes").is_none());
    assert!(!format!("{commit:?}").contains("canary"));
    drop((store, audit));
    let (_store, audit) = open(dir.path(), AuditOptions { changes: false, ..options() });
    let mut commit = Commit::default();
    audit.add_change(&mut commit, &change, 0, &Author { source: "ws", operator: None });
    assert!(commit.audit.is_empty());
    audit.add_change(&mut commit, &change, 0, &Author { source: "admin", operator: Some(&operator) });
    assert_eq!(commit.audit.len(), 1, "what an operator does always has an entry");
}

#[test]
fn of_a_listed_keys_change_no_name_is_told_that_was_made_of_its_message() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_store, audit) =
        open(dir.path(), AuditOptions { redact: vec!["secrets.*".to_owned()], ..options() });
    let derived = lockstep_plugin_api::wire::derived_event_id(&[b"secrets.pin", b"\"canary\""]);
    for (key, event_id, is_told) in [
        ("secrets.pin", derived.as_str(), false),
        ("secrets.pin", "0198a1b2-0000-7000-8000-000000000000", true),
        ("secrets.pin", "mine", true),
        ("app.x", derived.as_str(), true),
    ] {
        let mut change = Change::new(key, Json::parse("\"canary\"").expect("JSON"));
        change.set_event_id(Some(event_id.into()));
        let mut commit = Commit::default();
        audit.add_change(&mut commit, &change, 0, &Author { source: "ws", operator: None });
        assert_eq!(commit.audit[0].entry.contains(event_id), is_told, "{key}, {event_id}");
    }
}

#[test]
fn entries_of_a_host_that_did_not_chain_them_are_chained_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(dir.path());
    let old = |number: u64, entry: &str| {
        Commit::default().put(Namespace::Audit, number.to_be_bytes(), entry).put(
            Namespace::Meta,
            "audit",
            number.to_be_bytes(),
        )
    };
    for (number, entry) in [
        (2, r#"{"event_type":"lock_acquired","timestamp":"2026-01-01T00:00:00.000001Z"}"#),
        (3, "\"no object\""),
        (900_000, "{\"broken\":\n1}"),
    ] {
        store.commit(old(number, entry)).expect("committed");
    }
    for _ in 0..2 {
        let audit = Audit::open(store.clone(), options()).expect("an audit");
        assert_eq!(walk(&store, &[]).map(|verified| verified.n_entries), Ok(3));
        let listed = list(&store, &Filter::default(), 9).expect("readable").records;
        let shown: Vec<_> =
            listed.iter().map(|record| (record.number, record.at_us, record.entry.as_str())).collect();
        assert_eq!(shown[0], (3, 1_700_000_000_000_000, "{\"broken\": 1}"));
        assert_eq!((shown[1].0, shown[1].2), (2, "\"no object\""));
        assert_eq!(
            (shown[2].0, shown[2].1),
            (1, time::parse_us("2026-01-01T00:00:00.000001Z").expect("a time"))
        );
        drop(audit);
    }
    assert!(matches!(verified(exported(&store).as_bytes(), &[]), Ok(3)));
}

#[test]
fn a_list_is_the_newest_first_of_what_a_filter_lets_pass() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, audit) = open(dir.path(), options());
    let entry = |n: u64| {
        json!({ "event_type": if n.is_multiple_of(2) { "config_updated" } else { "lock_acquired" },
            "config_key": format!("app.{}", n % 3), "tenant_id": n.is_multiple_of(5).then_some("acme") })
    };
    write(&audit, &store, (1..=3000).map(entry));
    let glob = |text: &str| Some(lockstep_plugin_api::glob::Glob::new(text).expect("a glob"));
    let numbers = |filter: Filter, limit: usize| {
        let listed = list(&store, &filter, limit).expect("readable");
        (listed.records.iter().map(|record| record.number).collect::<Vec<_>>(), listed.next)
    };
    assert_eq!(numbers(Filter::default(), 2), (vec![3000, 2999], Some(2999)));
    assert_eq!(numbers(Filter { before: Some(3), ..Filter::default() }, 9), (vec![2, 1], None));
    let tenant = Filter {
        tenant: Some("acme".into()),
        key: glob("app.[0]"),
        event_type: glob("lock_*"),
        ..Filter::default()
    };
    assert_eq!(numbers(tenant.clone(), 2), (vec![2985, 2955], Some(2955)));
    let all = numbers(tenant, 10_000);
    assert_eq!((all.0.len(), all.1), (100, None));
    let late = Filter { since_us: Some(1_700_000_000_000_001), ..Filter::default() };
    assert_eq!(numbers(late, 9), (vec![], None));
    let early = Filter { since_us: Some(1_700_000_000_000_000), ..Filter::default() };
    assert_eq!(numbers(early, 9).0.len(), 9);
}
