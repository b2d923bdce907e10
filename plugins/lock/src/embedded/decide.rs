//! The rules, as pure functions: from a lease, the registered token and the time to what becomes of them.
//!
//! Invariant: only the session that holds a lease changes it, except by force, and a granted token is greater than every
//! token before it.

use crate::{clock::Now, config::Rules, lease::Lease, refusal::Refusal, request::Ask};
use std::time::Duration;

/// Grants a lease: a new one under the token after `fence`, or the session's own once more, never for a shorter time.
///
/// # Errors
/// `Locked` if another session holds it, be it the same user's.
pub fn acquire(
    held: Option<&Lease>,
    fence: u64,
    ask: &Ask,
    rules: &Rules,
    now: Now,
) -> Result<Lease, Refusal> {
    match held {
        None => Ok(first(fence + 1, ask, now).lasting(ask.ttl, rules.longest_heartbeat, now)),
        Some(lease) if lease.session == ask.session && lease.user_id == ask.user_id => {
            Ok(again(lease.clone(), ask, rules, now))
        }
        Some(lease) => Err(Refusal::locked(lease, now)),
    }
}

fn first(token: u64, ask: &Ask, now: Now) -> Lease {
    Lease {
        user_id: ask.user_id.clone(),
        session: ask.session.clone(),
        token,
        depth: 1,
        acquired_at_us: now.wall_us,
        expires_at_us: 0,
        ttl_ms: 0,
        heartbeat_ms: 0,
        metadata: ask.metadata.clone(),
        request_id: ask.request_id.clone(),
        ends: now.mono,
    }
}

fn again(mut lease: Lease, ask: &Ask, rules: &Rules, now: Now) -> Lease {
    if !is_repeat(&lease, ask.request_id.as_deref()) {
        lease.depth = lease.depth.saturating_add(1);
        lease.request_id = ask.request_id.clone();
    }
    // Never earlier than before: a lease ends at most `ttl` after now.
    let ttl = ask.ttl.max(lease.ttl());
    lease.lasting(ttl, rules.longest_heartbeat, now)
}

fn is_repeat(lease: &Lease, request_id: Option<&str>) -> bool {
    request_id.is_some() && lease.request_id.as_deref() == request_id
}

/// Lets the holder's lease end `ttl` from now, or after its own time once more. What is gone stays gone.
///
/// # Errors
/// `NotHeld` unless session and token both match.
pub fn extend(
    held: Option<&Lease>,
    session: &str,
    token: u64,
    ttl: Option<Duration>,
    rules: &Rules,
    now: Now,
) -> Result<Lease, Refusal> {
    let lease = held_by(held, session, Some(token))?;
    Ok(lease.clone().lasting(ttl.unwrap_or(lease.ttl()), rules.longest_heartbeat, now))
}

/// Gives the lease back once: `None` if that was the last time, else what is left of it.
///
/// # Errors
/// `NotHeld` unless the session, and the token if there is one, match.
pub fn release(
    held: Option<&Lease>,
    session: &str,
    token: Option<u64>,
    request_id: Option<&str>,
) -> Result<Option<Lease>, Refusal> {
    let lease = held_by(held, session, token)?;
    if is_repeat(lease, request_id) {
        return Ok(Some(lease.clone()));
    }
    if lease.depth <= 1 {
        return Ok(None);
    }
    let request_id = request_id.map(str::to_owned);
    Ok(Some(Lease { depth: lease.depth - 1, request_id, ..lease.clone() }))
}

/// Takes the lease from whoever holds it, and gives the token to register: one above the holder's, which is stale at
/// once.
///
/// # Errors
/// `NotFound` if nobody holds it, `StaleFence` if another token is registered than the administrator saw.
pub fn force_release(held: Option<&Lease>, fence: u64, expected_token: Option<u64>) -> Result<u64, Refusal> {
    let lease = held.ok_or(Refusal::NotFound)?;
    match expected_token {
        Some(expected) if expected != lease.token => Err(Refusal::StaleFence),
        _ => Ok(fence.max(lease.token) + 1),
    }
}

