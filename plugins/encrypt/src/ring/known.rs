//! Which key went by which name so far: kept in the host's state where there is a log, and otherwise for as long as
//! the component is there.
//!
//! Invariant: a name stands for one key for ever. Values say under which name they are sealed and nothing else, so with
//! other bytes under an old name none of them would open.

use super::{Check, Ring};
use lockstep_plugin_api::{
    Bytes,
    prelude::*,
    state::{Committed, StateCommit},
};
use std::{collections::BTreeMap, time::Duration};

/// Shared by the whole host; keys in it begin with the component's name.
const NAMESPACE: &str = "encrypt.keys";

/// How many names are read at once.
const PAGE: u32 = 1000;

/// How often somebody else may be faster.
const ATTEMPTS: usize = 5;
const AGAIN: Duration = Duration::from_secs(1);

type Names = BTreeMap<String, Name>;

/// The names of one component's keys.
pub struct Known {
    /// Without a log the host keeps nothing.
    context: Option<Context>,
    names: Names,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name {
    check: Check,
    /// Whether the key was taken out of the ring.
    is_gone: bool,
}

impl Known {
    /// What the host knows of this component's keys.
    ///
    /// # Errors
    /// If the host's state cannot be read.
    pub fn read(context: &Context) -> Result<Self> {
        match context.through_log() {
            true => Ok(Self { context: Some(context.clone()), names: read(context)? }),
            false => Ok(Self::nothing()),
        }
    }

    /// For a component whose host keeps nothing.
    pub fn nothing() -> Self {
        Self { context: None, names: Names::new() }
    }

    /// Takes in the keys of a ring that is about to be used, and gives the names that were there before it and are not in
    /// it.
    ///
    /// # Errors
    /// `Config` if a name stands for another key now, and what the host says if it cannot keep the new ones; the ring is
    /// not to be used then.
    pub fn take(&mut self, ring: &Ring) -> Result<Vec<String>> {
        for _ in 0..ATTEMPTS {
            let (names, gone) = self.with(ring)?;
            if self.keep(&names)? {
                self.names = names;
                return Ok(gone);
            }
            // Another instance of the component was faster.
            self.names = self.context.as_ref().map(read).transpose()?.unwrap_or_default();
        }
        Err(Error::retry(AGAIN, "the names of the keys are being changed by somebody else"))
    }

    /// All names with this ring, and those that go with it.
    fn with(&self, ring: &Ring) -> Result<(Names, Vec<String>)> {
        let mut names = self.names.clone();
        for wrapper in ring.wrappers() {
            let now = Name { check: wrapper.check(), is_gone: false };
            match names.insert(wrapper.id.to_string(), now) {
                Some(before) if before.check != now.check => return Err(another_key(&wrapper.id)),
                _ => {}
            }
        }
        let absent = names.iter_mut().filter(|(id, _)| ring.get(id).is_none());
        let gone =
            absent.filter_map(|(id, name)| (!std::mem::replace(&mut name.is_gone, true)).then(|| id.clone()));
        let gone = gone.collect();
        Ok((names, gone))
    }

    /// The names that are known and not in the ring any more.
    pub fn gone(&self) -> Vec<String> {
        self.names.iter().filter(|(_, name)| name.is_gone).map(|(id, _)| id.clone()).collect()
    }

    /// Has the host keep these; false if what it keeps is not what was read before.
    fn keep(&self, names: &Names) -> Result<bool> {
        let Some(context) = &self.context else { return Ok(true) };
        let prefix = prefix(context);
        let changed = names.iter().filter(|(id, name)| self.names.get(*id) != Some(name));
        let mut changed = changed.peekable();
        if changed.peek().is_none() {
            return Ok(true);
        }
        let commit = changed.fold(StateCommit::new(), |commit, (id, name)| {
            let key = [&prefix[..], id.as_bytes()].concat();
            let before = self.names.get(id).map(|name| name.to_bytes().into());
            commit.expect(&key, before).put(&key, name.to_bytes())
        });
        Ok(context.state(NAMESPACE).commit(commit)? != Committed::Conflict)
    }
}

/// What the host keeps.
fn read(context: &Context) -> Result<Names> {
    let (state, prefix) = (context.state(NAMESPACE), prefix(context));
    let (mut names, mut after) = (Names::new(), None::<Bytes>);
    loop {
        let page = state.scan(&prefix, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(names) };
        after = Some(last.clone());
        names.extend(page.iter().filter_map(|(key, value)| {
            let id = std::str::from_utf8(key.get(prefix.len()..)?).ok()?;
            Some((id.to_owned(), Name::of_bytes(value)?))
        }));
    }
}

impl Name {
    fn to_bytes(self) -> Vec<u8> {
        [&self.check[..], &[u8::from(self.is_gone)]].concat()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (check, rest) = bytes.split_first_chunk()?;
        Some(Self { check: *check, is_gone: rest == [1] })
    }
}

fn prefix(context: &Context) -> Vec<u8> {
    [context.component().as_bytes(), &[0]].concat()
}

fn another_key(id: &str) -> Error {
    let message = format!(
        "`{id}` was the name of another key here before, and what is sealed under it would not open: put its old bytes \
         back, and give the new key an `id` of its own, in front of it"
    );
    Error::config(message).at("ring")
}
