//! Random histories of four hosts, through the whole component: whatever happens on the way, hosts that have heard the same
//! show the same.
//!
//! Every history holds a partition with writes on both sides, a host that loses its state, one that starts again with it,
//! clocks that differ, a deletion, operations, and messages that come late, twice and out of order.

mod guides_way;
mod wishes;

use super::*;
use crate::manual::Docket;
use std::collections::BTreeMap;

const N_HOSTS: usize = 4;
const N_STEPS: usize = 12;

/// How many histories are run: 1,000, or 6,000 with `LOCKSTEP_SCALE=full`.
fn n_histories() -> u64 {
    if std::env::var("LOCKSTEP_SCALE").is_ok_and(|scale| scale == "full") { 6000 } else { 1000 }
}

/// What happens next to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Write,
    WriteOperations,
    Delete,
    /// Hears something that some host has said.
    Hear,
    StartAgain,
    LoseState,
}

/// One host, with what it has shown.
struct Node {
    host: Host,
    config: Value,
    /// How far its clock is ahead.
    ahead_ms: i64,
    /// Every entry of its log, with its revision.
    entries: Vec<(u64, Value)>,
}

struct History {
    random: fastrand::Rng,
    nodes: Vec<Node>,
    /// Everything that was ever said.
    said: Vec<(usize, Value)>,
    is_parted: bool,
    n_steps: i64,
    met: BTreeMap<&'static str, usize>,
}

impl Node {
    fn new(config: &Value, ahead_ms: i64) -> Self {
        Self { host: Host::new(config), config: config.clone(), ahead_ms, entries: Vec::new() }
    }

    /// What the key shows; `None` if it is not there.
    fn shown(&self) -> Option<&Value> {
        self.entries.last().and_then(|(_, entry)| value_of(entry))
    }

    fn state(&self) -> Option<Bytes> {
        self.host.memory.state("resolver", Place::of(None, "app.x").siblings())
    }
}

fn value_of(entry: &Value) -> Option<&Value> {
    (entry["event_type"] != "config_deleted").then(|| &entry["new_value"])
}

