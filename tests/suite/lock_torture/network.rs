//! The network between a host and Redis goes wrong: what was asked twice is granted once, and callers are not kept waiting.

use super::pair::{Node, Pair};
use lockstep_test_support::{
    Grant, LIMIT, Proxy, Redis, RedisOptions, disorder, eventually, monotonic_us, overlap, random, repeated,
    scale,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const KEY: &str = "app.held";

/// A call is answered within this, whatever the network does.
const SOON: Duration = Duration::from_secs(8);

/// Host `b` reaches Redis through the proxy, host `a` without.
fn start() -> (Pair, Proxy) {
    let redis = Redis::start(&RedisOptions::default());
    let proxy = Proxy::new(redis.port);
    let (a, b) = (Node::start(redis.port), Node::start(proxy.port()));
    (Pair { a, b, redis }, proxy)
}

/// Calls until there is an answer that says what became of it. A repeat has the same `request_id`.
fn insist(node: &Node, operation: &str, arguments: &Value) -> (Result<Value, String>, Duration) {
    let mut longest = Duration::ZERO;
    let answer = eventually(LIMIT, || {
        let start = Instant::now();
        let answer = node.call(operation, arguments);
        longest = longest.max(start.elapsed());
        let is_known = !matches!(&answer, Err(code) if code == "unavailable");
        is_known.then_some(answer)
    });
    (answer.unwrap_or_else(|| panic!("{operation} {arguments} is not answered")), longest)
}

#[test]
fn a_call_whose_reply_is_lost_counts_once() {
    let (pair, proxy) = start();
    let lossy = |operation: &str, more: &Value| {
        let mut arguments = json!({ "config_key": KEY, "session": "s1" });
        for (name, value) in more.as_object().into_iter().flatten() {
            arguments[name] = value.clone();
        }
        proxy.lose_reply();
        let (answer, longest) = insist(&pair.b, operation, &arguments);
        assert!(proxy.has_lost_reply(), "the reply to {operation} was lost");
        assert!(longest < SOON, "{operation}: {longest:?}");
        answer.unwrap_or_else(|code| panic!("{operation}: {code}"))
    };
    let take = |request: &str| json!({ "ttl_ms": 30_000, "user_id": "ann", "request_id": request });
    let first = lossy("lock.acquire", &take("r1"));
    assert_eq!(first["depth"], 1, "{first}");
    let token = first["token"].clone();
    let again = lossy("lock.acquire", &take("r2"));
    assert_eq!((&again["depth"], &again["token"]), (&json!(2), &token), "{again}");
    lossy("lock.extend", &json!({ "token": token }));
    let there = pair.a.call("lock.info", &json!({ "config_key": KEY })).expect("an answer");
    assert_eq!((&there["depth"], &there["token"]), (&json!(2), &token), "{there}");
    let once = lossy("lock.release", &json!({ "token": token, "request_id": "r3" }));
    assert_eq!(once["depth"], 1, "{once}");
    // The last one may be asked again when it is done already.
    proxy.lose_reply();
    let last = json!({ "config_key": KEY, "session": "s1", "request_id": "r4", "token": token });
    let (last, _) = insist(&pair.b, "lock.release", &last);
    assert!(last.as_ref().map_or_else(|code| code == "not_found", |last| last["depth"] == 0), "{last:?}");
    assert_eq!(pair.a.call("lock.info", &json!({ "config_key": KEY })), Ok(Value::Null));
    assert_eq!(pair.fence(KEY), token.as_u64().expect("a number"), "one grant, one token");
    println!(
        "lost replies: acquire, acquire again, extend, release, release: each counted once, {SOON:?} at most"
    );
}

#[test]
fn in_any_weather_nobody_holds_what_another_holds_and_everybody_is_answered() {
    let (pair, proxy) = start();
    let (is_over, keys) = (AtomicBool::new(false), ["app.k0", "app.k1"]);
    let mut random = random("lock network");
    let end = Instant::now() + Duration::from_secs(scale(6, 20));
    let (grants, longest) = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (pair, is_over) = (&pair, &is_over);
                scope.spawn(move || take_turns(pair.node(client), client, &keys, is_over))
            })
            .collect();
        while Instant::now() < end {
            storm(&proxy, random.u8(..6));
            thread::sleep(Duration::from_millis(random.u64(50..500)));
            proxy.clear();
            thread::sleep(Duration::from_millis(random.u64(100..300)));
        }
        is_over.store(true, Ordering::Relaxed);
        let ended = clients.into_iter().map(|client| client.join().expect("a client does not panic"));
        ended.fold((Vec::new(), Duration::ZERO), |(mut grants, longest), (more, slowest)| {
            grants.extend(more);
            (grants, longest.max(slowest))
        })
    });
    let n_through_proxy = grants.iter().filter(|grant| grant.client % 2 == 1).count();
    println!(
        "weather: {} grants, {n_through_proxy} of them through it, slowest answer {longest:?}",
        grants.len()
    );
    assert_eq!((overlap(&grants), disorder(&grants), repeated(&grants)), (None, None, None));
    assert!(longest < SOON, "an answer took {longest:?}");
    assert!(n_through_proxy >= 2, "{n_through_proxy}");
    let mut last = BTreeMap::new();
    grants.iter().for_each(|grant| {
        let token = last.entry(&grant.key).or_insert(0);
        *token = grant.token.max(*token);
    });
    for (key, token) in last {
        assert_eq!(pair.fence(key), token, "{key}: every token given was told to somebody");
        let free = pair.a.call("lock.info", &json!({ "config_key": key })).expect("an answer");
        assert_eq!(free, Value::Null, "{key} is free: each was given back");
    }
}

fn storm(proxy: &Proxy, kind: u8) {
    match kind {
        0 => proxy.delay(Duration::from_millis(100)),
        1 => proxy.lose_reply(),
        2 => proxy.mute(),
        3 => proxy.half_close(),
        4 => proxy.stall(),
        _ => proxy.cut(),
    }
}

/// Takes one lock after the other and gives it back, insisting on an answer to everything. Gives the slowest, too.
fn take_turns(node: &Node, client: usize, keys: &[&str], is_over: &AtomicBool) -> (Vec<Grant>, Duration) {
    let (mut grants, mut slowest) = (Vec::new(), Duration::ZERO);
    for turn in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let key = keys[turn % keys.len()];
        let session = format!("s{client}-{turn}");
        let acquire = json!({ "config_key": key, "session": session, "user_id": format!("u{client}"),
            "request_id": "take", "ttl_ms": 60_000 });
        let asked = monotonic_us();
        let (answer, longest) = insist(node, "lock.acquire", &acquire);
        slowest = slowest.max(longest);
        let lease = match answer {
            Ok(lease) => lease,
            Err(code) => {
                assert_eq!(code, "locked", "client {client}");
                continue;
            }
        };
        assert_eq!(lease["depth"], 1, "client {client}: {lease}");
        let (granted, token) = (monotonic_us(), lease["token"].as_u64().expect("a token"));
        thread::sleep(Duration::from_millis(2));
        grants.push(Grant { client, key: key.to_owned(), asked, granted, released: monotonic_us(), token });
        let release =
            json!({ "config_key": key, "session": session, "request_id": "give", "token": lease["token"] });
        let (answer, longest) = insist(node, "lock.release", &release);
        slowest = slowest.max(longest);
        let is_done = answer.as_ref().map_or_else(|code| code == "not_found", |left| left["depth"] == 0);
        assert!(is_done, "client {client}: {answer:?}");
    }
    (grants, slowest)
}
