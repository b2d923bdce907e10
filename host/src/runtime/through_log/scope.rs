//! What transforms do to the host while a batch is applied: it becomes true with the batch, or not at all.
//!
//! A scope belongs to the thread that applies the batch, so a plugin's calls find it without naming it. What is read is
//! remembered, and has to be the same still when the batch is committed; what is staged is seen by later reads.

use crate::store::{Check, Commit, Expect, Namespace, Store, StoreError};
use lockstep_plugin_api::{Bytes, Record};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

thread_local! {
    static SCOPE: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// A batch that is being applied.
pub struct Scope {
    store: Store,
    reads: HashMap<Vec<u8>, Option<Bytes>>,
    staged: BTreeMap<Vec<u8>, Option<Bytes>>,
    pub notices: Vec<Record>,
    pub audit: Vec<String>,
}

/// The scope of this thread; it ends when this is dropped.
pub struct OpenScope(());

impl OpenScope {
    /// Begins a batch on this thread.
    pub fn begin(store: Store) -> Self {
        let scope = Scope {
            store,
            reads: HashMap::new(),
            staged: BTreeMap::new(),
            notices: Vec::new(),
            audit: Vec::new(),
        };
        SCOPE.with(|slot| *slot.borrow_mut() = Some(scope));
        Self(())
    }

    /// Ends the batch and gives what was done in it.
    pub fn end(self) -> Scope {
        SCOPE.with(|slot| slot.borrow_mut().take()).expect("it was begun on this thread")
    }
}

impl Drop for OpenScope {
    fn drop(&mut self) {
        SCOPE.with(|slot| *slot.borrow_mut() = None);
    }
}

/// Does something in the batch that this thread is applying; `None` if it applies none.
pub fn with<T>(act: impl FnOnce(&mut Scope) -> T) -> Option<T> {
    SCOPE.with(|slot| slot.borrow_mut().as_mut().map(act))
}

/// A key of the state as it is stored: namespaces are shared by the whole host.
pub fn state_key(namespace: &str, key: &[u8]) -> Vec<u8> {
    [namespace.as_bytes(), b"\0", key].concat()
}

impl Scope {
    pub fn get(&mut self, key: Vec<u8>) -> Result<Option<Bytes>, StoreError> {
        if let Some(staged) = self.staged.get(&key) {
            return Ok(staged.clone());
        }
        if let Some(read) = self.reads.get(&key) {
            return Ok(read.clone());
        }
        let value = self.store.get(Namespace::State, &key)?.map(Bytes::from);
        self.reads.insert(key, value.clone());
        Ok(value)
    }

    /// As the store scans, with what is staged. Not watched.
    pub fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let begins_after = |key: &[u8]| after.is_none_or(|after| key > after);
        let own = self.staged.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        let own: BTreeMap<&Vec<u8>, &Option<Bytes>> = own.filter(|(key, _)| begins_after(key)).collect();
        // Each staged deletion may hide one of them.
        let stored = self.store.scan(Namespace::State, prefix, after, limit.saturating_add(own.len()))?;
        let is_all = stored.len() < limit.saturating_add(own.len());
        let last = stored.last().map(|(key, _)| key.clone());
        let mut merged: BTreeMap<Vec<u8>, Option<Bytes>> =
            stored.into_iter().map(|(key, value)| (key, Some(Bytes::from(value)))).collect();
        for (key, value) in own {
            // Beyond the last stored key that was read there may be others before this one.
            if is_all || last.as_ref().is_some_and(|last| key <= last) {
                merged.insert(key.clone(), value.clone());
            }
        }
        let found = merged.into_iter().filter_map(|(key, value)| Some((key, value?)));
        Ok(found.take(limit).collect())
    }

    pub fn stage(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        self.staged.insert(key, value);
    }

    /// What the commit of the batch has to check and to write.
    pub fn add_to(&self, commit: &mut Commit) {
        for (key, value) in &self.reads {
            let expect = value.as_ref().map_or(Expect::Absent, |value| Expect::Value(value.to_vec()));
            commit.checks.push(Check { namespace: Namespace::State, key: key.clone(), expect });
        }
        for (key, value) in &self.staged {
            match value {
                Some(value) => commit.puts.push((Namespace::State, key.clone(), value.to_vec())),
                None => commit.deletes.push((Namespace::State, key.clone())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    fn open(folder: &tempfile::TempDir) -> Store {
        let store = Store::open(folder.path(), StoreOptions::default()).expect("a store");
        let commit = ["a", "c", "e"]
            .into_iter()
            .fold(Commit::default(), |commit, key| commit.put(Namespace::State, key, key));
        store.commit(commit).expect("stored");
        store
    }

    fn keys(scope: &Scope, after: Option<&[u8]>, limit: usize) -> String {
        let found = scope.scan(b"", after, limit).expect("readable");
        found.into_iter().map(|(key, _)| String::from_utf8(key).expect("text")).collect()
    }

    #[test]
    fn staged_writes_are_seen_and_reads_are_checked() {
        let folder = tempfile::tempdir().expect("a folder");
        let scope = OpenScope::begin(open(&folder));
        let get = |key: &str| {
            let value = with(|scope| scope.get(key.into()).expect("readable")).expect("a scope");
            value.map(|value| String::from_utf8(value.to_vec()).expect("text"))
        };
        assert_eq!(get("a").as_deref(), Some("a"));
        with(|scope| scope.stage("a".into(), Some("A".into())));
        with(|scope| scope.stage("b".into(), Some("B".into())));
        with(|scope| scope.stage("c".into(), None));
        assert_eq!((get("a").as_deref(), get("c"), get("x")), (Some("A"), None, None));
        let scope = scope.end();
        assert_eq!(keys(&scope, None, 9), "abe");
        assert_eq!(keys(&scope, None, 2), "ab");
        assert_eq!(keys(&scope, Some(b"a"), 2), "be");
        let mut commit = Commit::default();
        scope.add_to(&mut commit);
        let mut checked: Vec<_> = commit.checks.iter().map(|check| (&check.key[..], &check.expect)).collect();
        checked.sort_by_key(|(key, _)| *key);
        assert_eq!(
            checked,
            [(&b"a"[..], &Expect::Value(b"a".to_vec())), (b"x", &Expect::Absent)],
            "what was staged before it was read needs no check"
        );
        assert_eq!((commit.puts.len(), commit.deletes.len()), (2, 1));
        assert!(with(|_| ()).is_none(), "the scope is over");
    }
}
