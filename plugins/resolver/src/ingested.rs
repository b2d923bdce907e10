//! Which messages of programs without dots were taken in for a key, so that a second sight of one is no second change.
//!
//! Such a message is named by what is in it (a UUID v5, alike on every host), and can be seen again long after: a broker
//! repeats what was not acknowledged, and shows what it retains to whoever comes. The newest names of each key are kept,
//! more than a client has on its way at a time; what a broker retains is always the newest.

use lockstep_plugin_api::Bytes;
use uuid::Uuid;

/// How many names a key keeps.
const MOST: usize = 64;

/// The names, oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ingested(Vec<Uuid>);

impl Ingested {
    /// The name in an event id, if it is one that was derived from a message.
    pub fn name(event_id: &str) -> Option<Uuid> {
        Uuid::parse_str(event_id).ok().filter(|name| name.get_version_num() == 5)
    }

    pub fn contains(&self, name: &Uuid) -> bool {
        self.0.contains(name)
    }

    /// Remembers a name.
    pub fn add(&mut self, name: Uuid) {
        if self.contains(&name) {
            return;
        }
        let n_too_many = (self.0.len() + 1).saturating_sub(MOST);
        self.0.drain(..n_too_many);
        self.0.push(name);
    }

    pub fn encode(&self) -> Bytes {
        Bytes::from(self.0.iter().flat_map(|name| *name.as_bytes()).collect::<Vec<_>>())
    }

    /// Reads what [`Ingested::encode`] wrote; what lies behind the last whole name is none.
    pub fn decode(bytes: &[u8]) -> Self {
        let (names, _) = bytes.as_chunks();
        Self(names.iter().map(|name| Uuid::from_bytes(*name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_made_from_a_message_are_kept_and_only_the_newest() {
        assert_eq!(Ingested::name(&Uuid::now_v7().to_string()), None);
        assert_eq!(Ingested::name("mine"), None);
        let name = |n: u8| Uuid::new_v5(&Uuid::NAMESPACE_OID, &[n]);
        assert_eq!(Ingested::name(&name(1).to_string()), Some(name(1)));
        let mut ingested = Ingested::default();
        for n in 0..=MOST as u8 {
            ingested.add(name(n));
            ingested.add(name(n));
        }
        assert!(!ingested.contains(&name(0)) && ingested.contains(&name(1)));
        assert_eq!(Ingested::decode(&ingested.encode()), ingested);
    }
}
