//! Receivers that are away, busy, slow or broken: everything is told once they are back, in order.

use super::{assert_shows_no_canary, author, ids, keys, numbered, of_changes, once, site};
use lockstep_test_support::{HttpReceiver, LIMIT, Posted, Reply, eventually, free_port};
use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Answers the first requests like this, and takes every further one.
fn at_first(receiver: &HttpReceiver, replies: Vec<Reply>) {
    let n_asked = AtomicUsize::new(0);
    receiver.answer(move |_| {
        let n = n_asked.fetch_add(1, Ordering::Relaxed);
        replies.get(n).cloned().unwrap_or_else(|| Reply::status(204))
    });
}

fn slow(after: Duration) -> Reply {
    Reply { after, ..Reply::status(200) }
}

#[test]
fn what_a_receiver_could_not_take_comes_again_with_the_same_id_and_in_order() {
    let receiver = HttpReceiver::default();
    let busy = Reply { headers: vec!["Retry-After: 2".to_owned()], ..Reply::status(429) };
    at_first(&receiver, vec![Reply::status(500), busy, Reply::status(503), slow(Duration::from_secs(8))]);
    let site = of_changes(&receiver, "timeout: 3s");
    let mut host = site.start();
    let names = numbered(20);
    author(&site, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let posted = receiver.wait_for(24);
    assert_eq!(ids(&posted[..5]).len(), 1, "one message was tried five times: {:?}", ids(&posted[..5]));
    assert_eq!(keys(&once(&posted)), names);
    assert_eq!(posted.len(), 24, "the others came once");
    let asked = posted[2].at - posted[1].at;
    assert!(asked >= Duration::from_secs(2), "it asked to be left alone for 2 s, and was for {asked:?}");
    host.wait_until("everything to count as written", LIMIT, |host| {
        host.status().component("flow", "sinks", "webhook")["delivery"]["revision"] == 20
    });
    let metrics = host.metrics();
    assert_eq!(metrics.sum("lockstep_plugin_webhook_attempts_failed_total", &[]), 4.0);
    assert_eq!(metrics.sum("lockstep_plugin_webhook_receivers_away", &[]), 0.0);
    assert_shows_no_canary(&host.log());
    host.stop();
}

#[test]
fn a_receiver_that_is_not_there_is_waited_for() {
    let port = free_port();
    let site = site(&format!("url: http://127.0.0.1:{port}/\non: ['config_*']"));
    let mut host = site.start();
    let names = numbered(10);
    author(&site, &names.iter().map(String::as_str).collect::<Vec<_>>());
    host.wait_until("the receiver to be missed", LIMIT, |host| {
        let says = format!("http://127.0.0.1:{port} cannot be reached: Connection refused");
        host.status().errors("flow").contains(&says)
            && host.metrics().sum("lockstep_plugin_webhook_receivers_away", &[]) == 1.0
    });
    let receiver = HttpReceiver::start_at(port);
    assert_eq!(keys(&receiver.wait_for(10)), names);
    assert!(super::super::dead_letter::dead_letters(&site).is_empty());
    host.stop();
}

#[test]
fn what_was_not_answered_before_a_crash_comes_again_with_the_same_id() {
    let receiver = HttpReceiver::default();
    let site = of_changes(&receiver, "");
    let names = numbered(12);
    author(&site, &names.iter().map(String::as_str).collect::<Vec<_>>());
    // The fifth message is taken, and the host dies before it hears of that.
    let fifth = "app.key.5";
    receiver.answer(move |posted| match posted.json()["config_key"] == fifth {
        true => slow(Duration::from_secs(60)),
        false => Reply::status(200),
    });
    let mut host = site.start();
    let before = receiver.wait_for(5);
    host.kill();
    receiver.answer(|_| Reply::status(200));
    let host = site.start();
    let all = eventually(LIMIT, || Some(receiver.requests()).filter(|all| once(all).len() == 12))
        .expect("everything");
    assert_eq!(keys(&once(&all)), names, "in order, nothing is missing");
    let again: Vec<&Posted> = all[5..].iter().filter(|posted| posted.json()["config_key"] == fifth).collect();
    assert_eq!(again[0].header("webhook-id"), before[4].header("webhook-id"));
    assert_eq!(again[0].body, before[4].body);
    host.stop();
}

#[test]
fn with_several_under_way_at_once_the_order_of_each_key_stays() {
    let receiver = HttpReceiver::default();
    let (n_busy, most) = (AtomicUsize::new(0), std::sync::Arc::new(AtomicUsize::new(0)));
    let seen_most = most.clone();
    let attempts = Mutex::new(HashMap::<String, usize>::new());
    // Every seventh message fails at first; each takes a while, so that those under way overlap.
    receiver.answer(move |posted| {
        let mut attempts = attempts.lock().expect("no test fails inside");
        let n_known = attempts.len();
        let attempt = attempts.entry(posted.header("webhook-id").to_owned()).or_insert(0);
        *attempt += 1;
        most.fetch_max(n_busy.fetch_add(1, Ordering::Relaxed) % 8 + 1, Ordering::Relaxed);
        let status = if *attempt == 1 && n_known % 7 == 3 { 503 } else { 200 };
        Reply { after: Duration::from_millis(20), ..Reply::status(status) }
    });
    let site = of_changes(&receiver, "concurrency: 8");
    let changes: Vec<String> = (0..120).map(|number| format!("app.key.{}", number % 10)).collect();
    author(&site, &changes.iter().map(String::as_str).collect::<Vec<_>>());
    let started = Instant::now();
    let host = site.start();
    let all = eventually(LIMIT, || Some(receiver.requests()).filter(|all| once(all).len() == 120))
        .expect("everything");
    for key in 0..10 {
        let revisions: Vec<u64> = once(&all)
            .iter()
            .map(|posted| posted.json())
            .filter(|event| event["config_key"] == format!("app.key.{key}"))
            .map(|event| event["revision"].as_u64().expect("a revision"))
            .collect();
        assert!(revisions.len() == 12 && revisions.is_sorted(), "app.key.{key}: {revisions:?}");
    }
    assert!(seen_most.load(Ordering::Relaxed) > 1, "{:?}", started.elapsed());
    host.stop();
}

#[test]
fn a_message_that_breaks_its_receiver_does_not_hold_up_the_others_for_ever() {
    let receiver = HttpReceiver::default();
    receiver
        .answer(|posted| Reply::status(if posted.json()["config_key"] == "app.key.3" { 500 } else { 200 }));
    let site = of_changes(&receiver, "retry_for: 1s");
    let mut host = site.start();
    author(&site, &numbered(6).iter().map(String::as_str).collect::<Vec<_>>());
    host.wait_until("the others", LIMIT, |_| once(&receiver.requests()).len() == 6);
    host.wait_until("its dead letter", LIMIT, |_| super::super::dead_letter::dead_letters(&site).len() == 1);
    let letter = super::super::dead_letter::dead_letters(&site).remove(0);
    assert_eq!(letter["key"], "app.key.3", "{letter}");
    assert!(
        letter["error"]["message"].as_str().is_some_and(|text| text.contains("answered 500 for 1s")),
        "{letter}"
    );
    host.stop();
}
