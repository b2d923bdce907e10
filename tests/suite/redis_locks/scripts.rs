//! Every answer of every script, asked of a real server and without a host.

use super::{LOCK, redis};
use ::redis::Value;
use lockstep_test_support::Redis;
use std::{thread, time::Duration};

macro_rules! script {
    ($name:literal) => {
        concat!(
            include_str!("../../../plugins/lock/src/redis/scripts/shared.lua"),
            include_str!(concat!("../../../plugins/lock/src/redis/scripts/", $name, ".lua"))
        )
    };
}

const ACQUIRE: &str = script!("acquire");
const EXTEND: &str = script!("extend");
const RELEASE: &str = script!("release");
const FORCE_RELEASE: &str = script!("force_release");
const LEAVE: &str = script!("leave");

const STATE: &str = "{config_lock:global:app.x}:state";
const FENCE: &str = "{config_lock:global:app.x}:fence";

/// A server that is asked by scripts.
struct Asked(Redis);

/// An answer, flat: texts, numbers, and what a nested list holds in their place.
fn flat(value: Value, into: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.into_iter().for_each(|value| flat(value, into)),
        Value::BulkString(bytes) => into.push(String::from_utf8(bytes).expect("text")),
        Value::Int(number) => into.push(number.to_string()),
        other => into.push(format!("{other:?}")),
    }
}

impl Asked {
    fn run(&self, script: &str, arguments: &[&str]) -> Vec<String> {
        let mut answer = Vec::new();
        let words = [&["EVAL", script, "3", LOCK, STATE, FENCE], arguments].concat();
        flat(self.0.command(&words), &mut answer);
        answer
    }

    /// Takes the lock for 60 s with a text that says the session.
    fn acquire(&self, session: &str, request: &str, floor: &str, patience: &str) -> Vec<String> {
        self.acquire_for("60000", session, request, floor, patience)
    }

    fn acquire_for(
        &self,
        ttl: &str,
        session: &str,
        request: &str,
        floor: &str,
        patience: &str,
    ) -> Vec<String> {
        let (waiter, tail) =
            (format!("{session}/{request}"), format!(",\"session\":\"{session}\",\"token\":"));
        let owner = format!("u-{session}");
        let middle = format!("\"expires_at\":\"in {ttl}\"");
        self.run(
            ACQUIRE,
            &[session, &owner, ttl, floor, request, &waiter, patience, "{\"a\":1.0,", &middle, &tail, "a"],
        )
    }

    fn release(&self, session: &str, token: &str, request: &str, whole: &str) -> Vec<String> {
        self.run(RELEASE, &[session, token, request, whole, "channel", "said", ""])
    }

    /// The token that was given last.
    fn token(&self) -> u64 {
        self.0.command(&["GET", FENCE])
    }

    fn text(&self, session: &str, token: u64) -> String {
        format!("{{\"a\":1.0,\"expires_at\":\"in 60000\",\"session\":\"{session}\",\"token\":{token}}}")
    }

    fn expire(&self) {
        let _: i64 = self.0.command(&["PEXPIRE", LOCK, "1"]);
        thread::sleep(Duration::from_millis(5));
    }
}

fn asked() -> Asked {
    Asked(redis())
}

#[test]
fn acquire_grants_refuses_and_counts_a_request_once() {
    let asked = asked();
    // Ahead of the time, as after a clock was set back.
    let granted = asked.acquire("s1", "r1", "9000000000000", "0");
    let token = 9_000_000_000_001;
    assert_eq!(
        granted[..4],
        ["granted", &asked.text("s1", token), "1", "60000"],
        "above what the host has seen"
    );
    assert_eq!(granted[5..], ["1"], "this request began it, and nothing ended unsaid");
    let stored: String = asked.0.command(&["GET", LOCK]);
    assert_eq!(stored, asked.text("s1", token), "what the host wrote stays as it is");
    assert_eq!(asked.0.command::<i64>(&["PTTL", FENCE]), -1, "the count of tokens never expires");

    assert_eq!(asked.acquire("s1", "r1", "0", "0")[2..3], ["1"], "a repeat");
    assert_eq!(asked.acquire("s1", "r1", "0", "0")[5..], ["1"], "it began the lease still");
    let again = asked.acquire_for("1000", "s1", "r2", "0", "0");
    assert_eq!((again[2].as_str(), again[5].as_str()), ("2", "0"));
    assert!(again[4].parse::<u64>().expect("ms") > 50_000, "{again:?}");
    let longer = asked.acquire_for("90000", "s1", "r3", "0", "0");
    assert_eq!((longer[2].as_str(), longer[3].as_str()), ("3", "90000"));
    assert!(longer[1].contains("in 90000"), "{longer:?}");

    let locked = asked.acquire("s2", "r4", "0", "0");
    assert_eq!((locked[0].as_str(), locked.last().map(String::as_str)), ("locked", Some("0")));
}

