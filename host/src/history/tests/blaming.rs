//! Blame beside the simplest way to tell: every part is looked up in every version.

use super::*;

/// A history, the oldest value first; `None` is a key without a value.
type History = Vec<Option<Value>>;

/// Who each part of the last value is by: the number of the version that made it.
fn blamed(history: &History) -> Vec<(String, Option<usize>, Option<usize>)> {
    let texts: Vec<_> = history.iter().map(|value| value.as_ref().map(Value::to_string)).collect();
    let trees: Vec<_> = texts.iter().map(|text| text.as_deref().map(Tree::of)).collect();
    let newest = trees.len() - 1;
    let mut blame = Blame::of(trees[newest].as_ref().expect("the key has a value")).expect("small");
    for at in (1..trees.len()).rev() {
        if blame.is_done() {
            break;
        }
        blame.changed(trees[at].as_ref().expect("parts are open"), trees[at - 1].as_ref());
    }
    blame.parts().into_iter().map(|part| (part.path, part.line, part.by.map(|by| newest - by))).collect()
}

/// The parts that a value has; lines are none of them.
fn leaves(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves(field, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(at, item)| leaves(item, &format!("{path}/{at}"), found));
        }
        value => found.push((path.to_owned(), value.clone())),
    }
}

/// Objects only: there, a part stands where its path says.
fn without_lists(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().map(|(name, field)| (name, without_lists(field))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => json!(items.len()),
        Value::String(text) => json!(text.replace('\n', " ")),
        other => other,
    }
}

fn any_history(random: &mut fastrand::Rng, next: impl Fn(&mut fastrand::Rng, &Value) -> Value) -> History {
    let mut history = vec![None];
    let first = any_value(random, 3);
    let mut value = next(random, &first);
    for _ in 0..random.usize(1..8) {
        history.push((random.u8(0..10) > 0).then(|| value.clone()));
        value = next(random, &value);
    }
    history.push(Some(value));
    history
}

#[test]
fn every_part_is_by_the_last_change_that_touched_it() {
    let mut n_older = 0;
    for seed in 0..CASES {
        let mut random = fastrand::Rng::with_seed(seed);
        let history = any_history(&mut random, |random, value| without_lists(changed(random, value)));
        let mut expected = Vec::new();
        let value = history.last().and_then(Option::as_ref).expect("a value");
        leaves(value, "", &mut expected);
        let by = |(path, leaf): (String, Value)| {
            let had = |version: &Option<Value>| {
                version.as_ref().and_then(|value| value.pointer(&path)) == Some(&leaf)
            };
            let last_without = history.iter().rposition(|version| !had(version)).expect("there was no value");
            (path, None, Some(last_without + 1))
        };
        let mut expected: Vec<_> = expected.into_iter().map(by).collect();
        expected.sort();
        n_older += expected.iter().filter(|(_, _, by)| *by < Some(history.len() - 1)).count();
        let mut found = blamed(&history);
        found.sort();
        assert_eq!(found, expected, "seed {seed}: {history:?}");
    }
    assert!(n_older > CASES as usize / 2, "{n_older}: many parts are older than the last change");
}

/// Items and lines that are never put in twice: where one comes from is known by itself.
#[test]
fn items_and_lines_keep_who_they_are_by_wherever_they_come_to_stand() {
    for seed in 0..CASES {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut items, mut versions, mut n) = (Vec::new(), Vec::new(), 0);
        for version in 1..random.usize(2..8) {
            items.retain(|_| random.u8(0..4) > 0);
            for _ in 0..random.usize(1..4) {
                n += 1;
                items.insert(random.usize(0..=items.len()), (n, version));
            }
            versions.push(items.clone());
        }
        let by: Vec<_> = items.iter().map(|(_, version)| Some(*version)).collect();
        let numbers = |items: &Vec<(i32, usize)>| {
            Some(items.iter().map(|(n, _)| json!({ "n": n, "same": 1 })).collect())
        };
        let history: History = [None].into_iter().chain(versions.iter().map(numbers)).collect();
        let found = blamed(&history).into_iter().filter(|(path, ..)| path.ends_with("/n"));
        assert_eq!(found.map(|(_, _, by)| by).collect::<Vec<_>>(), by, "seed {seed}: {history:?}");

        let text = |items: &Vec<(i32, usize)>| {
            let text: String = items.iter().map(|(n, _)| format!("line {n}\n")).collect();
            Some(json!(text))
        };
        let history: History = [None].into_iter().chain(versions.iter().map(text)).collect();
        let expected: Vec<_> =
            by.iter().enumerate().map(|(at, by)| (String::new(), Some(at + 1), *by)).collect();
        assert_eq!(blamed(&history), expected, "seed {seed}: {history:?}");
    }
}

#[test]
fn what_was_there_before_all_that_is_known_is_nobodys() {
    let history = vec![Some(json!({"a": 1, "b": [1, 2]})), Some(json!({"a": 1, "b": [0, 1, 2], "c": "x"}))];
    let by: Vec<_> = blamed(&history).into_iter().map(|(path, _, by)| (path, by)).collect();
    let expected = [("/a", None), ("/b/0", Some(1)), ("/b/1", None), ("/b/2", None), ("/c", Some(1))];
    assert_eq!(by, expected.map(|(path, by)| (path.to_owned(), by)));
}

#[test]
fn a_key_that_was_deleted_begins_anew() {
    let value = Some(json!({"a": 1}));
    assert_eq!(blamed(&vec![None, value.clone(), None, value]), [("/a".to_owned(), None, Some(3))]);
}
