//! The host is killed while it writes: the chain is whole, and every answered change has its entry.

use super::{done, entries};
use crate::audit::site;
use lockstep_test_support::{LIMIT, Request, scale};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

/// Changes one key after the other until the host is gone, and counts the answers; the revisions that were answered.
fn author(admin: &str, token: &str, name: &str, is_over: &AtomicBool, n_answered: &AtomicUsize) -> Vec<u64> {
    let mut answered = Vec::new();
    for n in 0.. {
        let change = json!({ "config_key": format!("app.{name}.{n}"), "new_value": n });
        let answer = Request::new("POST", "/v1/changes").bearer(token).json(&change).send(admin);
        match answer {
            Ok(answer) if answer.code == 200 => {
                n_answered.fetch_add(1, Ordering::Relaxed);
                answered.extend(answer.json()["revision"].as_u64());
            }
            _ if is_over.load(Ordering::Relaxed) => break,
            _ => {}
        }
    }
    answered
}

#[test]
fn a_killed_host_leaves_a_whole_chain_with_every_answered_change_once() {
    let (site, _) = site();
    let mut answered = BTreeSet::new();
    let mut heads: Vec<String> = Vec::new();
    for round in 0..scale(3, 20) {
        let mut host = site.started();
        let token = fs::read_to_string(site.path("data/admin.token")).expect("a token");
        let (admin, is_over) = (host.admin().to_owned(), AtomicBool::new(false));
        let n_answered = AtomicUsize::new(0);
        thread::scope(|scope| {
            let authors: Vec<_> = (0..4)
                .map(|at| {
                    let (admin, token, is_over) = (admin.as_str(), token.trim(), &is_over);
                    let n_answered = &n_answered;
                    scope.spawn(move || author(admin, token, &format!("r{round}.a{at}"), is_over, n_answered))
                })
                .collect();
            thread::sleep(Duration::from_millis(200 + 37 * round));
            host.wait_until("some answers", LIMIT, |_| n_answered.load(Ordering::Relaxed) >= 10);
            is_over.store(true, Ordering::Relaxed);
            host.kill();
            authors.into_iter().for_each(|author| answered.extend(author.join().expect("no panic")));
        });
        let noted: String = heads.last().map_or_else(String::new, |head| format!("--head {head}"));
        let verified = done(&site, &format!("audit verify --json {noted}")).json();
        heads.push(verified["head"].as_str().expect("a head").to_owned());
    }
    let host = site.started();
    for head in &heads {
        done(&site, &format!("audit verify --head {head}"));
    }
    let told: Vec<u64> = entries(&site, "config_*")
        .iter()
        .map(|entry| entry["revision"].as_u64().expect("a revision"))
        .collect();
    let unique: BTreeSet<_> = told.iter().copied().collect();
    assert_eq!(unique.len(), told.len(), "an entry for each");
    assert!(
        told.is_sorted() && answered.is_subset(&unique),
        "in the order of the log, and every one of them"
    );
    assert!(answered.len() > 20, "{} changes were answered", answered.len());
    host.stop();
}
