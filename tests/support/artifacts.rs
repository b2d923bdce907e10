//! Where the build put what the suite runs: the host's binary, the plugins, the example, the Python peer's environment.
//!
//! Plugins are taken from the folder of the test binary itself, which cargo keeps up to date together with it.

use std::path::{Path, PathBuf};

/// The workspace's folder.
pub fn workspace_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// The folder of the build profile: `target/ci`.
fn profile_dir() -> PathBuf {
    let test_binary = std::env::current_exe().expect("a running test has a file");
    let deps = test_binary.parent().expect("the file lies in `deps`");
    if deps.ends_with("deps") {
        deps.parent().expect("`deps` lies in the profile").to_owned()
    } else {
        deps.to_owned()
    }
}

/// The folder that everything built lies in.
pub fn target_dir() -> PathBuf {
    profile_dir().parent().expect("the profile lies in the target folder").to_owned()
}

/// The host's binary, as `cargo build` left it.
///
/// # Panics
/// If it is not there, or is older than the host's sources: then the suite would test yesterday's host.
pub fn host_binary() -> PathBuf {
    let binary = profile_dir().join("lockstep");
    let built = modified(&binary).unwrap_or_else(|| panic!("{} is missing: {BUILD}", binary.display()));
    for room in ["host/src", "plugin-api/src"] {
        let newest = newest_below(&workspace_dir().join(room));
        assert!(newest <= Some(built), "{} is older than {room}: {BUILD}", binary.display());
    }
    binary
}

const BUILD: &str = "run `make test`, or `cargo build --profile ci --workspace` first";

/// A plugin of this workspace or the example, by its crate's name: `lockstep_plugin_file`, `rename_key`.
///
/// # Panics
/// If it was not built.
pub fn built_library(name: &str) -> PathBuf {
    let file = format!("lib{name}.so");
    let places = ["deps", ".", "examples"].map(|folder| profile_dir().join(folder).join(&file));
    let found = places.iter().find(|place| place.is_file());
    found.unwrap_or_else(|| panic!("{file} is in none of {places:?}: {BUILD}")).clone()
}

/// The Python with the `websockets` package, made by `make test`.
///
/// # Panics
/// If it is not there.
pub fn python() -> PathBuf {
    let python = target_dir().join("venv/bin/python3");
    let python = if python.exists() { python } else { workspace_dir().join("target/venv/bin/python3") };
    assert!(python.exists(), "{} is missing: `make peer` prepares it", python.display());
    python
}

fn modified(file: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

/// Unit tests are no part of the binary, so cargo does not build it again when they change.
fn newest_below(folder: &Path) -> Option<std::time::SystemTime> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let counted = entries.filter(|path| path.file_stem().is_some_and(|stem| stem != "tests"));
    counted.filter_map(|path| if path.is_dir() { newest_below(&path) } else { modified(&path) }).max()
}
