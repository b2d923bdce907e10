//! Who wants to know of which key. Finding them costs what is found, and the patterns that start like the key.
//!
//! Patterns of many connections are kept once. Those without a wildcard are looked up by the key; the others lie in
//! buckets by the whole segments they start with, so `app.database.*` is never tried for `app.ui.theme`. Patterns with a
//! wildcard in their first segment share one bucket. Tenants never see each other's patterns: each has an index of its
//! own, and so have connections without a tenant.

use crate::outbox::Outbox;
use lockstep_plugin_api::glob::Glob;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// A connection's number, unique among the connections of a server.
pub(crate) type ConnectionNumber = u32;

type Subscribers = BTreeMap<ConnectionNumber, Arc<Outbox>>;

/// Every connection's patterns.
#[derive(Default)]
pub(crate) struct Subscriptions {
    /// By tenant; the empty name, which no tenant has, stands for none.
    tenants: HashMap<String, PatternIndex>,
    connections: HashMap<ConnectionNumber, Subscription>,
}

/// What one connection subscribed to.
struct Subscription {
    tenant: String,
    patterns: Vec<Glob>,
}

#[derive(Default)]
struct PatternIndex {
    literals: HashMap<String, Subscribers>,
    /// By the segments a pattern starts with, the last dot included; then by the pattern's text.
    buckets: HashMap<String, HashMap<String, Pattern>>,
}

struct Pattern {
    glob: Glob,
    subscribers: Subscribers,
}

impl Subscriptions {
    /// Gives a connection these patterns instead of the ones it had.
    pub(crate) fn replace(
        &mut self,
        connection: ConnectionNumber,
        outbox: &Arc<Outbox>,
        tenant: Option<&str>,
        patterns: Vec<Glob>,
    ) {
        self.remove(connection);
        let tenant = tenant.unwrap_or_default().to_owned();
        let index = self.tenants.entry(tenant.clone()).or_default();
        for glob in &patterns {
            index.subscribers(glob).insert(connection, outbox.clone());
        }
        self.connections.insert(connection, Subscription { tenant, patterns });
    }

    /// Forgets a connection.
    pub(crate) fn remove(&mut self, connection: ConnectionNumber) {
        let Some(subscription) = self.connections.remove(&connection) else { return };
        let Some(index) = self.tenants.get_mut(&subscription.tenant) else { return };
        for glob in &subscription.patterns {
            index.remove(connection, glob);
        }
        if index.literals.is_empty() && index.buckets.is_empty() {
            self.tenants.remove(&subscription.tenant);
        }
    }

    /// Gives every connection that wants to know of `key`; one with several patterns that match may be given several times.
    pub(crate) fn each(
        &self,
        tenant: Option<&str>,
        key: &str,
        mut found: impl FnMut(ConnectionNumber, &Arc<Outbox>),
    ) {
        let Some(index) = self.tenants.get(tenant.unwrap_or_default()) else { return };
        index.matching(key, |subscribers| {
            subscribers.iter().for_each(|(connection, outbox)| found(*connection, outbox));
        });
    }

    /// Whether a connection wants to know of `key`.
    pub(crate) fn wants(&self, connection: ConnectionNumber, tenant: Option<&str>, key: &str) -> bool {
        self.connections.get(&connection).is_some_and(|subscription| {
            subscription.tenant == tenant.unwrap_or_default()
                && subscription.patterns.iter().any(|pattern| pattern.matches(key))
        })
    }
}

impl PatternIndex {
    fn subscribers(&mut self, glob: &Glob) -> &mut Subscribers {
        if glob.is_literal() {
            return self.literals.entry(glob.as_str().to_owned()).or_default();
        }
        let bucket = self.buckets.entry(leading_segments(glob)).or_default();
        let pattern = bucket.entry(glob.as_str().to_owned());
        &mut pattern
            .or_insert_with(|| Pattern { glob: glob.clone(), subscribers: Subscribers::new() })
            .subscribers
    }

