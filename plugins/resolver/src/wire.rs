//! Changes as JSON: what a record says of dots, contexts and siblings, and how it is written.

use crate::{
    clock::Hlc,
    siblings::{Sibling, Siblings},
    strategy::Strategy,
};
use lockstep_plugin_api::{
    causality::{Dot, Known},
    change::{CONFIG_DELETED, CONFIG_UPDATED},
    prelude::*,
    time,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What the author of a change had seen. Without an epoch it means this log's; a bare number is a revision of it.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Base {
    Here(u64),
    At { epoch: Option<String>, revision: u64 },
}

/// One element of `siblings`.
#[derive(Serialize, Deserialize)]
struct Element<'a> {
    dot: Dot,
    ctx: Known,
    hlc: Cow<'a, str>,
    event_id: Cow<'a, str>,
    #[serde(default = "updated")]
    event_type: Cow<'a, str>,
    #[serde(borrow, default)]
    new_value: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    old_value: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_node: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_hash: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    ops: Option<&'a RawValue>,
}

fn updated() -> Cow<'static, str> {
    Cow::Borrowed(CONFIG_UPDATED)
}

/// The key's state that a record carries: the change alone, or the siblings it names. `None` if it has no dot.
///
/// # Errors
/// `Rejected("bad_message")` if a field that orders changes is missing or has another form, or is as no host makes it.
pub fn state_of(change: &Change) -> Result<Option<Siblings>> {
    let Some(dot) = change.dot() else { return Ok(None) };
    let dot: Dot = dot.read()?;
    let siblings: Vec<Sibling> = match change.siblings() {
        None => vec![alone(change, dot.clone())?],
        Some(siblings) => {
            let elements: Vec<Element<'_>> = siblings.read()?;
            elements.into_iter().map(sibling).collect::<Result<_>>()?
        }
    };
    let (n, knows_itself) = (siblings.len(), siblings.iter().any(|sibling| sibling.knew(sibling)));
    let state: Siblings = siblings.into_iter().collect();
    // What no host can have made, hosts need not agree about.
    if knows_itself || state.list().len() < n {
        return Err(bad("a change knows itself, or another one that stands beside it"));
    }
    // The value beside the dot is the shown one, which may be another sibling's: it says nothing of this dot.
    if state.knows(&dot) { Ok(Some(state)) } else { Err(bad("`siblings` does not hold the change itself")) }
}

/// A record without siblings is the one change that there is.
fn alone(change: &Change, dot: Dot) -> Result<Sibling> {
    let needed = |field: Option<&str>| field.map(str::to_owned).ok_or_else(incomplete);
    Ok(Sibling {
        dot,
        ctx: change.ctx().ok_or_else(incomplete)?.read()?,
        hlc: hlc(&needed(change.hlc())?)?,
        event_id: needed(change.event_id())?.into(),
        strategy: strategy(change.strategy())?,
        value: value_of(change),
        old_value: change.old_value().and_then(|value| old(value.as_str())),
        user_id: change.user_id().map(Text::from),
        source_node: change.source_node().map(Text::from),
        timestamp_us: change.timestamp_us(),
        base_hash: change.base_hash().map(Text::from),
        ops: change.ops().map(|ops| ops.as_str().into()),
    })
}

fn sibling(element: Element<'_>) -> Result<Sibling> {
    let text = |field: Option<Cow<'_, str>>| field.map(|text| Text::from(&*text));
    let value = element.new_value.map_or("null", RawValue::get);
    Ok(Sibling {
        dot: element.dot,
        ctx: element.ctx,
        hlc: hlc(&element.hlc)?,
        event_id: Text::from(&*element.event_id),
        strategy: strategy(element.strategy.as_deref())?,
        value: (element.event_type != CONFIG_DELETED).then(|| value.into()),
        old_value: element.old_value.and_then(|value| old(value.get())),
        user_id: text(element.user_id),
        source_node: text(element.source_node),
        timestamp_us: element.timestamp.as_deref().map(time::parse_us).transpose()?,
        base_hash: text(element.base_hash),
        ops: element.ops.map(|ops| ops.get().into()),
    })
}

/// The value a change gives its key; `None` if it removes it.
pub fn value_of(change: &Change) -> Option<Text> {
    (!change.is_deletion()).then(|| change.new_value().as_str().into())
}

fn old(json: &str) -> Option<Text> {
    Some(json).filter(|json| *json != "null").map(Text::from)
}

fn hlc(text: &str) -> Result<Hlc> {
    text.parse().map_err(bad)
}

/// Every host resolves a change without a strategy alike, whatever its own configuration says.
fn strategy(name: Option<&str>) -> Result<Strategy> {
    name.map_or(Ok(Strategy::default()), str::parse).map_err(bad)
}

fn incomplete() -> Error {
    bad("a change with a `dot` needs `ctx`, `hlc` and `event_id`")
}

fn bad(why: impl std::fmt::Display) -> Error {
    Error::rejected("bad_message", why)
}

/// The siblings as JSON.
///
/// # Errors
/// If a stored value is no JSON, which it was when it was taken in.
pub fn siblings_json(siblings: &Siblings) -> Result<Json> {
    let elements: Vec<Element<'_>> = siblings.list().iter().map(element).collect::<Result<_>>()?;
    Json::write(&elements)
}

