//! The admin server: alive, ready, counters in pairs, pipelines with their states.

use lockstep_test_support::{LIMIT, Probe, Site, http};

const PIPELINE: &str = "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 1000 } } ]
transforms: [ { plugin: rename_key, config: { from: nothing., to: anything. } } ]
sinks: [ { plugin: probe, config: { dir: SITE/out } } ]
";

#[test]
fn health_says_alive_and_readiness_follows_the_pipelines() {
    let site = Site::new().pipeline("flow", PIPELINE).env("LOCKSTEP_GRACE_PERIOD", "1s");
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    assert_eq!(host.get("/healthz").code, 200);
    host.wait_ready();
    let verbose = host.get("/readyz?verbose");
    assert_eq!(verbose.code, 200);
    assert!(verbose.body.contains("flow"), "{}", verbose.body);

    // A dead sink degrades; it does not unready.
    sink.down();
    host.wait_until("everything that was read", LIMIT, |_| sink.written().len() <= 1_000);
    assert_eq!(host.get("/healthz").code, 200);
    sink.up();
    host.stop();
}

#[test]
fn a_failed_pipeline_makes_the_host_unready_and_not_dead() {
    let site = Site::new().pipeline("flow", PIPELINE).pipeline(
        "broken",
        "
sources: [ { plugin: faulty, config: { count: 10, fault: { at: new, how: panic, mended: SITE/mended } } } ]
sinks: [ { plugin: probe, config: { dir: SITE/broken } } ]
",
    );
    let site =
        site.env("LOCKSTEP_RESTART__BACKOFF__MIN", "20ms").env("LOCKSTEP_RESTART__BACKOFF__MAX", "50ms");
    let mut host = site.start();
    host.wait_state("broken", "failed");
    assert_eq!(host.get("/healthz").code, 200);
    let verbose = host.get("/readyz?verbose");
    assert_eq!(verbose.code, 503);
    assert!(verbose.body.contains("broken"), "{}", verbose.body);
    let error = host.status().errors("broken");
    assert!(error.contains("panicked in new"), "{error}");
}

#[test]
fn counters_come_in_pairs_and_balance_when_everything_is_written() {
    let site = Site::new().pipeline("flow", PIPELINE);
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("everything", LIMIT, |_| sink.written().len() == 1_000);
    let labels = [("pipeline", "flow")];
    host.wait_until("the counters to balance", LIMIT, |host| {
        let metrics = host.metrics();
        let sum = |name| metrics.sum(name, &labels);
        sum("lockstep_records_read_total") == 1_000.0 && sum("lockstep_records_acked_total") == 1_000.0
    });
    let metrics = host.metrics();
    for family in ["lockstep_records_read_total", "lockstep_records_acked_total"] {
        assert!(
            metrics.text().contains(&format!("# TYPE {}", family.trim_end_matches("_total"))),
            "{family} has a type"
        );
    }
    assert!(metrics.text().contains("component=\"probe\""), "counters name their component");
    for histogram in ["lockstep_call_seconds", "lockstep_source_age_seconds", "lockstep_delivery_seconds"] {
        assert!(metrics.has(&format!("{histogram}_bucket")), "`{histogram}` in\n{}", metrics.text());
    }
    for (kind, name) in
        [("transform", "received"), ("transform", "passed"), ("sink", "received"), ("sink", "written")]
    {
        let n_records = metrics.sum(&format!("lockstep_records_{name}_total"), &[("kind", kind)]);
        assert_eq!(n_records, 1_000.0, "{name} by the {kind}");
    }
    assert!(metrics.sum("lockstep_bytes_read_total", &labels) > 0.0, "bytes that were read");
}

#[test]
fn pipelines_show_states_positions_and_lag() {
    let site = Site::new().pipeline("flow", PIPELINE);
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("everything", LIMIT, |_| sink.written().len() == 1_000);
    host.wait_state("flow", "running");
    let status = host.status();
    for (kind, name, plugin) in [
        ("sources", "probe", "probe"),
        ("transforms", "rename_key", "rename_key"),
        ("sinks", "probe", "probe"),
    ] {
        let component = status.component("flow", kind, name);
        assert_eq!(
            component["plugin"].as_str().and_then(|text| text.split('@').next()),
            Some(plugin),
            "{component}"
        );
        assert!(component["state"].is_string(), "{component}");
    }
    let text = status.pipeline("flow").to_string();
    for field in ["positions", "lag"] {
        assert!(text.contains(&format!("\"{field}\"")), "`{field}` in {text}");
    }
}

#[test]
fn the_admin_server_answers_while_every_pipeline_is_stuck() {
    let site = Site::new().pipeline("flow", PIPELINE);
    let sink = Probe::new(&site, "out");
    sink.block();
    let mut host = site.start();
    host.wait_until("a blocked sink", LIMIT, |_| !sink.offered().is_empty());
    for path in ["/healthz", "/metrics", "/v1/pipelines"] {
        assert_eq!(host.get(path).code, 200, "{path}");
    }
}

#[test]
fn the_bound_address_lies_in_the_data_folder_and_the_socket_is_the_owners() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new().pipeline("flow", PIPELINE);
    let host = site.start();
    let written = std::fs::read_to_string(site.path("data/admin.addr")).expect("the address");
    assert_eq!(written.trim(), host.admin());
    let socket = std::fs::metadata(site.path("data/admin.sock")).expect("the socket");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_path_that_is_not_there_is_404_and_nothing_is_changed_without_the_token() {
    let site = Site::new().pipeline("flow", PIPELINE);
    let host = site.start();
    assert_eq!(host.get("/nothing/here").code, 404);
    for (method, path) in
        [("DELETE", "/healthz"), ("POST", "/v1/dead-letters/retry"), ("POST", "/v1/pipelines")]
    {
        let refused = http(host.admin(), method, path).expect("an answer").code;
        assert!(matches!(refused, 401 | 403 | 405), "{method} {path}: {refused}");
    }
}

#[test]
fn a_second_host_on_the_same_data_is_refused() {
    let site = Site::new().pipeline("flow", PIPELINE);
    let _host = site.start();
    let refused = site.run(["run", "pipelines"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains("data"), "{refused:?}");
}
