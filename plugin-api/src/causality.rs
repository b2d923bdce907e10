//! A change's name among all changes of all hosts, what somebody knew of them, and what a message shows of both.
//!
//! Two changes are concurrent exactly if neither's context knows the other's dot; no clock has a say in it.

use crate::{abi::Text, change::Change, error::Result};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer, de,
    ser::{SerializeMap, SerializeStruct},
};
use std::{cmp::Ordering, fmt, mem};

/// So few nodes are added one by one to what is known.
const FEW: usize = 8;

/// The longest name of a node with its incarnation, in bytes.
const MAX_NODE_BYTES: usize = 256;

/// One change: the host that took it in, and its number among all changes of that host.
///
/// `node` is `name@incarnation`; a host that lost its numbers goes on under another incarnation, so that no dot is ever
/// given twice.
#[derive(Clone, PartialEq, Eq)]
pub struct Dot {
    /// The host's name and incarnation.
    pub node: Text,
    /// Counts from 1.
    pub seq: u64,
}

impl Ord for Dot {
    fn cmp(&self, other: &Self) -> Ordering {
        self.node.as_str().cmp(&other.node).then(self.seq.cmp(&other.seq))
    }
}

impl PartialOrd for Dot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.node, self.seq)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Dot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Dot", 2)?;
        fields.serialize_field("node", self.node.as_str())?;
        fields.serialize_field("seq", &self.seq)?;
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Dot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            node: String,
            seq: u64,
        }
        let Fields { node, seq } = Fields::deserialize(deserializer)?;
        if node.is_empty() || node.len() > MAX_NODE_BYTES || seq == 0 {
            return Err(de::Error::custom("a dot has a node of 1 to 256 bytes and counts from 1"));
        }
        Ok(Self { node: node.into(), seq })
    }
}

/// What somebody knew of one key's changes: of each node, every change up to a number.
///
/// Sorted by node, one entry per node.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Known(Vec<Dot>);

impl Known {
    /// Whether this change was known.
    pub fn covers(&self, dot: &Dot) -> bool {
        self.place(&dot.node).is_ok_and(|at| self.0[at].seq >= dot.seq)
    }

    /// Knows this change, and what its node did before it, from now on.
    pub fn add(&mut self, dot: &Dot) {
        match self.place(&dot.node) {
            Ok(at) => self.0[at].seq = self.0[at].seq.max(dot.seq),
            Err(at) => self.0.insert(at, dot.clone()),
        }
    }

    /// Knows what either knew.
    pub fn join(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
        } else if other.0.len() <= FEW {
            other.0.iter().for_each(|dot| self.add(dot));
        } else {
            // One by one, each would push the rest aside.
            *self = mem::take(self).0.into_iter().chain(other.0.iter().cloned()).collect();
        }
    }

    /// The newest known change of each node, by node.
    pub fn newest(&self) -> &[Dot] {
        &self.0
    }

    fn place(&self, node: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|known| known.node.as_str().cmp(node))
    }
}

impl FromIterator<Dot> for Known {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut dots: Vec<Dot> = dots.into_iter().collect();
        // The newest of each node first, which is the one that stays.
        dots.sort_by(|one, other| one.node.as_str().cmp(&other.node).then(other.seq.cmp(&one.seq)));
        dots.dedup_by(|next, kept| next.node == kept.node);
        Self(dots)
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.0).finish()
    }
}

/// `{"eu-1@a": 16, "us-1@b": 9}`
impl Serialize for Known {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|dot| map.serialize_entry(dot.node.as_str(), &dot.seq))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Known;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of numbers by node")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Known, A::Error> {
                let mut dots = Vec::new();
                while let Some((node, seq)) = map.next_entry::<String, u64>()? {
                    dots.push(Dot { node: node.into(), seq });
                }
                Ok(dots.into_iter().collect())
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// What a message shows of a key: the changes that stand in it, and what their authors knew.
///
/// Enough to tell whether one message makes another one superfluous; what becomes of two that do not is the resolver's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The changes that stand.
    dots: Vec<Dot>,
    /// Everything they know, themselves included.
    known: Known,
}

/// As much of a sibling as orders it.
#[derive(Deserialize)]
struct Sibling {
    dot: Dot,
    ctx: Known,
}

impl Shown {
    /// What this change shows; `None` if it has no dot: a program that knows none has made it.
    ///
    /// # Errors
    /// `Rejected("bad_message")` if dot, context or siblings have another form.
    pub fn of(change: &Change) -> Result<Option<Self>> {
        let Some(dot) = change.dot() else { return Ok(None) };
        let siblings = match change.siblings() {
            Some(siblings) => siblings.read()?,
            None => {
                let ctx = change.ctx().map(|ctx| ctx.read()).transpose()?.unwrap_or_default();
                vec![Sibling { dot: dot.read()?, ctx }]
            }
        };
        let known = siblings.iter().flat_map(|sibling| sibling.ctx.newest().iter().chain([&sibling.dot]));
        let known = known.cloned().collect();
        Ok(Some(Self { dots: siblings.into_iter().map(|sibling| sibling.dot).collect(), known }))
    }