#[test]
fn a_lease_that_ended_unsaid_is_said_once_and_a_late_repeat_takes_nothing() {
    let asked = asked();
    asked.acquire("s1", "r1", "0", "0");
    let token = asked.token();
    asked.expire();
    let next = asked.acquire("s2", "r2", "0", "0");
    assert!(asked.token() > token, "{} after {token}", asked.token());
    assert_eq!((next[0].as_str(), &next[1]), ("granted", &asked.text("s2", asked.token())));
    assert_eq!(next[6], asked.text("s1", token), "who had it before");
    assert_eq!(asked.release("s2", "", "r3", "0")[0], "released");
    assert_eq!(asked.acquire("s2", "r2", "0", "0"), ["over"], "it was granted and given back");
    assert_eq!(asked.acquire("s1", "r5", "0", "0").len(), 6, "nothing ended unsaid");
}

#[test]
fn a_text_of_another_program_is_left_alone() {
    let asked = asked();
    let _: String = asked.0.command(&["SET", LOCK, "theirs", "PX", "60000"]);
    let refused = asked.acquire("s1", "r1", "0", "1000");
    assert_eq!((refused[0].as_str(), refused[1].as_str(), refused[3].as_str()), ("foreign", "theirs", "1"));
    // A lease of ours ended, and somebody else was faster.
    let _: i64 = asked.0.command(&["DEL", LOCK]);
    asked.acquire("s1", "r1", "0", "0");
    let token = asked.token().to_string();
    let _: String = asked.0.command(&["SET", LOCK, "theirs"]);
    assert_eq!(
        asked.acquire("s1", "r2", "0", "0")[..3],
        ["foreign", "theirs", "-1"],
        "also for whoever had it"
    );
    assert_eq!(asked.run(EXTEND, &["s1", &token, "60000", "x", "a"])[0], "ended");
    assert_eq!(asked.release("s1", &token, "r3", "0"), ["no", "1"], "that it ended is told");
    assert_eq!(asked.run(FORCE_RELEASE, &[&token, "0", "f1", "channel", ""]), ["stale"]);
    assert_eq!(asked.0.command::<String>(&["GET", LOCK]), "theirs");
    let forced = asked.run(FORCE_RELEASE, &["", "0", "f1", "channel", ""]);
    assert_eq!(forced, ["foreign", "theirs", &asked.token().to_string()]);
    assert_ne!(asked.token().to_string(), token, "it counted on");
    assert_eq!(asked.run(FORCE_RELEASE, &["", "0", "f2", "channel", ""]), ["no"]);
}

#[test]
fn extend_needs_session_and_token_and_makes_nothing_again() {
    let asked = asked();
    asked.acquire("s1", "r1", "0", "0");
    let token = &asked.token().to_string();
    for (session, token, is_told) in
        [("s2", token.as_str(), "0"), ("s1", "2", "1"), ("s1", "9000000000000000", "0")]
    {
        assert_eq!(
            asked.run(EXTEND, &[session, token, "1000", "x", "a"]),
            ["no", is_told],
            "{session} {token}"
        );
    }
    let held = asked.run(EXTEND, &["s1", token, "90000", "\"expires_at\":\"later\"", "a"]);
    assert_eq!((held[0].as_str(), held[3].as_str()), ("held", "90000"));
    assert!(held[1].contains("later") && held[4].parse::<u64>().expect("ms") > 80_000, "{held:?}");
    let looked = asked.run(EXTEND, &["s1", token, "0", "", "a"]);
    assert_eq!(looked[..2], held[..2], "looking changes nothing");
    asked.expire();
    assert_eq!(asked.run(EXTEND, &["s1", token, "60000", "x", "a"])[0], "ended");
    assert_eq!(asked.run(EXTEND, &["s1", token, "60000", "x", "a"]), ["no", "1"], "which is said once");
    assert_eq!(asked.0.command::<i64>(&["EXISTS", LOCK]), 0);
}

#[test]
fn release_pops_once_for_each_request() {
    let asked = asked();
    asked.acquire("s1", "r1", "0", "0");
    asked.acquire("s1", "r2", "0", "0");
    let token = &asked.token().to_string();
    assert_eq!(asked.release("s2", "", "r3", "0")[0], "no");
    assert_eq!(asked.release("s1", "7", "r3", "0"), ["no", "1"]);
    for repeated in ["0", "1"] {
        let released = asked.release("s1", token, "r3", "0");
        assert_eq!(
            (released[0].as_str(), released[2].as_str(), released[5].as_str()),
            ("released", "1", repeated)
        );
    }
    for repeated in ["0", "1"] {
        let released = asked.release("s1", token, "r4", "0");
        assert_eq!((released[2].as_str(), released[5].as_str()), ("0", repeated));
    }
    assert_eq!(asked.release("s1", token, "r5", "0"), ["no", "1"]);
    assert!(asked.0.command::<i64>(&["PTTL", STATE]) > 0, "what is remembered goes by itself");

    asked.acquire("s1", "r6", "0", "0");
    asked.acquire("s1", "r7", "0", "0");
    assert_eq!(asked.0.command::<i64>(&["PTTL", STATE]), -1);
    assert_eq!(asked.release("s1", "", "r8", "1")[2], "0", "wholly");
    asked.acquire("s1", "r9", "0", "0");
    asked.expire();
    assert_eq!(asked.release("s1", &asked.token().to_string(), "r10", "0")[0], "ended");
}

