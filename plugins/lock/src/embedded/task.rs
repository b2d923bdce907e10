//! The task that owns the leases, and the handle by which operations reach it.

use crate::{
    embedded::leases::{Call, Leases},
    refusal::Refusal,
    request::{Answer, Request},
};
use lockstep_plugin_api::prelude::*;
use std::panic::resume_unwind;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::sleep,
};

/// How many calls wait for the task before callers wait for room.
const MOST_QUEUED: usize = 1024;

/// How many calls become one commit.
const MOST_PER_ROUND: usize = 256;

/// Asks the task; cheap to clone.
#[derive(Debug, Clone)]
pub struct Calls(mpsc::Sender<Call>);

impl Calls {
    /// Asks, and waits for what is committed.
    ///
    /// # Errors
    /// What the request is refused with; `unavailable` if the pipeline is coming to its end.
    pub async fn ask(&self, request: Request) -> Result<Answer> {
        let gone = || Refusal::Unavailable.to_error();
        let (reply, answer) = oneshot::channel();
        self.0.send(Call { request, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Ends the task when it is dropped.
#[derive(Debug)]
pub struct Alive(#[expect(dead_code, reason = "dropping it is what it is for")] oneshot::Sender<()>);

/// Starts the task.
pub fn start(context: &Context, leases: Leases) -> (Calls, Alive) {
    let (calls, queue) = mpsc::channel(MOST_QUEUED);
    let (alive, stopped) = oneshot::channel();
    context.spawn(run(leases, queue, stopped));
    (Calls(calls), Alive(alive))
}

/// Commits wait for the disk, so each round runs on a thread that may wait; there is never more than one.
async fn run(mut leases: Leases, mut queue: mpsc::Receiver<Call>, mut stopped: oneshot::Receiver<()>) {
    loop {
        let mut calls = Vec::new();
        // Every arm is cancel-safe: what was not received stays in the queue.
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            n_calls = queue.recv_many(&mut calls, MOST_PER_ROUND) => if n_calls == 0 { return },
            () = sleep(leases.idle_for()) => {}
        }
        let round = move || {
            leases.round(calls);
            leases
        };
        leases = match spawn_blocking(round).await {
            Ok(leases) => leases,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => return,
        };
    }
}
