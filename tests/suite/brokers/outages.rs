//! Each broker is away for a while under load, one after the other.

use super::{
    everywhere::{Absence, Broker, Everywhere, IN_FLIGHT, Places},
    outage::Outage,
};
use lockstep_test_support::{
    Arrivals, Authors, Host, LIMIT, Load, Numbers, Sent, Witness, is_full, quiet, scale,
};
use std::time::{Duration, Instant};

const PER_SECOND: u32 = 500;

/// What memory may grow by beyond what a burst needs with every broker there, and what is in flight.
const SLACK: u64 = 16 << 20;

/// Below this it is the machine's own pauses that are measured, and at the small size those of whatever else it does.
fn floor() -> Duration {
    Duration::from_millis(scale(100, 20))
}

/// Changes before that: large ones, more than the head of the log and the store's buffers of log and keys hold, and small
/// ones, whose entries are more than its buffer of the audit holds.
const N_LARGE: usize = 2_500;
const N_SMALL: usize = 30_000;

/// How long the same load runs with every broker there.
const BEFORE: Duration = Duration::from_secs(5);

const LOAD: Load =
    Load { n_connections: 4, in_flight: 64, per_second: Some(PER_SECOND), n_keys: 100, bytes: 100 };

#[test]
fn a_broker_that_is_away_costs_nobody_anything_and_gets_everything_in_order() {
    let absences: &[(Broker, Absence)] = if is_full() {
        &[
            (Broker::Kafka, Absence::Killed),
            (Broker::Kafka, Absence::Stopped),
            (Broker::Mosquitto, Absence::Killed),
            (Broker::Mosquitto, Absence::Stopped),
            (Broker::Redis, Absence::Killed),
            (Broker::Redis, Absence::Stopped),
        ]
    } else {
        &[
            (Broker::Kafka, Absence::Killed),
            (Broker::Mosquitto, Absence::Stopped),
            (Broker::Redis, Absence::Killed),
        ]
    };
    let _quiet = quiet();
    let (all, places, numbers) = (Everywhere::new(), Places::default(), Numbers::default());
    let mut host = all.start();
    let mut witnesses = all.witnesses(&places);
    witnesses.push(Witness::of_websocket(all.port, &["app.*"], &places.websocket));
    let (mut sent, of_burst) = filled(&all, &mut host, &numbers);
    // A machine with other work is given a few tries; what an outage costs it costs in each.
    let is_free = (0..4).any(|_| {
        let (of_round, noticed) =
            round(&all, &mut host, &places, &mut witnesses, &numbers, (absences, of_burst));
        sent.extend(of_round);
        println!("{}", noticed.join("\n"));
        noticed.is_empty()
    });
    assert!(is_free, "outages are noticed by who has nothing to do with them");
    all.settle(&mut host, &places, &sent, &numbers);
}

/// One outage after the other under load: what was sent, and by whom outages were noticed.
fn round(
    all: &Everywhere,
    host: &mut Host,
    places: &Places,
    witnesses: &mut Vec<Witness>,
    numbers: &Numbers,
    (absences, of_burst): (&[(Broker, Absence)], u64),
) -> (Vec<Sent>, Vec<String>) {
    let duration = Duration::from_secs(scale(8, 20));
    let authors = Authors::start(all.port, LOAD, numbers);
    let (began, mut highest) = (Instant::now(), of_burst);
    host.wait_until("the time before", BEFORE + LIMIT, |host| {
        highest = host.rss().max(highest);
        began.elapsed() >= BEFORE
    });
    let mut outages = Vec::new();
    for absence in absences {
        let outage = Outage::run(all, host, places, witnesses, *absence, duration);
        println!("{}, memory +{} KiB", outage.line(), outage.highest.saturating_sub(highest) / 1024);
        caught_up(host);
        outages.push(outage);
    }
    let n_seconds = began.elapsed().as_secs();
    let sent = authors.finish();
    let mut noticed = Vec::new();
    // A tenth is left to a machine that has other work.
    if sent.len() as u64 * 10 < u64::from(PER_SECOND) * n_seconds * 9 {
        noticed.push(format!("{} changes in {n_seconds} s", sent.len()));
    }
    let before = Window { from: began, to: began + BEFORE };
    for outage in &outages {
        noticed.extend(others_who_noticed(places, &sent, before, outage));
        let grown = outage.highest.saturating_sub(highest);
        if grown > IN_FLIGHT + SLACK {
            noticed.push(format!("memory grew by {grown} bytes: {outage:?}"));
        }
    }
    (sent, noticed)
}