    fn remove(&mut self, connection: ConnectionNumber, glob: &Glob) {
        let subscribers = self.subscribers(glob);
        subscribers.remove(&connection);
        if !subscribers.is_empty() {
            return;
        }
        if glob.is_literal() {
            self.literals.remove(glob.as_str());
            return;
        }
        let segments = leading_segments(glob);
        let bucket = self.buckets.entry(segments.clone()).or_default();
        bucket.remove(glob.as_str());
        if bucket.is_empty() {
            self.buckets.remove(&segments);
        }
    }

    fn matching(&self, key: &str, mut found: impl FnMut(&Subscribers)) {
        if let Some(subscribers) = self.literals.get(key) {
            found(subscribers);
        }
        let starts = key.match_indices('.').map(|(dot, _)| &key[..=dot]);
        for start in std::iter::once("").chain(starts) {
            let Some(bucket) = self.buckets.get(start) else { continue };
            for pattern in bucket.values().filter(|pattern| pattern.glob.matches(key)) {
                found(&pattern.subscribers);
            }
        }
    }
}

/// The whole segments that every key matching the glob starts with: `app.` for `app.data*`.
fn leading_segments(glob: &Glob) -> String {
    let mut literal = glob.literal_prefix();
    literal.truncate(literal.rfind('.').map_or(0, |dot| dot + 1));
    literal
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn globs(patterns: &[&str]) -> Vec<Glob> {
        patterns.iter().map(|pattern| Glob::new(pattern).expect("a glob")).collect()
    }

    fn subscribe(all: &mut Subscriptions, connection: u32, tenant: Option<&str>, patterns: &[&str]) {
        all.replace(connection, &Arc::new(Outbox::new(1024)), tenant, globs(patterns));
    }

    fn found(all: &Subscriptions, tenant: Option<&str>, key: &str) -> Vec<u32> {
        let mut found = BTreeSet::new();
        all.each(tenant, key, |connection, _| {
            found.insert(connection);
        });
        let wants = |connection: &u32| all.wants(*connection, tenant, key);
        assert_eq!(
            found,
            all.connections.keys().copied().filter(wants).collect(),
            "both ways of asking agree"
        );
        found.into_iter().collect()
    }

    #[test]
    fn the_index_finds_what_trying_every_pattern_finds() {
        let patterns = [
            "*",
            "app.*",
            "app.database.*",
            "app.database.host",
            "app.data*",
            "*.host",
            "app.+.host",
            "?pp.x",
            "[ab]pp.*",
            "app.database.ho[s]t",
            "other",
            "app.database",
        ];
        let mut all = Subscriptions::default();
        for (connection, pattern) in (0..).zip(&patterns) {
            subscribe(&mut all, connection, None, &[pattern]);
        }
        for key in
            ["app.database.host", "app.database", "app.x", "other", "x", "bpp.y.host", "App.database.host"]
        {
            let expected: Vec<u32> = (0..)
                .zip(&globs(&patterns))
                .filter(|(_, glob)| glob.matches(key))
                .map(|(connection, _)| connection)
                .collect();
            assert_eq!(found(&all, None, key), expected, "{key}");
        }
    }

    #[test]
    fn a_connection_is_found_until_it_left() {
        let mut all = Subscriptions::default();
        subscribe(&mut all, 1, None, &["*", "app.*", "app.x", "app.x"]);
        assert_eq!(found(&all, None, "app.x"), [1]);
        subscribe(&mut all, 1, None, &["app.y"]);
        assert!(found(&all, None, "app.x").is_empty());
        all.remove(1);
        assert!(all.tenants.is_empty() && all.connections.is_empty(), "nothing is left behind");
    }

    #[test]
    fn tenants_do_not_see_each_other() {
        let mut all = Subscriptions::default();
        subscribe(&mut all, 1, None, &["*"]);
        subscribe(&mut all, 2, Some("t1"), &["*"]);
        subscribe(&mut all, 3, Some("t2"), &["*"]);
        assert_eq!(found(&all, None, "app.x"), [1]);
        assert_eq!(found(&all, Some("t1"), "app.x"), [2]);
        assert!(found(&all, Some("t3"), "app.x").is_empty());
    }
}
