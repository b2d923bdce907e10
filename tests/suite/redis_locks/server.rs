//! What a server may go through: scripts forgotten, a restart, a user with few rights, TLS, a wrong password.

use super::{LOCK, code, node, place, redis, site};
use lockstep_test_support::{Certificates, LIMIT, PASSWORD, USER, eventually};
use serde_json::json;

#[test]
fn a_server_that_forgot_its_scripts_is_told_them_again() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    let token = a.acquire("s1", json!({})).expect("free")["token"].clone();
    for _ in 0..2 {
        let _: String = redis.command(&["SCRIPT", "FLUSH"]);
        a.ask("lock.extend", json!({ "session": "s1", "token": token })).expect("held");
    }
    let _: String = redis.command(&["SCRIPT", "FLUSH"]);
    a.release("s1").expect("held");
    let _: String = redis.command(&["SCRIPT", "FLUSH"]);
    a.acquire("s1", json!({})).expect("free");
    let _: String = redis.command(&["SCRIPT", "FLUSH"]);
    a.ask("lock.force_release", json!({ "admin_user_id": "root" })).expect("held");
    let stats: String = redis.command(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_evalsha:") && stats.contains("cmdstat_eval:"), "{stats}");
}

#[test]
fn a_lock_outlives_a_restart_of_a_server_that_keeps_what_it_answered() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    let token = a.acquire("s1", json!({ "user_id": "alice" })).expect("free")["token"].clone();
    redis.kill();
    redis.restart();
    let held = eventually(LIMIT, || a.ask("lock.extend", json!({ "session": "s1", "token": token })).ok());
    assert_eq!(held.expect("held still")["token"], token);
    let refused = a.acquire("s2", json!({})).expect_err("held");
    assert_eq!(refused.error["details"]["locked_by"], "alice");
    a.release("s1").expect("held");
    assert!(a.acquire("s2", json!({})).expect("free")["token"].as_u64() > token.as_u64());
}

#[test]
fn a_server_that_forgets_at_a_restart_gives_no_token_twice() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    let token = a.acquire("s1", json!({})).expect("free")["token"].clone();
    redis.wipe();
    redis.restart();
    let extended = eventually(LIMIT, || {
        let extended = a.ask("lock.extend", json!({ "session": "s1", "token": token }));
        extended.err().filter(|refused| refused.code != "unavailable")
    });
    assert_eq!(extended.expect("an answer").code, "not_found", "the holder learns that it lost it");
    assert!(a.acquire("s2", json!({})).expect("free")["token"].as_u64() > token.as_u64());
}

#[test]
fn a_user_with_the_rights_that_the_readme_names_can_do_everything() {
    let redis = redis();
    let rights = [
        "ACL",
        "SETUSER",
        "locks",
        "on",
        ">locks-secret",
        "~config_lock:*",
        "~{config_lock:*",
        "&config_lock:events",
        "-@all",
        "+get",
        "+set",
        "+del",
        "+pttl",
        "+pexpire",
        "+persist",
        "+hmget",
        "+hset",
        "+hdel",
        "+time",
        "+eval",
        "+evalsha",
        "+scan",
        "+publish",
        "+subscribe",
        "+ping",
    ];
    let _: String = redis.command(&rights);
    let a = node("a", &format!("port: {}, username: locks, password: locks-secret", redis.port));
    a.acquire("s1", json!({ "ttl_ms": 20_000 })).expect("free");
    a.acquire("s1", json!({ "ttl_ms": 30_000 })).expect("its own");
    assert_eq!(code(a.acquire("s2", json!({ "wait_ms": 100 }))), "locked");
    assert_eq!(a.call("lock.list", &json!({})).expect("listed").as_array().map(Vec::len), Some(1));
    a.release("s1").expect("held");
    a.ask("lock.force_release", json!({ "admin_user_id": "root" })).expect("held once");
    assert!(a.change(&json!(1), json!({}))["revision"].as_u64().is_some());
    assert!(a.host.logged("the server that keeps the locks refuses").is_empty());
}

#[test]
fn locks_work_by_tls_and_a_wrong_password_is_said_without_it() {
    let redis = redis();
    let ca = Certificates::shared().ca.display();
    let tls = format!(
        "port: {}, username: {USER}, password: {PASSWORD}, ssl: true, ssl_context: {{ cafile: {ca} }}",
        redis.tls_port
    );
    let a = node("a", &tls);
    a.acquire("s1", json!({})).expect("free");
    assert_eq!(redis.command::<i64>(&["EXISTS", LOCK]), 1);

    let (site, _) = site("b", &format!("port: {}, username: {USER}, password: hunter2", redis.port));
    let mut host = site.start();
    host.wait_ready();
    let refused = super::call(&site, host.admin(), "lock.acquire", &json!({ "config_key": "app.x" }));
    assert_eq!(code(refused), "unavailable");
    assert!(
        !host.logged("refuses the login of user").is_empty()
            || host.log().contains("refuses the login of user")
    );
    assert!(!host.log().contains("hunter2"));
}
