//! The host is killed while a broker is away, and starts again without it.

use super::everywhere::{Absence, Broker, Everywhere, Places};
use lockstep_test_support::{Authors, LIMIT, Load, Numbers, random, scale};
use std::time::Duration;

const LOAD: Load = Load { n_connections: 4, in_flight: 64, per_second: Some(500), n_keys: 100, bytes: 100 };

#[test]
fn what_was_answered_survives_a_kill_of_the_host_while_a_broker_is_away() {
    let n_changes = scale(500, 5_000);
    let mut random = random("host killed while a broker is away");
    let (all, places, numbers) = (Everywhere::new(), Places::default(), Numbers::default());
    let mut host = all.start();
    let mut witnesses = all.witnesses(&places);
    let mut sent = Vec::new();
    for (broker, absence) in [
        (Broker::Kafka, Absence::Killed),
        (Broker::Mosquitto, Absence::Stopped),
        (Broker::Redis, Absence::Killed),
    ] {
        let authors = Authors::start(all.port, LOAD, &numbers);
        host.wait_until("answers", LIMIT, |_| authors.n_answered() >= n_changes);
        all.take_away(broker, absence);
        host.wait_until("answers without a broker", LIMIT, |_| authors.n_answered() >= 2 * n_changes);
        // Between two commits, or in the middle of one.
        std::thread::sleep(Duration::from_micros(random.u64(0..5_000)));
        host.kill();
        let killed = authors.finish();
        println!("{broker:?}: {} unanswered", killed.iter().filter(|sent| sent.answer.is_none()).count());
        sent.extend(killed);

        host = all.start_without();
        let authors = Authors::start(all.port, LOAD, &numbers);
        host.wait_until("answers without a broker", LIMIT, |_| authors.n_answered() >= n_changes);
        all.bring_back(broker, absence, &places, &mut witnesses);
        let so_far = places.at(broker).n_distinct();
        host.wait_until("delivery to the broker", LIMIT, |_| places.at(broker).n_distinct() > so_far);
        sent.extend(authors.finish());
        host.wait_ready();
    }
    all.settle(&mut host, &places, &sent, &numbers);
}
