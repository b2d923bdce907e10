mod circles;

use super::*;
use crate::encoding;
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest},
    strategy::{Strategy as Generator, ValueTree},
    test_runner::{TestError, TestRunner},
};

/// A change with this place and nothing remarkable.
pub fn sibling(node: &str, seq: u64, ctx: &[(&str, u64)], hlc: u64) -> Sibling {
    let ctx = ctx.iter().map(|(node, seq)| Dot { node: (*node).into(), seq: *seq }).collect();
    Sibling {
        dot: Dot { node: node.into(), seq },
        ctx,
        hlc: Hlc::from_bits(hlc),
        event_id: format!("{node}#{seq}").into(),
        strategy: Strategy::LastWriteWins,
        value: Some(format!("\"{node}#{seq}\"").into()),
        old_value: None,
        user_id: None,
        source_node: None,
        timestamp_us: None,
        base_hash: None,
        ops: None,
    }
}

const NODES: [&str; 4] = ["a@1", "b@1", "c@1", "d@1"];
const NOON: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

/// One change of a history, as random numbers say it comes about.
#[derive(Debug, Clone)]
struct Write {
    node: usize,
    /// Which of the earlier changes its host hears of before, one bit each.
    heard: u8,
    /// How many of its host's own states its author's view is behind.
    behind: usize,
    is_first_wins: bool,
    is_deletion: bool,
    /// How far the wall clock went on since the last change.
    passed_ms: i64,
}

/// Changes of one key by four hosts whose clocks differ: what each of them knew is what its host had heard of.
#[derive(Debug, Clone)]
struct History {
    writes: Vec<Write>,
    skews: Vec<i64>,
    /// What the order, the repetitions and the paths of the deliveries are drawn from.
    seed: u64,
}

fn histories() -> impl Generator<Value = History> {
    let write = (0..NODES.len(), any::<u8>(), 0..3_usize, any::<bool>(), prop::bool::weighted(0.2), 0..3_i64);
    let write = write.prop_map(|(node, heard, behind, is_first_wins, is_deletion, passed_ms)| Write {
        node,
        heard,
        behind,
        is_first_wins,
        is_deletion,
        passed_ms,
    });
    let skew = proptest::prop_oneof![-2..3_i64, -HOUR..HOUR];
    (vec(write, 2..=6), vec(skew, NODES.len()), any::<u64>()).prop_map(|(writes, skews, seed)| History {
        writes,
        skews,
        seed,
    })
}

impl History {
    fn changes(&self) -> Vec<Sibling> {
        let mut hosts: Vec<Vec<Siblings>> = NODES.iter().map(|_| vec![Siblings::default()]).collect();
        let mut clocks = [Hlc::default(); NODES.len()];
        let mut changes: Vec<Sibling> = Vec::new();
        let mut wall = NOON;
        for (i, write) in self.writes.iter().enumerate() {
            wall += write.passed_ms;
            let views = &mut hosts[write.node];
            let mut view = views.last().expect("a host has a state").clone();
            let now_ms = (wall + self.skews[write.node]) as u64;
            for (_, change) in changes.iter().enumerate().filter(|(j, _)| write.heard & (1 << j) != 0) {
                view.join([change.clone()]);
                let clock = &mut clocks[write.node];
                *clock = clock.merge(change.hlc, now_ms, std::time::Duration::from_millis(500));
            }
            views.push(view.clone());
            let seen = &views[views.len() - 1 - write.behind.min(views.len() - 1)];
            clocks[write.node] = clocks[write.node].tick(now_ms);
            let strategy =
                if write.is_first_wins { Strategy::FirstWriteWins } else { Strategy::LastWriteWins };
            let change = Sibling {
                ctx: seen.known(),
                hlc: clocks[write.node],
                strategy,
                value: (!write.is_deletion).then(|| format!("{i}").into()),
                old_value: seen.value(),
                ..sibling(NODES[write.node], i as u64 + 1, &[], 0)
            };
            view.join([change.clone()]);
            views.push(view);
            changes.push(change);
        }
        changes
    }

    /// The changes in some order, one in four of them twice.
    fn delivery(&self, random: &mut fastrand::Rng) -> Vec<Sibling> {
        let mut changes = self.changes();
        let again: Vec<Sibling> = changes.iter().filter(|_| random.u8(0..4) == 0).cloned().collect();
        changes.extend(again);
        random.shuffle(&mut changes);
        changes
    }
}

