//! Who may know whom, read from `cargo metadata`.

use lockstep_test_support::workspace_dir;
use serde_json::Value;
use std::{collections::BTreeSet, fs, process::Command};

/// The crates of the workspace, by name, with the folder they lie in and what they depend on outside their tests.
struct Workspace(Vec<Member>);

struct Member {
    name: String,
    folder: String,
    crate_types: BTreeSet<String>,
    dependencies: BTreeSet<String>,
    dev_dependencies: BTreeSet<String>,
}

impl Workspace {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
            .current_dir(workspace_dir())
            .output()
            .expect("cargo can be run");
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo's metadata is JSON");
        let members = metadata["packages"].as_array().expect("a list").iter().map(Member::read).collect();
        Self(members)
    }

    fn member(&self, name: &str) -> &Member {
        self.0.iter().find(|member| member.name == name).unwrap_or_else(|| panic!("no crate `{name}`"))
    }

    fn is_member(&self, name: &str) -> bool {
        self.0.iter().any(|member| member.name == name)
    }

    fn below(&self, folder: &str) -> impl Iterator<Item = &Member> {
        let folder = format!("{folder}/");
        self.0.iter().filter(move |member| member.folder.starts_with(&folder))
    }
}

impl Member {
    fn read(package: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let manifest = text(&package["manifest_path"]);
        let folder = manifest.trim_end_matches("/Cargo.toml");
        let root = workspace_dir().canonicalize().expect("the workspace");
        let folder =
            folder.strip_prefix(root.to_str().expect("UTF-8")).unwrap_or(folder).trim_start_matches('/');
        let of_kind = |wanted: &[Value]| {
            let dependencies = list(&package["dependencies"]);
            dependencies
                .iter()
                .filter(|one| wanted.contains(&one["kind"]))
                .map(|one| text(&one["name"]))
                .collect()
        };
        let targets = list(&package["targets"]);
        let libraries = targets.iter().filter(|target| target["kind"].to_string().contains("lib"));
        Self {
            name: text(&package["name"]),
            folder: folder.to_owned(),
            crate_types: libraries
                .flat_map(|target| list(&target["crate_types"]))
                .map(|kind| text(&kind))
                .collect(),
            dependencies: of_kind(&[Value::Null, "build".into()]),
            dev_dependencies: of_kind(&["dev".into()]),
        }
    }
}

#[test]
fn the_only_arrows_are_host_to_plugin_api_and_plugins_to_plugin_api() {
    let workspace = Workspace::read();
    for member in &workspace.0 {
        let allowed: &[&str] = match member.folder.as_str() {
            "plugin-api" => &["lockstep-plugin-api-macros"],
            "plugin-api/macros" => &[],
            "host" => &["lockstep-plugin-api"],
            "tests" => continue,
            folder if folder.starts_with("plugins/") || folder.starts_with("tests/plugins/") => {
                &["lockstep-plugin-api"]
            }
            folder => panic!("a crate where none belongs: {folder}"),
        };
        let all = member.dependencies.union(&member.dev_dependencies);
        let arrows: Vec<&String> = all.filter(|name| workspace.is_member(name)).collect();
        let wrong: Vec<_> = arrows.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{} must not depend on {wrong:?}", member.name);
    }
    assert!(workspace.below("plugins").count() >= 3, "the plugins were looked at");
}

#[test]
fn the_named_libraries_are_direct_dependencies_where_they_belong() {
    let workspace = Workspace::read();
    for (owner, library) in [
        ("lockstep", "tokio"),
        ("lockstep", "libloading"),
        ("lockstep", "figment"),
        ("lockstep", "serde_yaml"),
        ("lockstep", "tracing"),
        ("lockstep-plugin-api", "abi_stable"),
        ("lockstep-plugin-websocket", "tokio-tungstenite"),
    ] {
        assert!(workspace.member(owner).dependencies.contains(library), "{owner} depends on {library}");
    }
}

#[test]
fn the_host_names_no_plugin_and_no_broker() {
    let workspace = Workspace::read();
    let host = workspace.member("lockstep");
    for library in ["tokio-tungstenite", "rdkafka", "rumqttc", "redis"] {
        assert!(!host.dependencies.contains(library), "the host depends on {library}");
    }
}

#[test]
fn plugins_are_dynamic_libraries_and_nothing_else() {
    let workspace = Workspace::read();
    for plugin in workspace.below("plugins").chain(workspace.below("tests/plugins")) {
        assert_eq!(plugin.crate_types, BTreeSet::from(["cdylib".to_owned()]), "{}", plugin.name);
    }
}

#[test]
fn plugins_forbid_unsafe_code() {
    for plugin in Workspace::read().below("plugins") {
        let file = workspace_dir().join(&plugin.folder).join("src/lib.rs");
        let text = fs::read_to_string(&file).expect("a plugin has a lib.rs");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{}", file.display());
    }
}

#[test]
fn the_top_level_holds_the_seven_names_and_files_about_them() {
    let named = ["Cargo.toml", "host", "plugins", "plugin-api", "pipelines", "tests", "README.md"];
    let files = [
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE",
        "SECURITY.md",
        "Makefile",
        "Cargo.lock",
        "rust-toolchain.toml",
        "rustfmt.toml",
        "clippy.toml",
        "deny.toml",
    ];
    for name in named.iter().chain(&files) {
        assert!(workspace_dir().join(name).exists(), "{name} is missing");
    }
    let output = Command::new("git").args(["ls-files"]).current_dir(workspace_dir()).output();
    let listed = match output {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).expect("UTF-8"),
        _ => return,
    };
    let tops: BTreeSet<&str> = listed.lines().filter_map(|path| path.split('/').next()).collect();
    for top in tops.iter().filter(|top| !top.starts_with('.')) {
        assert!(named.contains(top) || files.contains(top), "`{top}` does not belong at the top level");
    }
}
