//! A counter behind a lock, while everything goes wrong at once: no update is lost. With the guide's own lock some are.

use super::{
    nemesis::Nemesis,
    pair::{Node, Pair},
};
use crate::log_acceptance::Sync;
use lockstep_test_support::{
    Additions, AuditFaults, Errand, Grant, GuidePeer, LIMIT, Redis, RedisOptions, Stored, Turn, Turns,
    disorder, eventually, last_revision, random, repeated, scale, written,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const N_CLIENTS: usize = 6;
const KEYS: [&str; 2] = ["app.counter.one", "app.counter.two"];

/// Shorter than what whoever is stopped is stopped for.
const TTL: Duration = Duration::from_millis(250);

/// Between reading a number and writing the next one: long enough to be stopped in between.
const THINKING: Duration = Duration::from_millis(20);

/// What a guarded write may be refused with.
const REFUSALS: [&str; 3] = ["stale_fence", "conflict", "locked"];

#[test]
fn no_update_is_lost_whoever_is_stopped_whatever_is_taken_away_and_however_redis_crashes() {
    let (n_runs, duration) = scale((1, 12), (3, 20));
    let mut random = random("lock torture");
    for _ in 0..n_runs {
        let pair = Arc::new(Pair::start());
        KEYS.iter().for_each(|key| pair.a.set(key, 0));
        let nemesis =
            Nemesis::new(TTL, Duration::from_secs(duration), Duration::from_secs(3), random.u64(..));
        let turns = Turns::start(N_CLIENTS, lockstep_client(&pair));
        nemesis.torment(&turns, &pair.redis, |choice| {
            let arguments =
                json!({ "config_key": one_of(choice), "admin_user_id": "root", "reason": "torture" });
            pair.node(choice as usize).call("lock.force_release", &arguments).is_ok()
        });
        let turns = turns.finish();
        everybody_gets_it(&pair);
        judge(&pair, &nemesis, &turns);
    }
}

#[test]
fn the_guides_own_lock_loses_updates_under_the_same_torture() {
    let redis = Arc::new(Redis::start(&RedisOptions::default()));
    let node = Arc::new(Node::of(Sync::new()));
    let mut random = random("lock torture, control");
    for run in 1..=3 {
        let keys = KEYS.map(|key| format!("{key}.{run}"));
        keys.iter().for_each(|key| node.set(key, 0));
        let ttl = Duration::from_millis(250);
        let nemesis =
            Nemesis::new(ttl, Duration::from_secs(scale(4, 12)), Duration::from_secs(2), random.u64(..));
        let turns = Turns::start(N_CLIENTS, guide_client(&redis, &node, keys.clone(), ttl));
        nemesis.torment(&turns, &redis, |choice| {
            let lock = format!("config_lock:global:{}", keys[choice as usize % keys.len()]);
            redis.try_command(&["DEL", &lock]) == Some(1)
        });
        let turns = turns.finish();
        let additions = keys.each_ref().map(|key| additions(&node, key, &turns));
        let (n_accepted, n_lost) =
            additions.iter().fold((0, 0), |(n, lost), of| (n + of.n_accepted, lost + of.n_lost()));
        println!("guide's lock, run {run}: {n_accepted} accepted, {n_lost} LOST; {nemesis}");
        if n_lost > 0 {
            return;
        }
    }
    panic!("the harness sees no loss where there must be some");
}

/// Takes the lock of one of the keys through one of the hosts, and adds one at the first.
fn lockstep_client(pair: &Arc<Pair>) -> impl Fn(usize) -> Errand + Send + std::marker::Sync + 'static {
    let (pair, ttl) = (pair.clone(), format!("{}ms", TTL.as_millis()));
    move |client| {
        let key = one_of(fastrand::u64(..));
        let user = format!("user-{client}");
        let how = ["--ttl", &ttl, "--wait", "5s", "--user", &user];
        // Now and then the work takes longer than the lease, which has to be kept up meanwhile.
        let think = if fastrand::u8(..30) == 0 { TTL + TTL / 3 } else { THINKING };
        let mut command = pair.node(client).run_addition(key, &how, &pair.a.addition(key, think.as_millis()));
        command.stderr(std::process::Stdio::null());
        Errand { key: key.to_owned(), command }
    }
}

fn guide_client(
    redis: &Arc<Redis>,
    node: &Arc<Node>,
    keys: [String; 2],
    ttl: Duration,
) -> impl Fn(usize) -> Errand + Send + std::marker::Sync + 'static {
    let (redis, node) = (redis.clone(), node.clone());
    move |client| {
        let key = keys[fastrand::usize(..keys.len())].clone();
        let addition = node.addition(&key, THINKING.as_millis());
        let addition: Vec<&str> = addition.iter().map(String::as_str).collect();
        let command = GuidePeer::run(&redis, &key, &format!("user-{client}"), ttl, &addition);
        Errand { key, command }
    }
}

fn one_of(choice: u64) -> &'static str {
    KEYS[(choice >> 32) as usize % KEYS.len()]
}

