//! At least once and in order, over crashes of the host and rotations of its input.

use lockstep_test_support::{
    Host, LIMIT, Ledger, Probe, Site, append, eventually, key_of, lines, random, read, scale,
};
use std::{fs, path::Path, time::Duration};

/// The most that may be read and not yet acked, and so the most that one crash may repeat.
const IN_FLIGHT: usize = 100;

fn change(number: usize) -> String {
    format!(r#"{{"event_type":"config_updated","config_key":"app.old.{number}","new_value":{number}}}"#)
}

fn arrived(output: &Path) -> Vec<String> {
    lines(output).iter().map(|line| key_of(line)).collect()
}

fn n_distinct(output: &Path) -> usize {
    arrived(output).iter().collect::<std::collections::HashSet<_>>().len()
}

/// How many lines there are, repeated ones included; cheap enough to be asked all the time.
fn n_written(output: &Path) -> usize {
    fs::read(output).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

/// Read and not yet acked, by the host's own counters.
fn n_in_flight(host: &Host) -> f64 {
    let metrics = host.metrics();
    metrics.sum("lockstep_records_read_total", &[]) - metrics.sum("lockstep_records_acked_total", &[])
}

#[test]
fn every_line_survives_crashes_of_the_host_and_rotations_of_the_file() {
    let (n_kills, n_lines) = scale((8, 4_000), (30, 20_000));
    let mut random = random("delivery");
    let site = Site::new().pipeline(
        "copy",
        &format!(
            "
sources: [ {{ plugin: file, config: {{ path: SITE/in.ndjson }} }} ]
transforms:
  - {{ plugin: probe, config: {{ delay_us: 800 }} }}
  - {{ plugin: rename_key, config: {{ from: app.old., to: app.new. }} }}
sinks: [ {{ plugin: file, config: {{ path: SITE/out.ndjson }} }} ]
delivery: {{ batch: {{ records: 20 }}, in_flight: {{ records: {IN_FLIGHT} }} }}
"
        ),
    );
    let (input, output) = (site.path("in.ndjson"), site.path("out.ndjson"));
    let n_per_round = n_lines / n_kills;
    let mut n_hit_in_flight = 0;
    for round in 0..n_kills {
        let first = round * n_per_round;
        let half = first + n_per_round / 2;
        append(&input, (first..half).map(change));
        // A third of the rotations happens while the host is away, a third while it reads.
        if round % 3 == 1 {
            rotate(&site, &input);
        }
        let so_far = n_written(&output);
        let mut host = site.start();
        if round % 3 == 2 {
            host.wait_until("some of this round", LIMIT, |_| n_written(&output) > so_far);
            rotate(&site, &input);
        }
        append(&input, (half..first + n_per_round).map(change));
        // So early that there is something left to hit on a machine that is slow to kill.
        let goal = so_far + random.usize(1..n_per_round / 2);
        host.wait_until("a part of this round", LIMIT, |_| n_written(&output) >= goal);
        // Between two batches, or in the middle of one.
        std::thread::sleep(Duration::from_micros(random.u64(0..8_000)));
        let was_in_flight = n_in_flight(&host) > 0.0;
        host.kill();
        n_hit_in_flight += usize::from(was_in_flight && n_distinct(&output) < first + n_per_round);
    }
    let mut host = site.start();
    let n_offered = n_per_round * n_kills;
    host.wait_until("the rest", LIMIT, |_| n_distinct(&output) == n_offered);
    host.stop();

    let offered: Vec<String> = (0..n_offered).map(|number| format!("app.new.{number}")).collect();
    let ledger = Ledger::new(&offered, &arrived(&output));
    println!(
        "{n_kills} kills, {n_hit_in_flight} with batches in flight, {} lines repeated",
        ledger.n_duplicates
    );
    ledger.assert_at_least_once_in_order();
    assert!(
        ledger.n_duplicates <= n_kills * IN_FLIGHT,
        "it resumes from its position: {}",
        ledger.n_duplicates
    );
    assert!(
        2 * n_hit_in_flight >= n_kills,
        "too few kills hit batches in flight: {n_hit_in_flight} of {n_kills}"
    );
}

/// Gives the input another name as logrotate does, `.1` being the newest; the writer goes on in a new file.
fn rotate(site: &Site, input: &Path) {
    let name = |number: usize| site.path(format!("in.ndjson.{number}"));
    let n_rotated = (1..).take_while(|number| name(*number).exists()).count();
    for number in (1..=n_rotated).rev() {
        fs::rename(name(number), name(number + 1)).expect("a rotated file can be renamed");
    }
    fs::rename(input, name(1)).expect("the input can be renamed");
    fs::write(input, "").expect("a new input");
}

#[test]
fn a_position_is_shown_and_nothing_is_repeated_after_a_drain() {
    let site = Site::new().pipeline(
        "copy",
        "
sources: [ { plugin: file, config: { path: SITE/in.ndjson } } ]
sinks: [ { plugin: file, config: { path: SITE/out.ndjson } } ]
",
    );
    let output = site.path("out.ndjson");
    for round in 0..3 {
        append(&site.path("in.ndjson"), (round * 100..(round + 1) * 100).map(change));
        let mut host = site.start();
        host.wait_until("this round's lines", LIMIT, |_| lines(&output).len() == (round + 1) * 100);
        host.wait_until("a position", LIMIT, |host| {
            let status = host.status();
            let positions = &status.component("copy", "sources", "file")["positions"];
            positions.as_array().is_some_and(|lanes| !lanes.is_empty())
                || positions.as_object().is_some_and(|lanes| !lanes.is_empty())
        });
        host.stop();
    }
    let offered: Vec<String> = (0..300).map(|number| format!("app.old.{number}")).collect();
    Ledger::new(&offered, &arrived(&output)).assert_exactly_once_in_order();
}

#[test]
fn standard_input_and_output_are_a_pipeline_too() {
    let site = Site::new().pipeline(
        "stream",
        "
sources: [ { plugin: file, config: { path: '-', follow: false } } ]
transforms: [ { plugin: rename_key, config: { from: app.old., to: app.new. } } ]
sinks: [ { plugin: file, config: { path: '-' } } ]
",
    );
    let input = site.path("in.ndjson");
    append(&input, (0..100).map(change));
    let output = site.path("out.ndjson");
    let mut command = site.command(["run", "pipelines/stream.yaml"]);
    command.stdin(fs::File::open(&input).expect("the input"));
    command
        .stdout(fs::File::create(&output).expect("the output"))
        .stderr(fs::File::create(site.path("err")).expect("a log"));
    let mut child = command.spawn().expect("the host starts");
    let ended = eventually(LIMIT, || child.try_wait().expect("a child can be asked"));
    let _ = child.kill();
    let code = ended.and_then(|status| status.code());
    assert_eq!(code, Some(0), "it ends with its input\n{}", read(&site.path("err")));
    let offered: Vec<String> = (0..100).map(|number| format!("app.new.{number}")).collect();
    Ledger::new(&offered, &arrived(&output)).assert_exactly_once_in_order();
}

#[test]
fn otherwise_takes_what_no_condition_took() {
    let site = Site::new().pipeline(
        "split",
        "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 100 } } ]
sinks:
  - { name: tens, plugin: probe, when: 'change.config_key.endsWith(\"0\")', config: { dir: SITE/tens } }
  - name: rest
    plugin: probe
    when: otherwise
    transforms: [ { plugin: rename_key, config: { from: app.probe., to: rest. } } ]
    config: { dir: SITE/rest }
",
    );
    let mut host = site.start();
    let probes = ["tens", "rest"].map(|name| Probe::new(&site, name));
    host.wait_until("every record at its sink", LIMIT, |_| {
        probes[0].written().len() == 10 && probes[1].written().len() == 90
    });
    let rest = Probe::keys(100).into_iter().filter(|key| !key.ends_with('0'));
    let renamed: Vec<String> = rest.map(|key| key.replace("app.probe.", "rest.")).collect();
    assert_eq!(probes[1].written(), renamed, "through the sink's own chain");
}
