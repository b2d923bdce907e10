//! Whoever makes things go wrong: stops clients at the worst moment, takes locks away, and crashes Redis, all at once.

use lockstep_test_support::{Redis, Turns, monotonic_us};
use std::{
    fmt,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long a crashed Redis stays away, in milliseconds.
const AWAY_MS: Range<u64> = 50..400;

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
    /// From when to when Redis was away each time it lost everything.
    wipes: Mutex<Vec<Range<u64>>>,
}

impl Nemesis {
    pub(super) fn new(ttl: Duration, duration: Duration, between_crashes: Duration, seed: u64) -> Self {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        let [n_stopped, n_forced, n_crashed] = Default::default();
        let wipes = Mutex::default();
        Self { ttl, duration, between_crashes, random, n_stopped, n_forced, n_crashed, wipes }
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
        let (is_wiped, start) = (self.n_crashed.fetch_add(1, Ordering::Relaxed) % 2 == 1, monotonic_us());
        if is_wiped {
            redis.wipe()
        } else {
            redis.kill()
        }
        let away = self.random().u64(AWAY_MS);
        thread::sleep(Duration::from_millis(away));
        redis.restart();
        if is_wiped {
            self.wipes().push(start..monotonic_us());
        }
    }

    pub(super) fn n_stopped(&self) -> u64 {
        self.n_stopped.load(Ordering::Relaxed)
    }

    pub(super) fn n_wiped(&self) -> usize {
        self.wipes().len()
    }

    /// The times in between, in which Redis forgot nothing.
    pub(super) fn lives(&self) -> Vec<Range<u64>> {
        let wipes = self.wipes();
        let begins = std::iter::once(0).chain(wipes.iter().map(|wipe| wipe.end));
        let ends = wipes.iter().map(|wipe| wipe.start).chain(std::iter::once(u64::MAX));
        begins.zip(ends).map(|(begin, end)| begin..end).collect()
    }

    fn wipes(&self) -> std::sync::MutexGuard<'_, Vec<Range<u64>>> {
        self.wipes.lock().expect("nobody panics here")
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
        let [stopped, forced, crashed] =
            [&self.n_stopped, &self.n_forced, &self.n_crashed].map(|n| n.load(Ordering::Relaxed));
        let wiped = self.n_wiped();
        write!(
            f,
            "{stopped} clients stopped, {forced} locks taken away, {crashed} crashes of Redis, {wiped} of them with its disk"
        )
    }
}
