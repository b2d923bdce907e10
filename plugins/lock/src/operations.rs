//! The operations that take, keep and give back leases: their names, and how each reaches the task.

use crate::{
    arguments::{Acquire, Extend, ForceRelease, Info, List, Release, SessionClosed},
    request::{Answer, Request},
    task::Calls,
};
use lockstep_plugin_api::{
    operations::{Caller, Operations},
    prelude::*,
};
use std::{pin::Pin, time::Duration};

/// The operations of this component.
pub fn operations(calls: &Calls, default_ttl: Duration) -> Operations {
    Operations::new()
        .add(
            "lock.acquire",
            "Takes a lock, or takes it once more in the same session; answers the lease with its token.",
            asking(calls, move |acquire: Acquire| acquire.request(default_ttl)),
        )
        .add(
            "lock.extend",
            "Lets a lease last longer; answers the lease. Only for the session and token that hold it.",
            asking(calls, Extend::request),
        )
        .add(
            "lock.release",
            "Gives a lock back once; answers whether it is free, and how often the session still has it.",
            asking(calls, Release::request),
        )
        .add(
            "lock.info",
            "Tells who holds a lock; answers the lease, or null if nobody does.",
            asking(calls, Info::request),
        )
        .add("lock.list", "Lists the leases in force.", asking(calls, List::request))
        .add(
            "lock.force_release",
            "Takes a lock away from whoever holds it; answers the lease that ended.",
            asking(calls, ForceRelease::request),
        )
        .add(
            "lock.session_closed",
            "Gives back everything a session holds, and ends its waiting; answers how many of each.",
            asking(calls, SessionClosed::request),
        )
}

type Asked = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// An operation that reads its arguments into a request and asks the task.
fn asking<A>(
    calls: &Calls,
    read: impl Fn(A) -> Result<Request> + Send + Sync + 'static,
) -> impl Fn(Caller, A) -> Asked + Send + Sync + 'static {
    let calls = calls.clone();
    move |_, arguments| {
        let (calls, request) = (calls.clone(), read(arguments));
        Box::pin(async move { calls.ask(request?).await })
    }
}
