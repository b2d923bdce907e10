//! Which config keys and tenants can exist: every transport must be able to write them into its own kind of name.

use crate::error::{Error, Result};

/// The longest key, in bytes: it has to fit into topics and keys of every transport.
pub const MAX_KEY_BYTES: usize = 512;

/// The longest tenant, in bytes.
pub const MAX_TENANT_BYTES: usize = 64;

/// Words that stand for "no tenant", or for something else, in the names of some transport.
const RESERVED_TENANTS: [&str; 4] = ["default", "global", "status", "system"];

/// Why this cannot be a config key; `None` if it can.
///
/// A key is a dotted path without empty segments and without the characters that topics and lock names use themselves.
pub fn key_problem(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("is empty")
    } else if key.len() > MAX_KEY_BYTES {
        Some("has more than 512 bytes")
    } else if key.split('.').any(str::is_empty) {
        Some("has an empty segment: it begins or ends with a dot, or has two in a row")
    } else if key.contains(['/', '+', '#', '{', '}', ':']) {
        Some("has one of the characters / + # { } :")
    } else if key.contains(char::is_control) {
        Some("has a control character")
    } else {
        None
    }
}

/// Refuses what cannot be a config key, with the place and the reason in the details.
///
/// # Errors
/// `Rejected` as `too_large` if it is longer than [`MAX_KEY_BYTES`], as `bad_key` otherwise.
pub fn check_key(key: &str) -> Result<()> {
    let Some(problem) = key_problem(key) else { return Ok(()) };
    let details = serde_json::json!([{ "path": "/config_key", "reason": problem }]);
    Err(Error::rejected(key_code(key), format!("the config key {problem}")).with_details(&details))
}

/// The code for a key that has a [`key_problem`]: length is a limit, the rest is form.
pub fn key_code(key: &str) -> &'static str {
    if key.len() > MAX_KEY_BYTES { "too_large" } else { "bad_key" }
}

/// Why this cannot be a tenant; `None` if it can.
pub fn tenant_problem(tenant: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if tenant.is_empty() || tenant.len() > MAX_TENANT_BYTES {
        Some("must have 1 to 64 characters")
    } else if !tenant.chars().all(allowed) {
        Some("has a character besides A-Z a-z 0-9 . _ -")
    } else if RESERVED_TENANTS.contains(&tenant) {
        Some("is a reserved name")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_dotted_paths_that_fit_every_transport() {
        for key in ["a", "app.database.host", "App.Größe.x-1_2", &"k".repeat(512)] {
            assert_eq!(key_problem(key), None, "{key}");
        }
        let long = "k".repeat(513);
        for key in
            ["", ".", "a.", ".a", "a..b", "a/b", "a.+", "a#", "{a}", "a}b", "a:b", "a\nb", "a\0", &long]
        {
            assert!(key_problem(key).is_some(), "{key:?}");
            let expected = if key.len() > 512 { "too_large" } else { "bad_key" };
            let refused = check_key(key).expect_err(key);
            assert_eq!(refused.code(), Some(expected), "{key:?}");
            assert!(refused.details().is_some_and(|details| details.contains("/config_key")), "{refused}");
        }
    }

    #[test]
    fn tenants_are_short_names_that_mean_nothing_else() {
        for tenant in ["t1", "company-tenant", "a.b_c", &"t".repeat(64)] {
            assert_eq!(tenant_problem(tenant), None, "{tenant}");
        }
        let long = "t".repeat(65);
        for tenant in ["", "default", "global", "status", "system", "a b", "a:b", "ü", &long] {
            assert!(tenant_problem(tenant).is_some(), "{tenant:?}");
        }
    }
}
