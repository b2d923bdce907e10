//! Whether something that failed is started again, and when: a run, or a sink that fails alone.

use crate::config::RestartSettings;
use lockstep_plugin_api::backoff::Backoff;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The failures of late, by which a crash loop is told from bad luck.
pub struct Failures {
    settings: RestartSettings,
    times: VecDeque<Instant>,
    /// Calls that hang, from the beginning on: each has cost a thread that never comes back.
    pub n_hung: u64,
    backoff: Backoff,
}

impl Failures {
    pub fn new(settings: &RestartSettings) -> Self {
        let backoff = Backoff::new(settings.backoff.min, settings.backoff.max);
        Self { settings: settings.clone(), times: VecDeque::new(), n_hung: 0, backoff }
    }

    /// How long to wait before the next start; `None` if there is none.
    pub fn add(&mut self, is_permanent: bool) -> Option<Duration> {
        let (now, crash_loop) = (Instant::now(), &self.settings.crash_loop);
        // A failure after a long good time is a new story.
        if self.times.back().is_some_and(|last| now.duration_since(*last) > crash_loop.within) {
            self.backoff.reset();
        }
        self.times.push_back(now);
        while self.times.front().is_some_and(|first| now.duration_since(*first) > crash_loop.within) {
            self.times.pop_front();
        }
        let limit = crash_loop.failures;
        let is_crash_loop = self.times.len() >= limit as usize || self.n_hung >= u64::from(limit);
        (!is_permanent && !is_crash_loop).then(|| self.backoff.next_wait())
    }
}
