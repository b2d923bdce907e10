//! Conflicts that a person decides, with the real host: by the command line, over REST, in Redis, and through crashes.

mod by_hand;
mod crash;
mod in_redis;

use crate::log_acceptance::{Added, Sync, change, revision};
use lockstep_test_support::{Finished, Host, Site, WsClient};
use serde_json::{Value, json};

/// A host on which every conflict is left to a person.
fn sync(resolver: &str) -> Sync {
    let resolver = format!("strategy: manual_resolution{resolver}");
    Sync::with(Added { resolver: &resolver, ..Added::default() })
}

/// Two authors who have both seen one value of a key change it; gives what each changed it to and the answer to the second.
struct Clash {
    base: Value,
    answer: Value,
}

impl Clash {
    fn of(authors: &mut [WsClient; 2], key: &str) -> Self {
        let first = change(&mut authors[0], key, &json!({ "max": 5, "min": 1 }), &json!({}));
        let base =
            json!({ "base": { "epoch": authors[0].welcome()["epoch"], "revision": revision(&first) } });
        let mut said = base.clone();
        said["user_id"] = json!("eve");
        revision(&change(&mut authors[0], key, &json!({ "max": 7, "min": 1 }), &said));
        said["user_id"] = json!("adam");
        let answer = change(&mut authors[1], key, &json!({ "max": 5, "min": 2 }), &said);
        revision(&answer);
        Self { base, answer }
    }

    fn resolution(&self) -> &Value {
        &self.answer["resolution"]
    }

    fn id(&self) -> String {
        self.resolution()["conflict_id"]
            .as_str()
            .unwrap_or_else(|| panic!("no id: {}", self.answer))
            .to_owned()
    }
}

/// `lockstep conflicts …`.
fn conflicts(site: &Site, words: &str) -> Finished {
    site.run(std::iter::once("conflicts").chain(words.split_whitespace()))
}

fn shown(site: &Site, id: &str) -> Value {
    conflicts(site, &format!("show {id} --json")).expect_code(0).json()
}

/// The ids of what `list` has.
fn listed(site: &Site, words: &str) -> Vec<String> {
    let listed = conflicts(site, &format!("list --json {words}")).expect_code(0).json();
    let ids = listed["conflicts"].as_array().expect("a list").iter();
    ids.map(|one| one["conflict_id"].as_str().expect("an id").to_owned()).collect()
}

fn start(sync: &Sync) -> (Host, [WsClient; 2]) {
    let host = sync.start();
    let authors = [sync.author(), sync.author()];
    (host, authors)
}
