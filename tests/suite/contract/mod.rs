//! The wire contract, from outside: programs that know nothing but the guide's message formats exchange changes with a
//! host over every transport, and what the guide's own code gets wrong does not come back.
//!
//! The programs are Python's (`support/peers`). Each known mistake of the guide, `D-n` of the contract, has a test whose
//! name begins with `d_n_`, with its plugin, here where it takes a broker to show it, or in both places:
//!
//! | mistake | here | with the plugin |
//! |---|---|---|
//! | D-13 what became of an event is not awaited | `kafka_delivery.rs` | kafka |
//! | D-14 headers are no pairs | (`kafka.rs`, with every event) | kafka |
//! | D-15 hosts share a group | `kafka_delivery.rs` | kafka |
//! | D-16 offsets are committed before anything is applied | `kafka_delivery.rs` | |
//! | D-17 what was sent while nobody listened is lost | `kafka_delivery.rs` | |
//! | D-18 poison ends the consumer | `kafka_messages.rs` | kafka |
//! | D-19 header and body name two tenants | `kafka_messages.rs` | kafka, mqtt |
//! | D-20 own events go round | `kafka_messages.rs` | kafka |
//! | D-20b there is no order over partitions | `kafka_messages.rs` | kafka |
//! | D-20c what cannot be sent is lost | `kafka_delivery.rs` | kafka |
//! | D-21 to D-23 times of two kinds, ties and equal changes | | resolver |
//! | D-24 filters miss keys | `mqtt_regressions.rs` | mqtt |
//! | D-25 a status looks like a change | `mqtt_regressions.rs` | mqtt |
//! | D-26 keys are no topics | `mqtt_regressions.rs` | mqtt |
//! | D-27 handlers of many keys are never called | `mqtt_regressions.rs` | mqtt |
//! | D-28 sessions, QoS and status are forgotten | `mqtt_regressions.rs` | mqtt |
//! | D-29 a user is a holder, so that all the anonymous are one | `../redis_locks/regressions.rs` | |
//! | D-30 whoever releases late ends the next one's lease | `../redis_locks/regressions.rs` | |
//! | D-31 a heartbeat prolongs whatever is there | `../redis_locks/regressions.rs` | |
//! | D-31b a holder that slept past its lease writes | `../redis_locks/regressions.rs` | |
//! | D-32 names are patterns | `../redis_locks/regressions.rs` | |
//! | D-33, D-34, D-36 to D-41, D-43, D-44 what resolving and merging get wrong | | resolver |
//! | D-35 no tenant has many names | `../redis_locks/regressions.rs` | redis, resolver |
//! | D-42, D-44b nobody is told of a conflict, and it is forgotten | `../conflicts/` | resolver |
//! | D-48 nobody waits | `../redis_locks/regressions.rs` | |
//! | D-49 nothing has a limit | `../redis_locks/regressions.rs` | |

mod bridge;
mod kafka;
mod kafka_messages;
mod kafka_delivery;
mod mqtt;
mod mqtt_regressions;
mod redis;
mod websocket;
mod direct;
mod metrics;

use lockstep_test_support::workspace_dir;
use std::{fs, path::Path};

const MISTAKES: [&str; 38] = [
    "13", "14", "15", "16", "17", "18", "19", "20", "20b", "20c", "21", "22", "23", "24", "25", "26", "27",
    "28", "29", "30", "31", "31b", "32", "33", "34", "35", "36", "37", "38", "39", "40", "41", "42", "43",
    "44", "44b", "48", "49",
];

/// Every Rust file below a folder, in one text.
fn rust(folder: &Path) -> String {
    let read = |path: &Path| fs::read_to_string(path).expect("a source file");
    let entries =
        fs::read_dir(folder).expect("a folder of the workspace").flatten().map(|entry| entry.path());
    let texts = entries.map(|path| match path.extension() {
        _ if path.is_dir() => rust(&path),
        Some(extension) if extension == "rs" => read(&path),
        _ => String::new(),
    });
    texts.collect()
}

#[test]
fn every_known_mistake_of_the_guide_has_a_test_of_its_name() {
    let text = ["plugins", "tests/suite"].map(|room| rust(&workspace_dir().join(room))).concat();
    let has_a_test = |mistake: &&str| {
        text.contains(&format!("\n    fn d_{mistake}_")) || text.contains(&format!("\nfn d_{mistake}_"))
    };
    let forgotten: Vec<&str> = MISTAKES.into_iter().filter(|mistake| !has_a_test(mistake)).collect();
    assert_eq!(forgotten, [] as [&str; 0]);
}
