//! What locks are called in Redis.
//!
//! Invariant: the three keys of one lock lie in one slot of a cluster, and keys of two locks are never alike.

use crate::{name::LockName, request::Whose};

/// How locks are called.
#[derive(Debug, Clone)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Names behind a prefix, which has no braces: those say what a slot is made of.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The guide's STRING.
    pub fn lock(&self, name: &LockName) -> String {
        format!("{}{}", self.prefix, name.rest())
    }

    /// The STRING, what it has no room for, and the greatest token.
    pub fn keys(&self, name: &LockName) -> [String; 3] {
        let lock = self.lock(name);
        let [state, fence] = ["state", "fence"].map(|part| format!("{{{lock}}}:{part}"));
        [lock, state, fence]
    }

    /// Where hosts tell each other.
    pub fn channel(&self) -> String {
        format!("{}events", self.prefix)
    }

    /// A pattern that every lock of these matches, and perhaps others.
    pub fn pattern(&self, of: &Whose) -> String {
        let prefix = escaped(&self.prefix);
        match of {
            Whose::Tenant(tenant) => {
                format!("{prefix}{}:*", escaped(tenant.as_deref().unwrap_or("global")))
            }
            Whose::Everybodys => format!("{prefix}*"),
        }
    }

    /// What follows the prefix.
    pub fn rest<'a>(&self, lock: &'a str) -> Option<&'a str> {
        lock.strip_prefix(&self.prefix)
    }
}

/// As a pattern that matches this text alone.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors_of_lock_keys() {
        let names = Names::new("config_lock:");
        let lock = |tenant| names.lock(&LockName::new(tenant, "app.x").expect("a name"));
        assert_eq!(
            (lock(None).as_str(), lock(Some("t1")).as_str()),
            ("config_lock:global:app.x", "config_lock:t1:app.x")
        );
        let keys = names.keys(&LockName::new(Some("t1"), "app.x").expect("a name"));
        assert_eq!(keys[1..], ["{config_lock:t1:app.x}:state", "{config_lock:t1:app.x}:fence"]);
        assert_eq!(names.channel(), "config_lock:events");
    }

    #[test]
    fn a_pattern_matches_nothing_by_what_a_prefix_or_a_tenant_happens_to_hold() {
        let names = Names::new("lo[ck]*:");
        assert_eq!(names.pattern(&Whose::Everybodys), r"lo\[ck\]\*:*");
        assert_eq!(names.pattern(&Whose::Tenant(None)), r"lo\[ck\]\*:global:*");
        assert_eq!(names.pattern(&Whose::Tenant(Some("a.b".to_owned()))), r"lo\[ck\]\*:a.b:*");
    }
}
