//! The host's time of day is set forward and back by an hour: what orders changes goes on.

use super::{Sync, change, lock, revision};
use lockstep_plugin_api::time::parse_us;
use lockstep_test_support::{Clock, Host, LIMIT, Site, last_revision, scale, written};
use serde_json::{Value, json};
use std::{collections::HashSet, time::Duration};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_clock_that_is_set_by_an_hour_either_way_takes_nothing_back_and_refuses_nothing() {
    let n_changes = scale(50, 1_000);
    let Sync { site, port } = Sync::new();
    let (site, clock) = Clock::new(site);
    let sync = Sync { site, port };
    let mut host = sync.start();
    let mut author = sync.author();
    let held = lock(&mut author, "app.held", 60_000, 0);
    assert_eq!(held["success"], true, "{held}");
    let mut times = vec![time_of_day(&sync)];
    for step in 0..4 {
        for number in 0..n_changes {
            revision(&author.change(&format!("app.key.{}", number % 10), &json!(number)));
        }
        // The holder's lease lasts by the time that passes, not by what a clock shows.
        let fence = json!({ "fence": { "lock": "app.held", "token": held["token"] } });
        revision(&change(&mut author, "app.held", &json!(step), &fence));
        match step {
            0 => clock.ahead(HOUR),
            1 => clock.behind(HOUR),
            2 => clock.behind(Duration::ZERO),
            _ => {}
        }
        times.push(time_of_day(&sync));
    }
    // What was promised is kept over a restart at an earlier time, too.
    clock.behind(HOUR);
    let end = restart(&sync, &mut host, "app.end");
    host.wait_until("the file sink", LIMIT, |_| last_revision(&sync.output()) >= Some(end));

    assert!(times[1] > times[0] + 3_000 && times[2] < times[1] - 7_000, "the clock was set: {times:?}");
    let mut changes = written(&sync.output());
    // What the crash made the sink get again is not looked at twice.
    let mut seen = HashSet::new();
    changes.retain(|change| seen.insert(change["revision"].as_u64()));
    let revisions: Vec<u64> = changes.iter().filter_map(|change| change["revision"].as_u64()).collect();
    assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]), "revisions only grow");
    let clocks: Vec<(u64, u64)> = changes.iter().map(hlc).collect();
    let back = clocks.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(back, None, "the hybrid logical clock only grows");
    assert_eq!(changes.len(), 4 * (n_changes + 1) + 1);
}

fn restart(sync: &Sync, host: &mut Host, key: &str) -> u64 {
    host.kill();
    *host = sync.start();
    revision(&sync.author().change(key, &json!("end")))
}

/// The seconds of the host's own clock, as its welcome shows it.
fn time_of_day(sync: &Sync) -> i64 {
    let welcome = sync.client().welcome().clone();
    let timestamp = welcome["timestamp"].as_str().expect("the welcome has a time");
    parse_us(timestamp).unwrap_or_else(|error| panic!("{timestamp}: {error}")) / 1_000_000
}

/// `<milliseconds>-<counter>`.
fn hlc(change: &Value) -> (u64, u64) {
    let text = change["hlc"].as_str().unwrap_or_else(|| panic!("no hlc: {change}"));
    let (ms, counter) = text.split_once('-').unwrap_or_else(|| panic!("no hlc: {text}"));
    (ms.parse().expect("milliseconds"), counter.parse().expect("a counter"))
}

#[test]
fn the_clock_of_a_host_can_be_set() {
    let (site, clock) = Clock::new(Site::new());
    let mut command = std::process::Command::new("date");
    let environment = site.command(["--version"]);
    command.arg("+%s").envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut seconds = || -> i64 {
        let output = command.output().expect("`date` is there");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("seconds")
    };
    let before = seconds();
    clock.ahead(HOUR);
    let ahead = seconds();
    clock.behind(HOUR);
    let behind = seconds();
    assert!((3_600..3_700).contains(&(ahead - before)), "{before} {ahead}");
    assert!((7_100..=7_200).contains(&(ahead - behind)), "{ahead} {behind}");
}
