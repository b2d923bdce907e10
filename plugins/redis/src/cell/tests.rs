//! What a cell may be replaced by, and that writers who keep to it lose nothing.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn a_digest_is_what_the_server_makes_of_the_same_bytes() {
    assert_eq!(Digest::of(b"abc").hex(), "a9993e364706816aba3e25717850c26c9cd0d89d");
}

#[test]
fn what_is_used_is_remembered_and_what_is_not_is_forgotten() {
    let mut seen = Seen::new(4);
    let cell = |n: u64| Digest::of(&n.to_be_bytes());
    for key in 0..10 {
        seen.set(key, cell(key));
        seen.set(1, cell(1));
    }
    assert_eq!(seen.get(9), Some(cell(9)));
    assert_eq!(seen.get(1), Some(cell(1)));
    assert_eq!(seen.get(2), None);
    assert!(seen.young.len() + seen.old.len() <= 4);
}

fn shown(json: &str) -> Shown {
    Shown::of(&Change::from_json(&json.into()).expect("a change")).expect("readable").expect("a dot")
}

#[test]
fn a_cell_is_older_the_same_newer_beside_or_foreign() {
    let first = r#"{"config_key":"k","dot":{"node":"a","seq":1},"ctx":{}}"#;
    let next = r#"{"config_key":"k","dot":{"node":"b","seq":1},"ctx":{"a":1}}"#;
    let beside = r#"{"config_key":"k","dot":{"node":"c","seq":1},"ctx":{}}"#;
    for (state, cell, finding) in [
        (next, first, Finding::Older),
        (first, next, Finding::Newer),
        (first, r#"{"dot":{"node":"a","seq":1},"ctx":{},"config_key":"k"}"#, Finding::Same),
        (next, beside, Finding::Beside),
        (next, r#"{"config_key":"k","new_value":1}"#, Finding::Foreign),
        (next, r#"{"config_key":"k","dot":"a"}"#, Finding::Foreign),
        (next, "\u{0}", Finding::Foreign),
    ] {
        assert_eq!(Finding::of(&shown(state), cell.as_bytes()), finding, "{state} {cell}");
    }
}

#[test]
fn what_a_newer_cell_hides_is_told_by_who_made_either() {
    let cell = |node: &str| format!(r#"{{"config_key":"k","dot":{{"node":"{node}","seq":2}},"ctx":{{}}}}"#);
    for (finding, author, in_cell, is_untold) in [
        (Finding::Newer, "here@1", "here@1", true),
        (Finding::Newer, "there@1", "here@2", true),
        (Finding::Newer, "here@1", "there@1", true),
        (Finding::Newer, "there@1", "there@1", false),
        (Finding::Newer, "where@1", "here", false),
        (Finding::Same, "here@1", "here@1", false),
        (Finding::Beside, "here@1", "here@1", false),
    ] {
        let untold = finding.leaves_untold("here", Some(author), cell(in_cell).as_bytes());
        assert_eq!(untold, is_untold, "{finding:?} {author} {in_cell}");
    }
    assert!(!Finding::Newer.leaves_untold("here", None, b"no JSON"));
}

/// A key's state as a host keeps it: the changes that stand, each with what its author knew.
#[derive(Debug, Clone, Default, PartialEq)]
struct State(BTreeMap<(u8, u64), BTreeMap<u8, u64>>);

impl State {
    fn known(&self) -> BTreeMap<u8, u64> {
        let mut known = BTreeMap::new();
        let mut add = |node: u8, seq: u64| {
            let newest = known.entry(node).or_insert(seq);
            *newest = seq.max(*newest);
        };
        for ((node, seq), ctx) in &self.0 {
            add(*node, *seq);
            ctx.iter().for_each(|(node, seq)| add(*node, *seq));
        }
        known
    }

    fn author(&mut self, node: u8, seq: u64) {
        let ctx = self.known();
        self.0 = BTreeMap::from([((node, seq), ctx)]);
    }

    fn join(&mut self, other: &Self) {
        let (mine, theirs) = (self.known(), other.known());
        let knows =
            |known: &BTreeMap<u8, u64>, (node, seq): &(u8, u64)| known.get(node).is_some_and(|to| to >= seq);
        let stay: BTreeMap<_, _> = self
            .0
            .iter()
            .filter(|(dot, _)| other.0.contains_key(*dot) || !knows(&theirs, dot))
            .chain(other.0.iter().filter(|(dot, _)| self.0.contains_key(*dot) || !knows(&mine, dot)))
            .map(|(dot, ctx)| (*dot, ctx.clone()))
            .collect();
        self.0 = stay;
    }

    fn write(&self) -> String {
        let siblings: Vec<_> = self
            .0
            .iter()
            .map(|((node, seq), ctx)| {
                let ctx: BTreeMap<String, u64> =
                    ctx.iter().map(|(node, seq)| (node.to_string(), *seq)).collect();
                serde_json::json!({ "dot": { "node": node.to_string(), "seq": seq }, "ctx": ctx })
            })
            .collect();
        serde_json::json!({ "config_key": "k", "dot": siblings[0]["dot"], "siblings": siblings }).to_string()
    }

    fn read(text: &str) -> Self {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let number = |text: &str| text.parse::<u8>().expect("a number");
        let sibling = |one: &serde_json::Value| {
            let dot = &one["dot"];
            let ctx = one["ctx"].as_object().expect("a map").iter();
            (
                (number(dot["node"].as_str().expect("text")), dot["seq"].as_u64().expect("a number")),
                ctx.map(|(node, seq)| (number(node), seq.as_u64().expect("a number"))).collect(),
            )
        };
        Self(value["siblings"].as_array().expect("a list").iter().map(sibling).collect())
    }
}

/// A host: its state, the states it still has to write, and the cell as it saw it last.
#[derive(Default)]
struct Host {
    state: State,
    owed: Vec<State>,
    seen: Option<Digest>,
}

/// `cell.lua` without a stream, in Rust.
fn compare_and_set(cell: &mut Option<String>, new: &str, expected: Option<Digest>) -> Result<(), String> {
    match cell {
        Some(there) if there != new && Some(Digest::of(there.as_bytes())) != expected => Err(there.clone()),
        _ => {
            *cell = Some(new.to_owned());
            Ok(())
        }
    }
}

impl Host {
    /// Writes the oldest state owed, as the sink does; what the cell showed is joined, and what the join adds is owed.
    fn write(&mut self, cell: &mut Option<String>) {
        if self.owed.is_empty() {
            return;
        }
        let new = self.owed[0].write();
        let Err(there) = compare_and_set(cell, &new, self.seen) else {
            self.seen = Some(Digest::of(new.as_bytes()));
            self.owed.remove(0);
            return;
        };
        match Finding::of(&shown(&new), there.as_bytes()) {
            Finding::Older => self.seen = Some(Digest::of(there.as_bytes())),
            Finding::Same => drop(self.owed.remove(0)),
            Finding::Newer | Finding::Beside | Finding::Foreign => {
                self.owed.remove(0);
                self.receive(&there);
            }
        }
    }

    fn receive(&mut self, there: &str) {
        let theirs = State::read(there);
        let before = self.state.clone();
        self.state.join(&theirs);
        // The host does not give an entry back to where it was read, unless it holds more than the message showed.
        if self.state != before && self.state != theirs {
            self.owed.push(self.state.clone());
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Author(usize),
    Write(usize),
    /// Forgets what it saw, as a restarted sink does.
    Forget(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3_usize, 0..5_u8).prop_map(|(host, what)| match what {
        0 | 1 => Step::Author(host),
        2 | 3 => Step::Write(host),
        _ => Step::Forget(host),
    });
    proptest::collection::vec(step, 1..40)
}

/// Changes by host and number.
type Dots = BTreeSet<(u8, u64)>;

/// Runs the steps, lets everybody write what is owed, and gives what the cell and what all hosts together know.
fn run(steps: &[Step], write: fn(&mut Host, &mut Option<String>)) -> (Dots, Dots) {
    let (mut hosts, mut cell) = ([Host::default(), Host::default(), Host::default()], None);
    let mut all = State::default();
    for (seq, step) in (1_u64..).zip(steps) {
        match *step {
            Step::Author(host) => {
                let node = host as u8;
                hosts[host].state.author(node, seq);
                let state = hosts[host].state.clone();
                all.join(&state);
                hosts[host].owed.push(state);
            }
            Step::Write(host) => write(&mut hosts[host], &mut cell),
            Step::Forget(host) => hosts[host].seen = None,
        }
    }
    for _ in 0..1_000 {
        hosts.iter_mut().for_each(|host| write(host, &mut cell));
    }
    assert!(hosts.iter().all(|host| host.owed.is_empty()), "everybody comes to an end");
    let stands = |state: &State| state.0.keys().copied().collect();
    (cell.map(|cell| stands(&State::read(&cell))).unwrap_or_default(), stands(&all))
}

proptest! {
    #[test]
    fn writers_who_compare_and_join_leave_every_change_in_the_cell(steps in steps()) {
        let (cell, all) = run(&steps, Host::write);
        prop_assert_eq!(cell, all);
    }
}

/// The negative control: what a plain HSET does.
#[test]
fn a_blind_write_loses_a_change_that_stood_beside() {
    let blind: fn(&mut Host, &mut Option<String>) = |host, cell| {
        if !host.owed.is_empty() {
            *cell = Some(host.owed.remove(0).write());
        }
    };
    let steps = [Step::Author(0), Step::Author(1), Step::Write(0), Step::Write(1)];
    let (cell, all) = run(&steps, blind);
    assert_eq!((cell.len(), all.len()), (1, 2));
    let (cell, all) = run(&steps, Host::write);
    assert_eq!(cell, all);
}

/// A life of a host that owes what was not acked: how many cells it writes before it tells of any, how many it tells of
/// then, and whether it comes to ack them.
type Life = (usize, usize, bool);

/// The stream's states, told by a host that is killed in the middle of its groups and at last is not.
fn told_over_lives(n_states: u64, lives: &[Life], is_untold: fn(Finding, &str) -> bool) -> Vec<u64> {
    let state = |seq: u64| {
        format!(
            r#"{{"config_key":"k","dot":{{"node":"here@1","seq":{seq}}},"ctx":{{"here@1":{}}}}}"#,
            seq - 1
        )
    };
    let (mut cell, mut stream, mut acked) = (None, Vec::new(), 0);
    for (n_cells, n_told, is_acked) in lives.iter().copied().chain([(usize::MAX, usize::MAX, true)]) {
        let mut to_tell = Vec::new();
        let mut seen = None;
        for seq in (acked + 1..=n_states).take(n_cells) {
            let new = state(seq);
            let expected = seen.replace(Digest::of(new.as_bytes()));
            let Err(there) = compare_and_set(&mut cell, &new, expected) else {
                to_tell.push(seq);
                continue;
            };
            match Finding::of(&shown(&new), there.as_bytes()) {
                Finding::Older => {
                    let again = compare_and_set(&mut cell, &new, Some(Digest::of(there.as_bytes())));
                    again.expect("nobody else writes");
                    to_tell.push(seq);
                }
                finding if is_untold(finding, &there) => to_tell.push(seq),
                finding => assert_eq!(finding, Finding::Newer),
            }
        }
        let n_in_group = to_tell.len();
        stream.extend(to_tell.iter().take(n_told));
        if is_acked && n_told >= n_in_group {
            acked = to_tell.last().copied().unwrap_or(acked);
        }
    }
    assert_eq!(cell, Some(state(n_states)), "the cell ends with the newest state");
    stream
}

/// Every number, whatever came twice, and in order when it came first.
fn firsts(stream: &[u64]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    stream.iter().copied().filter(|seq| seen.insert(*seq)).collect()
}

proptest! {
    #[test]
    fn what_a_killed_host_wrote_over_is_told_when_it_is_back(
        n_states in 1..12_u64,
        lives in proptest::collection::vec((0..12_usize, 0..12_usize, any::<bool>()), 0..6),
    ) {
        let is_untold =
            |finding: Finding, cell: &str| finding.leaves_untold("here", Some("here@1"), cell.as_bytes());
        let stream = told_over_lives(n_states, &lives, is_untold);
        prop_assert_eq!(firsts(&stream), (1..=n_states).collect::<Vec<_>>());
    }
}

/// The negative control: to leave it to whoever wrote the cell.
#[test]
fn a_state_that_is_left_to_whoever_wrote_the_cell_is_told_by_nobody() {
    let stream = told_over_lives(3, &[(3, 0, false)], |_, _| false);
    assert_eq!(stream, [3]);
}
