//! One broker that is away for a while, and everything that an operator can see meanwhile.

use super::everywhere::{Absence, Broker, Everywhere, Places, is_away};
use lockstep_test_support::{Host, LIMIT, Witness, scale};
use std::time::{Duration, Instant};

/// From when a broker is gone until status and metrics say so: of one that only falls silent, an answer has to be missed.
fn visible_within() -> Duration {
    Duration::from_secs(scale(20, 6))
}

/// From when a broker answers again until it is delivered to.
fn resumed_within() -> Duration {
    Duration::from_secs(scale(20, 5))
}

/// How often an operator looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// How an outage went.
#[derive(Debug)]
pub struct Outage {
    pub broker: Broker,
    pub absence: Absence,
    pub began: Instant,
    /// When it was brought back: until then nothing was done to the machine but to end the broker.
    pub ended: Instant,
    /// How long it took to be seen.
    pub seen_after: Duration,
    /// How long after the broker answered again it was delivered to.
    pub resumed_after: Duration,
    /// Most memory that the host used.
    pub highest: u64,
}

impl Outage {
    /// Takes a broker away for so long, looks at the host all along, and brings it back.
    ///
    /// # Panics
    /// If the outage is not seen, is seen elsewhere too, or delivery does not go on soon enough.
    pub fn run(
        all: &Everywhere,
        host: &mut Host,
        places: &Places,
        witnesses: &mut Vec<Witness>,
        (broker, absence): (Broker, Absence),
        duration: Duration,
    ) -> Self {
        let began = Instant::now();
        all.take_away(broker, absence);
        let (mut seen_at, mut looked_at, mut highest) = (None, began, 0);
        host.wait_until("the end of the outage", duration + LIMIT, |host| {
            if looked_at.elapsed() >= BETWEEN_LOOKS {
                looked_at = Instant::now();
                highest = host.rss().max(highest);
                look(host, broker, began, &mut seen_at);
            }
            began.elapsed() >= duration && seen_at.is_some()
        });
        let ended = Instant::now();
        let seen_at = seen_at.unwrap_or_else(|| panic!("{broker:?} {absence:?}: nobody saw it"));
        all.bring_back(broker, absence, places, witnesses);
        let back = Instant::now();
        let resumed_at = host.wait_for(&format!("delivery to {broker:?}"), LIMIT, |host| {
            highest = host.rss().max(highest);
            places.at(broker).first_after(back)
        });
        let outage = Self {
            broker,
            absence,
            began,
            ended,
            seen_after: seen_at - began,
            resumed_after: resumed_at - back,
            highest,
        };
        assert!(outage.resumed_after <= resumed_within(), "{outage:?}");
        host.wait_until("the breaker to be closed", LIMIT, |host| !is_away(host, broker));
        outage
    }

    /// One line for the ledger that a test prints.
    pub fn line(&self) -> String {
        format!(
            "{:?} {:?} for {:?}: seen after {:?}, delivered to {:?} after its return",
            self.broker,
            self.absence,
            self.ended - self.began,
            self.seen_after,
            self.resumed_after
        )
    }
}

/// The sink of this broker, and no other, says that its endpoint is away: soon, and from then on all along.
fn look(host: &Host, broker: Broker, began: Instant, seen_at: &mut Option<Instant>) {
    let is_seen = is_away(host, broker);
    if is_seen {
        seen_at.get_or_insert_with(Instant::now);
        let breaker = [("component", broker.component()), ("kind", "sink")];
        assert_eq!(host.metrics().sum("lockstep_breaker_open", &breaker), 1.0, "status and metrics agree");
    } else {
        assert!(seen_at.is_none(), "{broker:?} was said to be back while it was away");
        assert!(began.elapsed() < visible_within(), "{broker:?} is away, and nothing shows it");
    }
    for other in Broker::ALL.into_iter().filter(|other| *other != broker) {
        assert!(!is_away(host, other), "{other:?} is said to be away, but {broker:?} is");
    }
    assert_eq!(host.status().state("sync"), "running");
    assert_eq!(host.get("/healthz").code, 200);
}