    /// Whether the other message holds nothing that this one does not know already.
    pub fn covers(&self, other: &Self) -> bool {
        other.dots.iter().all(|dot| self.known.covers(dot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::thread_time;

    fn shown(json: &str) -> Shown {
        let change = Change::from_json(&json.into()).expect("a change");
        Shown::of(&change).expect("readable").expect("a dot")
    }

    #[test]
    fn a_message_covers_what_its_authors_knew_and_nothing_beside() {
        let first = shown(r#"{"config_key":"k","dot":{"node":"a","seq":1},"ctx":{}}"#);
        let next = shown(r#"{"config_key":"k","dot":{"node":"b","seq":1},"ctx":{"a":1}}"#);
        let beside = shown(r#"{"config_key":"k","dot":{"node":"c","seq":4},"ctx":{}}"#);
        let joined = shown(
            r#"{"config_key":"k","dot":{"node":"b","seq":1},"siblings":[
                {"dot":{"node":"b","seq":1},"ctx":{"a":1}},{"dot":{"node":"c","seq":4},"ctx":{}}]}"#,
        );
        assert!(next.covers(&first) && !first.covers(&next) && first.covers(&first));
        assert!(!next.covers(&beside) && !beside.covers(&next));
        assert!(joined.covers(&first) && joined.covers(&beside) && !beside.covers(&joined));
        let dotless = Change::from_json(&r#"{"config_key":"k"}"#.into()).expect("a change");
        assert_eq!(Shown::of(&dotless).expect("readable"), None);
    }

    fn dot(node: &str, seq: u64) -> Dot {
        Dot { node: node.into(), seq }
    }

    #[test]
    fn a_context_knows_what_a_node_did_up_to_its_number() {
        let mut known: Known = [dot("b", 2), dot("a", 7), dot("b", 1)].into_iter().collect();
        assert!(known.covers(&dot("b", 1)) && known.covers(&dot("a", 7)));
        assert!(!known.covers(&dot("b", 3)) && !known.covers(&dot("c", 1)));
        known.join(&[dot("b", 9), dot("c", 1)].into_iter().collect());
        assert_eq!(serde_json::to_string(&known).expect("JSON"), r#"{"a":7,"b":9,"c":1}"#);
    }

    #[test]
    fn the_json_forms_are_read_as_they_are_written() {
        let text = r#"{"node":"eu-1@a","seq":17}"#;
        let read: Dot = serde_json::from_str(text).expect("a dot");
        assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
        let known: Known = serde_json::from_str(r#"{"us-1@b":9,"eu-1@a":16}"#).expect("a context");
        assert_eq!(known.newest(), [dot("eu-1@a", 16), dot("us-1@b", 9)]);
        for text in [r#"{"node":"","seq":1}"#, r#"{"node":"a","seq":0}"#, r#"{"node":"a"}"#, "[]"] {
            assert!(serde_json::from_str::<Dot>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_context_of_very_many_nodes_is_read_in_any_order_without_ado() {
        let began = thread_time();
        let nodes: Vec<String> = (0..300_000).rev().map(|n| format!(r#""n{n:06}":{}"#, n + 1)).collect();
        let mut known: Known =
            serde_json::from_str(&format!("{{{},\"n000007\":1}}", nodes.join(","))).expect("a context");
        assert!(
            known.covers(&dot("n000007", 8)) && !known.covers(&dot("n000007", 9)),
            "the greater one counts"
        );
        let other: Known = (0..300_000).map(|n| dot(&format!("m{n:06}"), 1)).collect();
        known.join(&other);
        assert_eq!(known.newest().len(), 600_000);
        assert!(known.newest().is_sorted());

        let sibling = |n: usize| format!(r#"{{"dot":{{"node":"n{n:06}","seq":1}},"ctx":{{"m{n:06}":1}}}}"#);
        let siblings: Vec<String> = (0..50_000).rev().map(sibling).collect();
        let message = format!(
            r#"{{"config_key":"k","dot":{{"node":"n000001","seq":1}},"siblings":[{}]}}"#,
            siblings.join(",")
        );
        assert_eq!(shown(&message).known.newest().len(), 100_000);
        let took = thread_time() - began;
        assert!(took.as_secs() < 60, "{took:?}");
    }
}
