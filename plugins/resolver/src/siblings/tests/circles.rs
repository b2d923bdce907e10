//! Changes whose contexts no host makes.

use super::*;

/// Every order of some changes, each taken in alone.
fn in_every_order(changes: &[Sibling]) -> Vec<Siblings> {
    let Some(n_others) = changes.len().checked_sub(1) else { return vec![Siblings::default()] };
    let last = |at: usize| {
        let others: Vec<_> =
            (0..=n_others).filter(|other| *other != at).map(|other| changes[other].clone()).collect();
        let before = in_every_order(&others);
        before.into_iter().map(move |mut set| {
            set.join([changes[at].clone()]);
            set
        })
    };
    (0..=n_others).flat_map(last).collect()
}

/// No host makes such contexts, and a message in which two changes know each other is refused; who sends them in several
/// must not make hosts differ, nor empty a key.
#[test]
fn changes_that_claim_to_know_each_other_end_alike_in_whatever_order() {
    let (one, two) = (sibling("a@1", 1, &[("a@1", 1), ("b@1", 1)], 1), sibling("b@1", 1, &[("a@1", 1)], 2));
    let third = sibling("d@1", 1, &[], 0);
    for (changes, left) in [
        (vec![one.clone(), two.clone()], vec![two.clone()]),
        (vec![one.clone(), two.clone(), third.clone()], vec![third, two]),
    ] {
        let together = received(changes.clone());
        assert_eq!(together.list(), left);
        assert!(in_every_order(&changes).into_iter().all(|set| set == together));
    }
    assert_eq!(received(vec![one.clone()]).list(), [one], "nobody else knows it");
}

/// What remains: three that know each other in a circle, and one that does not know what the one it knows had seen. Nobody
/// can tell afterwards what a change replaced that is replaced itself.
#[test]
fn contexts_that_leave_out_what_they_have_seen_can_make_hosts_differ_and_empty_no_key() {
    let circle =
        [("a@1", "b@1"), ("b@1", "c@1"), ("c@1", "a@1")].map(|(of, knows)| sibling(of, 1, &[(knows, 1)], 1));
    let [one, two, _] = &circle;
    for changes in [&circle[..], &[one.clone(), two.clone(), sibling("c@1", 1, &[], 1)]] {
        let ends = in_every_order(changes);
        assert!(
            ends.iter().all(|set| !set.list().is_empty()) && !received(changes.to_vec()).list().is_empty()
        );
        assert!(ends.iter().any(|set| *set != ends[0]), "then the rule is better than this says");
    }
}

/// Very many that know each other are compared in no time, too.
#[test]
fn very_many_changes_that_claim_to_know_each_other_are_joined_in_no_time() {
    const N: u64 = 20_000;
    let began = std::time::Instant::now();
    let many = |node: &str, other: &str, hlc: u64| -> Vec<Sibling> {
        (1..=N).map(|seq| sibling(node, seq, &[(other, N)], hlc)).collect()
    };
    let mut set = received(many("a@1", "b@1", 1));
    set.join(many("b@1", "a@1", 2));
    assert!(set.list().len() == N as usize && set.list().iter().all(|left| left.dot.node.as_str() == "b@1"));
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}
