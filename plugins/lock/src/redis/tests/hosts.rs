//! Two hosts at one server: what each tells of leases is told once and reaches the other, and nothing waits for what does not
//! come.

use super::*;
use crate::lease::tests::lease;

#[test]
fn other_hosts_hear_of_what_was_given_up_when_the_server_is_back() {
    let site = site();
    let other = site.beside();
    site.acquire("s1", Some("a:1")).expect("free");
    let lease = site.lease();
    site.server.pause(true);
    assert_eq!(code(site.ask(Request::SessionClosed { session: "s1".to_owned() })), "unavailable");
    site.server.pause(false);
    site.settle(Due::GivenUp(name(), lease));
    until("it is told", || other.notices() == ["config_unlocked"]);
}

#[test]
fn other_hosts_hear_of_the_end_of_what_was_given_up_also_if_the_server_had_ended_it_before() {
    let mut site = site();
    let other = site.beside();
    let messages = site.unsent.take().expect("nobody sends it yet");
    site.acquire_for("s1", Some("a:1"), Duration::from_millis(100)).expect("free");
    let lease = site.lease();
    site.locks.registry.change(|known| known.give_up(&name(), lease.clone(), Some(What::Lost)));
    until("it is over", || site.held().is_none());
    site.settle(Due::GivenUp(name(), lease));
    site.context.spawn(announce(site.locks.clone(), messages));
    until("it is told", || other.notices().last().is_some_and(|last| last == "config_unlocked"));
}

#[test]
fn what_is_told_while_the_server_is_away_is_sent_when_it_is_back() {
    let mut site = site();
    let other = site.beside();
    site.acquire("s1", Some("a:1")).expect("free");
    let messages = site.unsent.take().expect("nobody sends it yet");
    site.server.pause(true);
    site.end(site.lease());
    site.context.spawn(announce(site.locks.clone(), messages));
    thread::sleep(Duration::from_secs(5));
    site.server.pause(false);
    until("it is told", || other.notices() == ["config_locked", "config_unlocked"]);
}

#[test]
fn an_expiry_that_another_host_has_told_is_not_told_again() {
    let at_once = Duration::from_millis(100);
    let finds_out: [fn(&Site, u64); 2] = [
        |other, token| assert!(other.acquire("s9", None).expect("free") > token),
        |other, token| {
            let (name, session) = (name(), "s1".to_owned());
            let release = Request::Release { name, session, token: Some(token), request_id: None };
            assert_eq!(code(other.ask(release)), "not_found");
        },
    ];
    for find_out in finds_out {
        let site = site();
        let other = at(site.server.clone());
        let token = site.acquire_for("s1", None, at_once).expect("free");
        let lease = site.lease();
        until("it is over", || site.held().is_none());
        find_out(&other, token);
        thread::sleep(at_once);
        site.settle(Due::Ended(name(), lease));
        assert!(site.locks.registry.lease(&name()).is_none());
        assert_eq!((other.audited("lock_expired"), site.audited("lock_lost")), (1, 0));
        assert_eq!(site.notices(), ["config_locked", "config_unlocked"], "its own subscribers hear of it");
    }
}

#[test]
fn a_lock_whose_turn_does_not_come_keeps_no_other_from_being_told_lost() {
    let site = site();
    let other = LockName::new(None, "app.y").expect("a name");
    let registry = &site.locks.registry;
    for name in [&name(), &other] {
        let lease = lease("s1", 7, registry.clock.now());
        let lease =
            Arc::new(lease.lasting(Duration::from_secs(1), RULES.longest_heartbeat, registry.clock.now()));
        let grant = registry::Grant { name: name.clone(), lease, is_first: true, ended: None };
        assert!(registry.register(grant).expect("committed"));
    }
    let (locks, held) = (site.locks.clone(), name());
    let _turn = site.run(async move { locks.turns.take(&held).await });
    registry.change(|known| known.give_up(&name(), known.lease(&name()).expect("held"), None));
    site.context.spawn(keep(site.locks.clone()));
    thread::sleep(Duration::from_millis(200));
    registry.change(|known| known.unanswered(&other, 7));
    until("it is told", || site.notices().len() == 3);
}
