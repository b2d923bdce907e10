//! What is given back, or cannot be: it is over at this host, told once, and taken from nobody else.

use super::*;

/// The session takes it anew, and the late return of what it had takes nothing.
fn the_next_is_left_alone(site: &Site, first: u64, given_up: Arc<Lease>) {
    let second = site.acquire("s1", Some("a:2")).expect("free, or the session's own");
    assert!(second > first, "{second} after {first}");
    site.settle(Due::GivenUp(name(), given_up));
    assert_eq!(site.held(), Some(second));
    assert_eq!(site.notices(), ["config_locked", "config_unlocked", "config_locked"]);
}

#[test]
fn what_was_given_up_is_not_granted_again_and_its_late_return_takes_nothing() {
    let site = site();
    let first = site.acquire("s1", Some("a:1")).expect("free");
    let lost = site.lease();
    site.locks.registry.change(|known| known.give_up(&name(), lost.clone(), Some(What::Lost)));
    site.end(lost.clone());
    the_next_is_left_alone(&site, first, lost);
}

#[test]
fn what_a_closed_session_could_not_give_back_is_over_all_the_same() {
    let site = site();
    let first = site.acquire("s1", Some("a:1")).expect("free");
    let lease = site.lease();
    site.server.pause(true);
    assert_eq!(code(site.ask(Request::SessionClosed { session: "s1".to_owned() })), "unavailable");
    site.server.pause(false);
    the_next_is_left_alone(&site, first, lease);
}

#[test]
fn a_lease_that_its_holder_keeps_at_another_host_is_not_returned_by_the_one_that_gave_it_up() {
    for keeps_by in ["entering", "extending", "nothing"] {
        let a = site();
        let b = a.beside();
        let token = b.acquire("s1", Some("b:1")).expect("free");
        let lost = b.lease();
        b.locks.registry.change(|known| known.give_up(&name(), lost.clone(), Some(What::Lost)));
        b.end(lost.clone());
        match keeps_by {
            "entering" => assert_eq!(a.acquire("s1", Some("a:1")).expect("the session's own"), token),
            "extending" => {
                let extend = Request::Extend { name: name(), session: "s1".to_owned(), token, ttl: None };
                a.ask(extend).expect("held");
            }
            _ => {}
        }
        b.settle(Due::GivenUp(name(), lost));
        assert_eq!(a.held(), Some(token).filter(|_| keeps_by != "nothing"), "{keeps_by}");
        assert!(
            b.locks.registry.see(|known| known.left()).is_empty(),
            "{keeps_by}: nothing is left to be done"
        );
    }
}

#[test]
fn a_release_that_is_not_answered_is_told_as_one_also_if_others_have_the_lock_by_then() {
    for is_done in [false, true] {
        let site = site();
        let other = at(site.server.clone());
        let token = site.acquire("s1", Some("a:1")).expect("free");
        let release = || {
            let (session, request_id) = ("s1".to_owned(), Some("r:1".to_owned()));
            Request::Release { name: name(), session, token: Some(token), request_id }
        };
        site.server.pause(true);
        assert_eq!(code(site.ask(release())), "unavailable");
        site.server.pause(false);
        if is_done {
            let locks = other.locks.clone();
            let done = async move {
                let (holder, until) = (("s1", Some(token)), remote::deadline());
                locks.remote.release(&name(), holder, "r:1", remote::Back::Once, "", until).await
            };
            assert!(matches!(site.run(done), Ok(answers::Kept::Released { .. })));
            other.acquire("s2", None).expect("free");
        }
        site.locks.registry.see(|known| known.left()).into_iter().for_each(|due| site.settle(due));
        assert_ne!(other.held(), Some(token), "given back");
        assert_eq!((site.audited("lock_released"), site.audited("lock_lost")), (1, 0), "{is_done}");
        assert_eq!(site.notices(), ["config_locked", "config_unlocked"], "{is_done}");
        assert_eq!(code(site.ask(release())), "not_found", "which is success");
    }
}

#[test]
fn what_is_held_more_than_once_is_not_over_because_one_release_was_not_answered() {
    let site = site();
    let token = site.acquire("s1", Some("a:1")).expect("free");
    site.acquire("s1", Some("a:2")).expect("the session's own");
    site.server.pause(true);
    let release =
        Request::Release { name: name(), session: "s1".to_owned(), token: Some(token), request_id: None };
    assert_eq!(code(site.ask(release)), "unavailable");
    site.server.pause(false);
    assert_eq!((site.held(), site.audited("lock_released")), (Some(token), 0));
}
