//! The store's own form in its audit.

use super::*;
use crate::store::{KeySource, SealingKey, SealingOptions, Wanted, write_key};

/// Opens the store as the settings want it, and gives what the audit has of that, the oldest first.
fn entries(dir: &Path, key: Option<&str>, wanted: Wanted) -> Vec<Value> {
    let source = KeySource::File(dir.join("key"));
    let keys = ["k1", "k2"].map(|id| SealingKey { id: id.to_owned(), source: source.clone() }).to_vec();
    let sealing = SealingOptions { keys, current: key.map(str::to_owned), wanted };
    let store = Store::open(dir, StoreOptions { sealing, ..StoreOptions::default() }).expect("a store");
    let audit = Audit::open(store.clone(), options()).expect("an audit");
    let head = audit.chain().head.number;
    let verified = walk(&store, &[]).map(|verified| verified.n_entries);
    assert_eq!(verified, Ok(head));
    let listed = list(&store, &Filter::default(), 100).expect("readable");
    listed.records.iter().rev().map(|record| serde_json::from_str(&record.entry).expect("JSON")).collect()
}

#[test]
fn sealing_unsealing_and_another_key_have_one_entry_each_whenever_the_host_ends() {
    let dir = tempfile::tempdir().expect("a folder");
    write_key(&dir.path().join("key"), [200; 32]);
    let of = |key, wanted| entries(dir.path(), key, wanted);
    assert!(of(None, Wanted::Plain).is_empty());
    let expected = [
        json!({ "event_type": "admin_seal", "key": "k1" }),
        json!({ "event_type": "admin_change_key", "from_key": "k1", "key": "k2" }),
        json!({ "event_type": "admin_unseal", "from_key": "k2" }),
    ];
    for (n, (key, wanted)) in
        [(Some("k1"), Wanted::Sealed), (Some("k2"), Wanted::Sealed), (Some("k2"), Wanted::Plain)]
            .into_iter()
            .enumerate()
    {
        for start in ["the first", "another"] {
            let found = of(key, wanted);
            assert_eq!(found.len(), n + 1, "{start} start");
            let (found, expected) = (&found[n], &expected[n]);
            for (field, value) in expected.as_object().expect("an object") {
                assert_eq!(&found[field], value, "{found}");
            }
            assert!(
                found["by"].as_str().is_some_and(|by| by.starts_with("uid ")) && found["outcome"] == "done"
            );
            assert_eq!(found["about_values"].is_u64(), found["event_type"] != "admin_change_key", "{found}");
        }
    }
}
