//! Connections that are opened when somebody needs one, and opened anew when one is lost.
//!
//! Invariant: of those who need the same connection one opens it and the others wait for that; after it failed, everybody
//! hears the same for a moment, so that a server that is away keeps nobody longer than one attempt.

use super::{Fault, Link, Server};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use tracing::{info, warn};

/// For how long a failed attempt stands for the next ones.
const STANDS: Duration = Duration::from_millis(200);

/// Some connections to one place.
pub struct Pool {
    server: Server,
    slots: Vec<Mutex<Slot>>,
    next: AtomicUsize,
}

#[derive(Default)]
struct Slot {
    link: Option<Link>,
    /// Counts up with every connection, so that what is said of an earlier one is not taken for this one.
    generation: u64,
    failed: Option<(Instant, Fault)>,
}

/// A connection of the pool, to be [given up](Pool::lost) if it does not answer.
pub struct Lent {
    pub link: Link,
    slot: usize,
    generation: u64,
}

impl Pool {
    pub fn new(server: Server, size: usize) -> Self {
        let slots = (0..size.max(1)).map(|_| Mutex::default()).collect();
        Self { server, slots, next: AtomicUsize::new(0) }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A connection, in turn.
    ///
    /// # Errors
    /// `Away`, if there is none now.
    pub async fn get(&self) -> Result<Lent, Fault> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let mut slot = self.slots[number].lock().await;
        if let Some((since, fault)) = &slot.failed
            && since.elapsed() < STANDS
        {
            return Err(fault.clone());
        }
        let link = match &slot.link {
            Some(link) => link.clone(),
            None => slot.open(&self.server).await?,
        };
        Ok(Lent { link, slot: number, generation: slot.generation })
    }

    /// Gives a connection up: what was sent over it may still arrive, and nothing else is to.
    pub async fn lost(&self, lent: &Lent) {
        let mut slot = self.slots[lent.slot].lock().await;
        if slot.generation == lent.generation {
            slot.link = None;
        }
    }
}

impl Slot {
    async fn open(&mut self, server: &Server) -> Result<Link, Fault> {
        let was_away = self.failed.is_some();
        match server.connect().await {
            Ok(link) => {
                if self.failed.take().is_some() {
                    info!(server = %server.address(), "the server that keeps the locks answers again");
                }
                self.generation += 1;
                self.link = Some(link.clone());
                Ok(link)
            }
            Err(fault) => {
                if !was_away {
                    warn!(reason = %fault, "the server that keeps the locks cannot be reached");
                }
                self.failed = Some((Instant::now(), fault.clone()));
                Err(fault)
            }
        }
    }
}
