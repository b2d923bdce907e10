//! A patch of the differences makes the new value of the old one, and there is nothing in it that has to be.

use super::*;

/// A value, or none, after the operations: RFC 6902, step by step. `Err` is the operation that does not fit.
fn applied(mut value: Option<Value>, operations: &[Value]) -> Result<Option<Value>, &Value> {
    for operation in operations {
        let path = operation["path"].as_str().expect("a path");
        let new = operation.get("value").cloned();
        let fits = match path.rsplit_once('/') {
            None if value.is_some() == (operation["op"] != "add") => {
                value = new;
                Some(())
            }
            None => None,
            Some((above, last)) => {
                let place = value.as_mut().and_then(|value| value.pointer_mut(above));
                place.and_then(|place| apply(place, last, operation["op"].as_str().expect("a name"), new))
            }
        };
        fits.ok_or(operation)?;
    }
    Ok(value)
}

fn apply(place: &mut Value, last: &str, op: &str, new: Option<Value>) -> Option<()> {
    let name = last.replace("~1", "/").replace("~0", "~");
    match (place, op) {
        (Value::Object(fields), "remove") => fields.remove(&name).map(drop),
        (Value::Object(fields), op) => {
            (fields.insert(name, new?).is_some() == (op == "replace")).then_some(())
        }
        (Value::Array(items), op) => {
            let at = last.parse().ok().filter(|at| *at < items.len() + usize::from(op == "add"))?;
            match op {
                "remove" => drop(items.remove(at)),
                "add" => items.insert(at, new?),
                _ => items[at] = new?,
            }
            Some(())
        }
        _ => None,
    }
}

struct Found {
    operations: Vec<Value>,
    /// Path, old and new value.
    told: Vec<(String, Option<Value>, Option<Value>)>,
}

fn found(old: Option<&Value>, new: Option<&Value>) -> Found {
    let [old, new] = [old, new].map(|value| value.map(Value::to_string));
    let [old, new] = [&old, &new].map(|text| text.as_deref().map(Tree::of));
    let found = differences(old.as_ref(), new.as_ref()).expect("small");
    let operations = patch(&found).into_iter().map(|operation| json!(operation)).collect();
    let read = |tree: Option<&Tree<'_>>| tree.map(|tree| serde_json::from_str(tree.raw()).expect("JSON"));
    let told = found.iter().map(|one| (one.path.clone(), read(one.old), read(one.new))).collect();
    Found { operations, told }
}

/// Some value, or none, and another one that was made of it.
fn case(seed: u64) -> [Option<Value>; 2] {
    let mut random = fastrand::Rng::with_seed(seed);
    let old = any_value(&mut random, 3);
    let new = changed(&mut random, &old);
    [(random.u8(0..20) > 0).then_some(old), (random.u8(0..20) > 0).then_some(new)]
}

#[test]
fn the_patch_makes_the_new_value_of_the_old_one() {
    let mut n_partial = 0;
    for seed in 0..CASES {
        let [old, new] = case(seed);
        let Found { operations, .. } = found(old.as_ref(), new.as_ref());
        assert_eq!(applied(old.clone(), &operations), Ok(new), "seed {seed}: {old:?} {operations:?}");
        n_partial += usize::from(operations.iter().any(|operation| operation["path"] != ""));
    }
    assert!(n_partial > CASES as usize / 4, "{n_partial}: many cases change a part");
}

#[test]
fn the_test_of_that_fails_where_a_list_is_patched_by_its_old_places() {
    let fails = |seed: &u64| {
        let [old, new] = case(*seed);
        let Found { mut operations, told } = found(old.as_ref(), new.as_ref());
        for (operation, (path, ..)) in operations.iter_mut().zip(told) {
            operation["path"] = json!(path);
        }
        applied(old, &operations) != Ok(new)
    };
    let n = (0..CASES).filter(fails).count();
    assert!(n > 50, "{n}");
}

#[test]
fn every_difference_is_where_it_says() {
    for seed in 0..CASES {
        let [old, new] = case(seed);
        for (path, before, after) in found(old.as_ref(), new.as_ref()).told {
            assert_ne!(before, after, "seed {seed}");
            let whole = if after.is_some() { &new } else { &old };
            let there = whole.as_ref().and_then(|whole| whole.pointer(&path));
            assert_eq!(there, after.as_ref().or(before.as_ref()), "seed {seed}: {path}");
        }
        let same = found(new.as_ref(), new.as_ref());
        assert!(same.operations.is_empty(), "seed {seed}");
    }
}