fn held_by<'a>(held: Option<&'a Lease>, session: &str, token: Option<u64>) -> Result<&'a Lease, Refusal> {
    held.filter(|lease| lease.session == session)
        .filter(|lease| token.is_none_or(|token| token == lease.token))
        .ok_or(Refusal::NotHeld)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{Fields, tests::lease};

    const RULES: Rules = Rules { longest_heartbeat: Duration::from_secs(30), max_per_user: 100 };

    fn at(seconds: u64) -> Now {
        Now { mono: Duration::from_secs(seconds), wall_us: seconds as i64 * 1_000_000 }
    }

    fn ask(user_id: &str, session: &str, seconds: u64) -> Ask {
        Ask {
            user_id: user_id.to_owned(),
            session: session.to_owned(),
            ttl: Duration::from_secs(seconds),
            metadata: Fields::new(),
            request_id: None,
        }
    }

    #[test]
    fn a_new_lease_has_the_token_after_the_registered_one() {
        let lease = acquire(None, 41, &ask("alice", "s1", 6), &RULES, at(10)).expect("granted");
        assert_eq!((lease.token, lease.depth, lease.ends), (42, 1, Duration::from_secs(16)));
        assert_eq!(lease.heartbeat_ms, 2000, "a third of its own time");
    }

    #[test]
    fn only_the_same_user_in_the_same_session_enters_again() {
        let held = lease("s1", 5, at(0));
        let entered = |user, session| acquire(Some(&held), 5, &ask(user, session, 60), &RULES, at(0));
        let again = entered("alice", "s1").expect("granted");
        assert_eq!((again.token, again.depth), (5, 2));
        assert!(matches!(entered("alice", "s2"), Err(Refusal::Locked { .. })), "another session of alice");
        assert!(matches!(entered("bob", "s1"), Err(Refusal::Locked { .. })), "a session that is alice's");
    }

    #[test]
    fn entering_again_never_shortens_the_time_and_a_repeat_does_not_count() {
        let held = Lease { request_id: Some("r1".to_owned()), ..lease("s1", 5, at(0)) };
        let entered = |ttl, request: &str, now| {
            let ask = Ask { request_id: Some(request.to_owned()), ..ask("alice", "s1", ttl) };
            acquire(Some(&held), 5, &ask, &RULES, now).expect("granted")
        };
        let shorter = entered(1, "r2", at(50));
        assert_eq!((shorter.depth, shorter.ends), (2, Duration::from_secs(110)), "its own time once more");
        assert_eq!(entered(90, "r2", at(50)).ends, Duration::from_secs(140));
        assert_eq!(entered(60, "r1", at(0)).depth, 1);
    }

    #[test]
    fn only_session_and_token_together_extend() {
        let held = lease("s1", 5, at(0));
        let extended = |held, session, token| extend(held, session, token, None, &RULES, at(50));
        assert_eq!(extended(Some(&held), "s1", 5).expect("extended").ends, Duration::from_secs(110));
        for (session, token) in [("s1", 4), ("s2", 5)] {
            assert_eq!(extended(Some(&held), session, token), Err(Refusal::NotHeld));
        }
        assert_eq!(extended(None, "s1", 5), Err(Refusal::NotHeld), "what is gone is not made again");
    }

    #[test]
    fn a_lease_goes_with_its_last_release() {
        let held = Lease { depth: 2, ..lease("s1", 5, at(0)) };
        let left = release(Some(&held), "s1", None, Some("r1")).expect("released").expect("held once more");
        assert_eq!(left.depth, 1);
        assert_eq!(release(Some(&left), "s1", Some(5), Some("r1")), Ok(Some(left.clone())), "a repeat");
        assert_eq!(release(Some(&left), "s1", Some(5), Some("r2")), Ok(None));
        for (session, token) in [("s1", Some(4)), ("s2", None)] {
            assert_eq!(release(Some(&held), session, token, None), Err(Refusal::NotHeld));
        }
    }

    #[test]
    fn force_leaves_the_holders_token_stale() {
        let held = lease("s1", 5, at(0));
        assert_eq!(force_release(Some(&held), 5, None), Ok(6));
        assert_eq!(force_release(Some(&held), 5, Some(4)), Err(Refusal::StaleFence));
        assert_eq!(force_release(None, 5, None), Err(Refusal::NotFound));
    }
}
