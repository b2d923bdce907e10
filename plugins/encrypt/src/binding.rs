//! What a sealed value is bound to: it opens there and nowhere else.
//!
//! Invariant: no two bindings have the same bytes. Every part is preceded by its length, and no tenant is another thing
//! than a tenant of any name.

use lockstep_plugin_api::{Change, sealed};

/// What a field holds. A new value becomes the old one of the next change as it is, so both are one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Value = 1,
    Ops = 2,
    BaseHash = 3,
    Conflicts = 4,
}

/// For whom a value was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// For the log: the sealed value is the value of its change, on every host.
    Log = 1,
    /// For the way: hosts have the value that is inside.
    Wire = 2,
}

/// Whose value it is, and of which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    tenant: Option<String>,
    config_key: String,
}

impl Owner {
    pub fn of(change: &Change) -> Self {
        let tenant = change.tenant_id().filter(|tenant| !tenant.is_empty()).map(str::to_owned);
        Self { tenant, config_key: change.config_key().to_owned() }
    }

    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// What a value is sealed with.
    pub fn of_value(&self, kid: &str, layer: Layer, field: Field) -> Vec<u8> {
        let mut bytes = start("value", kid, self.tenant());
        bytes.extend([layer as u8, field as u8]);
        push(&mut bytes, &self.config_key);
        bytes
    }
}

/// What the data key of a tenant is wrapped with.
pub fn of_data_key(kid: &str, tenant: Option<&str>) -> Vec<u8> {
    start("data key", kid, tenant)
}

fn start(what: &str, kid: &str, tenant: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    push(&mut bytes, "lockstep sealed");
    push(&mut bytes, what);
    bytes.extend(sealed::VERSION.to_be_bytes());
    push(&mut bytes, sealed::A256GCM);
    push(&mut bytes, kid);
    bytes.push(u8::from(tenant.is_some()));
    push(&mut bytes, tenant.unwrap_or_default());
    bytes
}

fn push(bytes: &mut Vec<u8>, part: &str) {
    bytes.extend((part.len() as u32).to_be_bytes());
    bytes.extend_from_slice(part.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_places_have_one_binding() {
        let mut seen = BTreeSet::new();
        let mut n = 0;
        for tenant in [None, Some("a"), Some("ab"), Some("none")] {
            for (config_key, kid) in [("b.c", "k"), ("c", "k"), ("b.c", "kb"), ("bb.c", "k")] {
                let owner = Owner { tenant: tenant.map(str::to_owned), config_key: config_key.to_owned() };
                for layer in [Layer::Log, Layer::Wire] {
                    for field in [Field::Value, Field::Ops, Field::BaseHash, Field::Conflicts] {
                        seen.insert(owner.of_value(kid, layer, field));
                        n += 1;
                    }
                }
            }
            seen.insert(of_data_key("k", tenant));
            n += 1;
        }
        assert_eq!(seen.len(), n);
    }

    #[test]
    fn an_empty_tenant_is_none() {
        let owner = |json: &str| Owner::of(&Change::from_json(&json.into()).expect("a change"));
        let none = owner(r#"{"config_key":"a"}"#);
        assert_eq!(owner(r#"{"config_key":"a","tenant_id":""}"#), none);
        assert_ne!(owner(r#"{"config_key":"a","tenant_id":"t"}"#), none);
    }
}
