//! Who answers `encrypt.status`, of the components that all could.

use super::*;
use lockstep_test_support::LIMIT;

#[test]
fn one_before_the_log_answers_for_all_and_one_behind_it_where_there_is_none() {
    let ring = "ring: [ { file: ../keys/ring } ]";
    let sink = |name: &str| {
        format!(
            "{{ name: {name}, plugin: file, transforms: [ {{ name: at-{name}, plugin: decrypt, config: {{ {ring} }} }} ], \
             config: {{ path: SITE/{name}.ndjson }} }}"
        )
    };
    let encrypt = format!("{{ plugin: encrypt, config: {{ keys: ['*'], {ring} }} }}, ");
    for (before, answering) in [(encrypt.as_str(), &["encrypt"][..]), ("", &["at-a", "at-b"])] {
        let yaml = format!(
            "
sources: [ {{ plugin: file, config: {{ path: SITE/in.ndjson }} }} ]
transforms: [ {before}{{ plugin: resolver }} ]
sinks: [ {}, {} ]
",
            sink("a"),
            sink("b"),
        );
        let site = Site::new().pipeline("p", &yaml);
        set_ring(&site, &[("k1", 1)]);
        let mut host = site.started();
        let n_components = 2 + usize::from(!before.is_empty());
        host.wait_until("all of them", LIMIT, |_| {
            let called = site.run(["call", "encrypt.status"]);
            let said: Value = serde_json::from_str(called.stdout.trim()).unwrap_or_default();
            said["components"].as_array().is_some_and(|all| all.len() == n_components)
        });
        let offered = host.get("/v1/operations").json();
        let ours = |name: &str| {
            let is_it = |one: &&Value| one["name"] == name;
            offered.as_array().expect("a list").iter().find(is_it).expect("offered")["component"].clone()
        };
        for name in ["encrypt.status", "encrypt.rotate"] {
            let component = ours(name);
            assert!(answering.iter().any(|one| component == *one), "{name}: {component}");
        }
        site.run(["call", "encrypt.rotate"]).expect_code(0);
        host.stop();
    }
}
