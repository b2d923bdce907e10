use std::fs;

use super::*;

const PIPELINE: &str = "sources: [{ plugin: a }]\nsinks: [{ plugin: b }]\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        Self(folder)
    }

    fn load(&self, names: &[&str]) -> Result<Config, Diagnostics> {
        load(&LoadOptions {
            settings: SettingsFile::None,
            pipelines: names.iter().map(|name| self.0.path().join(name)).collect(),
            environment: environment(),
            flags: Vec::new(),
        })
    }

    /// Messages of the refusal, each with the name of its file.
    fn refused(&self, names: &[&str]) -> Vec<String> {
        let problems = self.load(names).expect_err("refused");
        let folder = format!("{}/", self.0.path().display());
        problems
            .iter()
            .map(|problem| {
                let value = problem.to_json();
                let place =
                    value["file"].as_str().or(value["origin"].as_str()).unwrap_or_default().to_owned();
                format!("{place}: {}", problem.message()).replace(&folder, "")
            })
            .collect()
    }
}

#[test]
fn a_folder_gives_its_pipelines_by_name() {
    let folder = Folder::with(&[
        ("b.yml", PIPELINE.as_bytes()),
        ("a.yaml", PIPELINE.as_bytes()),
        ("README.md", b"# no pipeline"),
        (".hidden.yaml", b"nonsense"),
    ]);
    let config = folder.load(&["."]).unwrap();
    let names: Vec<_> = config.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn all_files_are_read_before_anything_is_refused() {
    let folder = Folder::with(&[
        ("1.yaml", b"sources: []\nsinks: [{ plugin: b }]\n"),
        ("2.yaml", PIPELINE.as_bytes()),
        ("3.yaml", b"name: '2'\nsources: [{ plugin: a }]\nsinks: [{ plugin: b }]\n"),
        ("4.yaml", b"sources: [{ plugin: a }]\nsinks: [{ plugin: b, x: 1 }]\n"),
        ("5.yaml", b"sources: \xff\n"),
        ("6.yaml", &vec![b'#'; (1 << 20) + 1]),
    ]);
    assert_eq!(
        folder.refused(&["7.yaml", "."]),
        [
            "7.yaml: cannot be read: No such file or directory (os error 2)",
            "./6.yaml: the file is larger than 1 MiB",
            "./1.yaml: needs at least 1 item",
            "./3.yaml: two pipelines are called `2`",
            "./4.yaml: unknown field `x`",
            "./5.yaml: the file is not UTF-8: the byte 0xff is here",
        ]
    );
}

#[test]
fn a_folder_without_pipelines_is_refused() {
    let folder = Folder::with(&[("README.md", b"")]);
    let refused = folder.refused(&["."]);
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].ends_with("no pipeline here: expected files that end in `.yaml` or `.yml`"),
        "{refused:?}"
    );
}

#[test]
fn a_byte_order_mark_is_no_character() {
    let folder = Folder::with(&[("a.yaml", format!("\u{feff}x: 1\n{PIPELINE}").as_bytes())]);
    let problems = folder.load(&["a.yaml"]).unwrap_err();
    assert_eq!(problems.iter().next().and_then(Diagnostic::line_column), Some((1, 1)));
}

#[test]
fn the_place_of_a_byte_that_is_no_utf8_is_told() {
    let folder = Folder::with(&[("a.yaml", b"sources: []\nname: \xe9t\n")]);
    let problems = folder.load(&["a.yaml"]).unwrap_err();
    assert_eq!(problems.iter().next().and_then(Diagnostic::line_column), Some((2, 7)));
}

#[test]
fn a_settings_file_that_is_named_must_be_there() {
    let folder = Folder::with(&[]);
    let with = |settings| {
        load(&LoadOptions { settings, pipelines: Vec::new(), environment: environment(), flags: Vec::new() })
    };
    let missing = folder.0.path().join("lockstep.yaml");
    assert!(with(SettingsFile::IfPresent(missing.clone())).is_ok());
    assert!(with(SettingsFile::Named(missing)).is_err());
}
