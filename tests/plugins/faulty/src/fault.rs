//! What goes wrong, where, and how often.

use lockstep_plugin_api::prelude::*;
use std::{fs, io, path::PathBuf};

/// The call in which it goes wrong.
#[config]
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    New,
    Poll,
    Apply,
    Put,
    Acked,
    Drop,
    Task,
}

/// What goes wrong.
#[config]
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum How {
    /// It panics.
    Panic,
    /// It does not come back.
    Hang,
    /// It says that it failed.
    Nack,
    /// It never finishes what it was given.
    TooFew,
    /// It speaks of a record that it was not given.
    UnknownIds,
    /// It says it finished more than it was given.
    TooMany,
}

/// Part of the configuration of every component here.
#[config]
#[derive(Debug, Clone)]
pub struct Fault {
    pub at: At,
    pub how: How,
    /// The fault waits for the record of this key; without it, it does not wait.
    #[serde(default)]
    key: Option<String>,
    /// Once this file exists, nothing goes wrong any more.
    mended: PathBuf,
    /// Whether the fault makes that file itself.
    #[serde(default)]
    once: bool,
}

impl Fault {
    /// Whether it goes wrong here and now, with one of these keys at hand; a fault that happens once has happened then.
    pub fn is_due<'a>(&self, at: At, keys: impl IntoIterator<Item = &'a str>) -> bool {
        let waits = self.key.as_ref().is_some_and(|wanted| !keys.into_iter().any(|key| key == wanted));
        let due = self.at == at && !waits && !self.mended.exists();
        if due && self.once {
            fs::write(&self.mended, "").expect("the test's folder can be written");
        }
        due
    }

    /// Panics, hangs or fails if it is time to.
    pub fn happen<'a>(&self, at: At, keys: impl IntoIterator<Item = &'a str>) -> Result<()> {
        if !self.is_due(at, keys) {
            return Ok(());
        }
        match self.how {
            How::Panic => panic!("the fixture panics in {at:?}"),
            How::Hang => hang(),
            _ => Err(Error::failed(io::Error::other(format!("the fixture fails in {at:?}")))),
        }
    }
}

/// Never comes back.
pub fn hang() -> ! {
    loop {
        std::thread::park();
    }
}
