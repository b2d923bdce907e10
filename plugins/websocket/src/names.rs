//! Which config keys and tenants can exist: every transport must be able to write them into its own kind of name.

const MAX_KEY_BYTES: usize = 512;
const MAX_TENANT_BYTES: usize = 64;

/// Words that stand for "no tenant" or for something else in the names of other transports.
const RESERVED_TENANTS: [&str; 4] = ["default", "global", "status", "system"];

/// Whether this can be a config key: dotted, no empty segment, nothing that MQTT topics or lock names use themselves.
pub(crate) fn is_key(key: &str) -> bool {
    key.len() <= MAX_KEY_BYTES
        && key.split('.').all(|segment| !segment.is_empty())
        && !key.chars().any(|c| c.is_control() || matches!(c, '/' | '+' | '#' | '{' | '}' | ':'))
}

/// Whether this can be a tenant.
pub(crate) fn is_tenant(tenant: &str) -> bool {
    (1..=MAX_TENANT_BYTES).contains(&tenant.len())
        && tenant.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !RESERVED_TENANTS.contains(&tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_dotted_paths_that_fit_every_transport() {
        for key in ["a", "app.database.host", "App.Ü-1_x", &"k".repeat(512)] {
            assert!(is_key(key), "{key}");
        }
        for key in
            ["", ".", "a.", ".a", "a..b", "a/b", "a+", "a#", "a{b", "a}b", "a:b", "a\nb", &"k".repeat(513)]
        {
            assert!(!is_key(key), "{key:?}");
        }
    }

    #[test]
    fn tenants_are_short_names_that_mean_nothing_else() {
        for tenant in ["t1", "company-tenant", "a.b_c", &"t".repeat(64)] {
            assert!(is_tenant(tenant), "{tenant}");
        }
        for tenant in ["", "default", "global", "status", "system", "a b", "a:b", "ü", &"t".repeat(65)] {
            assert!(!is_tenant(tenant), "{tenant:?}");
        }
    }
}
