//! What has to be done about leases as time goes on: ends that are due are told, and what could not be told is told later.

use super::{
    answers::Kept,
    known::Due,
    locks::{Locks, blocking},
};
use crate::{event::What, lease::Lease, name::LockName};
use futures_util::{StreamExt, stream};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// How long the server is asked about a lease that nobody extends.
const WITHIN: Duration = Duration::from_millis(500);

/// About how many leases it is asked at the same time.
const MOST_AT_ONCE: usize = 64;

/// Looks after the leases of this host until the pipeline ends.
pub async fn keep(locks: Arc<Locks>) {
    let mut stopped = locks.stopped.clone();
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = locks.registry.changed.notified() => {}
            () = sleep(locks.registry.idle_for()) => {}
        }
        let each = |due| settle(&locks, due);
        stream::iter(locks.registry.due()).for_each_concurrent(MOST_AT_ONCE, each).await;
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
        // Somebody else has ended it, or the server has forgotten it; or nobody can know.
        Ok(_) | Err(_) => What::Lost,
    };
    // If it cannot be committed, it is owed.
    let _ = locks.end(name, lease.clone(), what, None).await;
}

/// The holder could not be told in time that it holds the lock still.
async fn give_up(locks: &Arc<Locks>, name: &LockName, lease: Arc<Lease>) {
    let _turn = locks.turns.take(name).await;
    if locks.registry.see(|known| known.is_unanswered(name, lease.token)) {
        locks.registry.change(|known| known.give_up(name, lease.clone()));
        let _ = locks.end(name, lease, What::Lost, None).await;
    }
}

/// Lets the server know that nobody holds the lease any more, unless whoever takes the lock has.
async fn give_back(locks: &Arc<Locks>, name: &LockName, lease: &Arc<Lease>) {
    let _turn = locks.turns.take(name).await;
    if !locks.registry.see(|known| known.is_given_up(name, lease.token)) {
        return;
    }
    // Tried again in a moment, if the server does not hear of it.
    let _ = locks.return_lease(name, lease, Instant::now() + WITHIN).await;
}