fn element(sibling: &Sibling) -> Result<Element<'_>> {
    Ok(Element {
        dot: sibling.dot.clone(),
        ctx: sibling.ctx.clone(),
        hlc: sibling.hlc.to_string().into(),
        event_id: sibling.event_id.as_str().into(),
        event_type: if sibling.value.is_some() { CONFIG_UPDATED } else { CONFIG_DELETED }.into(),
        new_value: raw(&sibling.value)?,
        old_value: raw(&sibling.old_value)?,
        strategy: Some(sibling.strategy.to_string().into()),
        user_id: sibling.user_id.as_deref().map(Cow::from),
        source_node: sibling.source_node.as_deref().map(Cow::from),
        timestamp: sibling.timestamp_us.map(|us| time::format_us(us).into()),
        base_hash: sibling.base_hash.as_deref().map(Cow::from),
        ops: raw(&sibling.ops)?,
    })
}

fn raw(text: &Option<Text>) -> Result<Option<&RawValue>> {
    text.as_ref().map(|text| serde_json::from_str(text)).transpose().map_err(Error::failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        merge::{Depth, Policy},
        siblings::tests::sibling,
    };

    fn read(text: &str) -> Result<Option<Siblings>> {
        state_of(&Change::from_json(&Bytes::from(text)).expect("a change"))
    }

    #[test]
    fn siblings_are_read_as_they_are_written() {
        let edited = Sibling {
            old_value: Some(r#"{"a":1}"#.into()),
            user_id: Some("eve \"e\"".into()),
            source_node: Some("eu-1".into()),
            timestamp_us: Some(1_700_000_000_000_000),
            base_hash: Some("ab".into()),
            ops: Some(r#"[1,"x"]"#.into()),
            strategy: Strategy::MergeStrategies(Policy { depth: Depth::Shallow, ..Policy::DEFAULT }),
            ..sibling("a@1", 7, &[("b@2", 3)], 9)
        };
        let placed = r#"merge_strategies({"paths":[{"match":"/a,\"b\"","type":"integer"}]})"#;
        let strategy = placed.parse().expect("a strategy");
        let deleted = Sibling { value: None, strategy, ..sibling("b@2", 4, &[], 5) };
        let siblings: Siblings = [edited, deleted].into_iter().collect();
        let mut change = Change::new("app.x", Json::null());
        change.set_dot(Some(Json::parse(r#"{"node":"b@2","seq":4}"#).expect("JSON")));
        change.set_siblings(Some(siblings_json(&siblings).expect("JSON")));
        assert_eq!(state_of(&change).expect("a state"), Some(siblings));
    }

    #[test]
    fn a_change_alone_is_its_own_state_and_one_without_a_dot_has_none() {
        let text = r#"{"config_key":"k","new_value":5,"old_value":null,"dot":{"node":"a@1","seq":3},
            "ctx":{"a@1":2},"hlc":"7-1","event_id":"e","strategy":"first_write_wins"}"#;
        let state = read(text).expect("readable").expect("a state");
        let [alone] = state.list() else { panic!("one change") };
        assert_eq!(alone.value.as_deref(), Some("5"));
        assert_eq!((alone.hlc.to_string().as_str(), &alone.strategy), ("7-1", &Strategy::FirstWriteWins));
        assert!(alone.old_value.is_none());
        assert!(read(r#"{"config_key":"k","new_value":5}"#).expect("readable").is_none());
    }

    #[test]
    fn a_dot_without_what_orders_it_is_refused() {
        for rest in [
            r#""hlc":"7-1","event_id":"e""#,
            r#""ctx":{},"event_id":"e""#,
            r#""ctx":{},"hlc":"7-1""#,
            r#""ctx":{},"hlc":"soon","event_id":"e""#,
            r#""ctx":{"a":-1},"hlc":"7-1","event_id":"e""#,
            r#""ctx":{},"hlc":"7-1","event_id":"e","strategy":"newest""#,
            r#""ctx":{},"hlc":"7-1","event_id":"e","siblings":[]"#,
        ] {
            let text = format!(r#"{{"config_key":"k","dot":{{"node":"a@1","seq":3}},{rest}}}"#);
            assert_eq!(read(&text).expect_err(rest).code(), Some("bad_message"), "{rest}");
        }
    }

    #[test]
    fn what_no_host_can_have_made_is_refused() {
        let ends = r#""hlc":"7-1","event_id":"e""#;
        let own = format!(r#"{{"config_key":"k","dot":{{"node":"a@1","seq":3}},"ctx":{{"a@1":3}},{ends}}}"#);
        let mut refused = vec![own];
        for [one, other] in [[r#"{"b@1":1}"#, r#"{"a@1":3}"#], ["{}", r#"{"a@1":3}"#], [r#"{"a@1":3}"#, "{}"]]
        {
            refused.push(format!(
                r#"{{"config_key":"k","dot":{{"node":"a@1","seq":3}},"siblings":[
                {{"dot":{{"node":"a@1","seq":3}},"ctx":{one},{ends}}},{{"dot":{{"node":"b@1","seq":1}},"ctx":{other},{ends}}}]}}"#
            ));
        }
        for text in refused {
            assert_eq!(read(&text).expect_err(&text).code(), Some("bad_message"), "{text}");
        }
    }

    #[test]
    fn a_base_is_a_revision_with_or_without_its_epoch() {
        let read = |text: &str| Json::parse(text).expect("JSON").read::<Base>();
        assert_eq!(read("7").expect("a base"), Base::Here(7));
        assert_eq!(read(r#"{"revision":7}"#).expect("a base"), Base::At { epoch: None, revision: 7 });
        let full = Base::At { epoch: Some("e".into()), revision: 7 };
        assert_eq!(read(r#"{"epoch":"e","revision":7}"#).expect("a base"), full);
        assert!(read(r#"{"epoch":"e"}"#).is_err());
    }
}
