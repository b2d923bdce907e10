//! Requests that a web page or a stranger could make change nothing.

use super::Sync;
use lockstep_test_support::{Host, Request};
use serde_json::{Value, json};

/// Everything that changes something.
fn mutations() -> Vec<Request> {
    let change = json!({ "config_key": "app.forged", "new_value": 1 });
    let release = json!({ "config_key": "app.held", "admin_user_id": "somebody", "reason": "forged" });
    let post = |path: &str, body: &Value| Request::new("POST", path).json(body);
    vec![
        post("/v1/changes", &change),
        post("/v1/operations/lock.force_release", &release),
        post("/v1/metrics/reset", &json!({})),
    ]
}

fn is_refused(host: &Host, request: &Request, why: &str) {
    let answer = request.send(host.admin()).expect("the admin server answers");
    assert!(matches!(answer.code, 401 | 403 | 421), "{why}: {request:?} was answered {answer:?}");
}

#[test]
fn requests_without_the_token_for_another_host_or_from_another_origin_are_refused() {
    let sync = Sync::new();
    let host = sync.start();
    let mut holder = sync.author();
    assert_eq!(super::lock(&mut holder, "app.held", 60_000, 0)["success"], true);
    let token = sync.token();
    let port = host.admin().rsplit_once(':').expect("a port").1.to_owned();
    for request in mutations() {
        is_refused(&host, &request, "no token");
        is_refused(&host, &request.clone().bearer("0000000000000000"), "another token");
        is_refused(&host, &request.clone().bearer(&token[..token.len() - 1]), "a part of the token");
        let named = request.clone().bearer(&token).host(&format!("config.example:{port}"));
        is_refused(&host, &named, "the name that a page was loaded from, pointing here");
        for origin in ["https://config.example", "http://127.0.0.1:1", "null"] {
            is_refused(&host, &request.clone().bearer(&token).header("Origin", origin), "another origin");
        }
    }
    // A page that has its own name point to this machine may not read either.
    is_refused(&host, &Request::new("GET", "/v1/keys").host("config.example"), "reading");
    assert_eq!(host.get("/v1/keys/app.forged").code, 404, "nothing was changed");
    let mut other = sync.author();
    assert_eq!(super::change(&mut other, "app.held", &json!(1), &json!({}))["code"], "locked");
}

#[test]
fn the_same_requests_with_the_token_are_done() {
    let sync = Sync::new();
    let host = sync.start();
    let mut holder = sync.author();
    assert_eq!(super::lock(&mut holder, "app.held", 60_000, 0)["success"], true);
    for request in mutations() {
        let answer = request.bearer(&sync.token()).send(host.admin()).expect("the admin server answers");
        assert!((200..300).contains(&answer.code), "{answer:?}");
    }
    assert_eq!(super::key(&host, "app.forged")["new_value"], 1);
    let mut other = sync.author();
    super::revision(&super::change(&mut other, "app.held", &json!(1), &json!({})));
}
