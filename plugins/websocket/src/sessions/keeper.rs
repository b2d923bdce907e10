//! What has to be done about sessions as time goes on: leases extended, and sessions ended whose client did not come back.

use super::{LockName, Sessions, State};
use crate::log::LogAccess;
use futures_util::{StreamExt, stream};
use lockstep_plugin_api::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    select,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, warn};

/// How long an extension or a close may take before it is tried again.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// How many calls are on their way at the same time.
const MAX_CALLS: usize = 64;
/// When a session is ended that could not be ended.
const AGAIN: Duration = Duration::from_secs(1);
/// How long there is nothing to do where nobody holds a lock.
const IDLE: Duration = Duration::from_secs(3600);

/// What has to be done about a session.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Extend { public: String, name: LockName, token: u64 },
    Close { public: String },
}

impl Sessions {
    /// Extends leases and ends sessions when it is time. Cancel-safe.
    pub(crate) async fn keep(&self, log: &LogAccess) {
        loop {
            let (due, next) = self.state().due(Instant::now());
            match log.source() {
                Some(context) => {
                    let each = |due| self.act(&context, due);
                    stream::iter(due).for_each_concurrent(MAX_CALLS, each).await;
                }
                // Without a source nobody can be asked; what is due now is due again soon.
                None => due.into_iter().for_each(|due| self.postpone(due)),
            }
            let next = next.unwrap_or_else(|| Instant::now() + IDLE);
            select! {
                () = sleep_until(next) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    async fn act(&self, context: &Context, due: Due) {
        match due {
            Due::Extend { public, name, token } => {
                let arguments = json!({
                    "config_key": name.config_key, "tenant_id": name.tenant_id, "session": public, "token": token,
                });
                let extended = call::<Value>(context, "lock.extend", &arguments).await;
                if extended.is_err_and(|error| error.code() == Some("not_found")) {
                    debug!(session = public, key = name.config_key, "a lease is lost");
                    self.lost(&public, &name, token);
                }
            }
            Due::Close { public } => {
                let arguments = json!({ "session": public });
                match call::<Value>(context, "lock.session_closed", &arguments).await {
                    Err(error) if error.kind() != ErrorKind::UNSUPPORTED => {
                        warn!(%error, session = public, "cannot end a session; trying again");
                        self.postpone(Due::Close { public });
                    }
                    _ => self.state().forget(&public),
                }
            }
        }
    }

    /// Tries again in a second; an extension comes again by itself.
    fn postpone(&self, due: Due) {
        if let Due::Close { public } = due {
            if let Some(session) = self.state().sessions.get_mut(&public) {
                session.closes_at = session.closes_at.map(|_| Instant::now() + AGAIN);
            }
            self.changed.notify_one();
        }
    }
}

async fn call<T: serde::de::DeserializeOwned>(
    context: &Context,
    operation: &str,
    arguments: &Value,
) -> Result<T> {
    let late = |_| Err(Error::retry(Duration::from_secs(1), "no answer in time"));
    timeout(CALL_WITHIN, context.call(operation, arguments)).await.unwrap_or_else(late)
}

impl State {
    fn forget(&mut self, public: &str) {
        if self.sessions.get(public).is_some_and(|session| session.closes_at.is_some()) {
            self.sessions.remove(public);
        }
    }

    /// What has to be done now, and when there is something to do next.
    fn due(&mut self, now: Instant) -> (Vec<Due>, Option<Instant>) {
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        let mut at = |when: Instant| next = Some(next.map_or(when, |next| next.min(when)));
        for (public, session) in &mut self.sessions {
            if let Some(closes_at) = session.closes_at {
                if closes_at <= now {
                    session.is_closing = true;
                    due.push(Due::Close { public: public.clone() });
                } else {
                    at(closes_at);
                }
                continue;
            }
            for (name, lease) in &mut session.leases {
                if lease.extend_at <= now {
                    lease.extend_at = now + lease.period;
                    let (public, name) = (public.clone(), name.clone());
                    due.push(Due::Extend { public, name, token: lease.token });
                }
                at(lease.extend_at);
            }
        }
        (due, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::RESUMABLE;

    fn name(key: &str) -> LockName {
        LockName { config_key: key.to_owned(), tenant_id: None }
    }

    #[tokio::test]
    async fn leases_are_extended_while_their_client_is_there_and_sessions_end_ten_seconds_after_it_left() {
        let sessions = Sessions::new(10);
        let public = sessions.open(1).expect("room").public;
        let period = Duration::from_secs(5);
        sessions.hold(&public, name("a"), 7, period);
        let start = Instant::now();
        let due = |now| sessions.state().due(now);
        assert_eq!(due(start), (Vec::new(), due(start).1));
        let extend = Due::Extend { public: public.clone(), name: name("a"), token: 7 };
        let later = start + Duration::from_secs(6);
        assert_eq!(due(later), (vec![extend], Some(later + period)));
        assert_eq!(due(later).0, [], "once each time");

        sessions.disconnected(1);
        let left = Instant::now();
        assert_eq!(due(left + period).0, [], "nobody is there to extend it for");
        assert_eq!(due(left + RESUMABLE).0, [Due::Close { public: public.clone() }]);
        sessions.state().forget(&public);
        assert_eq!(due(left + RESUMABLE), (Vec::new(), None));
    }

    #[tokio::test]
    async fn a_lease_that_was_given_back_and_taken_again_meanwhile_is_still_extended() {
        let sessions = Sessions::new(10);
        let public = sessions.open(1).expect("room").public;
        sessions.hold(&public, name("a"), 7, RESUMABLE);
        sessions.let_go(&public, &name("a"));
        sessions.hold(&public, name("a"), 8, RESUMABLE);
        // The answer to what was asked for the first lease comes late.
        sessions.lost(&public, &name("a"), 7);
        let extend = Due::Extend { public: public.clone(), name: name("a"), token: 8 };
        assert_eq!(sessions.state().due(Instant::now() + RESUMABLE).0, [extend]);
        sessions.lost(&public, &name("a"), 8);
        assert_eq!(sessions.state().due(Instant::now() + RESUMABLE).0, []);
    }

    #[tokio::test]
    async fn a_client_that_comes_back_while_its_session_is_being_ended_is_not_told_that_it_goes_on() {
        let sessions = Sessions::new(10);
        let names = sessions.open(1).expect("room");
        sessions.hold(&names.public, name("a"), 7, RESUMABLE);
        sessions.disconnected(1);
        let late = Instant::now() + RESUMABLE;
        assert_eq!(sessions.state().due(late).0, [Due::Close { public: names.public.clone() }]);
        // Its locks are being given back.
        assert_eq!(sessions.resume(&names.secret, 2).expect("taken in"), (names.clone(), false));
        sessions.state().forget(&names.public);
        assert_eq!(sessions.public_name(2), Some(names.public.clone()), "and it begins anew");
        assert_eq!(sessions.state().due(late + RESUMABLE).0, [], "with nothing to extend");
    }

    #[tokio::test]
    async fn a_session_goes_on_where_its_secret_is_shown_and_leaves_where_it_was() {
        let sessions = Sessions::new(2);
        let names = sessions.open(1).expect("room");
        assert_eq!(sessions.open(1).expect("the same"), names);
        sessions.disconnected(1);
        assert_eq!(sessions.resume(&names.secret, 2).expect("resumed"), (names.clone(), true));
        assert_eq!(sessions.state().due(Instant::now() + RESUMABLE), (Vec::new(), None), "it does not end");
        sessions.resume(&names.secret, 3).expect("taken over");
        assert_eq!((sessions.public_name(2), sessions.public_name(3)), (None, Some(names.public.clone())));
        sessions.disconnected(2);
        assert_eq!(sessions.public_name(3), Some(names.public.clone()), "the dead connection ends nothing");

        let unknown = "x".repeat(32);
        let (stranger, is_known) = sessions.resume(&unknown, 3).expect("of an earlier process");
        assert!(!is_known && stranger.public != names.public);
        assert_eq!(sessions.state().due(Instant::now() + RESUMABLE).0, [Due::Close { public: names.public }]);
        assert!(sessions.open(4).is_err(), "there are no more than the limit");
        assert!(sessions.resume("short", 4).is_err());
    }
}
