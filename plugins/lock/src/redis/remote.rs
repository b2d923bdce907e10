//! What the server is asked about locks.
//!
//! Invariant: a script is sent again, under the same name of its request, until it is answered or its time is over; the
//! server does what it asks for once.

use super::{
    answers::{Forced, Found, Kept, Taken, if_done},
    connection::{Fault, Lent, Part, Pool},
    names::Names,
    scripts::{ACQUIRE, EXTEND, FORCE_RELEASE, LEAVE, RELEASE, Script},
    text::Parts,
};
use crate::{name::LockName, request::Whose};
use lockstep_plugin_api::prelude::*;
use redis::{Cmd, Value, cmd};
use std::time::Duration;
use tokio::time::{Instant, error::Elapsed, sleep, timeout_at};

/// How long a request is tried before its caller is told that the server is away.
const WITHIN: Duration = Duration::from_secs(5);

/// Until when a request that begins now is tried.
pub fn deadline() -> Instant {
    Instant::now() + WITHIN
}

/// How long until the next try.
const AGAIN: Duration = Duration::from_millis(50);

/// The server, and what locks are called there.
pub struct Remote {
    pool: Pool,
    names: Names,
    /// What this host is called there.
    me: String,
    operations: Counter,
}

/// What somebody who wants a lock says to the server.
#[derive(Debug)]
pub struct Take<'a> {
    pub session: &'a str,
    pub owner: &'a str,
    pub ttl: Duration,
    /// The greatest token that this host has seen.
    pub floor: u64,
    pub request: &'a str,
    /// The waiter's name, and for how long it is believed to be there; nothing if it does not wait.
    pub waiter: &'a str,
    pub patience: Duration,
    pub parts: &'a Parts,
}

/// How much of a lease is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    Once,
    Wholly,
    /// Wholly, by this host, for which the lease is over; but not if its holder was heard at another host since.
    GivenUp,
    /// The same, and as if it had never been granted: its request was not answered, and may come again.
    Undone,
}

