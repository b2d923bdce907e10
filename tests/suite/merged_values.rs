//! Values that no author wrote: whoever looks into values before they are made is told so when the file is read.

use lockstep_test_support::Site;

fn warned(resolver: &str) -> String {
    let yaml = format!(
        "
sources: [ {{ plugin: file, config: {{ path: in }} }} ]
transforms:
  - {{ plugin: validate, config: {{ schemas: [ {{ match: '*.limit', schema: {{ type: integer }} }} ] }} }}
  - {{ plugin: resolver, config: {resolver} }}
sinks: [ {{ plugin: file, config: {{ path: out }} }} ]
"
    );
    let said = Site::new().pipeline("p", &yaml).run(["validate", "pipelines"]).expect_code(0);
    format!("{}{}", said.stdout, said.stderr)
}

#[test]
fn who_checks_values_before_they_are_merged_is_told_that_it_does_not_see_them() {
    let said =
        warned("{ strategies: [ { match: 'app.*', strategy: merge_strategies, merge: { numbers: max } } ] }");
    for part in [
        "`resolver` behind it (transforms.1) makes values of keys such as `app.limit` that no author wrote",
        "`validate`, which reads values to compare them with their schema, does not see them",
        "p.yaml:4:",
    ] {
        assert!(said.contains(part), "`{part}` in\n{said}");
    }
    for chooses in ["{ strategy: first_write_wins }", "{ strategies: [ { match: '*.text', strategy: ot } ] }"]
    {
        let said = warned(chooses);
        assert!(!said.contains("no author wrote"), "{said}");
    }
}
