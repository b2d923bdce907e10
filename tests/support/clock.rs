//! The time of day of a host, set by the test while the host runs.
//!
//! A small library, preloaded into the host's process, adds what a file says to the system's answer; the product knows
//! nothing of it. Only the time of day is moved: the monotonic clock cannot go wrong in this way.

use crate::{artifacts::built_library, site::Site};
use std::{fs::File, os::unix::fs::FileExt, time::Duration};

/// A clock that can be stepped.
#[derive(Debug)]
pub struct Clock(File);

impl Clock {
    /// A clock for the hosts that will be started in this site.
    ///
    /// # Panics
    /// If the library was not built.
    pub fn new(site: Site) -> (Site, Self) {
        let path = site.write("clock-offset", [0; 8]);
        let file = File::options().write(true).open(&path).expect("the site can be written");
        let library = built_library("clock_shim");
        let site = site
            .env("LD_PRELOAD", library.display().to_string())
            .env("CLOCK_SHIM_OFFSET", path.display().to_string());
        (site, Self(file))
    }

    /// From now on the time of day is the system's and this much more.
    pub fn ahead(&self, by: Duration) {
        self.set(i64::try_from(by.as_nanos()).expect("less than centuries"));
    }

    /// From now on the time of day is the system's and this much less.
    pub fn behind(&self, by: Duration) {
        self.set(-i64::try_from(by.as_nanos()).expect("less than centuries"));
    }

    fn set(&self, nanoseconds: i64) {
        self.0.write_all_at(&nanoseconds.to_ne_bytes(), 0).expect("the site can be written");
    }
}
