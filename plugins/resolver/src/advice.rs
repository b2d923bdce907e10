//! What may surprise whoever configures how numbers are merged (contract D-44).
//!
//! Numbers that name something, such as ports, have no mean that means anything. Whoever did not choose what becomes of
//! them is told what does.

use crate::{
    config::{NAMES, ResolverConfig},
    merge::{Numbers, Policy},
    strategy::Strategy,
};
use lockstep_plugin_api::prelude::*;

const LEFT_OUT: &str = "the mean of two numbers is never taken for keys that end in `.port`, `.id` or `.version`: there \
                        the last write wins; `merge: { numbers: last_write_wins }` says so for all keys, and a rule of \
                        their own (`match: \"*.port\"`) for these";

const TAKEN: &str = "keys that end in `.port`, `.id` or `.version` fall under this too, and the mean of two ports is no \
                     port: give them a rule of their own before it (`match: \"*.port\"`)";

/// Warns where the numbers of keys that name something are merged without anybody having said how.
pub fn advise(config: &ResolverConfig, advice: &mut Advice) {
    let mut earlier: Vec<&str> = Vec::new();
    for (i, rule) in config.strategies.iter().enumerate() {
        let at = format!("strategies.{i}.strategy");
        let numbers = match rule.merge {
            Some(_) => format!("strategies.{i}.merge.numbers"),
            None => "merge.numbers".to_owned(),
        };
        warn(
            &rule.strategy,
            rule.merge.as_ref().unwrap_or(&config.merge),
            (&at, &numbers),
            &rule.pattern,
            &earlier,
            advice,
        );
        earlier.push(&rule.pattern);
    }
    warn(&config.strategy, &config.merge, ("strategy", "merge.numbers"), "*", &earlier, advice);
}

fn warn(
    strategy: &Strategy,
    policy: &Policy,
    (at, numbers): (&str, &str),
    pattern: &str,
    earlier: &[&str],
    advice: &mut Advice,
) {
    if !matches!(strategy, Strategy::MergeStrategies(_)) || !takes_names(pattern, earlier) {
        return;
    }
    match policy.at("").numbers {
        None => advice.warn(at, LEFT_OUT),
        Some(Numbers::Average) => advice.warn(numbers, TAKEN),
        Some(_) => {}
    }
}

/// Whether a key that names something can match the glob and has no rule of its own before it.
fn takes_names(pattern: &str, earlier: &[&str]) -> bool {
    let last = pattern.rsplit('.').next().unwrap_or(pattern);
    let has_own = |name: &str| earlier.iter().any(|rule| rule.strip_prefix("*.") == Some(name));
    let is_any = last.contains(['*', '?', '[', '+']);
    NAMES.iter().any(|name| (is_any || last == *name) && !has_own(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn warned(config: &Value) -> Vec<String> {
        let config: ResolverConfig = serde_json::from_value(config.clone()).expect("a configuration");
        let mut advice = Advice::default();
        advise(&config, &mut advice);
        advice.warnings().iter().map(|warning| warning.detail().to_owned()).collect()
    }

    #[test]
    fn d_44_whoever_merges_numbers_that_may_name_something_is_warned() {
        assert_eq!(warned(&json!({ "strategy": "merge" })), ["strategy"]);
        let rules = json!([
            { "match": "app.limits.max", "strategy": "merge" },
            { "match": "app.*", "strategy": "merge", "merge": { "numbers": "average" } },
            { "match": "db.port", "strategy": "merge", "merge": { "strings": "text" } },
        ]);
        assert_eq!(
            warned(&json!({ "strategies": rules, "merge": { "numbers": "average" }, "strategy": "merge" })),
            ["strategies.1.merge.numbers", "strategies.2.strategy", "merge.numbers"]
        );
    }

    #[test]
    fn d_44_who_has_said_it_of_the_whole_value_is_not() {
        for (rule, n_warnings) in
            [(json!({ "match": "", "x-merge": "max" }), 0), (json!({ "match": "/n" }), 1)]
        {
            let config = json!({ "strategy": "merge", "merge": { "paths": [rule] } });
            assert_eq!(warned(&config).len(), n_warnings, "{config}");
        }
    }

    #[test]
    fn d_44_who_has_said_what_becomes_of_them_is_not() {
        for numbers in ["last_write_wins", "delta", "max", "min"] {
            let config = json!({ "strategy": "merge", "merge": { "numbers": numbers } });
            assert!(warned(&config).is_empty(), "{numbers}");
        }
        assert!(warned(&json!({ "strategy": "manual", "merge": { "numbers": "average" } })).is_empty());
        let own = ["*.port", "*.id", "*.version"]
            .map(|keys| json!({ "match": keys, "strategy": "last_write_wins" }));
        assert!(warned(&json!({ "strategy": "merge", "strategies": own })).is_empty());
    }
}
