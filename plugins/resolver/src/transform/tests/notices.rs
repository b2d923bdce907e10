//! What subscribers, the audit and operators learn of a conflict.

use super::*;

/// A host with one open conflict, and the event ids that stand against each other.
fn in_conflict() -> (Host, [Value; 2]) {
    let mut host = Host::new(&json!({}));
    let base = host.set("a", json!({ "tenant_id": "acme" })).revision;
    let theirs = host.set("b", json!({ "tenant_id": "acme" })).entry["event_id"].clone();
    let mine = host.set("c", json!({ "tenant_id": "acme", "base": base })).entry["event_id"].clone();
    (host, [theirs, mine])
}

#[test]
fn d_42_a_conflict_is_told_to_subscribers_and_to_the_audit() {
    let (host, [theirs, mine]) = in_conflict();
    let [notice] = &host.notices()[..] else { panic!("one notice") };
    assert_eq!(
        (&notice["event_type"], &notice["config_key"]),
        (&json!("conflict_detected"), &json!("app.x"))
    );
    assert_eq!((&notice["tenant_id"], &notice["new_value"]), (&json!("acme"), &json!("c")));
    let metadata = &notice["metadata"];
    assert_eq!((&metadata["winning_change"], &metadata["siblings"]), (&mine, &json!(2)));
    assert_eq!(metadata["discarded_changes"], json!([theirs]));

    let [entry] = &host.audit()[..] else { panic!("one entry") };
    for (field, value) in [
        ("event_type", json!("conflict_resolved")),
        ("config_key", json!("app.x")),
        ("resolution_strategy", json!("last_write_wins")),
        ("competing_changes_count", json!(2)),
        ("resolution_method", json!("last_write_wins")),
        ("resolved_value", json!("c")),
        ("winning_change", mine),
        ("discarded_changes", json!([theirs])),
        ("conflict_id", metadata["conflict_id"].clone()),
    ] {
        assert_eq!(entry[field], value, "{field}");
    }
    assert!(entry["timestamp"].as_str().expect("text").ends_with('Z'));
    assert_eq!(host.memory.counter("conflicts_detected"), 1);
    assert_eq!(host.memory.counter("conflicts_resolved"), 1);
}

#[test]
fn a_later_change_that_saw_everything_ends_the_conflict() {
    let (mut host, [theirs, mine]) = in_conflict();
    let later = host.set("d", json!({ "tenant_id": "acme" }));
    assert!(later.resolution.is_null() && later.entry.get("siblings").is_none());
    let notices = host.notices();
    let resolved = notices.last().expect("a notice");
    assert_eq!((&resolved["event_type"], &resolved["new_value"]), (&json!("conflict_resolved"), &json!("d")));
    assert_eq!(resolved["metadata"]["winning_change"], later.entry["event_id"]);
    assert_eq!(resolved["metadata"]["discarded_changes"], json!([theirs, mine]));
    let conflict_id = |at: usize| notices[at]["metadata"]["conflict_id"].clone();
    assert_eq!(conflict_id(0), conflict_id(1), "it is the same conflict");
}

#[test]
fn a_conflict_that_a_third_change_joins_says_whose_place_it_takes() {
    let (mut host, _) = in_conflict();
    host.set("e", json!({ "tenant_id": "acme", "base": 1 }));
    host.set("f", json!({ "tenant_id": "acme" }));
    let notices = host.notices();
    let said: Vec<_> = notices
        .iter()
        .map(|notice| (notice["event_type"].as_str().expect("text"), notice["metadata"].get("supersedes")))
        .collect();
    let first = &notices[0]["metadata"]["conflict_id"];
    let expected =
        [("conflict_detected", None), ("conflict_detected", Some(first)), ("conflict_resolved", None)];
    assert_eq!(said, expected);
    assert_ne!(notices[1]["metadata"]["conflict_id"], *first);
}

