//! What a pipeline through the log offers its components and operators, inside one process.

use lockstep::{
    audit::{self, Filter},
    config::{self, Environment, Flag, LoadOptions, SettingsFile},
    host::Host,
    runtime::{PipelineState, RunningPipeline},
};
use lockstep_plugin_api::{Change, Json, Record, source::OutcomeResult};
use lockstep_test_support::{LIMIT, Site, eventually, lines};
use serde_json::{Value, json};
use std::{fs, path::Path, sync::mpsc};

const PIPELINE: &str = "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 0 } } ]
transforms: [ { plugin: ledger, config: { dir: SITE/ledger } } ]
sinks:
  - name: all
    plugin: replayer
    config: { dir: SITE/all }
  - name: some
    plugin: replayer
    when: '!change.config_key.startsWith(\"app.hidden\")'
    transforms: [ { plugin: rename_key, config: { from: app.a, to: app.renamed } } ]
    config: { dir: SITE/some }
";

/// A host in this process.
struct Inside {
    host: Host,
    site: Site,
}

impl Inside {
    fn start() -> Self {
        let site = Site::new().pipeline("flow", PIPELINE);
        let flag = |path: &str, value: Value| Flag { name: format!("--{path}"), path: path.into(), value };
        let options = LoadOptions {
            settings: SettingsFile::None,
            pipelines: vec![site.path("pipelines")],
            environment: Environment::default(),
            flags: vec![
                flag("data_dir", json!(site.path("data"))),
                flag("plugin_path", json!([site.path("plugins")])),
                flag("admin.listen", json!("off")),
            ],
        };
        let config = config::load(&options).unwrap_or_else(|refused| panic!("{}", refused.render(false)));
        let host = Host::start(config).unwrap_or_else(|refused| panic!("{refused}"));
        let inside = Self { host, site };
        let runs = eventually(LIMIT, || (inside.pipeline().state() == PipelineState::Running).then_some(()));
        assert!(runs.is_some(), "{:?}", inside.pipeline().status());
        inside
    }

    fn pipeline(&self) -> &RunningPipeline {
        &self.host.pipelines[0]
    }

    fn submit(&self, change: Change) -> OutcomeResult {
        let (tell, told) = mpsc::sync_channel(1);
        let intake = self.pipeline().admin().expect("it goes through the log");
        intake.submit(Record::from_change(change), move |result| tell.send(result).expect("somebody waits"));
        told.recv_timeout(LIMIT).expect("an outcome")
    }

    /// The revision and the details of a change that was applied.
    fn set(&self, key: &str) -> (u64, Value) {
        applied(self.submit(change(key)))
    }

    fn replay(&self, sink: &str, order: &str) -> String {
        let replayed = self.site.path(format!("{sink}/replayed"));
        let _ = fs::remove_file(&replayed);
        let draft = self.site.write(format!("{sink}/draft"), order);
        fs::rename(draft, self.site.path(format!("{sink}/replay"))).expect("one file system");
        eventually(LIMIT, || fs::read_to_string(&replayed).ok()).expect("a replay")
    }
}

fn change(key: &str) -> Change {
    Change::new(key, Json::parse("1").expect("JSON"))
}

fn applied(result: OutcomeResult) -> (u64, Value) {
    match result {
        OutcomeResult::Applied { revision, details } => {
            (revision, details.map_or(Value::Null, |details| details.read().expect("JSON")))
        }
        other => panic!("not applied: {other:?}"),
    }
}

fn given(file: &Path, n: usize) -> Vec<String> {
    let found = eventually(LIMIT, || Some(lines(file)).filter(|lines| lines.len() >= n));
    found.unwrap_or_else(|| panic!("{:?}", lines(file)))
}

