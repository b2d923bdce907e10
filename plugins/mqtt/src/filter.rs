//! Globs over config keys as topic filters.
//!
//! Invariant: a filter lets through every topic that a matching key can have, and more. Who subscribes with it compares
//! keys with the glob again.

use crate::topic::needs_encoding;
use lockstep_plugin_api::prelude::*;

/// How far `*` reaches.
#[config]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Wildcards {
    /// Over any number of levels, as everywhere in Lockstep.
    #[default]
    Deep,
    /// Over one level, `+`, as in the guide's subscriber.
    Seed,
}

/// The filters of these patterns under a prefix, without those that another one contains.
pub(crate) fn filters(prefix: &str, patterns: &[String], wildcards: Wildcards) -> Vec<String> {
    let mut filters: Vec<String> = Vec::new();
    for pattern in patterns {
        let filter = filter(prefix, pattern, wildcards);
        if !filters.iter().any(|other| contains(other, &filter)) {
            filters.retain(|other| !contains(&filter, other));
            filters.push(filter);
        }
    }
    filters
}

fn filter(prefix: &str, pattern: &str, wildcards: Wildcards) -> String {
    let mut levels = vec![prefix, "+"];
    let as_seed = pattern.replace('*', "+");
    match wildcards {
        Wildcards::Seed => levels.extend(as_seed.split('.')),
        Wildcards::Deep => push_deep(pattern, &mut levels),
    }
    levels.join("/")
}

/// As many levels as are fixed, then everything below.
fn push_deep<'a>(pattern: &'a str, levels: &mut Vec<&'a str>) {
    let mut segments = pattern.split('.').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "+" => levels.push("+"),
            // `*` is at least one level.
            "*" if is_last => return levels.extend(["+", "#"]),
            // A wildcard may stand for dots too, and what is encoded is encoded by some and not by others.
            other if other.contains(['*', '?', '[', ']']) || other.contains(needs_encoding) => {
                return levels.push("#");
            }
            literal => levels.push(literal),
        }
    }
}

/// Whether every topic of the second filter is one of the first.
fn contains(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('/'), inner.split('/'));
    loop {
        match (outer.next(), inner.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// Whether messages of the topic come to who subscribes to the filter. Of what begins with `$` brokers have their own
/// understanding, so nothing is held against it.
pub(crate) fn lets_through(filter: &str, topic: &str) -> bool {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    let filter = shared.map_or(filter, |(_, filter)| filter);
    filter.starts_with('$') || contains(filter, topic)
}

/// Why this cannot be subscribed to; `None` if it can.
pub(crate) fn filter_problem(filter: &str) -> Option<&'static str> {
    let mut levels = filter.split('/').rev();
    let last = levels.next().unwrap_or_default();
    if filter.is_empty() || filter.len() > usize::from(u16::MAX) {
        Some("must have 1 to 65535 bytes")
    } else if filter.contains(char::is_control) {
        Some("has a control character")
    } else if levels.clone().any(|level| level.contains('#')) || (last.contains('#') && last != "#") {
        Some("has a `#` that is not its whole last level")
    } else if levels.chain([last]).any(|level| level.contains('+') && level != "+") {
        Some("has a `+` that is not a whole level")
    } else {
        None
    }
}

/// Why nothing can be published there; `None` if it can.
pub(crate) fn topic_problem(topic: &str) -> Option<&'static str> {
    if topic.is_empty() || topic.len() > usize::from(u16::MAX) {
        Some("must have 1 to 65535 bytes")
    } else if topic.contains(['+', '#']) {
        Some("has a wildcard, `+` or `#`")
    } else if topic.contains(|c: char| needs_encoding(c) && !matches!(c, '%' | '/')) {
        Some("has a control character")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Tree;
    use proptest::prelude::*;

    fn deep(pattern: &str) -> String {
        filter("apg/config", pattern, Wildcards::Deep)
    }

    #[test]
    fn d_24_globs_become_filters_that_miss_nothing() {
        let seed = |pattern| filter("apg/config", pattern, Wildcards::Seed);
        assert_eq!(seed("app.database.*"), "apg/config/+/app/database/+");
        assert_eq!(deep("app.database.*"), "apg/config/+/app/database/+/#");
        assert_eq!(deep("*"), "apg/config/+/+/#");
        assert_eq!(deep("app.data*"), "apg/config/+/app/#");
        assert_eq!(deep("app.database.host"), "apg/config/+/app/database/host");
        assert_eq!(deep("app.+.host"), "apg/config/+/app/+/host");
        assert_eq!(deep("*.host"), "apg/config/+/#");
        assert_eq!(deep("a?b.c"), "apg/config/+/#");
        assert_eq!(deep("app.[ab.c]x"), "apg/config/+/app/#");
        assert_eq!(deep("app.rate%"), "apg/config/+/app/#");
    }

    #[test]
    fn a_filter_within_another_is_left_out() {
        let filters = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.into()).collect();
            filters("apg/config", &patterns, Wildcards::Deep)
        };
        assert_eq!(filters(&["app.database.*", "app.features.*"]).len(), 2);
        assert_eq!(filters(&["app.database.host", "app.*", "app.features.*"]), ["apg/config/+/app/+/#"]);
        assert_eq!(filters(&["app.*", "*", "app.*"]), ["apg/config/+/+/#"]);
    }

    #[test]
    fn what_no_broker_takes_is_told() {
        for filter in ["a/+/b", "#", "+", "a/#", "$share/g/a/+", "a b/ö"] {
            assert_eq!(filter_problem(filter), None, "{filter}");
        }
        for filter in ["", "a#", "#/a", "a/+b", "a/b+/c", "a\0"] {
            assert!(filter_problem(filter).is_some(), "{filter:?}");
        }
        for topic in ["", "a/+", "#", "a\n"] {
            assert!(topic_problem(topic).is_some(), "{topic:?}");
        }
        assert_eq!(topic_problem("a/b%2F"), None);
    }

    proptest! {
        #[test]
        fn every_key_that_a_glob_matches_comes_through_its_filter(
            pattern in r"([ab*?+]|\[ab\]|\.){1,8}",
            keys in prop::collection::vec(r"[ab%]{1,2}(\.[ab%]{1,2}){0,3}", 32),
        ) {
            let Ok(glob) = Glob::new(&pattern) else { return Ok(()) };
            let filter = deep(&pattern);
            prop_assert_eq!(filter_problem(&filter), None, "{}", filter);
            for key in keys.iter().filter(|key| glob.matches(key)) {
                let topic = Tree::new("apg/config").of_change(Some("t1"), key);
                prop_assert!(lets_through(&filter, &topic), "{} {} {}", pattern, filter, topic);
                let unencoded = format!("apg/config/t1/{}", key.replace('.', "/"));
                prop_assert!(lets_through(&filter, &unencoded), "{} {} {}", pattern, filter, unencoded);
            }
        }
    }
}
