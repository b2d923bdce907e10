use super::*;
use crate::names::key_problem;
use crate::time::thread_time;
use proptest::{prelude::*, sample::select, test_runner::RngSeed};

fn keys(rules: &[(&str, bool)]) -> Keys {
    Keys::new(rules.iter().map(|(glob, says)| (Glob::new(glob).expect("a glob"), *says)))
}

fn common(all: &[&Keys]) -> Option<String> {
    Search::default().common(all)
}

#[test]
fn lists_meet_where_both_say_yes_first() {
    for (one, other, meets) in [
        (&[("app.*", true)][..], &[("*", true)][..], Some("app.x")),
        (&[("app.security.*", true)], &[("app.text.*", true)], None),
        (&[("app.*.pin", true)], &[("app.text.*", true)], Some("app.text.pin")),
        (&[("app.public.*", false), ("app.*", true)], &[("app.public.*", true)], None),
        (&[("app.+.host", true)], &[("app.a.*.host", true)], None),
        (&[("[a-c]*", true)], &[("[!ab]?", true)], Some("cx")),
        (&[("app.x", true)], &[("app.x", true)], Some("app.x")),
        (&[("app.x", false), ("app.*", true)], &[("app.x", true)], None),
        (&[("*", true)], &[], None),
        (&[("ü*", true)], &[("*é", true)], Some("üé")),
        // What no key can be called does not count.
        (&[("a..b", true)], &[("*", true)], None),
        (&[("a/*", true)], &[("*", true)], None),
        (&[("a.*", true)], &[("*.b", true)], Some("a.b")),
    ] {
        let (one, other) = (keys(one), keys(other));
        assert_eq!(one.meet(&other).as_deref(), meets, "{one:?} and {other:?}");
        assert_eq!(other.meet(&one).as_deref(), meets, "{other:?} and {one:?}");
    }
}

#[test]
fn a_key_is_not_longer_than_keys_are() {
    let (one, other) = ("a".repeat(300), "b".repeat(300));
    let begins = keys(&[(&format!("{one}*"), true)]);
    assert_eq!(begins.meet(&keys(&[(&format!("*{other}"), true)])), None);
    let fits = keys(&[(&format!("*{}", "b".repeat(212)), true)]);
    assert_eq!(begins.meet(&fits).map(|key| key.len()), Some(512));
}

#[test]
fn a_set_and_what_is_not_in_it_have_nothing_in_common() {
    let some = keys(&[("app.a?", false), ("app.+", true), ("b*", true)]);
    assert_eq!(some.meet(&some.inverted()), None);
    assert_eq!(common(&[&Keys::all(), &some, &some]).as_deref(), Some("b"));
    assert!(some.inverted().contains("app.ax") && !some.inverted().contains("app.b"));
    assert_eq!(common(&[&some, &keys(&[("b*", true)]).inverted()]).as_deref(), Some("app.x"));
}

#[test]
fn the_boundary_carries_every_rule() {
    let some = keys(&[("app.public.*", false), ("app.*", true)]);
    assert_eq!(Keys::from(RVec::from(some.clone())), some);
}

/// Lists that would take for ever: hard to walk through, many to choose from, many to leave out, and long.
fn hostile() -> Vec<(&'static str, Vec<Keys>)> {
    let hard = |end: &str| format!("*a{}{end}", "?".repeat(60));
    let walk = ["b", "c", "d"].map(|end| keys(&[(&hard(end), false), (&hard("e*"), true)]));
    let all = |says: fn(usize) -> bool, glob: &dyn Fn(usize) -> String| {
        let rules = (0..1000).map(|n| (glob(n), says(n)));
        Keys::new(rules.map(|(text, says)| (Glob::new(&text).expect("a glob"), says)))
    };
    let endings = |end: char| all(|_| true, &move |n| format!("*{n}{end}"));
    let left_out = |end: char| all(|n| n % 2 == 1, &move |n| format!("*{}*{n}{end}", "z?".repeat(200)));
    let beginnings = || all(|n| n == 999, &|n| format!("{}{n}", "a".repeat(490)));
    vec![
        ("to walk", walk.into()),
        ("to choose", ['a', 'b', 'c', 'd'].map(endings).into()),
        ("to leave out", ['a', 'b', 'c'].map(left_out).into()),
        ("to begin", (0..20).map(|_| beginnings()).collect()),
        ("to choose nothing in the end", vec![endings('a'), endings('a'), endings('a'), Keys::default()]),
    ]
}

#[test]
fn hostile_lists_are_given_up_in_time() {
    for (what, lists) in hostile() {
        let began = thread_time();
        let _ = common(&lists.iter().collect::<Vec<_>>());
        let took = thread_time() - began;
        assert!(took.as_secs() < 60, "{what}: {took:?}");
    }
}

#[test]
fn many_questions_take_no_longer_than_a_few_and_it_is_told_what_was_not_answered() {
    let lists = hostile();
    let (began, mut search) = (thread_time(), Search::default());
    for _ in 0..10_000 {
        for (_, lists) in &lists {
            let _ = search.common(&lists.iter().collect::<Vec<_>>());
        }
    }
    let took = thread_time() - began;
    assert!(search.gave_up() && took.as_secs() < 120, "{took:?}");
    let mut search = Search::default();
    let (one, other) = (keys(&[("app.a*", true)]), keys(&[("app.b*", true)]));
    for _ in 0..10_000 {
        assert_eq!(search.common(&[&one, &other]), None);
    }
    assert!(!search.gave_up(), "lists as people write them");
}

/// Globs over few characters, so that they have something to do with each other.
fn glob() -> impl Strategy<Value = Glob> {
    let part = select(vec!["a", "b", ".", "*", "?", "[ab]", "[!a]", "[b-c]", ".+.", ".+", "a.", ""]);
    let parts = prop::collection::vec(part, 1..5);
    parts.prop_filter_map("no glob", |parts| Glob::new(&parts.concat()).ok())
}

fn some_keys() -> impl Strategy<Value = Keys> {
    prop::collection::vec((glob(), any::<bool>()), 1..4).prop_map(Keys::new)
}

/// Every key of at most four of these characters.
fn short_keys() -> Vec<String> {
    let mut all = vec![String::new()];
    let mut longest = all.clone();
    for _ in 0..4 {
        longest = longest
            .iter()
            .flat_map(|key| ["a", "b", "c", ".", "x"].map(|one| format!("{key}{one}")))
            .collect();
        all.extend(longest.iter().cloned());
    }
    all.retain(|key| key_problem(key).is_none());
    all
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn an_example_is_found_exactly_if_there_is_one(one in some_keys(), other in some_keys()) {
        let short = short_keys();
        let expected = short.iter().find(|key| one.contains(key) && other.contains(key));
        let found = one.meet(&other);
        if let Some(key) = &found {
            prop_assert!(one.contains(key) && other.contains(key) && key_problem(key).is_none(), "{key}");
        }
        match expected {
            Some(key) => prop_assert_eq!(found.map(|found| found.len()), Some(key.len()), "{}", key),
            None => prop_assert!(found.is_none_or(|key| key.len() > 4)),
        }
    }
}
