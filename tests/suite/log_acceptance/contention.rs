//! Many sessions want one lock: one has it at a time, each gets it, in the order they asked.

use super::Sync;
use lockstep_test_support::{Connection, Frame, LIMIT, runtime, scale};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{task::JoinSet, time::timeout};

const N_SESSIONS: usize = 8;

/// One grant, by the client's own clock.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Grant {
    session: usize,
    asked: Instant,
    granted: Instant,
    /// Just before the lock was given back.
    released: Instant,
    token: u64,
}

#[test]
fn sessions_that_contend_for_a_key_hold_it_one_at_a_time_each_in_its_turn() {
    let sync = Sync::new();
    let _host = sync.start();
    let grants = contend(sync.port, Duration::from_secs(scale(5, 20)));

    let of = |session: usize| grants.iter().filter(|grant| grant.session == session).count();
    let counts: Vec<usize> = (0..N_SESSIONS).map(of).collect();
    let overtaken = overtaken(&grants);
    println!("{} grants, {counts:?} by session, {overtaken} overtakings", grants.len());
    assert_eq!(overlap(&grants), None, "two sessions held it at once");
    assert!(grants.windows(2).all(|pair| pair[0].token < pair[1].token), "tokens only grow");
    assert!(grants.len() >= 10 * N_SESSIONS, "the lock is given on: {} grants", grants.len());
    let fair = grants.len() / N_SESSIONS;
    assert!(counts.iter().all(|count| *count >= fair / 2), "each progresses: {counts:?}");
    // Two requests may change places on their way to the host; a session that does not wait its turn does it every time.
    assert!(100 * overtaken <= grants.len(), "{overtaken} of {} grants out of turn", grants.len());
}

#[test]
fn the_checks_of_contention_see_an_overlap_and_a_session_that_pushes_in() {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let grant = |session: usize, asked: u64, granted: u64, released: u64| Grant {
        session,
        asked: at(asked),
        granted: at(granted),
        released: at(released),
        token: granted,
    };
    let turns = [grant(0, 0, 1, 5), grant(1, 0, 6, 9), grant(2, 1, 10, 15), grant(0, 6, 16, 18)];
    assert_eq!((overlap(&turns), overtaken(&turns)), (None, 0));
    let at_once = [grant(0, 0, 1, 7), grant(1, 0, 6, 9)];
    assert!(overlap(&at_once).is_some());
    let pushes_in = [grant(0, 0, 1, 5), grant(0, 6, 7, 9), grant(1, 0, 10, 15)];
    assert_eq!(overtaken(&pushes_in), 1);
}

/// Every grant, in the order of the grants.
fn contend(port: u16, duration: Duration) -> Vec<Grant> {
    let end = Instant::now() + duration;
    let mut grants = runtime().block_on(async {
        let mut tasks = JoinSet::new();
        for number in 0..N_SESSIONS {
            tasks.spawn(session(port, number, end));
        }
        let mut grants = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            grants.extend(ended.expect("a session does not panic"));
        }
        grants
    });
    grants.sort_by_key(|grant| grant.granted);
    grants
}

async fn session(port: u16, session: usize, end: Instant) -> Vec<Grant> {
    let mut connection = Connection::open(port).await.expect("the server is there");
    connection.send(&json!({ "type": "subscribe", "patterns": [] })).await.expect("connected");
    let mut grants = Vec::new();
    while Instant::now() < end {
        let asked = Instant::now();
        let user = format!("user-{session}");
        let lock = json!({ "type": "config_lock", "id": grants.len(), "config_key": "app.contended",
            "user_id": user, "ttl_ms": 30_000, "wait_ms": 20_000 });
        let answer = answer(&mut connection, &lock).await;
        assert_eq!(answer["success"], true, "session {session}: {answer}");
        let granted = Instant::now();
        // What is done under the lock takes a moment, and lets others run.
        tokio::task::yield_now().await;
        let token = answer["token"].as_u64().expect("a token");
        grants.push(Grant { session, asked, granted, released: Instant::now(), token });
        let unlock = json!({ "type": "config_unlock", "id": "unlock", "config_key": "app.contended" });
        let answer = self::answer(&mut connection, &unlock).await;
        assert_eq!(answer["success"], true, "session {session}: {answer}");
    }
    grants
}

async fn answer(connection: &mut Connection, message: &Value) -> Value {
    connection.send(message).await.expect("connected");
    loop {
        match timeout(LIMIT, connection.next()).await {
            Ok(Frame::Message(answer)) if answer["id"] == message["id"] => return answer,
            Ok(Frame::Message(_)) => {}
            other => panic!("{message} is not answered: {other:?}"),
        }
    }
}

fn overlap(grants: &[Grant]) -> Option<(Grant, Grant)> {
    grants.windows(2).find(|pair| pair[1].granted < pair[0].released).map(|pair| (pair[0], pair[1]))
}

/// How many grants went to a session that already had one while another waited all along.
fn overtaken(grants: &[Grant]) -> usize {
    let pushes_in = |(at, grant): &(usize, &Grant)| {
        grants[at + 1..].iter().take(4 * N_SESSIONS).any(|later| {
            let before = grants[..*at].iter().rev().take_while(|before| before.granted > later.asked);
            before.filter(|before| before.session == grant.session).count() > 0
                && later.session != grant.session
        })
    };
    grants.iter().enumerate().filter(pushes_in).count()
}