impl History {
    fn new(seed: u64, strategies: &[&str]) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let shared = *random.choice(strategies).expect("a strategy");
        let nodes = (0..N_HOSTS).map(|_| {
            // One history in four has hosts that do not agree on how to resolve.
            let strategy = match seed % 4 {
                0 => *random.choice(strategies).expect("a strategy"),
                _ => shared,
            };
            let numbers = random.choice(["delta", "max", "average"]).expect("a rule");
            let config =
                json!({ "strategy": strategy, "merge": { "numbers": numbers }, "max_clock_ahead": "1d" });
            Node::new(&config, random.i64(0..60_000))
        });
        let nodes = nodes.collect();
        Self { random, nodes, said: Vec::new(), is_parted: false, n_steps: 0, met: BTreeMap::new() }
    }

    fn run(mut self) -> Self {
        let first = wishes::value(&mut self.random);
        self.submit(0, json!({ "new_value": first }));
        (1..N_HOSTS).for_each(|at| self.hear_what(at, 0));
        let mut steps = vec![Step::StartAgain, Step::LoseState, Step::Delete, Step::WriteOperations];
        let usual = [Step::Write, Step::WriteOperations, Step::Hear, Step::Hear];
        steps.resize_with(N_STEPS, || self.random.choice(usual).expect("a step"));
        self.random.shuffle(&mut steps);
        for (at, step) in steps.into_iter().enumerate() {
            if at == N_STEPS / 3 {
                self.part();
            }
            self.is_parted = (N_STEPS / 3..2 * N_STEPS / 3).contains(&at);
            let node = self.random.usize(0..N_HOSTS);
            self.step(node, step);
        }
        self.meet_all();
        self
    }

    /// Both sides write without hearing of each other.
    fn part(&mut self) {
        self.is_parted = true;
        let written = [0, 2].map(|side| {
            let node = side + self.random.usize(0..2);
            let step = if self.random.bool() { Step::Write } else { Step::WriteOperations };
            self.step(node, step);
            self.nodes[node].entries.last().expect("a write is news").1.clone()
        });
        let [one, other] = &written;
        let knew = |one: &Value, other: &Value| {
            let known = &one["ctx"][other["dot"]["node"].as_str().expect("a node")];
            known.as_u64() >= other["dot"]["seq"].as_u64()
        };
        assert!(!knew(one, other) && !knew(other, one), "both sides write, and neither has seen the other");
    }

    fn step(&mut self, node: usize, step: Step) {
        match step {
            Step::Write | Step::WriteOperations | Step::Delete => self.write(node, step),
            Step::Hear => {
                let reachable = |said: &(usize, Value)| !self.is_parted || said.0 / 2 == node / 2;
                let said: Vec<usize> = (0..self.said.len()).filter(|at| reachable(&self.said[*at])).collect();
                if let Some(what) = self.random.choice(said) {
                    self.hear_what(node, what);
                }
            }
            Step::StartAgain => {
                let Node { host, config, .. } = &mut self.nodes[node];
                *host = Host::on(host.memory.clone(), config);
            }
            Step::LoseState => {
                let Node { config, ahead_ms, .. } = &self.nodes[node];
                self.nodes[node] = Node::new(config, *ahead_ms);
                // What it has not sent yet is gone with its disk.
                if let Some(last) = self.said.iter().rposition(|(by, _)| *by == node && self.random.bool()) {
                    self.said.remove(last);
                }
            }
        }
    }

    /// An author who has read some entry of this host, mostly the last one, changes what it read.
    fn write(&mut self, node: usize, step: Step) {
        let entries = &self.nodes[node].entries;
        let is_behind = entries.len() > 1 && self.random.u8(0..3) == 0;
        let read =
            if is_behind { self.random.usize(0..entries.len()) } else { entries.len().saturating_sub(1) };
        let read = entries.get(read);
        let old = read.and_then(|(_, entry)| value_of(entry));
        let mut change = match (step, old) {
            (Step::Delete, Some(_)) => json!({ "event_type": "config_deleted" }),
            (Step::WriteOperations, Some(old)) => json!({ "ops": wishes::operations(&mut self.random, old) }),
            (_, Some(old)) => json!({ "new_value": wishes::changed(&mut self.random, old) }),
            (_, None) => json!({ "new_value": wishes::value(&mut self.random) }),
        };
        if let Some((revision, _)) = read.filter(|_| is_behind || self.random.bool()) {
            change["base"] = json!(revision);
        }
        self.submit(node, change);
    }

    /// A program of this host's asks for a change, by a clock that goes in whole seconds.
    fn submit(&mut self, node: usize, mut change: Value) {
        self.n_steps += 1;
        let hlc = format!("{}-0", time::now_us() / 1000 + self.nodes[node].ahead_ms);
        let timestamp = time::format_us(1_704_110_400_000_000 + self.n_steps / 4 * 1_000_000);
        for (field, value) in [("config_key", "app.x"), ("hlc", &hlc), ("timestamp", &timestamp)] {
            change[field] = json!(value);
        }
        let kind = match (change.get("ops"), change.get("event_type")) {
            (Some(_), _) => "operations",
            (_, Some(_)) => "deletions",
            _ => "values",
        };
        if self.take(node, &change) {
            *self.met.entry(kind).or_default() += 1;
        }
    }

    fn hear_what(&mut self, node: usize, what: usize) {
        let message = self.said[what].1.clone();
        self.take(node, &message);
    }

    /// Takes a change in, and says what became of the key; whether that was news.
    fn take(&mut self, node: usize, change: &Value) -> bool {
        let by = &mut self.nodes[node];
        let answer = match by.host.take(change) {
            Ok(Some(answer)) => answer,
            Ok(None) => return false,
            Err(error) => {
                assert_eq!(error.code(), Some("not_found"), "{error}: {change}");
                return false;
            }
        };
        if let Some(method) = answer.resolution["resolution_method"].as_str() {
            let is_carried = answer.entry.get("siblings").is_none();
            let method = if is_carried { "carried" } else { wishes::known_method(method) };
            *self.met.entry(method).or_default() += 1;
        }
        by.entries.push((answer.revision, answer.entry.clone()));
        self.said.push((node, answer.entry));
        true
    }

    /// The network is whole: everybody hears what everybody shows now, and some of what was said long ago, in any order and
    /// one in four of them twice.
    fn meet_all(&mut self) {
        self.is_parted = false;
        let newest = |node: usize| self.said.iter().rposition(|(by, _)| *by == node);
        let mut said: Vec<usize> = (0..N_HOSTS).filter_map(newest).collect();
        said.extend((0..6).map(|_| self.random.usize(0..self.said.len())));
        for node in 0..N_HOSTS {
            let again: Vec<usize> = said.iter().filter(|_| self.random.u8(0..4) == 0).copied().collect();
            let mut heard: Vec<usize> = said.iter().copied().chain(again).collect();
            self.random.shuffle(&mut heard);
            heard.into_iter().for_each(|what| self.hear_what(node, what));
        }
    }

    /// The conflict that each host has somebody decide.
    fn pending(&self) -> Vec<Option<Uuid>> {
        let of = |node: &Node| {
            let context = notices::context_of(&node.host.memory);
            let page = Docket::new(&context).pending_page(b"", None, 10).expect("readable");
            page.into_iter().map(|(_, id)| id).next()
        };
        self.nodes.iter().map(of).collect()
    }

    fn is_diverged(&self) -> bool {
        let of = |node: &Node| (node.shown().cloned(), node.state());
        self.nodes.iter().any(|node| of(node) != of(&self.nodes[0]))
    }
}

