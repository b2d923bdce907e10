//! What a config key and a tenant may be called.

use lockstep_plugin_api::{
    names::{key_problem, tenant_problem},
    prelude::*,
};

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
    let Some(reason) = key_problem(key) else { return Ok(()) };
    Err(Error::rejected("bad_key", "the config key is not a valid name")
        .with_details(&[Detail { path: "/config_key", reason: reason.to_owned() }]))
}

/// Checks the form of a tenant's name.
///
/// # Errors
/// `Rejected` as `bad_tenant`.
pub fn check_tenant(tenant: &str) -> Result<()> {
    let Some(reason) = tenant_problem(tenant) else { return Ok(()) };
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
    fn a_name_that_cannot_be_is_refused_with_its_code() {
        assert!(check_key("app.x", 512).is_ok() && check_tenant("acme").is_ok());
        assert_eq!(check_key("app..x", 512).expect_err("empty segment").code(), Some("bad_key"));
        assert_eq!(check_key("abcd", 3).expect_err("long").code(), Some("too_large"));
        assert_eq!(check_tenant("global").expect_err("reserved").code(), Some("bad_tenant"));
    }
}
