//! Several lists as one. Items are told apart by what they are, not by where they stand.

use crate::value::Value;
use std::collections::{HashMap, HashSet};

/// Whether it is a list whose items are all different.
pub fn is_set(value: &Value) -> bool {
    let mut seen = HashSet::new();
    value.as_list().is_some_and(|items| items.iter().all(|item| seen.insert(item.canonical())))
}

/// The items from before without those that somebody removed, then what was added, by the stamps of who added it; and
/// whether somebody brought the ones from before into another order, which is not followed.
pub fn together(base: Option<&Value>, edits: &[&Value]) -> (Value, bool) {
    let base = names(base);
    let edits: Vec<_> = edits.iter().map(|value| names(Some(value))).collect();
    let sets: Vec<HashSet<&String>> =
        edits.iter().map(|items| items.iter().map(|(name, _)| name).collect()).collect();
    let kept = base.iter().filter(|(name, _)| sets.iter().all(|set| set.contains(name)));
    let mut items: Vec<Value> = kept.map(|(_, item)| (*item).clone()).collect();
    let mut seen: HashSet<&String> = base.iter().map(|(name, _)| name).collect();
    let added = edits.iter().flatten().filter(|(name, _)| seen.insert(name));
    items.extend(added.map(|(_, item)| (*item).clone()));
    let places: HashMap<&String, usize> = base.iter().enumerate().map(|(at, (name, _))| (name, at)).collect();
    let is_in_order =
        |items: &Vec<(String, &Value)>| items.iter().filter_map(|(name, _)| places.get(name)).is_sorted();
    (Value::List(items), !edits.iter().all(is_in_order))
}

/// Whether somebody who made this list of the one from before added an item or removed one; of no list, any.
pub fn differ(base: Option<&Value>, edit: &Value) -> bool {
    let items = |list| names(list).into_iter().map(|(name, _)| name).collect::<HashSet<String>>();
    base.is_none() || items(base) != items(Some(edit))
}

/// One list after the other, each item once, where it comes first.
pub fn united(lists: &[&Value]) -> Value {
    let items = lists.iter().flat_map(|list| names(Some(list)));
    let mut seen = HashSet::new();
    Value::List(items.filter(|(name, _)| seen.insert(name.clone())).map(|(_, item)| item.clone()).collect())
}

/// The items with a text that only equal ones share.
fn names(list: Option<&Value>) -> Vec<(String, &Value)> {
    let items = list.and_then(Value::as_list).unwrap_or_default();
    items.iter().map(|item| (item.canonical(), item)).collect()
}
