//! What a config key and a tenant may be called.

use lockstep_plugin_api::prelude::*;

/// The longest key there can be, in bytes: it has to fit into topics and keys of every transport.
pub const LONGEST_KEY: u32 = 512;

const LONGEST_TENANT: usize = 64;

/// Names that transports use for "no tenant" or for themselves.
const RESERVED_TENANTS: [&str; 4] = ["default", "global", "status", "system"];

/// Checks the form of a config key.
///
/// # Errors
/// `Rejected` as `too_large` or `bad_key`.
pub fn check_key(key: &str, max_bytes: u32) -> Result<()> {
    if key.len() > max_bytes as usize {
        return Err(Error::rejected("too_large", "the config key is too long").with_details(&[Detail {
            path: "/config_key",
            reason: format!("has more than {max_bytes} bytes"),
        }]));
    }
    let reason = if key.is_empty() {
        "is empty"
    } else if key.split('.').any(str::is_empty) {
        "has an empty segment: it begins or ends with a dot, or has two in a row"
    } else if key.contains(['/', '+', '#', '{', '}', ':']) {
        "has one of the characters / + # { } :"
    } else if key.contains(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(Error::rejected("bad_key", "the config key is not a valid name")
        .with_details(&[Detail { path: "/config_key", reason: reason.to_owned() }]))
}

/// Checks the form of a tenant's name.
///
/// # Errors
/// `Rejected` as `bad_tenant`.
pub fn check_tenant(tenant: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let reason = if tenant.is_empty() || tenant.len() > LONGEST_TENANT {
        "must have 1 to 64 characters"
    } else if !tenant.chars().all(allowed) {
        "has a character besides A-Z a-z 0-9 . _ -"
    } else if RESERVED_TENANTS.contains(&tenant) {
        "is a reserved name"
    } else {
        return Ok(());
    };
    Err(Error::rejected("bad_tenant", "the tenant is not a valid name")
        .with_details(&[Detail { path: "/tenant_id", reason: reason.to_owned() }]))
}

/// One reason for a rejection, as the wire contract has it.
#[derive(Debug, serde::Serialize)]
pub struct Detail<'a> {
    /// An RFC 6901 pointer: into the new value for `invalid_value`, into the change for every other code.
    pub path: &'a str,
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_dotted_paths_that_fit_every_transport() {
        for key in ["a", "app.database.host", "app.Größe.x-1_2", &"k".repeat(512)] {
            assert!(check_key(key, LONGEST_KEY).is_ok(), "{key}");
        }
        for key in ["", ".", "a.", ".a", "a..b", "a/b", "a.+", "a#", "{a}", "a:b", "a\nb", "a\0"] {
            let error = check_key(key, LONGEST_KEY).expect_err(key);
            assert_eq!(error.code(), Some("bad_key"), "{key:?}");
        }
        assert_eq!(check_key(&"k".repeat(513), LONGEST_KEY).expect_err("long").code(), Some("too_large"));
        assert_eq!(check_key("abcd", 3).expect_err("long").code(), Some("too_large"));
    }

    #[test]
    fn tenants_are_plain_names_and_not_reserved() {
        for tenant in ["acme", "a.b-c_D9", &"t".repeat(64)] {
            assert!(check_tenant(tenant).is_ok(), "{tenant}");
        }
        for tenant in ["", "default", "global", "status", "system", "a/b", "ä", "a b", &"t".repeat(65)] {
            assert_eq!(check_tenant(tenant).expect_err(tenant).code(), Some("bad_tenant"), "{tenant}");
        }
    }
}
