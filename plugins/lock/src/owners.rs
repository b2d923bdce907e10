//! How many locks each user of each tenant holds or waits for.
//!
//! Invariant: users of two tenants are never the same one, however they are called.

use crate::name::LockName;
use std::collections::HashMap;

/// Numbers by tenant and user; those that are 0 take no room.
#[derive(Debug, Default)]
pub struct Owners(HashMap<Box<str>, HashMap<Box<str>, i64>>);

impl Owners {
    /// Counts for the user of a lock's tenant.
    pub fn add(&mut self, name: &LockName, user_id: &str, n: i64) {
        let tenant = tenant_of(name);
        // Looked up before it is inserted: both mostly have an entry, and need no new text.
        let Some(users) = self.0.get_mut(tenant) else {
            self.0.insert(tenant.into(), HashMap::from([(user_id.into(), n)]));
            return;
        };
        let Some(count) = users.get_mut(user_id) else {
            users.insert(user_id.into(), n);
            return;
        };
        *count += n;
        if *count == 0 {
            users.remove(user_id);
        }
        if users.is_empty() {
            self.0.remove(tenant);
        }
    }

    /// The number of the user of a lock's tenant.
    pub fn of(&self, name: &LockName, user_id: &str) -> i64 {
        self.0.get(tenant_of(name)).and_then(|users| users.get(user_id)).copied().unwrap_or(0)
    }
}

/// No tenant is called nothing.
fn tenant_of(name: &LockName) -> &str {
    name.tenant().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_one_of_a_tenant_and_leaves_nothing_behind() {
        let lock = |tenant: Option<&str>| LockName::new(tenant, "app.x").expect("a name");
        let (mut owners, tenants) = (Owners::default(), [None, Some("t1"), Some("t2")]);
        for (n, tenant) in tenants.into_iter().enumerate() {
            owners.add(&lock(tenant), "ann", n as i64 + 1);
            owners.add(&lock(tenant), "bob", 1);
        }
        assert_eq!(tenants.map(|tenant| owners.of(&lock(tenant), "ann")), [1, 2, 3]);
        for (n, tenant) in tenants.into_iter().enumerate() {
            owners.add(&lock(tenant), "ann", -(n as i64) - 1);
            owners.add(&lock(tenant), "bob", -1);
        }
        assert!(owners.0.is_empty());
    }
}
