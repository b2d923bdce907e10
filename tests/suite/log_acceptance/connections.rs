//! A thousand clients connect at once while changes are broadcast.

use super::{Added, Sync};
use lockstep_test_support::{Authors, Connection, Frame, LIMIT, Load, Numbers, runtime};
use std::{collections::HashSet, time::Instant};
use tokio::{task::JoinSet, time::timeout};

const N_CONNECTIONS: usize = 1_000;
const LOAD: Load = Load { n_connections: 2, in_flight: 8, per_second: Some(100), n_keys: 10, bytes: 20 };

#[test]
fn a_thousand_connections_at_once_have_ids_of_their_own_and_are_welcomed_before_anything_else() {
    let sync = Sync::with(Added { websocket: ", max_connections: 2000", ..Added::default() });
    let mut host = sync.start();
    let authors = Authors::start(sync.port, LOAD, &Numbers::default());
    host.wait_until("a broadcast", LIMIT, |_| authors.n_answered() > 10);
    let start = Instant::now();
    let connections = open_all(sync.port);
    let (elapsed, n_answered) = (start.elapsed(), authors.n_answered());
    println!("{N_CONNECTIONS} connections in {elapsed:?}, {n_answered} changes meanwhile");
    let ids: HashSet<&str> = connections.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids.len(), N_CONNECTIONS, "ids are distinct");
    let is_guides = |id: &&str| {
        let hex = id.strip_prefix("ws_").unwrap_or_default();
        hex.len() == 8 && hex.chars().all(|digit| matches!(digit, '0'..='9' | 'a'..='f'))
    };
    assert!(ids.iter().all(is_guides), "{ids:?}");
    // All of them are subscribed to everything, and the broadcast goes on.
    assert_eq!(n_shown_a_change(connections), N_CONNECTIONS);
    assert!(authors.finish().iter().all(|sent| sent.revision().is_some()), "authors are answered throughout");
}

/// Every connection with its id; [`Connection::open`] refuses a server whose first frame is not the welcome.
fn open_all(port: u16) -> Vec<(String, Connection)> {
    runtime().block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..N_CONNECTIONS {
            tasks.spawn(async move { timeout(LIMIT, Connection::open(port)).await });
        }
        let mut connections = Vec::new();
        while let Some(opened) = tasks.join_next().await {
            let opened = opened.expect("no panic").expect("a welcome in time");
            let connection = opened.unwrap_or_else(|refused| panic!("refused: {refused:?}"));
            let id = connection.welcome()["connection_id"].as_str().expect("an id").to_owned();
            connections.push((id, connection));
        }
        connections
    })
}

fn n_shown_a_change(connections: Vec<(String, Connection)>) -> usize {
    runtime().block_on(async {
        let mut tasks = JoinSet::new();
        for (_, mut connection) in connections {
            tasks.spawn(async move {
                match timeout(LIMIT, connection.next()).await {
                    Ok(Frame::Message(message)) => message["type"] == "config_sync",
                    _ => false,
                }
            });
        }
        tasks.join_all().await.into_iter().filter(|shown| *shown).count()
    })
}
