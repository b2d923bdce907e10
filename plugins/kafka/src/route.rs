//! Which topic a change goes to: the routing table, top to bottom, the first line that matches.

use crate::config::RouteConfig;
use lockstep_plugin_api::glob::Glob;

/// A checked routing table.
pub(crate) struct Routes(Vec<Route>);

struct Route {
    rule: Rule,
    /// Its place among the topics.
    topic: usize,
}

enum Rule {
    Prefix(String),
    Glob(Glob),
    Everything,
}

impl Routes {
    /// The table, and the topics it names, each once.
    pub(crate) fn new(routes: &[RouteConfig]) -> (Self, Vec<String>) {
        let mut topics: Vec<String> = Vec::new();
        let routes = routes.iter().map(|route| {
            let known = topics.iter().position(|topic| *topic == route.topic);
            let topic = known.unwrap_or_else(|| {
                topics.push(route.topic.clone());
                topics.len() - 1
            });
            Route { rule: rule(route), topic }
        });
        (Self(routes.collect()), topics)
    }

    /// The place of the topic for this config key; `None` if no line matches.
    pub(crate) fn topic(&self, config_key: &str) -> Option<usize> {
        let is_match = |route: &&Route| match &route.rule {
            Rule::Prefix(prefix) => config_key.starts_with(prefix.as_str()),
            Rule::Glob(glob) => glob.matches(config_key),
            Rule::Everything => true,
        };
        self.0.iter().find(is_match).map(|route| route.topic)
    }
}

fn rule(route: &RouteConfig) -> Rule {
    let glob = route.glob.as_ref().map(|glob| Glob::new(glob).expect("checked with the configuration"));
    match (&route.prefix, glob) {
        (Some(prefix), _) => Rule::Prefix(prefix.clone()),
        (None, Some(glob)) => Rule::Glob(glob),
        (None, None) => Rule::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KafkaSinkConfig;

    fn check(config: &str, expected: &[(&str, Option<&str>)]) {
        let config: KafkaSinkConfig = serde_json::from_str(config).expect("a configuration");
        config.check().expect("valid");
        let (routes, topics) = Routes::new(&config.routes());
        for (key, topic) in expected {
            assert_eq!(routes.topic(key).map(|place| topics[place].as_str()), *topic, "{key}");
        }
    }

    /// KF-01, and the golden vectors of the contract.
    #[test]
    fn the_guides_table_is_the_default() {
        check(
            "{}",
            &[
                ("", Some("apg-config-general")),
                ("app.ui.theme", Some("apg-config-general")),
                ("app.database", Some("apg-config-general")),
                ("App.database.x", Some("apg-config-general")),
                ("app.database.host", Some("apg-config-database")),
                ("app.security.tls", Some("apg-config-security")),
                ("app.features.x", Some("apg-config-features")),
            ],
        );
    }

    #[test]
    fn the_first_line_that_matches_counts_and_there_need_not_be_one() {
        let config =
            r#"{"topics":[{"match":"app.+.host","topic":"hosts"},{"prefix":"app.","topic":"rest"}]}"#;
        check(config, &[("app.db.host", Some("hosts")), ("app.db.port", Some("rest")), ("other", None)]);
        check(r#"{"topic":"all"}"#, &[("", Some("all")), ("x", Some("all"))]);
    }
}
