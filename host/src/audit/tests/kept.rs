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
        let told = walk(&store, &[head, forgotten]).expect("whole");
        assert_eq!(told.forgotten, [forgotten], "nobody knows what became of it");
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
fn what_cannot_be_read_is_given_up_with_the_next_that_can_however_large_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let limits = Limits { entries: 3, bytes: 1 << 30, age: Duration::from_secs(3600) };
    let (store, audit) = open(dir.path(), AuditOptions { limits, ..options() });
    (0..10).for_each(|n| write(&audit, &store, [json!({ "n": n })]));
    for number in [1_u64, 2] {
        let garbage = vec![0; 9 << 20];
        store
            .commit(Commit::default().put(Namespace::Audit, number.to_be_bytes(), garbage))
            .expect("committed");
    }
    audit.forget_old().expect("forgotten");
    assert_eq!((audit.chain().anchor.number, audit.chain().n_entries()), (7, 3));
    assert!(walk(&store, &[]).is_ok());
}

#[test]
fn entries_that_somebody_put_behind_the_head_do_not_keep_retention_busy() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, audit) = open(dir.path(), options());
    (0..10).for_each(|n| write(&audit, &store, [json!({ "n": n })]));
    drop(audit);
    let bytes = store.get(Namespace::Audit, &10_u64.to_be_bytes()).expect("readable").expect("an entry");
    let forged = Commit::default().put(Namespace::Audit, 15_u64.to_be_bytes(), bytes);
    store.commit(forged).expect("written behind the audit's back");
    let limits = Limits { entries: 3, bytes: 1, age: Duration::ZERO };
    let options = AuditOptions { limits, now_us: || i64::MAX, ..options() };
    let audit = Audit::open(store.clone(), options).expect("an audit");
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let forgetting = audit.clone();
    std::thread::spawn(move || tell.send(forgetting.forget_old()));
    told.recv_timeout(Duration::from_secs(120)).expect("it comes to an end").expect("forgotten");
    assert_eq!((audit.chain().anchor.number, audit.chain().n_entries()), (10, 0));
    let found = walk(&store, &[]).expect_err("it is still found");
    assert_eq!((found.number, found.problem), (15, Problem::BehindHead));
}

#[test]
fn a_walk_goes_on_while_entries_come_and_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let limits = Limits { entries: 100, bytes: 1 << 30, age: Duration::from_secs(3600) };
    let (store, audit) = open(dir.path(), options());
    (0..50).for_each(|_| write(&audit, &store, (0..100).map(|n| json!({ "n": n }))));
    let place = |number: u64| Link { number, hash: Hash::default() };
    assert!(matches!(
        walk(&store, &[place(5000)]),
        Err(Broken { number: 5000, problem: Problem::Rewritten })
    ));
    let noted = vec![audit.chain().head, place(4500)];
    let walk = Walk::begin(store.clone(), noted).expect("an anchor");
    let Ok(Step::On(walk)) = walk.step() else { panic!("more than a page") };
    write(&audit, &store, [json!({})]);
    drop(audit);
    let audit = Audit::open(store.clone(), AuditOptions { limits, ..options() }).expect("an audit");
    audit.forget_old().expect("forgotten");
    let Ok(Step::End(found)) = walk.step() else { panic!("whole, and shorter than a page") };
    let Chain { anchor, head, .. } = audit.chain();
    assert_eq!((found.anchor, found.head, found.n_entries), (anchor, head, audit.chain().n_entries()));
    assert_eq!(found.forgotten, [place(4500)], "what was given up unseen is told");
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

