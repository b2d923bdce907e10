//! Two versions of one plugin side by side in one process.

use lockstep_test_support::{LIMIT, Probe, Site};

#[test]
fn two_versions_of_one_plugin_run_side_by_side() {
    let yaml = |version: &str| {
        format!(
            "
sources: [ {{ plugin: probe, config: {{ dir: SITE/in, count: 5 }} }} ]
transforms: [ {{ plugin: versioned@{version} }} ]
sinks: [ {{ plugin: probe, config: {{ dir: SITE/out-{version} }} }} ]
"
        )
    };
    let site = Site::new().pipeline("first", &yaml("1.0")).pipeline("second", &yaml("1.1"));
    let mut host = site.start();
    for (version, full) in [("1.0", "1.0.0"), ("1.1", "1.1.0")] {
        let sink = Probe::new(&site, &format!("out-{version}"));
        host.wait_until("five records", LIMIT, |_| sink.written().len() == 5);
        let expected: Vec<String> = Probe::keys(5).iter().map(|key| format!("{key}.by-{full}")).collect();
        assert_eq!(sink.written(), expected);
    }
}

#[test]
fn a_name_that_means_two_versions_is_refused_with_both_of_them() {
    let site = Site::new().pipeline(
        "either",
        "
sources: [ { plugin: probe, config: { dir: in, count: 5 } } ]
transforms: [ { plugin: versioned } ]
sinks: [ { plugin: probe, config: { dir: out } } ]
",
    );
    let refused = site.run(["validate", "pipelines/either.yaml"]).expect_code(2);
    for part in ["versioned", "1.0.0", "1.1.0", "either.yaml:3:"] {
        assert!(refused.stderr.contains(part), "`{part}` in\n{}", refused.stderr);
    }
}

#[test]
fn a_version_that_is_not_there_is_refused_with_those_that_are() {
    let site = Site::new().pipeline(
        "newer",
        "
sources: [ { plugin: probe, config: { dir: in, count: 5 } } ]
transforms: [ { plugin: versioned@2.0 } ]
sinks: [ { plugin: probe, config: { dir: out } } ]
",
    );
    let refused = site.run(["validate", "pipelines/newer.yaml"]).expect_code(2);
    for part in ["versioned@2.0", "1.0.0", "1.1.0"] {
        assert!(refused.stderr.contains(part), "`{part}` in\n{}", refused.stderr);
    }
}
