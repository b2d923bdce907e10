//! Rotation under load: while values are sealed with a new data key, nothing that was answered is lost and nobody waits
//! for it, whenever the host is killed.

use super::crash::answered_are_there;
use super::{Sync, key, revision};
use lockstep_test_support::{Authors, LIMIT, Load, Numbers, last_revision, random, scale, written_history};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LOAD: Load = Load { n_connections: 8, in_flight: 32, per_second: Some(500), n_keys: 64, bytes: 200 };

/// How much of the load must be answered while a rotation is under way; the rest is for a machine that does other things.
const SHARE: f64 = 0.5;

#[test]
fn a_rotation_under_load_loses_and_blocks_nothing_when_the_host_is_killed() {
    let (n_kills, n_rotations_at_the_end) = scale((5, 1), (40, 5));
    let mut random = random("rotation");
    let sync = Sync::new().env("STORE_KEY_A", &"a1".repeat(32)).env("STORE_KEY_B", &"b2".repeat(32));
    let set_current = |id: &str| {
        let keys = "[ { id: a, env: STORE_KEY_A }, { id: b, env: STORE_KEY_B } ]";
        sync.site
            .write("lockstep.yaml", format!("state: {{ encryption: {{ keys: {keys}, current: {id} }} }}\n"));
    };
    let numbers = Numbers::default();
    let (mut sent, mut n_hits) = (Vec::new(), 0);
    for n in 0..n_kills {
        // Every other start with another key of the settings, which rotates too.
        set_current(if n % 4 < 2 { "a" } else { "b" });
        let mut host = sync.start();
        let authors = Authors::start(sync.port, LOAD, &numbers);
        host.wait_until("answers", LIMIT, |_| authors.n_answered() >= 300);
        sync.site.run(["state", "rotate-key"]).expect_code(0);
        std::thread::sleep(Duration::from_millis(random.u64(0..400)));
        n_hits += usize::from(!sealing(&host)["resealing"].is_null());
        host.kill();
        sent.extend(authors.finish());
    }
    set_current("a");
    let mut host = sync.start();
    let authors = Authors::start(sync.port, LOAD, &numbers);
    let mut n_quick = 0;
    // A machine with other work may slow one of them down.
    for _ in 0..5 * n_rotations_at_the_end {
        let (before, started) = (authors.n_answered(), Instant::now());
        sync.site.run(["state", "rotate-key", "--wait"]).expect_code(0);
        let expected = f64::from(LOAD.per_second.expect("a rate")) * started.elapsed().as_secs_f64() * SHARE;
        host.wait_until("answers", LIMIT, |_| authors.n_answered() > before);
        let n_answered = authors.n_answered() - before;
        println!("{n_answered} changes were answered during a rotation of {:?}", started.elapsed());
        n_quick += usize::from(n_answered as f64 >= expected);
        if n_quick == n_rotations_at_the_end {
            break;
        }
    }
    assert_eq!(n_quick, n_rotations_at_the_end, "rotations during which authors were answered");
    sent.extend(authors.finish());
    let end = revision(&sync.author().change("app.end", &json!({ "n": numbers.take() })));
    host.wait_until("the file sink", LIMIT, |_| last_revision(&sync.output()) >= Some(end));
    assert_eq!(sealing(&host)["older_data_keys"], 0);
    let history = written_history(&sync.output());
    history.assert_complete();
    let n_answered = answered_are_there(&sent, &history);
    println!("{n_kills} kills, {n_hits} during a rotation; {n_answered} answered, {end} committed");
    assert!(n_answered >= n_kills * 300);
    assert_eq!(key(&host, "app.end")["revision"], end);
    host.stop();
}

fn sealing(host: &lockstep_test_support::Host) -> Value {
    host.get("/v1/state").json()["sealing"].clone()
}