#[test]
fn force_counts_the_token_on_and_is_done_once() {
    let asked = asked();
    asked.acquire("s1", "r1", "0", "0");
    let token = asked.token();
    assert_eq!(asked.run(FORCE_RELEASE, &["7", "0", "f1", "channel", ""]), ["stale"]);
    let mut counted = Vec::new();
    for _ in 0..2 {
        let forced = asked.run(FORCE_RELEASE, &[&token.to_string(), "0", "f1", "channel", ""]);
        assert_eq!((forced[0].as_str(), &forced[1]), ("forced", &asked.text("s1", token)));
        counted.push(forced[5].parse::<u64>().expect("a token"));
    }
    assert!(counted[0] > token && counted[0] == counted[1], "{counted:?} after {token}");
    assert_eq!(asked.run(FORCE_RELEASE, &["", "0", "f2", "channel", ""]), ["no"]);
    assert_eq!(asked.acquire("s2", "r2", "0", "0")[1], asked.text("s2", asked.token()));
    assert!(asked.token() > counted[0]);
    let again = asked.run(FORCE_RELEASE, &["", "0", "f1", "channel", ""]);
    assert_eq!((&again[1], &again[5]), (&asked.text("s1", token), &counted[0].to_string()), "a late repeat");
    let held: String = asked.0.command(&["GET", LOCK]);
    assert_eq!(held, asked.text("s2", asked.token()), "it takes nothing from whoever is next");
}

#[test]
fn force_takes_another_programs_lock_once_and_says_so_again() {
    let asked = asked();
    let foreign = r#"{"user_id":"bob\u0007","x":1.50}"#;
    let _: String = asked.0.command(&["SET", LOCK, foreign]);
    let forced = asked.run(FORCE_RELEASE, &["", "0", "f1", "channel", ""]);
    assert_eq!(forced[..2], ["foreign", foreign]);
    assert_eq!(asked.run(FORCE_RELEASE, &["", "0", "f1", "channel", ""]), forced);
    assert_eq!(asked.run(FORCE_RELEASE, &["", "0", "f2", "channel", ""]), ["no"]);
}

#[test]
fn a_request_may_come_again_if_its_grant_was_undone_and_not_if_it_was_given_back() {
    let asked = asked();
    for (back, then) in [("1", "over"), ("2", "granted")] {
        asked.acquire("s1", back, "0", "0");
        assert_eq!(asked.release("s1", "", "u1", back)[2], "0", "wholly");
        assert_eq!(asked.acquire("s1", back, "0", "0")[0], then);
    }
}

#[test]
fn whoever_waits_is_served_in_order_and_the_dead_fall_out() {
    let asked = asked();
    asked.acquire("s1", "r1", "0", "0");
    let place = |answer: &[String]| answer.last().expect("a place").clone();
    assert_eq!(place(&asked.acquire("s2", "r2", "0", "3000")), "1");
    assert_eq!(place(&asked.acquire("s3", "r3", "0", "60000")), "2");
    assert_eq!(place(&asked.acquire("s4", "r4", "0", "60000")), "3");
    assert_eq!(place(&asked.acquire("s3", "r3", "0", "60000")), "2", "asking again keeps the place");
    asked.release("s1", "", "r5", "0");
    let refused = asked.acquire("s3", "r3", "0", "60000");
    assert_eq!((refused[0].as_str(), refused[1].as_str(), place(&refused).as_str()), ("line", "u-s2", "2"));
    assert_eq!(asked.acquire("s9", "r9", "0", "0")[0], "line", "nobody overtakes");
    thread::sleep(Duration::from_millis(3_100));
    assert_eq!(asked.acquire("s3", "r3", "0", "60000")[0], "granted", "the head is not there any more");
    assert_eq!(asked.run(LEAVE, &["s4/r4", "channel"]), ["1"]);
    assert_eq!(asked.run(LEAVE, &["s4/r4", "channel"]), ["0"]);
    asked.release("s3", "", "r6", "0");
    assert_eq!(asked.acquire("s9", "r9", "0", "0")[0], "granted", "nobody waits");
}
