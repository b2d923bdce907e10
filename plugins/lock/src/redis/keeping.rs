//! What has to be done about leases as time goes on: ends that are due are told, and what could not be done is tried again.
//!
//! Invariant: what has a time waits for nothing that has none, and for no other lock.

use super::{
    answers::Kept,
    known::Due,
    locks::{Locks, blocking},
};
use crate::{event::What, lease::Lease, name::LockName};
use futures_util::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

/// How long the server is asked about a lease that nobody extends.
const WITHIN: Duration = Duration::from_millis(500);

/// About how many leases it is asked at the same time.
const MOST_AT_ONCE: usize = 64;

/// When what could not be done is tried again.
const SOON: Duration = Duration::from_secs(1);

/// Looks after the ends of this host's leases until the pipeline ends.
pub async fn keep(locks: Arc<Locks>) {
    let mut stopped = locks.stopped.clone();
    let asking = Semaphore::new(MOST_AT_ONCE);
    // Each by itself: one whose turn or answer does not come keeps no other from being told in time.
    let mut doing = FuturesUnordered::new();
    loop {
        doing.extend(locks.registry.take_due().into_iter().map(|due| see_to(&locks, &asking, due)));
        tokio::select! {
            _ = stopped.changed() => return,
            () = locks.registry.changed.notified() => {}
            () = sleep(locks.registry.idle_for()) => {}
            Some(()) = doing.next() => {}
        }
    }
}

async fn see_to(locks: &Arc<Locks>, asking: &Semaphore, due: Due) {
    let name = due.name().cloned();
    let _permit = match due {
        Due::Ended(..) => asking.acquire().await.ok(),
        _ => None,
    };
    settle(locks, due).await;
    locks.registry.change(|known| name.iter().for_each(|name| known.is_done(name)));
}

/// Tries again what could not be done, until the pipeline ends.
pub async fn try_again(locks: Arc<Locks>) {
    let mut stopped = locks.stopped.clone();
    loop {
        let left = locks.registry.see(|known| known.left());
        let is_idle = left.is_empty();
        stream::iter(left).for_each_concurrent(MOST_AT_ONCE, |due| settle(&locks, due)).await;
        tokio::select! {
            _ = stopped.changed() => return,
            () = locks.registry.left.notified(), if is_idle => {}
            () = sleep(SOON), if !is_idle => {}
        }
    }
}

pub(super) async fn settle(locks: &Arc<Locks>, due: Due) {
    match due {
        Due::Ended(name, lease) => look(locks, &name, &lease).await,
        Due::Unanswered(name, lease) => give_up(locks, &name, lease).await,
        Due::GivenUp(name, lease) => give_back(locks, &name, &lease).await,
        Due::Owed => {
            let locks = locks.clone();
            // Tried again in a moment, if it does not succeed.
            let _ = blocking(move || Ok(locks.registry.pay())).await;
        }
    }
}

/// Nobody asked for more time here; perhaps somebody did at another host.
async fn look(locks: &Arc<Locks>, name: &LockName, lease: &Arc<Lease>) {
    let _turn = locks.turns.take(name).await;
    let current = locks.registry.lease(name);
    let now = locks.registry.clock.now();
    if current.is_none_or(|current| current.token != lease.token || current.ends > now.mono) {
        return;
    }
    let holder = (lease.session.as_str(), lease.token);
    let what = match locks.remote.extend(name, holder, Duration::ZERO, "", Instant::now() + WITHIN).await {
        Ok(Kept::Held(row)) => {
            if let Ok(lease) = locks.read(&row, now) {
                return locks.registry.change(|known| known.update(name, &Arc::new(lease)));
            }
            What::Lost
        }
        Ok(Kept::Ended(_)) => What::Expired,
        Ok(Kept::No { is_told: true }) => return locks.end_elsewhere(name, lease.clone()).await,
        // The server has forgotten it; or nobody can know.
        Ok(_) | Err(_) => What::Lost,
    };
    // If it cannot be committed, it is owed.
    let _ = locks.end(name, lease.clone(), what, None).await;
}

/// The holder could not be told in time that it holds the lock still.
async fn give_up(locks: &Arc<Locks>, name: &LockName, lease: Arc<Lease>) {
    let _turn = locks.turns.take(name).await;
    if locks.registry.see(|known| known.is_unanswered(name, lease.token)) {
        locks.registry.change(|known| known.give_up(name, lease.clone(), Some(What::Lost)));
        let _ = locks.end(name, lease, What::Lost, None).await;
    }
}

/// Lets the server know that nobody holds the lease any more, unless whoever takes the lock has.
async fn give_back(locks: &Arc<Locks>, name: &LockName, lease: &Arc<Lease>) {
    // Whoever has the turn may wait for the server longer than this should.
    let Some(_turn) = locks.turns.try_take(name) else { return };
    if !locks.registry.see(|known| known.is_given_up(name, lease.token)) {
        return;
    }
    // Tried again in a moment, if the server does not hear of it.
    let _ = locks.return_lease(name, lease, Instant::now() + WITHIN).await;
}