#[test]
fn entries_that_cannot_be_read_do_not_end_a_list() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, audit) = open(dir.path(), options());
    write(&audit, &store, (0..2500).map(|n| json!({ "n": n })));
    let garble = |commit: Commit, n: u64| commit.put(Namespace::Audit, n.to_be_bytes(), "");
    store.commit((6..2500).fold(Commit::default(), garble)).expect("written");
    for since_us in [None, Some(1_700_000_000_000_000)] {
        let filter = Filter { since_us, ..Filter::default() };
        let listed = list(&store, &filter, 100).expect("readable");
        let numbers: Vec<_> = listed.records.iter().map(|record| record.number).collect();
        assert_eq!((numbers, listed.next), (vec![2500, 5, 4, 3, 2, 1], None));
    }
}

#[test]
fn a_list_holds_so_many_bytes_and_says_where_to_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, audit) = open(dir.path(), options());
    let text = "x".repeat(1 << 20);
    (0..20).for_each(|n| write(&audit, &store, [json!({ "n": n, "text": text })]));
    let (mut numbers, mut before) = (Vec::new(), None);
    loop {
        let listed = list(&store, &Filter { before, ..Filter::default() }, 1000).expect("readable");
        let n_bytes: usize = listed.records.iter().map(|record| record.entry.len()).sum();
        assert!((1..=8 << 20).contains(&n_bytes), "{n_bytes} bytes");
        numbers.extend(listed.records.iter().map(|record| record.number));
        before = listed.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(numbers, (1..=20).rev().collect::<Vec<_>>());
    let large = json!({ "text": "x".repeat(9 << 20) });
    write(&audit, &store, [large]);
    let listed = list(&store, &Filter::default(), 1000).expect("readable");
    assert_eq!((listed.records.len(), listed.next), (1, Some(21)), "one at least");
}

#[test]
fn what_an_earlier_host_kept_is_chained_without_values_that_are_not_to_be_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(dir.path());
    let mut commit = Commit::default().put(Namespace::Meta, "audit", 4_u64.to_be_bytes());
    for (number, entry) in (1_u64..).zip([
        r#"{"config_key":"secrets.pin","timestamp":"2026-01-01T00:00:00Z","resolved_value":"canary"}"#,
        r#"{"config_key":"app.x","resolved_value":{"$enc":{"ct":"canary"}}}"#,
        r#"{"config_key":"app.x","resolved_value":{"\u0024\u0065nc":{"ct":"canary"}}}"#,
        "canary",
    ]) {
        commit = commit.put(Namespace::Audit, number.to_be_bytes(), entry);
    }
    store.commit(commit).expect("committed");
    let redact = vec!["secrets.*".to_owned()];
    let _audit = Audit::open(store.clone(), AuditOptions { redact, ..options() }).expect("an audit");
    let exported = exported(&store);
    assert!(!exported.contains("canary") && exported.contains("2026-01-01T00:00:00"), "{exported}");
    assert!(matches!(verified(exported.as_bytes(), &[]), Ok(4)));
}

#[test]
fn more_than_one_commit_holds_of_what_an_earlier_host_kept_is_chained() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(dir.path());
    let entry = json!({ "text": "x".repeat(1 << 20) }).to_string();
    for number in 1_u64..=70 {
        let commit = Commit::default().put(Namespace::Audit, number.to_be_bytes(), entry.clone());
        store.commit(commit.put(Namespace::Meta, "audit", number.to_be_bytes())).expect("committed");
    }
    let _audit = Audit::open(store.clone(), options()).expect("an audit");
    assert_eq!(walk(&store, &[]).map(|verified| verified.n_entries), Ok(70));
}

#[test]
fn whatever_a_component_says_its_entry_is_json_that_an_export_can_hold() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, audit) = open(dir.path(), options());
    let mut commit = Commit::default();
    audit.add(&mut commit, [" {\"a\":\n1}\n", "no JSON", "{} {}", ""].map(str::to_owned));
    store.commit(commit).expect("committed");
    let exported = exported(&store);
    assert!(matches!(verified(exported.as_bytes(), &[]), Ok(4)), "{exported}");
    assert!(exported.contains(r#""entry":{"a": 1}}"#) && !exported.contains("no JSON"), "{exported}");
}
