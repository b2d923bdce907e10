//! Which changes pass.

use super::*;

#[test]
fn a_change_that_another_host_has_decided_passes_whoever_holds_the_lock() {
    let mut site = site();
    site.acquire("ann", "s1").expect("free");
    let mut decided = fenced(99);
    decided["dot"] = json!({ "node": "eu-1@a", "seq": 7 });
    assert!(site.change(decided, None).is_none());
}

#[test]
fn only_the_holders_changes_pass() {
    let mut site = site();
    assert!(site.change(change(1), None).is_none(), "nobody holds it");
    site.acquire("alice", "s1").expect("granted");
    assert!(site.change(change(2), Some("s1")).is_none());
    for session in [None, Some("s2")] {
        let error = site.change(change(3), session).expect("refused");
        assert_eq!(error.code(), Some("locked"));
        assert_eq!(error.message(), "Configuration is locked by another user");
        let details: Value = serde_json::from_str(error.details().expect("details")).expect("JSON");
        assert_eq!(details["locked_by"], "alice");
        assert!(details["expires_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{details}");
    }
    let other_tenant = json!({ "config_key": "app.x", "tenant_id": "t1", "new_value": 1 });
    assert!(site.change(other_tenant, None).is_none(), "another tenant's key is another lock");
    site.of_key("lock.release", json!({ "session": "s1" })).expect("released");
    assert!(site.change(change(4), Some("s2")).is_none());
    assert_eq!(site.host.counter("lock_refused_changes"), 2);
}

#[test]
fn a_change_under_a_token_needs_the_registered_one_of_a_lease_in_force() {
    let mut site = site();
    let stale = |site: &mut Site, change| {
        site.change(change, Some("s1")).expect("refused").code().map(str::to_owned).as_deref()
            == Some("stale_fence")
    };
    assert!(stale(&mut site, fenced(0)), "there is no lease");
    let token = site.acquire("alice", "s1").expect("granted")["token"].as_u64().expect("a token");
    assert!(site.change(fenced(token), Some("s1")).is_none());
    assert!(stale(&mut site, fenced(token + 1)));
    site.of_key("lock.force_release", json!({ "admin_user_id": "root" })).expect("forced");
    assert!(stale(&mut site, fenced(token)), "it was taken away");
    site.acquire("bob", "s2").expect("granted");
    assert!(stale(&mut site, fenced(token)), "somebody else holds it");
    assert_eq!(site.change(change(1), Some("s1")).expect("refused").code(), Some("locked"));
}

#[test]
fn a_fence_may_name_another_lock_of_the_same_tenant() {
    let mut site = site();
    let token = site.acquire("alice", "s1").expect("granted")["token"].clone();
    let mut under = |lock: &str, session| {
        let change =
            json!({ "config_key": "app.y", "new_value": 1, "fence": { "lock": lock, "token": token } });
        site.change(change, Some(session)).map(|error| error.code().expect("a code").to_owned())
    };
    assert_eq!(under("app.x", "s1"), None);
    assert_eq!(under("config_lock:global:app.x", "s1"), None);
    assert_eq!(under("app.x", "s2").as_deref(), Some("locked"));
    assert_eq!(under("config_lock:t1:app.x", "s1").as_deref(), Some("stale_fence"));
}

#[test]
fn a_lock_is_meant_by_its_key_by_the_guides_name_of_it_and_by_its_own() {
    let change = |tenant: Option<&str>| {
        let change = json!({ "config_key": "app.y", "new_value": 1, "tenant_id": tenant });
        Record::new(change.to_string()).change().expect("a change").clone()
    };
    let meant = |tenant, lock: &str| {
        let fence = Fence { lock: Some(lock.into()), token: 1 };
        fenced_lock(&change(tenant), &fence, "locks/").map(|name| name.rest())
    };
    for lock in ["app.x", "config_lock:global:app.x", "locks/global:app.x"] {
        assert_eq!(meant(None, lock).as_deref(), Some("global:app.x"), "{lock}");
    }
    assert_eq!(meant(Some("t1"), "locks/t1:app.x").as_deref(), Some("t1:app.x"));
    assert_eq!(meant(None, "locks/t1:app.x"), None, "another tenant's");
}