/// Runs the histories and counts what they held.
fn met(strategies: &[&str], offset: u64, n: u64) -> BTreeMap<&'static str, usize> {
    let mut met = BTreeMap::new();
    for seed in offset..offset + n {
        let history = History::new(seed, strategies).run();
        assert!(
            !history.is_diverged(),
            "seed {seed}: {:?}",
            history.nodes.iter().map(Node::shown).collect::<Vec<_>>()
        );
        let siblings =
            history.nodes[0].entries.last().and_then(|(_, entry)| entry["siblings"].as_array().map(Vec::len));
        if siblings.is_some_and(|n| n > 1) {
            *met.entry("open").or_default() += 1;
        }
        let pending = history.pending();
        assert!(pending.iter().all(|id| *id == pending[0]), "seed {seed}: {pending:?}");
        if pending[0].is_some() {
            *met.entry("pending").or_default() += 1;
        }
        history.met.into_iter().for_each(|(what, n)| *met.entry(what).or_default() += n);
    }
    met
}

/// Whether the histories held enough of everything to show something.
fn assert_strong(met: &BTreeMap<&str, usize>, n: u64, expected: &[&str]) {
    let n = n as usize;
    for (what, least) in [("operations", n), ("deletions", n / 2), ("values", n), ("open", n / 10)] {
        assert!(met.get(what).is_some_and(|found| *found >= least), "{what}: {met:?}");
    }
    for what in expected {
        assert!(met.get(what).is_some_and(|found| *found >= n / 20), "{what}: {met:?}");
    }
}

#[test]
fn hosts_that_transform_operations_converge() {
    let n = n_histories() / 2;
    let met = met(&["operational_transform"], 0, n);
    assert_strong(&met, n, &["carried", "operational_transform", "last_write_wins"]);
}

#[test]
fn hosts_that_merge_converge() {
    let n = n_histories() / 4;
    let met = met(&["merge_strategies"], 100_000, n);
    assert_strong(&met, n, &["dictionary_merge", "last_write_wins"]);
}

#[test]
fn hosts_that_leave_it_to_a_person_converge_and_name_one_conflict() {
    let n = n_histories() / 4;
    let met = met(&["manual_resolution"], 300_000, n);
    assert_strong(&met, n, &["manual_resolution_pending", "pending"]);
}

#[test]
fn hosts_that_do_not_agree_on_a_strategy_converge() {
    let n = n_histories() / 4;
    let all = [
        "operational_transform",
        "merge_strategies",
        "last_write_wins",
        "first_write_wins",
        "manual_resolution",
    ];
    assert_strong(&met(&all, 200_000, n), n, &["carried", "first_write_wins", "last_write_wins", "pending"]);
}
