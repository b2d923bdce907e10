//! The resolver's operational transform beside npm's `ot-text-unicode` and `ot-json1`, through the real `.so`.
//!
//! Both sides get the same documents and the same pairs of operations. The random cases are tried for their strength
//! first: cases on which any rule agrees with any other one would show nothing.

mod text;
mod json;

use lockstep_test_support::{Site, npm_answers, plugin_answers, random, scale};
use serde_json::{Value, json};

/// Two operations that were made from one document; the first one is the left one.
#[derive(Debug)]
struct Case {
    doc: Value,
    ops: [Value; 2],
}

impl Case {
    fn request(&self, id: usize, kind: &str) -> Value {
        let [op1, op2] = &self.ops;
        json!({ "id": id, "type": kind, "cmd": "converge", "doc": self.doc, "op1": op1, "op2": op2 })
    }

    /// The same with the rule for ties turned round: the other one is the left one.
    fn flipped(&self) -> Self {
        let [op1, op2] = self.ops.clone();
        Self { doc: self.doc.clone(), ops: [op2, op1] }
    }
}

/// How many cases are compared.
fn n_cases() -> usize {
    scale(4000, 20_000)
}

fn requests(cases: &[Case], kind: &str) -> Vec<Value> {
    cases.iter().enumerate().map(|(id, case)| case.request(id, kind)).collect()
}

/// What npm's implementation makes of the cases.
fn expected(cases: &[Case], kind: &str) -> Vec<Value> {
    let answers = npm_answers(&requests(cases, kind));
    for (case, answer) in cases.iter().zip(&answers) {
        assert_eq!(answer["valid"], true, "npm's takes it: {case:?} {answer}");
        assert_eq!(answer["moved"], json!([true, true]), "both operations do something: {case:?}");
    }
    answers
}

/// What the plugin makes of them.
fn ours(cases: &[Case], kind: &str) -> Vec<Value> {
    plugin_answers(&Site::new(), "resolver", "ot", &requests(cases, kind))
}

/// The cases in which the answers differ in one of these fields.
fn different<'a>(
    cases: &'a [Case],
    (expected, ours): (&[Value], &[Value]),
    fields: &[&str],
) -> Vec<(&'a Case, Value, Value)> {
    let differs = |((case, expected), ours): ((&'a Case, &Value), &Value)| {
        let is_different = fields.iter().any(|field| expected[*field] != ours[*field]);
        is_different.then(|| (case, expected.clone(), ours.clone()))
    };
    cases.iter().zip(expected).zip(ours).filter_map(differs).collect()
}

/// Whether at least so many in a hundred are.
fn assert_share(what: &str, n: usize, of: usize, percent: usize) {
    println!("{what}: {n} of {of}");
    assert!(n * 100 >= of * percent, "{what}: only {n} of {of}, at least {percent} % are needed");
}

#[test]
fn text_is_transformed_as_npm_does() {
    let cases = text::cases(&mut random("text_is_transformed_as_npm_does"), n_cases());
    text::assert_strong(&cases);
    let (expected, found) = (expected(&cases, "text"), ours(&cases, "text"));
    let different = different(&cases, (&expected, &found), &["doc", "op1p", "op2p"]);
    assert!(different.is_empty(), "{} differ, the first: {:?}", different.len(), different.first());
}

#[test]
fn json_is_transformed_as_npm_does() {
    let cases = json::cases(&mut random("json_is_transformed_as_npm_does"), n_cases());
    let (expected, found) = (expected(&cases, "json1"), ours(&cases, "json1"));
    json::assert_strong(&cases, &expected);
    let apart = different(&cases, (&expected, &found), &["doc", "conflict"]);
    assert!(apart.is_empty(), "{} differ, the first: {:?}", apart.len(), apart.first());
    // The same operations, but for what npm's removes once more below what is removed anyway.
    let effects = |answers: &[Value]| -> Vec<Value> {
        let of = |answer: &Value| json!({ "op1p": json::effects(&answer["op1p"]), "op2p": json::effects(&answer["op2p"]) });
        answers.iter().map(of).collect()
    };
    let apart = different(&cases, (&effects(&expected), &effects(&found)), &["op1p", "op2p"]);
    assert!(apart.is_empty(), "{} have other operations, the first: {:?}", apart.len(), apart.first());
}

/// With the rule for ties turned round the comparison fails, so it looks at ties.
#[test]
fn the_comparison_fails_where_the_other_one_goes_first() {
    let mut random = random("the_comparison_fails_where_the_other_one_goes_first");
    for (kind, cases) in [("text", text::cases(&mut random, 1000)), ("json1", json::cases(&mut random, 1000))]
    {
        let flipped: Vec<Case> = cases.iter().map(Case::flipped).collect();
        let (expected, found) = (expected(&cases, kind), ours(&flipped, kind));
        let n = different(&cases, (&expected, &found), &["doc"]).len();
        assert_share(&format!("{kind} documents that differ"), n, cases.len(), 5);
    }
}
