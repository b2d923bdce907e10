//! Every fault at every entry point: what state the pipeline ends in, what error is shown, and where every record is.
//!
//! The table has a cell for each pair; one that cannot happen says why, and one that is missing fails the test.

mod cell;
mod table;

use cell::{Cell, Place, Scenario};
use lockstep_test_support::{Host, LIMIT, Ledger, Probe, Site};
use std::collections::HashSet;

const N_RECORDS: u64 = 60;

/// The record at which faults happen that wait for one.
const AT: u64 = 20;

#[test]
fn no_cell_of_the_table_is_empty() {
    for at in table::ENTRY_POINTS {
        for how in table::FAULTS {
            assert!(table::cell(at, how).is_some(), "what happens at `{at}` with `{how}`?");
        }
    }
}

/// One test per entry point, so that they run beside each other and a failure names its row.
macro_rules! rows {
    ($($name:ident: $at:literal),+ $(,)?) => { $(
        #[test]
        fn $name() {
            run_row($at);
        }
    )+ };
}

rows! {
    faults_in_new: "new",
    faults_in_poll: "poll",
    faults_in_apply: "apply",
    faults_in_put: "put",
    faults_in_acked: "acked",
    faults_in_drop: "drop",
    faults_in_a_task: "task",
}

fn run_row(at: &str) {
    for how in table::FAULTS {
        match table::cell(at, how) {
            Some(Cell::Runs(scenario)) => {
                println!("{how} in {at}");
                run(&scenario);
            }
            Some(Cell::Impossible(reason)) => println!("{how} in {at}: cannot happen, {reason}"),
            None => panic!("an empty cell: {how} in {at}"),
        }
    }
}

fn run(scenario: &Scenario) {
    let bystander = "
sources: [ { plugin: probe, config: { dir: SITE/by-in, count: 1000000, rate: 500 } } ]
sinks: [ { plugin: probe, config: { dir: SITE/by-out } } ]
";
    let site = Site::new()
        .pipeline("victim", &scenario.pipeline(N_RECORDS, AT))
        .pipeline("bystander", bystander)
        .env("LOCKSTEP_WATCHDOG", "1s")
        .env("LOCKSTEP_CALL_TIMEOUT", "500ms")
        .env("LOCKSTEP_GRACE_PERIOD", "3s")
        .env("LOCKSTEP_RESTART__BACKOFF__MIN", "20ms")
        .env("LOCKSTEP_RESTART__BACKOFF__MAX", "100ms");
    let (sink, other) = (Probe::new(&site, "out"), Probe::new(&site, "by-out"));
    let mut host = site.start();
    host.wait_state("victim", scenario.state);
    wait_for_place(&mut host, &site, &sink, scenario.place);
    // An error about a record is shown with its dead letter, one about a component in the status and the log.
    let dead = || site.run(["dlq", "list", "--json"]).expect_code(0).stdout;
    let shown = |host: &Host| [host.status().errors("victim"), host.log(), dead()].join("\n");
    host.wait_until(scenario.error, LIMIT, |host| shown(host).contains(scenario.error));
    host.wait_state("victim", scenario.state);

    let so_far = other.written().len();
    host.wait_until("the other pipeline to go on", LIMIT, |_| other.written().len() > so_far);
    host.wait_state("bystander", "running");
    assert_eq!(host.get("/healthz").code, 200);
    if scenario.place == Place::AtTheSource {
        host.kill();
        site.write("mended", "");
        let mut host = site.start();
        wait_for_place(&mut host, &site, &sink, Place::Written);
    }
    let written = other.written();
    let n_distinct = written.iter().collect::<HashSet<_>>().len();
    Ledger::new(&Probe::keys(n_distinct as u64), &written).assert_at_least_once_in_order();
}

/// Waits until every record is where it should be, and checks that none is anywhere else.
fn wait_for_place(host: &mut Host, site: &Site, sink: &Probe, place: Place) {
    let keys = Probe::keys(N_RECORDS);
    let dead = || site.run(["dlq", "list", "--json"]).expect_code(0).stdout;
    let n_distinct = || sink.written().iter().collect::<HashSet<_>>().len();
    let failed = format!("app.probe.{AT}");
    match place {
        Place::Written => {
            host.wait_until("every record at its sink", LIMIT, |_| n_distinct() == keys.len());
            Ledger::new(&keys, &sink.written()).assert_at_least_once_in_order();
            assert!(!dead().contains("app.probe."), "nothing is dead");
        }
        Place::OneDead => {
            host.wait_until("every other record at its sink", LIMIT, |_| n_distinct() == keys.len() - 1);
            let others: Vec<String> = keys.into_iter().filter(|key| *key != failed).collect();
            Ledger::new(&others, &sink.written()).assert_at_least_once_in_order();
            host.wait_until("the record in the dead letter queue", LIMIT, |_| dead().contains(&failed));
        }
        Place::AtTheSource => assert!(!dead().contains("app.probe."), "nothing is dead"),
    }
}
