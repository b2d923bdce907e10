//! Everything an operator may copy works: shipped pipelines, and the examples in the READMEs.

use lockstep_test_support::{Host, LIMIT, Site, WsClient, append, free_port, lines, workspace_dir};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every README of the project.
fn readmes() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![workspace_dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if name == "README.md" {
                found.push(path);
            }
        }
    }
    found
}

/// The YAML blocks of a Markdown file, with the line each starts at.
fn yaml_blocks(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).expect("a README can be read");
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut block {
            None if line.trim_start().starts_with("```yaml") => block = Some((number + 2, String::new())),
            None => {}
            Some(_) if line.trim_start().starts_with("```") => blocks.extend(block.take()),
            Some((_, text)) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    blocks
}

/// Whether a block is a whole pipeline, and not host settings or a part of one.
fn is_pipeline(block: &str) -> bool {
    block.lines().any(|line| line.starts_with("sources:"))
        && block.lines().any(|line| line.starts_with("sinks:"))
}

/// A site where a project's example finds what it names: the files beside it and the variables that have no default.
fn example_site(text: &str, beside: &Path) -> Site {
    let site = Site::new();
    copy_files(beside, &site.path("pipelines"));
    let names = text.split("${env:").skip(1).filter_map(|rest| rest.split('}').next());
    names.filter(|name| !name.contains(":-")).fold(site, |site, name| site.env(name, "example"))
}

/// A site with one shipped pipeline and what lies beside it, and the free port that its WebSocket clients connect to.
pub(crate) fn shipped(name: &str) -> (Site, u16) {
    let folder = workspace_dir().join("pipelines");
    let port = free_port();
    let yaml = with_port(&fs::read_to_string(folder.join(name)).expect("a shipped pipeline"), port);
    let site = example_site(&yaml, &folder);
    for entry in fs::read_dir(site.path("pipelines")).expect("the site").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "yaml") {
            fs::remove_file(entry.path()).expect("the site can be written");
        }
    }
    site.write(format!("pipelines/{name}"), &yaml);
    (site, port)
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the site can be written");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let name = entry.file_name();
        if entry.path().is_dir() {
            if !["src", "target", "tests"].iter().any(|other| name == *other) {
                copy_files(&entry.path(), &to.join(name));
            }
        } else {
            fs::copy(entry.path(), to.join(name)).expect("a file can be copied");
        }
    }
}

#[test]
fn every_shipped_pipeline_validates() {
    let folder = workspace_dir().join("pipelines");
    let shipped: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the pipelines")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    assert!(shipped.iter().any(|path| path.ends_with("quickstart.yaml")), "{shipped:?}");
    for file in shipped {
        let text = fs::read_to_string(&file).expect("a pipeline");
        let site = example_site(&text, &folder);
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        site.run(["validate".to_owned(), format!("pipelines/{name}")]).expect_code(0);
    }
}

#[test]
fn every_yaml_block_in_a_readme_validates() {
    let mut n_pipelines = 0;
    for readme in readmes() {
        for (line, block) in yaml_blocks(&readme) {
            let site = example_site(&block, readme.parent().expect("a folder"));
            let checked = if is_pipeline(&block) {
                n_pipelines += 1;
                site.write("pipelines/example.yaml", &block);
                site.run(["validate", "pipelines/example.yaml"])
            } else {
                // What is no pipeline are the host's settings.
                site.write("lockstep.yaml", &block);
                site.run(["config", "show", "--config", "lockstep.yaml"])
            };
            assert_eq!(
                checked.code,
                Some(0),
                "{}:{line}\n{}\n{}",
                readme.display(),
                checked.stdout,
                checked.stderr
            );
        }
    }
    assert!(n_pipelines >= 5, "the READMEs show whole pipelines: {n_pipelines}");
}

