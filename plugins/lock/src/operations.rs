//! The operations that take, keep and give back leases: their names, and how each reaches the backend.

use crate::{
    arguments::{Acquire, Extend, ForceRelease, Info, List, Release, SessionClosed},
    backend::Asking,
    request::{Answer, Request},
};
use lockstep_plugin_api::{
    operations::{Caller, Operations},
    prelude::*,
};
use std::{pin::Pin, time::Duration};

/// The operations of this component.
pub fn operations(leases: &Asking, default_ttl: Duration) -> Operations {
    Operations::new()
        .add(
            "lock.acquire",
            "Takes a lock, or takes it once more in the same session; answers the lease with its token.",
            asking(leases, move |_, acquire: Acquire| acquire.request(default_ttl)),
        )
        .add(
            "lock.extend",
            "Lets a lease last longer; answers the lease. Only for the session and token that hold it.",
            asking(leases, |_, extend: Extend| extend.request()),
        )
        .add(
            "lock.release",
            "Gives a lock back once; answers whether it is free, and how often the session still has it.",
            asking(leases, |_, release: Release| release.request()),
        )
        .add(
            "lock.info",
            "Tells who holds a lock; answers the lease, or null if nobody does.",
            asking(leases, |_, info: Info| info.request()),
        )
        .only_reads()
        .add(
            "lock.list",
            "Lists the leases in force: of one tenant, of none, or, for operators, of all.",
            asking(leases, |caller, list: List| list.request(caller)),
        )
        .only_reads()
        .add(
            "lock.force_release",
            "Takes a lock away from whoever holds it; answers the lease that ended.",
            asking(leases, |_, force: ForceRelease| force.request()),
        )
        .add(
            "lock.session_closed",
            "Gives back everything a session holds, and ends its waiting; answers how many of each.",
            asking(leases, |_, closed: SessionClosed| closed.request()),
        )
}

type Asked = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// An operation that reads its arguments into a request and asks the backend.
fn asking<A>(
    leases: &Asking,
    read: impl Fn(&Caller, A) -> Result<Request> + Send + Sync + 'static,
) -> impl Fn(Caller, A) -> Asked + Send + Sync + 'static {
    let leases = leases.clone();
    move |caller, arguments| {
        let (leases, request) = (leases.clone(), read(&caller, arguments));
        Box::pin(async move { leases.ask(request?).await })
    }
}