#[test]
fn what_is_told_is_the_smallest_part_that_differs() {
    let old = json!({"db": {"host": "a", "port": 1}, "list": ["x", "y", "z"], "gone": true});
    let new = json!({"db": {"host": "b", "port": 1}, "list": ["x", "z", "new"], "more": {"a": 1}});
    let Found { operations, told } = found(Some(&old), Some(&new));
    let told: Vec<_> = told.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(told, ["/db/host", "/gone", "/list/1", "/list/2", "/more"]);
    assert_eq!(
        json!(operations),
        json!([
            { "op": "replace", "path": "/db/host", "value": "b" },
            { "op": "remove", "path": "/gone" },
            { "op": "remove", "path": "/list/1" },
            { "op": "add", "path": "/list/2", "value": "new" },
            { "op": "add", "path": "/more", "value": {"a": 1} },
        ])
    );
    let created = found(None, Some(&json!(null)));
    assert_eq!(json!(created.operations), json!([{ "op": "add", "path": "", "value": null }]));
    let deleted = found(Some(&json!(null)), None);
    assert_eq!(json!(deleted.operations), json!([{ "op": "remove", "path": "" }]));
}

fn paths(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (Tree::of(old), Tree::of(new));
    differences(Some(&old), Some(&new)).expect("small").into_iter().map(|one| one.path).collect()
}

#[test]
fn values_are_compared_as_json_and_numbers_as_they_are_written() {
    assert!(paths(r#"{"a": 1, "b": "A"}"#, r#" { "b":"\u0041" , "a":1 } "#).is_empty());
    assert_eq!(paths(r#"{"a": 1.10}"#, r#"{"a": 1.1}"#), ["/a"]);
    assert_eq!(paths(r#"{"a": 1e400}"#, r#"{"a": 1e401}"#), ["/a"], "beyond what a double holds");
    assert_eq!(paths(r#"{"a": 9007199254740993}"#, r#"{"a": 9007199254740992}"#), ["/a"]);
}

#[test]
fn any_text_is_taken() {
    let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(300), "]".repeat(300));
    assert_eq!(paths(&deep("1"), &deep("2")).len(), 1);
    assert_eq!(paths(r#"{"a": "\ud800"}"#, r#"{"a": "\ud801"}"#), ["/a"], "half of a character");
    assert_eq!(paths(r#"{"\ud800": 1}"#, r#"{"\ud800": 2}"#), [""]);
    assert_eq!(paths("no JSON", "none either"), [""]);
}

#[test]
fn nobody_looks_into_what_is_sealed() {
    let sealed = |text: &str| format!(r#"{{"password": {{"$enc": {{"v": 1, "ct": "{text}"}}}}}}"#);
    let (old, new) = (sealed("AAAA"), sealed("BBBB"));
    let (old, new) = (Tree::of(&old), Tree::of(&new));
    let found = differences(Some(&old), Some(&new)).expect("small");
    assert_eq!(found.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["/password"]);
    assert!(found[0].old.is_some_and(Tree::is_sealed) && found[0].new.is_some_and(Tree::is_sealed));
    assert_eq!(paths(r#"{"$enc": 1}"#, r#"{"$enc": 2}"#), ["/$enc"], "that is nothing sealed");
}

#[test]
fn many_parts_under_a_long_name_are_refused_and_do_not_fill_the_memory() {
    let under = |name: usize, n_items: usize, item: &str| {
        format!(r#"{{"{}":[{}]}}"#, "n".repeat(name), vec![item; n_items].join(","))
    };
    let (old, new) = (under(400_000, 10_000, "1"), under(400_000, 10_000, "2"));
    let (old, new) = (Tree::of(&old), Tree::of(&new));
    assert_eq!(differences(Some(&old), Some(&new)).map(|found| found.len()), Err(TooLarge));
    assert!(differences(Some(&old), None).is_ok_and(|found| found.len() == 1));
    assert_eq!(Blame::of(&old).map(drop), Err(TooLarge));
    let text = format!(r#"{{"{}":"{}"}}"#, "n".repeat(400_000), "\\n".repeat(200_000));
    assert_eq!(Blame::of(&Tree::of(&text)).map(drop), Err(TooLarge));
    let wide = under(100, 200_000, "1");
    assert!(Blame::of(&Tree::of(&wide)).is_ok(), "short names have room");
}