/// The changes that no other one knew, found without the rule under test.
fn maximal(changes: &[Sibling]) -> Siblings {
    let is_known = |change: &Sibling| changes.iter().any(|other| other.ctx.covers(&change.dot));
    let mut maximal: Vec<Sibling> = changes.iter().filter(|change| !is_known(change)).cloned().collect();
    maximal.sort_by(|a, b| a.stamp().cmp(&b.stamp()));
    Siblings(maximal)
}

fn received(changes: Vec<Sibling>) -> Siblings {
    changes.into_iter().collect()
}

/// What is shown, in full: the value, and the event ids of who won and who did not.
fn outcome(siblings: &Siblings) -> (Option<Text>, Text, Vec<Text>) {
    let Outcome { resolution, changes, .. } = siblings.outcome().expect("there were changes");
    assert_eq!(resolution.value, siblings.value());
    let discarded = resolution.discarded.iter().map(|at| changes[*at].clone()).collect();
    (resolution.value, changes[resolution.winner.expect("one wins")].clone(), discarded)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_repetition_and_path_do_not_matter(history in histories()) {
        let mut random = fastrand::Rng::with_seed(history.seed);
        let expected = maximal(&history.changes());
        let direct = received(history.delivery(&mut random));
        prop_assert_eq!(&direct, &expected);
        prop_assert_eq!(encoding::encode(&direct), encoding::encode(&expected));

        // Each change goes one of two ways, or both; what meets at the end are states and not changes.
        let mut ways = [Siblings::default(), Siblings::default()];
        for change in history.delivery(&mut random) {
            let way = random.usize(0..3);
            for taken in (0..2).filter(|i| way == *i || way == 2) {
                ways[taken].join([change.clone()]);
            }
        }
        random.shuffle(&mut ways);
        let joined: Siblings = ways.into_iter().flat_map(|way| way.0).collect();
        prop_assert_eq!(&joined, &expected);
        prop_assert_eq!(outcome(&joined), outcome(&direct));
    }

    #[test]
    fn what_the_last_author_saw_is_all_that_it_replaces(history in histories()) {
        let siblings = received(history.changes());
        let last = Sibling { ctx: siblings.known(), ..sibling("e@1", 1, &[], u64::MAX) };
        let mut after = siblings.clone();
        prop_assert_eq!(after.join([last.clone()]), std::slice::from_ref(&last.dot));
        prop_assert_eq!(after.list(), std::slice::from_ref(&last));

        let unseen = sibling("f@1", 1, &[], 0);
        let mut after = siblings.clone();
        after.join([unseen.clone()]);
        after.join([last]);
        prop_assert!(after.get(&unseen.dot).is_some(), "nobody saw it, so nobody replaced it");
        prop_assert_eq!(after.list().len(), 2);
    }
}

/// What the guide does: the latest wall clock wins, and the change that came last among equals.
fn shown_by_arrival(changes: Vec<Sibling>) -> Option<Text> {
    let mut shown: Option<Sibling> = None;
    for change in changes {
        if shown.as_ref().is_none_or(|shown| change.hlc.ms() >= shown.hlc.ms()) {
            shown = Some(change);
        }
    }
    shown.and_then(|shown| shown.value)
}

#[test]
fn the_test_of_order_fails_where_arrival_breaks_the_tie() {
    let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
    let failed = TestRunner::new(config).run(&histories(), |history| {
        let mut random = fastrand::Rng::with_seed(history.seed);
        let one = shown_by_arrival(history.delivery(&mut random));
        let other = shown_by_arrival(history.delivery(&mut random));
        prop_assert_eq!(one, other);
        Ok(())
    });
    assert!(matches!(failed, Err(TestError::Fail(..))), "the histories do not tell the two apart");
}

#[test]
fn the_histories_hold_concurrency_and_succession() {
    let mut runner = TestRunner::deterministic();
    let (mut conflicts, mut settled) = (0, 0);
    for _ in 0..500 {
        let history = histories().new_tree(&mut runner).expect("a history").current();
        match received(history.changes()).is_conflict() {
            true => conflicts += 1,
            false => settled += 1,
        }
    }
    assert!(conflicts > 100 && settled > 50, "{conflicts} conflicts, {settled} without");
}