impl Remote {
    pub fn new(pool: Pool, names: Names, me: String, operations: Counter) -> Self {
        Self { pool, names, me, operations }
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Takes a lock.
    pub async fn acquire(&self, name: &LockName, take: &Take<'_>, until: Instant) -> Result<Taken, Fault> {
        let arguments = [
            take.session,
            take.owner,
            &take.ttl.as_millis().to_string(),
            &take.floor.to_string(),
            take.request,
            take.waiter,
            &take.patience.as_millis().to_string(),
            &take.parts.head,
            &take.parts.middle,
            &take.parts.tail,
            &self.me,
        ];
        Taken::read(self.run(&ACQUIRE, name, &arguments, until).await?)
    }

    /// Lets a lease last; for `ZERO` it only looks.
    pub async fn extend(
        &self,
        name: &LockName,
        (session, token): (&str, u64),
        ttl: Duration,
        middle: &str,
        until: Instant,
    ) -> Result<Kept, Fault> {
        let arguments = [session, &token.to_string(), &ttl.as_millis().to_string(), middle, &self.me];
        Kept::read(self.run(&EXTEND, name, &arguments, until).await?)
    }

    /// Gives a lease back.
    pub async fn release(
        &self,
        name: &LockName,
        (session, token): (&str, Option<u64>),
        request: &str,
        back: Back,
        message: &str,
        until: Instant,
    ) -> Result<Kept, Fault> {
        let token = token.map(|token| token.to_string()).unwrap_or_default();
        let (back, by) = match back {
            Back::Once => ("0", ""),
            Back::Wholly => ("1", ""),
            Back::GivenUp => ("1", self.me.as_str()),
            Back::Undone => ("2", self.me.as_str()),
        };
        let arguments = [session, &token, request, back, &self.names.channel(), message, by];
        Kept::read(self.run(&RELEASE, name, &arguments, until).await?)
    }

    /// Takes a lock away.
    pub async fn force_release(
        &self,
        name: &LockName,
        expected: Option<u64>,
        floor: u64,
        request: &str,
        message: &str,
        until: Instant,
    ) -> Result<Forced, Fault> {
        let expected = expected.map(|token| token.to_string()).unwrap_or_default();
        let arguments = [expected.as_str(), &floor.to_string(), request, &self.names.channel(), message];
        Forced::read(self.run(&FORCE_RELEASE, name, &arguments, until).await?)
    }

    /// Takes a waiter out of the line.
    pub async fn leave(&self, name: &LockName, waiter: &str) -> Result<(), Fault> {
        self.run(&LEAVE, name, &[waiter, &self.names.channel()], deadline()).await.map(drop)
    }

    /// Tells the other hosts, in this order.
    pub async fn tell(&self, messages: &[String]) -> Result<(), Fault> {
        let channel = self.names.channel();
        let publish = |message| Cmd::publish(&channel, message);
        self.send_once(vec![messages.iter().map(publish).collect()]).await.map(drop)
    }

    /// What stands at each of these locks, in one round trip; only what a change is checked by.
    pub async fn look(&self, names: &[LockName]) -> Result<Vec<Option<Found>>, Fault> {
        let parts = names.iter().map(|name| {
            let lock = self.names.lock(name);
            vec![Cmd::get(&lock), Cmd::pttl(&lock)]
        });
        let answers = self.send(parts.collect()).await?;
        Ok(answers.into_iter().map(Found::read).collect())
    }

    /// What stands at a lock, with all that can be shown of it.
    pub async fn info(&self, name: &LockName) -> Result<Option<Found>, Fault> {
        let [lock, state, _] = self.names.keys(name);
        let mut answers = self.send(vec![wholly(&lock, &state)]).await?;
        Ok(answers.pop().and_then(Found::read))
    }

    /// Every lock of these, by its name in Redis.
    pub async fn list(&self, of: &Whose) -> Result<Vec<(String, Found)>, Fault> {
        let (pattern, mut tries) = (self.names.pattern(of), Tries::until(deadline()));
        let names = loop {
            let tried = timeout_at(tries.deadline, self.names_once(&pattern)).await;
            if let Some(names) = tries.settle(tried).await {
                break names?;
            }
        };
        let mut locks: Vec<String> =
            names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect();
        locks.sort_unstable();
        locks.dedup();
        let parts = locks.iter().map(|lock| wholly(lock, &format!("{{{lock}}}:state")));
        let answers = self.send(parts.collect()).await?;
        let found =
            locks.into_iter().zip(answers).filter_map(|(lock, answer)| Some((lock, Found::read(answer)?)));
        Ok(found.collect())
    }

    async fn names_once(&self, pattern: &str) -> Result<Vec<Vec<u8>>, Fault> {
        let mut lent = self.pool.get().await?;
        self.operations.add(1);
        let names = lent.link.names(pattern).await;
        self.settle(&lent, names).await
    }

    async fn send(&self, parts: Vec<Part>) -> Result<Vec<Vec<Option<Value>>>, Fault> {
        let mut tries = Tries::until(deadline());
        loop {
            let tried = timeout_at(tries.deadline, self.send_once(parts.clone())).await;
            if let Some(answers) = tries.settle(tried).await {
                return answers;
            }
        }
    }

    async fn send_once(&self, parts: Vec<Part>) -> Result<Vec<Vec<Option<Value>>>, Fault> {
        let mut lent = self.pool.get().await?;
        self.operations.add(parts.iter().map(Vec::len).sum::<usize>() as u64);
        let answers = lent.link.send(parts).await;
        self.settle(&lent, answers).await
    }

    async fn run(
        &self,
        script: &Script,
        name: &LockName,
        arguments: &[&str],
        until: Instant,
    ) -> Result<Value, Fault> {
        let (keys, mut tries) = (self.names.keys(name), Tries::until(until));
        loop {
            let tried = timeout_at(tries.deadline, self.run_once(script, &keys, arguments)).await;
            if let Some(answer) = tries.settle(tried).await {
                return answer.and_then(if_done);
            }
        }
    }

    async fn run_once(
        &self,
        script: &Script,
        keys: &[String; 3],
        arguments: &[&str],
    ) -> Result<Value, Fault> {
        let mut lent = self.pool.get().await?;
        self.operations.add(1);
        let answer = match lent.link.call(&script.by_digest(keys, arguments)).await {
            Err(fault) if fault.is_no_script() => lent.link.call(&script.by_text(keys, arguments)).await,
            answer => answer,
        };
        self.settle(&lent, answer).await
    }

    /// Gives a connection up whose answer did not come.
    async fn settle<T>(&self, lent: &Lent, answer: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(Fault::Away(_)) = answer {
            self.pool.lost(lent).await;
        }
        answer
    }
}

/// Tries until the server has answered, or the time is over.
struct Tries {
    deadline: Instant,
    last: Fault,
}

impl Tries {
    fn until(deadline: Instant) -> Self {
        Self { deadline, last: Fault::silent() }
    }

    /// What came of a try; nothing if another one is to be made, and then it is time for it.
    async fn settle<T>(&mut self, tried: Result<Result<T, Fault>, Elapsed>) -> Option<Result<T, Fault>> {
        match tried {
            Ok(Err(fault @ Fault::Away(_))) => self.last = fault,
            Ok(answer) => return Some(answer),
            Err(_) => return Some(Err(self.last.clone())),
        }
        if Instant::now() + AGAIN >= self.deadline {
            return Some(Err(self.last.clone()));
        }
        sleep(AGAIN).await;
        None
    }
}

fn wholly(lock: &str, state: &str) -> Part {
    let mut fields = cmd("HMGET");
    fields.arg(state).arg("token").arg("depth").arg("ttl");
    vec![Cmd::get(lock), Cmd::pttl(lock), fields]
}
