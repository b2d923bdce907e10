//! Random histories of locks: the same observer judges these rules and the guide's own algorithm.

mod observer;
mod guide;
mod rounds;

use crate::{config::Rules, name::LockName};
use guide::Guide;
use observer::{Observer, Violation};
use proptest::{prelude::*, test_runner::TestRunner};
use rounds::Rounds;
use std::time::Duration;

pub const RULES: Rules = Rules { longest_heartbeat: Duration::from_secs(30), max_per_user: 100 };

/// Who acts: a session and its user. The first two are one user's.
pub const ACTORS: [(&str, &str); 4] = [("s1", "alice"), ("s2", "alice"), ("s3", "bob"), ("s4", "carol")];

const KEYS: [&str; 2] = ["app.x", "app.y"];

/// One thing that an actor does about a key.
#[derive(Debug, Clone)]
pub struct Step {
    pub actor: usize,
    pub key: usize,
    pub what: Does,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    Acquire {
        ttl_s: u64,
        wait_s: u64,
        request: Option<u8>,
    },
    /// With the token that the actor was told last.
    Extend {
        ttl_s: u64,
    },
    Release,
    Force,
    Close,
}

/// What happens at one instant.
#[derive(Debug, Clone)]
pub enum Round {
    Steps { steps: Vec<Step>, is_lost: bool },
    Advance { ms: u64 },
    Restart { clock_step_s: i64 },
}

/// Something that grants and ends leases.
pub trait Subject {
    /// Does what is due and these steps; the calls are numbered from `first_call`.
    fn round(&mut self, steps: &[(Step, u64)], first_call: u64, is_lost: bool) -> Told;
    fn advance(&mut self, by: Duration);
    fn restart(&mut self, clock_step_s: i64);
}

/// What a subject said in one round.
#[derive(Debug, Default)]
pub struct Told {
    /// By number of the call: the token, if it was not refused.
    pub answers: Vec<(u64, Option<u64>)>,
    /// What the audit has: key, session, token.
    pub events: Vec<(usize, String, u64, Kind)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Acquired,
    Released,
    Expired,
    Forced,
}

pub fn name(key: usize) -> LockName {
    LockName::new(None, KEYS[key]).expect("a name")
}

fn steps(actors: usize) -> impl Strategy<Value = Step> {
    let request = prop::option::weighted(0.3, 0..3_u8);
    let acquire = (1..20_u64, prop_oneof![Just(0), 1..30_u64], request)
        .prop_map(|(ttl_s, wait_s, request)| Does::Acquire { ttl_s, wait_s, request });
    let what = prop_oneof![
        5 => acquire,
        2 => (1..20_u64).prop_map(|ttl_s| Does::Extend { ttl_s }),
        4 => Just(Does::Release),
        1 => Just(Does::Force),
        1 => Just(Does::Close),
    ];
    (0..actors, 0..KEYS.len(), what).prop_map(|(actor, key, what)| Step { actor, key, what })
}

fn histories(actors: usize) -> impl Strategy<Value = Vec<Round>> {
    let steps = prop::collection::vec(steps(actors), 1..4);
    let round = prop_oneof![
        8 => (steps, prop::bool::weighted(0.1)).prop_map(|(steps, is_lost)| Round::Steps { steps, is_lost }),
        3 => (1..8000_u64).prop_map(|ms| Round::Advance { ms }),
        1 => (-30..30_i64).prop_map(|clock_step_s| Round::Restart { clock_step_s }),
    ];
    prop::collection::vec(round, 1..60)
}

/// Lets a subject live through a history, under the observer's eyes.
fn judge(mut subject: impl Subject, history: &[Round]) -> Result<Observer, Violation> {
    let (mut observer, mut next_call) = (Observer::default(), 1);
    for round in history {
        match round {
            Round::Steps { steps, is_lost } => {
                let asked: Vec<_> =
                    steps.iter().map(|step| (step.clone(), observer.last_token(step))).collect();
                let told = subject.round(&asked, next_call, *is_lost);
                observer.see(steps, next_call, &told, *is_lost)?;
                next_call += steps.len() as u64;
            }
            Round::Advance { ms } => {
                subject.advance(Duration::from_millis(*ms));
                observer.advance(Duration::from_millis(*ms));
                let told = subject.round(&[], next_call, false);
                observer.see(&[], next_call, &told, false)?;
            }
            Round::Restart { clock_step_s } => {
                subject.restart(*clock_step_s);
                observer.restart(*clock_step_s);
            }
        }
    }
    Ok(observer)
}

fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })
}

#[test]
fn no_history_has_two_holders_or_a_token_twice_or_somebody_overtaken() {
    let n_grants = std::cell::Cell::new(0);
    let result = runner().run(&histories(4), |history| {
        let observer = judge(Rounds::new(), &history)
            .map_err(|violation| TestCaseError::fail(format!("{violation:?}")))?;
        n_grants.set(n_grants.get() + observer.n_grants());
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(n_grants.get() > 5000, "only {} leases were granted", n_grants.get());
}

/// Whether the observer finds this in the guide's algorithm, among plain histories of these actors: the guide neither
/// knows of sessions that close nor of restarts.
fn guide_fails(actors: std::ops::Range<usize>, is_wanted: impl Fn(&Violation) -> bool) -> bool {
    let is_plain = |round: &Round| match round {
        Round::Steps { steps, is_lost } => {
            let known = |step: &Step| actors.contains(&step.actor) && step.what != Does::Close;
            !is_lost && steps.iter().all(known)
        }
        Round::Advance { .. } => true,
        Round::Restart { .. } => false,
    };
    let result = runner().run(&histories(actors.end), |history| {
        let history: Vec<_> = history.into_iter().filter(is_plain).collect();
        match judge(Guide::default(), &history) {
            Err(violation) if is_wanted(&violation) => Err(TestCaseError::fail(format!("{violation:?}"))),
            _ => Ok(()),
        }
    });
    result.is_err()
}

#[test]
fn the_guides_own_algorithm_fails_the_same_observer() {
    // Two sessions of one user.
    assert!(guide_fails(0..2, |violation| matches!(violation, Violation::NotTheHolder { .. })));
}

#[test]
fn the_guides_heartbeat_fails_even_if_every_session_has_a_user_of_its_own() {
    assert!(guide_fails(1..4, |violation| matches!(violation, Violation::NotTheHolder { .. })));
}