/// A message may say so: what another host took in is never refused.
#[test]
fn very_many_changes_that_stand_against_each_other_are_joined_in_no_time() {
    const N: u64 = 20_000;
    let began = std::time::Instant::now();
    let many = |names: &str| -> Vec<Sibling> {
        let node = |n: u64| format!("{names}{:05}", N - n);
        let ctx = |n: u64| node(n) + "-before";
        (0..N).map(|n| sibling(&node(n), 2, &[(&ctx(n), 1), ("both", n + 1)], n)).collect()
    };
    let (mut one, other) = (received(many("a")), received(many("b")));
    assert_eq!(one.join(other.clone()).len(), N as usize);
    assert_eq!((one.list().len(), one.contenders().len()), (2 * N as usize, 2 * N as usize));
    assert_eq!(encoding::decode(&encoding::encode(&one)).expect("readable"), one);
    assert!(other.is_known_to(&one) && !one.is_known_to(&other));
    assert_eq!(outcome(&one).0, one.list().last().expect("many").value);
    let next = Sibling { ctx: one.known(), ..sibling("c", 1, &[], 0) };
    assert_eq!((one.join([next]).len(), one.list().len()), (1, 1));
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn equal_stamps_are_told_apart_by_node_then_by_number() {
    let siblings =
        received(vec![sibling("b@1", 1, &[], 7), sibling("a@1", 9, &[], 7), sibling("b@1", 2, &[], 7)]);
    assert_eq!(outcome(&siblings).1.as_str(), "b@1#2");
}

#[test]
fn the_greatest_siblings_strategy_decides() {
    let first = Sibling { strategy: Strategy::FirstWriteWins, ..sibling("a@1", 1, &[], 1) };
    let last = sibling("b@1", 1, &[], 2);
    assert_eq!(outcome(&received(vec![first.clone(), last.clone()])).1, last.event_id);
    let last = Sibling { strategy: Strategy::FirstWriteWins, ..last };
    let siblings =
        received(vec![Sibling { strategy: Strategy::LastWriteWins, ..first.clone() }, last.clone()]);
    let (_, winner, discarded) = outcome(&siblings);
    assert_eq!((winner, discarded), (first.event_id, vec![last.event_id]));
}

#[test]
fn one_change_that_two_hosts_took_in_counts_once() {
    let one = Sibling { event_id: "legacy".into(), ..sibling("a@1", 1, &[], 1) };
    let two = Sibling { event_id: "legacy".into(), ..sibling("b@1", 1, &[], 2) };
    let siblings = received(vec![two, one.clone()]);
    assert_eq!(siblings.list().len(), 2);
    assert!(!siblings.is_conflict());
    assert_eq!(outcome(&siblings), (one.value, one.event_id, vec![]));
}

#[test]
fn a_dot_with_two_contents_is_the_same_on_every_host() {
    let one = sibling("a@1", 1, &[], 1);
    let copied = Sibling { event_id: "z".into(), value: Some("2".into()), ..one.clone() };
    let forth = received(vec![one.clone(), copied.clone()]);
    assert_eq!(forth, received(vec![copied.clone(), one]));
    assert_eq!(forth.list(), [copied]);
}

#[test]
fn a_deletion_stays_and_keeps_what_it_replaced_from_coming_back() {
    let edit = sibling("a@1", 1, &[], 1);
    let deletion = Sibling { value: None, ..sibling("b@1", 1, &[("a@1", 1)], 2) };
    let mut siblings = received(vec![edit.clone(), deletion]);
    assert!(siblings.is_tombstone() && siblings.value().is_none());
    assert!(siblings.join([edit]).is_empty(), "it was replaced");
    assert!(siblings.is_tombstone());
}

#[test]
fn all_hosts_name_a_conflict_alike() {
    let (one, two) = (sibling("a@1", 1, &[], 2), sibling("b@1", 1, &[], 1));
    let id = received(vec![one.clone(), two.clone()]).conflict_id();
    assert_eq!(id, received(vec![two, one.clone()]).conflict_id());
    assert_eq!(id.get_version_num(), 5);
    assert_ne!(id, received(vec![one]).conflict_id());
}