/// What the head of the log and the store's buffers may fill is full, and every path has run: what was sent, and the most
/// memory that it took.
fn filled(all: &Everywhere, host: &mut Host, numbers: &Numbers) -> (Vec<Sent>, u64) {
    let (mut sent, mut highest) = (Vec::new(), 0);
    for (bytes, n_changes) in [(8_000, N_LARGE), (LOAD.bytes, N_SMALL)] {
        let authors = Authors::start(all.port, Load { per_second: None, bytes, ..LOAD }, numbers);
        host.wait_until("changes enough", 4 * LIMIT, |host| {
            highest = host.rss().max(highest);
            authors.n_answered() >= n_changes
        });
        sent.extend(authors.finish());
    }
    caught_up(host);
    (sent, highest)
}

/// Waits until no sink is behind by more than what is on its way.
fn caught_up(host: &mut Host) {
    host.wait_until("every sink to catch up", 2 * LIMIT, |host| {
        let metrics = host.metrics();
        let lag = |broker: Broker| metrics.sum("lockstep_sink_lag", &[("component", broker.component())]);
        Broker::ALL.into_iter().all(|broker| lag(broker) < f64::from(PER_SECOND / 10))
    });
}

/// A time in which nothing changed.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Instant,
    to: Instant,
}

impl Window {
    /// The seconds of it, without the first: what happens when it begins is the change itself.
    fn seconds(self) -> impl Iterator<Item = Self> {
        let second = move |n| self.from + Duration::from_secs(n);
        (1..)
            .map(move |n| Self { from: second(n), to: second(n + 1) })
            .take_while(move |one| one.to <= self.to)
    }
}

/// Who of authors, subscribers and the other two brokers was not served as before.
fn others_who_noticed(places: &Places, sent: &[Sent], before: Window, outage: &Outage) -> Vec<String> {
    let during = Window { from: outage.began, to: outage.ended };
    let others = Broker::ALL.into_iter().filter(|broker| *broker != outage.broker);
    let mut served = vec![("authors", answers(sent)), ("subscribers", arrivals(&places.websocket, sent))];
    served.extend(others.map(|broker| (broker.component(), arrivals(places.at(broker), sent))));
    let mut noticed = Vec::new();
    for (name, times) in served {
        let (with, without) = (quietest(&times, before), quietest(&times, during));
        let line = format!("  p99 of {name}: {with:?} before, {without:?} without {:?}", outage.broker);
        println!("{line}");
        noticed.extend((without > 2 * with.max(floor())).then_some(line));
    }
    noticed
}

/// From when each change was due to its answer.
fn answers(sent: &[Sent]) -> Vec<(Instant, Duration)> {
    sent.iter().filter_map(|sent| Some((sent.due(), sent.latency()?))).collect()
}

/// From when each change was due to its first arrival at a place; what never came counts as for ever.
fn arrivals(place: &Arrivals, sent: &[Sent]) -> Vec<(Instant, Duration)> {
    let times = place.first_times();
    let latency = |sent: &Sent| times.get(&sent.number).map_or(Duration::MAX, |at| *at - sent.due());
    sent.iter().map(|sent| (sent.due(), latency(sent))).collect()
}

/// The p99 of the quietest second: somebody who is gone and costs something costs it in every second, other work on the
/// machine does not.
fn quietest(times: &[(Instant, Duration)], window: Window) -> Duration {
    let p99 = |second: Window| {
        let within = times.iter().filter(|(due, _)| (second.from..second.to).contains(due));
        let mut latencies: Vec<Duration> = within.map(|(_, latency)| *latency).collect();
        latencies.sort_unstable();
        latencies.get(latencies.len() * 99 / 100).copied()
    };
    window.seconds().filter_map(p99).min().expect("changes in the window")
}
