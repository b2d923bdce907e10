//! Whether a change may be written: one rule for both backends.
//!
//! The token is looked at first: who lost a lease learns that, whoever holds the lock now.

use crate::refusal::Refusal;

/// Who holds a lock, as far as a change is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub user_id: String,
    /// The session and the token; a program with a lock class of its own has neither.
    pub session: Option<String>,
    pub token: Option<u64>,
    pub expires_at_us: Option<i64>,
}

/// What a change that may be written asks for besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// Nothing.
    AsItIs,
    /// Its token is greater than the one that this host has registered, and is to be that from now on.
    Registering(u64),
}

/// A change may be written if its session holds the lease, should there be one, and if its token, should it have one, is
/// that of the lease in force and no smaller than the one that is `registered` here.
///
/// # Errors
/// `StaleFence` or `Locked`.
pub fn may_write(
    held: Option<&Holder>,
    registered: u64,
    session: Option<&str>,
    token: Option<u64>,
) -> Result<Passes, Refusal> {
    let is_current = |token| token >= registered && held.is_some_and(|held| held.token == Some(token));
    if token.is_some_and(|token| !is_current(token)) {
        return Err(Refusal::StaleFence);
    }
    match held {
        Some(held) if session.is_none() || session != held.session.as_deref() => {
            Err(Refusal::locked_by(held))
        }
        _ => Ok(token.filter(|token| *token > registered).map_or(Passes::AsItIs, Passes::Registering)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(session: Option<&str>, token: Option<u64>) -> Holder {
        Holder {
            user_id: "alice".to_owned(),
            session: session.map(str::to_owned),
            token,
            expires_at_us: Some(7),
        }
    }

    #[test]
    fn a_change_needs_the_holders_session_and_the_token_of_the_lease_in_force() {
        let ours = held(Some("s1"), Some(5));
        let may = |held, registered, session, token| may_write(held, registered, session, token);
        assert_eq!(may(None, 5, None, None), Ok(Passes::AsItIs));
        assert_eq!(may(Some(&ours), 5, Some("s1"), None), Ok(Passes::AsItIs));
        assert_eq!(may(Some(&ours), 5, Some("s1"), Some(5)), Ok(Passes::AsItIs));
        assert!(matches!(may(Some(&ours), 5, Some("s2"), None), Err(Refusal::Locked { .. })));
        assert!(matches!(may(Some(&ours), 5, None, Some(5)), Err(Refusal::Locked { .. })));
        assert_eq!(may(Some(&ours), 5, Some("s2"), Some(4)), Err(Refusal::StaleFence));
        assert_eq!(may(Some(&ours), 6, Some("s1"), Some(5)), Err(Refusal::StaleFence));
        assert_eq!(may(None, 5, Some("s1"), Some(5)), Err(Refusal::StaleFence), "it ended");
    }

    #[test]
    fn a_token_of_another_host_is_registered_only_while_it_is_the_one_in_force() {
        let ours = held(Some("s1"), Some(5));
        assert_eq!(may_write(Some(&ours), 3, Some("s1"), Some(5)), Ok(Passes::Registering(5)));
        assert_eq!(may_write(Some(&ours), 3, Some("s1"), Some(6)), Err(Refusal::StaleFence));
        assert_eq!(may_write(None, 3, Some("s1"), Some(5)), Err(Refusal::StaleFence));
    }

    #[test]
    fn a_holder_without_a_session_is_nobody_here() {
        let guide = held(None, None);
        assert!(matches!(may_write(Some(&guide), 0, None, None), Err(Refusal::Locked { .. })));
        assert_eq!(may_write(Some(&guide), 0, Some("s1"), Some(1)), Err(Refusal::StaleFence));
    }
}
