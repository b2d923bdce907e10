//! Seals the values of chosen keys, so that only who holds a key can read them, and opens them again.
//!
//! Invariant: a value leaves `encrypt` sealed or not at all, and opens only under the tenant, the key and the field it was
//! sealed for; what `decrypt` gives is byte for byte what was sealed. Of keys the host keeps
//! names, and what tells one from another.
#![forbid(unsafe_code)]

// `pub(crate)`, because the benchmark compiles this file as a module of its own.
pub(crate) mod config;
pub(crate) mod cipher;
pub(crate) mod key_text;
pub(crate) mod ring;
pub(crate) mod keeper;
pub(crate) mod binding;
pub(crate) mod data_keys;
pub(crate) mod unwrapped;
pub(crate) mod envelope;
pub(crate) mod refusal;
pub(crate) mod fields;
pub(crate) mod values;
pub(crate) mod standing;
pub(crate) mod metrics;
pub(crate) mod operations;
pub(crate) mod encrypt;
pub(crate) mod decrypt;

#[cfg(test)]
mod tests;

use lockstep_plugin_api::export_plugin;

export_plugin! {
    transform "encrypt" (notices) => encrypt::Encrypt,
    transform "decrypt" (notices) => decrypt::Decrypt,
}