#[test]
fn a_batch_that_is_applied_again_counts_once() {
    let mut host = Host::new(&json!({}));
    let base = host.set("a", json!({})).revision;
    host.set("b", json!({}));
    let place = Place::of(None, "app.x");
    let before =
        [b"n".as_slice(), place.siblings()].map(|key| (key.to_vec(), host.memory.state("resolver", key)));
    for _ in 0..2 {
        assert_eq!(host.set("c", json!({ "base": base })).resolution["siblings"], 2);
        let context = context_of(&host.memory);
        for (key, value) in &before {
            context.state(crate::ledger::NAMESPACE).stage(key, value.clone()).expect("put back");
        }
    }
    assert_eq!(host.memory.counter("conflicts_detected"), 1);
}

/// A component's context on this host, outside of any batch.
pub fn context_of(memory: &MemoryHost) -> Context {
    struct Lend;
    #[config]
    struct NoConfig {}
    thread_local! { static LENT: std::cell::RefCell<Option<Context>> = const { std::cell::RefCell::new(None) } }
    impl Transform for Lend {
        type Config = NoConfig;
        fn new(_: NoConfig, context: &Context) -> Result<Self> {
            LENT.with(|lent| lent.replace(Some(context.clone())));
            Ok(Self)
        }
        fn apply(&mut self, _: Record, _: &mut Output) -> Result<()> {
            Ok(())
        }
    }
    let place = TestPlace { through_log: true, host: memory.clone(), ..TestPlace::default() };
    testing::transform_at::<Lend>("{}", &place).expect("a component");
    LENT.with(|lent| lent.take()).expect("a context")
}

#[test]
fn the_sweep_names_a_conflict_once_if_it_stays_open() {
    let (mut host, [_, mine]) = in_conflict();
    let context = context_of(&host.memory);
    let interval = Duration::from_secs(10);
    let soon = time::now_us();
    assert_eq!(sweep::sweep(&context, interval, soon).expect("swept"), 1);
    assert_eq!(host.notices().len(), 1, "it is not open for long");
    for _ in 0..2 {
        assert_eq!(sweep::sweep(&context, interval, soon + 11_000_000).expect("swept"), 1);
        assert_eq!(host.notices().len(), 2, "it is said once");
    }
    let notices = host.notices();
    assert_eq!(notices[1]["event_type"], "conflict_detected");
    assert_eq!(notices[1]["metadata"]["winning_change"], mine);
    assert!(notices[1]["metadata"]["open_since"].is_string());

    host.set("d", json!({ "tenant_id": "acme" }));
    assert_eq!(sweep::sweep(&context, interval, soon + 60_000_000).expect("swept"), 0);
}

#[test]
fn the_sweep_runs_by_itself_every_interval() {
    let interval = Duration::from_millis(1);
    let place =
        TestPlace { through_log: true, conflict_resolution_interval: interval, ..TestPlace::default() };
    let resolver = testing::transform_at::<Resolver>("{}", &place).expect("a resolver");
    let mut host = Host { resolver, memory: place.host };
    let base = host.set("a", json!({})).revision;
    host.set("b", json!({}));
    host.set("c", json!({ "base": base }));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let is_done = || host.memory.gauge("resolver_open_conflicts") == 1 && host.notices().len() == 2;
    while !is_done() {
        assert!(std::time::Instant::now() < deadline, "nothing was swept");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_sweep_walks_through_more_conflicts_than_a_page_holds() {
    let mut host = Host::new(&json!({}));
    for i in 0..300 {
        let key = format!("app.k{i}");
        host.write(&json!({ "config_key": key, "new_value": 1 }));
        host.write(&json!({ "config_key": key, "new_value": 2, "base": 0 }));
    }
    let context = context_of(&host.memory);
    let late = time::now_us() + 60_000_000;
    assert_eq!(sweep::sweep(&context, Duration::from_secs(10), late).expect("swept"), 300);
    assert_eq!(host.notices().len(), 600);
}
