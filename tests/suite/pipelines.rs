//! The shipped pipelines work; those with brokers are in `broker_pipelines`.

use lockstep_test_support::{LIMIT, Site, WsClient, free_port, lines, workspace_dir};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What a variable holds that an example names and gives no default; long enough for every kind of secret.
pub(crate) const EXAMPLE: &str = "an-example-that-no-log-line-may-show";

/// A site where a project's example finds what it names: the files beside it and the variables that have no default.
pub(crate) fn example_site(text: &str, beside: &Path) -> Site {
    let site = Site::new();
    copy_files(beside, &site.path("pipelines"));
    let names = text.split("${env:").skip(1).filter_map(|rest| rest.split('}').next());
    names.filter(|name| !name.contains(":-")).fold(site, |site, name| site.env(name, EXAMPLE))
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

/// The example on a port that is free here.
pub(crate) fn with_port(yaml: &str, port: u16) -> String {
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