#[test]
fn an_operators_change_is_answered_with_its_revision_and_what_the_chain_told() {
    let inside = Inside::start();
    assert_eq!(inside.set("app.a"), (1, json!({ "count": 1 })));
    assert_eq!(inside.set("app.a"), (2, json!({ "count": 2 })));
    assert!(matches!(inside.submit(change("app.dropped")), OutcomeResult::Written));
    match inside.submit(change("app.refused")) {
        OutcomeResult::Rejected(error) => assert_eq!(error.code(), Some("invalid_value")),
        other => panic!("{other:?}"),
    }
    assert_eq!(inside.set("app.b").0, 3, "what was refused or dropped has no revision");
    assert!(inside.host.drain());
    match inside.submit(change("app.late")) {
        OutcomeResult::Failed(error) => assert_eq!(error.code(), Some("unavailable")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_repeated_idempotency_key_is_answered_with_the_first_revision() {
    let inside = Inside::start();
    let named = |key: &str, user: &str, name: &str| {
        let mut change = change(key);
        change.set_user_id(Some(user.into()));
        change.set_idempotency_key(Some(name.into()));
        change
    };
    assert_eq!(applied(inside.submit(named("app.a", "eve", "1"))).0, 1);
    assert_eq!(applied(inside.submit(named("app.a", "eve", "1"))), (1, Value::Null), "not applied again");
    assert_eq!(applied(inside.submit(named("app.a", "bob", "1"))).0, 2, "names are each author's own");
    assert_eq!(applied(inside.submit(named("app.a", "eve", "2"))).0, 3);
    // Many at once, each twice: the second one of a pair finds the first one in the same batch.
    let (tell, told) = mpsc::sync_channel(200);
    let intake = inside.pipeline().admin().expect("it goes through the log");
    for number in 0..100 {
        for _ in 0..2 {
            let (tell, key) = (tell.clone(), format!("app.{number}"));
            let record = Record::from_change(named(&key, "eve", &key));
            intake.submit(record, move |result| {
                tell.send((number, applied(result).0)).expect("somebody waits")
            });
        }
    }
    let answers: Vec<_> = (0..200).map(|_| told.recv_timeout(LIMIT).expect("an answer")).collect();
    let distinct: std::collections::BTreeSet<_> = answers.iter().copied().collect();
    assert_eq!(distinct.len(), 100, "one revision for both of each pair: {distinct:?}");
    assert_eq!(inside.pipeline().log().expect("a log").head(), 103);
    assert!(inside.host.drain());
}

#[test]
fn notices_and_the_audit_are_in_the_batchs_commit_and_notices_go_where_they_are_wanted() {
    let inside = Inside::start();
    inside.set("app.noticed");
    let all = given(&inside.site.path("all/given"), 2);
    assert_eq!(all, ["1 config_updated app.noticed", "2 counted app.noticed"]);
    let audit = audit::list(&inside.host.store, &Filter::default(), 10).expect("readable").records;
    let [told, change] = audit.as_slice() else { panic!("{audit:?}") };
    assert_eq!(told.entry, "\"counted app.noticed\"");
    assert!(change.entry.starts_with("{\"revision\":1,\"event_type\":\"config_updated\""), "{change:?}");
    assert!(inside.host.drain());
}

#[test]
fn operations_are_called_by_name_while_their_component_is_open() {
    let inside = Inside::start();
    inside.set("app.a");
    inside.set("app.a");
    let operations = inside.pipeline().operations().expect("it goes through the log");
    let call = |name: &str, arguments: Value| {
        let (tell, told) = mpsc::sync_channel(1);
        operations
            .call(name, &arguments.to_string(), move |answer| tell.send(answer).expect("somebody waits"));
        told.recv_timeout(LIMIT).expect("an answer")
    };
    let listed = operations.list();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].component.as_str()), ("ledger.count", "ledger"));
    assert!(listed[0].arguments.get().contains("The config key."), "{:?}", listed[0]);
    let answer: Value =
        serde_json::from_str(&call("ledger.count", json!({ "key": "app.a" })).expect("an answer"))
            .expect("JSON");
    assert_eq!(answer, json!({ "count": 2, "caller": "operator admin", "head": 2, "newest": 2 }));
    let refused = call("ledger.count", json!({ "kye": "app.a" })).expect_err("a wrong argument");
    assert_eq!(refused.code(), Some("bad_message"));
    assert!(call("ledger.burn", json!({})).is_err(), "nobody offers it");
    assert!(inside.host.drain());
    assert!(operations.list().is_empty(), "gone with the component");
    assert!(call("ledger.count", json!({ "key": "app.a" })).is_err());
}

#[test]
fn a_replay_goes_through_the_sinks_own_condition_and_chain() {
    let inside = Inside::start();
    for key in ["app.a", "app.hidden", "app.b", "app.a", "app.noticed"] {
        inside.set(key);
    }
    let some = "1 config_updated app.renamed\n3 config_updated app.b\n4 config_updated app.renamed\n\
                5 config_updated app.noticed\n6 counted app.noticed\n";
    assert_eq!(given(&inside.site.path("some/given"), 5).join("\n") + "\n", some);
    assert_eq!(inside.replay("some", "history 0"), format!("{some}end at 6\n"), "as it was delivered");
    assert_eq!(
        inside.replay("some", "current 0"),
        "3 config_updated app.b\n4 config_updated app.renamed\n5 config_updated app.noticed\nend at 6\n"
    );
    assert_eq!(inside.replay("all", "history 5"), "6 counted app.noticed\nend at 6\n");
    assert!(inside.host.drain());
}

#[test]
fn a_change_comes_through_though_others_write_what_it_reads_all_the_time() {
    let inside = Inside::start();
    inside.site.write("ledger/slow", "");
    inside.site.write("ledger/bumping", "app.contended");
    let log = inside.pipeline().log().expect("a log");
    assert!(eventually(LIMIT, || (log.head() > 20).then_some(())).is_some(), "the others write");
    let before = log.head();
    let (revision, told) = inside.set("app.contended");
    assert!(revision > before && told["count"].as_u64() > Some(100), "{told}");
    let still = log.head();
    assert!(eventually(LIMIT, || (log.head() > still + 20).then_some(())).is_some(), "and go on to");
    fs::remove_file(inside.site.path("ledger/bumping")).expect("the order is there");
    assert!(inside.host.drain());
}