/// How the pipeline of each plugin's README shows that it works.
fn drive(plugin: &str, site: &Site, host: &mut Host, port: u16, yaml: &str) {
    match plugin {
        "websocket" => {
            let mut subscriber = WsClient::connect(port);
            let mut author = WsClient::connect(port);
            assert_eq!(author.change("app.readme", &json!(1))["success"], true);
            assert_eq!(subscriber.next_of_type("config_sync")["config_key"], "app.readme");
        }
        "file" => {
            let (input, output) = (path_after(yaml, "sources:"), path_after(yaml, "sinks:"));
            append(&site.path("pipelines").join(input), [r#"{"config_key":"app.readme","new_value":1}"#]);
            let output = site.path("pipelines").join(output);
            host.wait_until("the line in the output", LIMIT, |_| {
                lines(&output).iter().any(|line| line.contains("app.readme"))
            });
        }
        "lock" | "resolver" | "validate" => unconstrained(site, host, port, yaml),
        other => panic!("plugins/{other} has no test of its README's pipeline: add one here"),
    }
}

/// A change of a key that no schema is about and that nobody has locked passes, whatever the source is.
fn unconstrained(site: &Site, host: &mut Host, port: u16, yaml: &str) {
    if yaml.contains("plugin: websocket") {
        let mut author = WsClient::connect(port);
        assert_eq!(author.change("readme.unconstrained", &json!("x"))["success"], true);
    } else {
        let (input, output) = (path_after(yaml, "sources:"), path_after(yaml, "sinks:"));
        append(
            &site.path("pipelines").join(input),
            [r#"{"config_key":"readme.unconstrained","new_value":1}"#],
        );
        let output = site.path("pipelines").join(output);
        host.wait_until("the line in the output", LIMIT, |_| {
            lines(&output).iter().any(|line| line.contains("unconstrained"))
        });
    }
}

/// The first `path:` after a heading of the pipeline.
fn path_after(yaml: &str, heading: &str) -> String {
    let after = yaml.split(heading).nth(1).expect("the heading");
    let value = after.split("path:").nth(1).expect("a path").trim_start();
    value.split([',', '}', '\n', ' ']).next().expect("a value").trim_matches(['\'', '"']).to_owned()
}

#[test]
fn the_complete_pipeline_of_every_plugins_readme_runs() {
    let plugins = workspace_dir().join("plugins");
    let mut n_run = 0;
    for entry in fs::read_dir(plugins).expect("the plugins").flatten().filter(|entry| entry.path().is_dir()) {
        let plugin = entry.file_name().to_string_lossy().into_owned();
        let readme = entry.path().join("README.md");
        let blocks = yaml_blocks(&readme);
        let (_, yaml) = blocks
            .iter()
            .find(|(_, block)| is_pipeline(block))
            .unwrap_or_else(|| panic!("{plugin}: no whole pipeline"));
        println!("{plugin}");
        run_example(&plugin, yaml, &entry.path());
        n_run += 1;
    }
    assert!(n_run >= 3);
}

fn run_example(plugin: &str, yaml: &str, beside: &Path) {
    let port = free_port();
    let yaml = with_port(yaml, port);
    let site = example_site(&yaml, beside);
    site.write("pipelines/example.yaml", &yaml);
    let mut host = site.start_with(site.command(["run", "pipelines/example.yaml"]));
    let name = host.status().only();
    host.wait_state(&name, "running");
    host.wait_ready();
    drive(plugin, &site, &mut host, port, &yaml);
    host.stop();
}

/// The example on a port that is free here.
fn with_port(yaml: &str, port: u16) -> String {
    yaml.replace(":8765", &format!(":{port}")).replace("port: 8765", &format!("port: {port}"))
}

#[test]
fn the_quickstart_runs_and_does_what_it_says() {
    let (site, port) = shipped("quickstart.yaml");
    let mut host = site.start_with(site.command(["run", "pipelines/quickstart.yaml"]));
    host.wait_ready();
    let mut subscriber = WsClient::connect(port);
    let mut author = WsClient::connect(port);
    let answer = author.change("app.quickstart", &json!("works"));
    assert_eq!((&answer["success"], &answer["revision"]), (&json!(true), &json!(1)));
    assert_eq!(subscriber.next_of_type("config_sync")["config_key"], "app.quickstart");

    site.run(["set", "app.database.port", "5432"]).expect_code(0);
    assert_eq!(subscriber.next_of_type("config_sync")["new_value"], 5432);
    let refused = site.run(["set", "app.database.port", "--string", "5432"]).expect_code(1).stderr;
    assert!(refused.contains("help: the value is not of type \"integer\""), "{refused}");
    let watched = site.run(["watch", "app.*", "--since", "0", "--count", "2"]).expect_code(0);
    assert!(watched.stdout.ends_with("app.database.port = 5432\n"), "{}", watched.stdout);
    site.run(["locks", "run", "app.database.port", "--", "true"]).expect_code(0);
    let journal = site.path("lockstep-data/changes.ndjson");
    host.wait_until("both changes in the journal", LIMIT, |_| lines(&journal).len() == 2);
    host.stop();
}