/// No lock is held for ever: each can be had through each host, within the longest lease there was and a moment.
fn everybody_gets_it(pair: &Pair) {
    for (number, key) in [(0, KEYS[0]), (1, KEYS[1]), (1, KEYS[0]), (0, KEYS[1])] {
        let (node, start) = (pair.node(number), Instant::now());
        let session = format!("after-{number}");
        let acquire = json!({ "config_key": key, "session": session, "ttl_ms": 1000, "wait_ms": 1000 });
        let lease = eventually(LIMIT, || node.call("lock.acquire", &acquire).ok());
        let lease = lease.unwrap_or_else(|| panic!("{key} is held for ever"));
        assert!(start.elapsed() < 3 * TTL + Duration::from_secs(5), "{key}: {:?}", start.elapsed());
        let release = json!({ "config_key": key, "session": session, "token": lease["token"] });
        let _ = node.call("lock.release", &release);
    }
}

fn additions(node: &Node, key: &str, turns: &[Turn]) -> Additions {
    let output = node.sync.output();
    node.set("app.end", 0);
    let end = || {
        let newest = node.host.get("/v1/keys/app.end").json()["revision"].as_u64();
        (last_revision(&output) >= newest).then_some(())
    };
    eventually(LIMIT, end).expect("the file sink has everything");
    let stored = Stored::of(&written(&output), key);
    Additions::new(turns.iter().filter(|turn| turn.key == key), &stored)
}

fn judge(pair: &Pair, nemesis: &Nemesis, turns: &[Turn]) {
    let additions = KEYS.map(|key| additions(&pair.a, key, turns));
    let grants: Vec<Grant> = turns.iter().filter_map(Turn::grant).collect();
    let n_accepted: u64 = additions.iter().map(|of| of.n_accepted).sum();
    let n_lost: u64 = additions.iter().map(Additions::n_lost).sum();
    let mut n_refused = BTreeMap::<&str, u64>::new();
    for (code, n) in additions.iter().flat_map(|of| &of.n_refused) {
        *n_refused.entry(code).or_default() += n;
    }
    let n_unanswered: u64 = additions.iter().map(|of| of.n_unanswered).sum();
    println!(
        "torture: ttl {TTL:?}, {} turns, {} grants, {n_accepted} accepted, {n_refused:?} refused, {n_unanswered} unanswered, \
         {n_lost} LOST; {nemesis}",
        turns.len(),
        grants.len(),
    );
    for (key, additions) in KEYS.iter().zip(&additions) {
        additions.assert_nothing_is_lost(key);
    }
    assert!(n_refused.keys().all(|code| REFUSALS.contains(code)), "{n_refused:?}");
    let (n_stopped, n_wiped) = (nemesis.n_stopped(), nemesis.n_wiped());
    assert!(n_stopped >= 4 && n_wiped >= 1 && n_accepted >= 10, "it was torture, and they went on");
    tokens_rise(pair, nemesis, turns);
    for key in KEYS {
        let faults = AuditFaults::new(&[pair.a.audited(key), pair.b.audited(key)]);
        let unended = faults.unended.len();
        println!("audit of {key}: {faults:?}");
        // Redis forgets whose lock it was with everything else.
        assert!(unended <= n_wiped, "{key}: {faults:?}");
        assert_eq!(AuditFaults { unended: Vec::new(), ..faults }, AuditFaults::default(), "{key}");
    }
}

/// A host's tokens only grow, whatever Redis forgets; those of all hosts do as long as it forgets nothing, and those whose
/// additions were accepted always do.
fn tokens_rise(pair: &Pair, nemesis: &Nemesis, turns: &[Turn]) {
    for number in 0..2 {
        let of_host = turns.iter().filter(|turn| turn.client % 2 == number).filter_map(Turn::grant);
        let of_host: Vec<Grant> = of_host.collect();
        assert_eq!((disorder(&of_host), repeated(&of_host)), (None, None), "host {number}");
        for key in KEYS {
            let audited = pair.node(number).audited(key);
            let acquired = audited.iter().filter(|entry| entry.what == "acquired");
            let tokens: Vec<u64> = acquired.map(|entry| entry.token).collect();
            assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "{key} at host {number}: {tokens:?}");
            assert!(!tokens.is_empty());
        }
    }
    for life in nemesis.lives() {
        let grants = turns.iter().filter_map(Turn::grant);
        let of_life = grants.filter(|grant| life.contains(&grant.asked) && life.contains(&grant.granted));
        let of_life: Vec<Grant> = of_life.collect();
        assert_eq!((disorder(&of_life), repeated(&of_life)), (None, None), "while Redis forgot nothing");
    }
    let accepted = turns.iter().filter(|turn| turn.accepted().is_some()).filter_map(Turn::grant);
    let accepted: Vec<Grant> = accepted.collect();
    assert_eq!((disorder(&accepted), repeated(&accepted)), (None, None), "of those who wrote");
}
