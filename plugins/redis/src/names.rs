//! How channels, streams and caches are called, and whose they are by their names.
//!
//! Invariant: a tenant's name is read back from the names made of it, and no name belongs to two tenants.

use lockstep_plugin_api::{names::tenant_problem, prelude::*};

/// What stands in a name where there is no tenant.
pub(crate) const GLOBAL: &str = "global";

/// The longest prefix: a position names its stream and has 256 bytes.
const MAX_PREFIX_BYTES: usize = 100;

/// The prefixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    channel: String,
    stream: String,
    cache: String,
}

impl Names {
    /// Checks that the prefixes make names that can be told apart.
    pub(crate) fn new(channel: &str, stream: &str, cache: &str) -> Result<Self> {
        for (field, prefix) in
            [("channel_prefix", channel), ("stream_prefix", stream), ("cache_prefix", cache)]
        {
            check_prefix(field, prefix)?;
        }
        if stream == cache {
            return Err(Error::config(
                "`cache_prefix` must not be `stream_prefix`: one name cannot hold both",
            )
            .at("cache_prefix"));
        }
        Ok(Self { channel: channel.to_owned(), stream: stream.to_owned(), cache: cache.to_owned() })
    }

    /// The channel of a tenant.
    pub(crate) fn channel(&self, tenant: Option<&str>) -> String {
        format!("{}{}", self.channel, spelled(tenant))
    }

    /// The stream of a tenant.
    pub(crate) fn stream(&self, tenant: Option<&str>) -> String {
        format!("{}{}", self.stream, spelled(tenant))
    }

    /// The cache of a tenant.
    pub(crate) fn cache(&self, tenant: Option<&str>) -> String {
        format!("{}{}", self.cache, spelled(tenant))
    }

    /// Whose channel this is; `None` if it is nobody's.
    pub(crate) fn tenant_of_channel(&self, name: &[u8]) -> Option<Option<String>> {
        tenant_of(name, &self.channel)
    }

    /// Whose stream this is; `None` if it is nobody's.
    pub(crate) fn tenant_of_stream(&self, name: &[u8]) -> Option<Option<String>> {
        tenant_of(name, &self.stream)
    }

    /// Whose cache this is; `None` if it is nobody's.
    pub(crate) fn tenant_of_cache(&self, name: &[u8]) -> Option<Option<String>> {
        tenant_of(name, &self.cache)
    }

    /// A pattern for every channel.
    pub(crate) fn channels(&self) -> String {
        pattern(&self.channel)
    }

    /// A pattern for every stream.
    pub(crate) fn streams(&self) -> String {
        pattern(&self.stream)
    }

    /// A pattern for every cache.
    pub(crate) fn caches(&self) -> String {
        pattern(&self.cache)
    }

    /// What tells two spaces of names on one server apart.
    pub(crate) fn endpoint(&self) -> String {
        format!("{} {}", self.stream, self.cache)
    }
}

/// Refuses what cannot be the beginning of a name.
pub(crate) fn check_prefix(field: &str, prefix: &str) -> Result<()> {
    if prefix.is_empty() || prefix.len() > MAX_PREFIX_BYTES || prefix.contains(char::is_control) {
        let message = format!("`{field}` has 1 to {MAX_PREFIX_BYTES} bytes, and no control characters");
        return Err(Error::config(message).at(field));
    }
    Ok(())
}

fn spelled(tenant: Option<&str>) -> &str {
    tenant.unwrap_or(GLOBAL)
}

fn tenant_of(name: &[u8], prefix: &str) -> Option<Option<String>> {
    let rest = std::str::from_utf8(name).ok()?.strip_prefix(prefix)?;
    tenant_of_text(rest).ok()
}

/// The tenant this text stands for, `None` for `global`.
///
/// # Errors
/// Why it can be no tenant.
pub(crate) fn tenant_of_text(text: &str) -> Result<Option<String>, &'static str> {
    match (text, tenant_problem(text)) {
        (GLOBAL, _) => Ok(None),
        (_, Some(problem)) => Err(problem),
        (_, None) => Ok(Some(text.to_owned())),
    }
}

/// A glob of the server for everything with this prefix.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern + "*"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("apg-config:events:", "apg-config:log:", "apg-config:cache:").expect("good prefixes")
    }

    #[test]
    fn the_contracts_names_are_made_and_read_back() {
        let names = names();
        assert_eq!(names.channel(None), "apg-config:events:global");
        assert_eq!(names.stream(Some("acme")), "apg-config:log:acme");
        assert_eq!(names.cache(Some("acme")), "apg-config:cache:acme");
        assert_eq!(names.tenant_of_stream(b"apg-config:log:acme"), Some(Some("acme".to_owned())));
        assert_eq!(names.tenant_of_cache(b"apg-config:cache:global"), Some(None));
        assert_eq!(names.tenant_of_channel(b"apg-config:events:t.1"), Some(Some("t.1".to_owned())));
    }

    #[test]
    fn d_35_no_tenant_is_global_in_names_and_global_is_no_tenant() {
        let names = names();
        for name in [names.stream(None), names.cache(None), names.channel(None)] {
            assert!(name.ends_with(":global"), "{name}");
        }
        assert_eq!(names.tenant_of_stream(names.stream(None).as_bytes()), Some(None));
        for spelled in ["default", "status", "system", ""] {
            assert!(tenant_of_text(spelled).is_err(), "{spelled}: other transports' spelling of none");
        }
    }

    #[test]
    fn a_name_that_no_tenant_can_have_is_nobodys() {
        let names = names();
        for name in
            ["apg-config:log:", "apg-config:log:a:b", "apg-config:log:default", "apg-config:logs", "x"]
        {
            assert_eq!(names.tenant_of_stream(name.as_bytes()), None, "{name}");
        }
        assert_eq!(names.tenant_of_stream(b"apg-config:log:\xff"), None);
    }

    #[test]
    fn prefixes_are_found_by_themselves_whatever_they_hold() {
        let names = Names::new("e[1]*", "s?", "c\\").expect("good prefixes");
        assert_eq!(
            (names.channels().as_str(), names.streams().as_str(), names.caches().as_str()),
            ("e\\[1\\]\\**", "s\\?*", "c\\\\*")
        );
        Names::new("e:", "same:", "same:").expect_err("two kinds under one name");
        Names::new("", "s:", "c:").expect_err("no prefix");
    }
}
