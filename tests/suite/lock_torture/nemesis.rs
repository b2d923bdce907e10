//! Whoever makes things go wrong: stops clients at the worst moment, takes locks away, and crashes Redis, all at once.

use lockstep_test_support::{Redis, Turns};
use std::{
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long a crashed Redis stays away, in milliseconds.
const AWAY_MS: std::ops::Range<u64> = 50..400;

/// What goes wrong, and how often it did.
pub(super) struct Nemesis {
    /// How long a lease lasts.
    pub(super) ttl: Duration,
    pub(super) duration: Duration,
    /// Between two crashes of Redis.
    pub(super) between_crashes: Duration,
    random: Mutex<fastrand::Rng>,
    n_stopped: AtomicU64,
    n_forced: AtomicU64,
    n_crashed: AtomicU64,
    n_wiped: AtomicU64,
}

impl Nemesis {
    pub(super) fn new(ttl: Duration, duration: Duration, between_crashes: Duration, seed: u64) -> Self {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        let [n_stopped, n_forced, n_crashed, n_wiped] = Default::default();
        Self { ttl, duration, between_crashes, random, n_stopped, n_forced, n_crashed, n_wiped }
    }

    /// Torments the clients for the duration; `force` takes some lock away and says whether it did.
    pub(super) fn torment(&self, turns: &Turns, redis: &Redis, force: impl Fn(u64) -> bool + Sync) {
        let end = Instant::now() + self.duration;
        let is_over = || Instant::now() >= end;
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over() {
                    thread::sleep(self.ttl.mul_f64(self.between(0.5, 2.0)));
                    let is_forced = force(self.random().u64(..));
                    self.n_forced.fetch_add(u64::from(is_forced), Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                while Instant::now() + self.between_crashes < end {
                    thread::sleep(self.between_crashes.mul_f64(self.between(0.5, 1.0)));
                    self.crash(redis);
                }
            });
            while !is_over() {
                self.stop_somebody(turns);
            }
        });
    }

    /// Stops a client that has just read for longer than its lease.
    fn stop_somebody(&self, turns: &Turns) {
        let Some(client) = turns.next_read(self.ttl) else { return };
        turns.stop(client);
        thread::sleep(self.ttl.mul_f64(self.between(1.2, 2.0)));
        turns.go_on(client);
        self.n_stopped.fetch_add(1, Ordering::Relaxed);
    }

    /// Every other time its disk is lost, too.
    fn crash(&self, redis: &Redis) {
        let is_wiped = self.n_crashed.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        if is_wiped {
            redis.wipe();
            self.n_wiped.fetch_add(1, Ordering::Relaxed);
        } else {
            redis.kill();
        }
        let away = self.random().u64(AWAY_MS);
        thread::sleep(Duration::from_millis(away));
        redis.restart();
    }

    /// How often a client was stopped, and how often Redis lost everything.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.n_stopped.load(Ordering::Relaxed), self.n_wiped.load(Ordering::Relaxed))
    }

    fn between(&self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.random().f64()
    }

    fn random(&self) -> std::sync::MutexGuard<'_, fastrand::Rng> {
        self.random.lock().expect("nobody panics here")
    }
}

impl fmt::Display for Nemesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [stopped, forced, crashed, wiped] =
            [&self.n_stopped, &self.n_forced, &self.n_crashed, &self.n_wiped]
                .map(|n| n.load(Ordering::Relaxed));
        write!(
            f,
            "{stopped} clients stopped, {forced} locks taken away, {crashed} crashes of Redis, {wiped} of them with its disk"
        )
    }
}
