//! What is not a plugin of this host is refused by name: which plugin, which file, what was found, what was expected.

use lockstep_test_support::{
    Finished, LIMIT, Probe, Site, append, built_library, lines, target_dir, workspace_dir,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

const METADATA: &str = r#"{"package":"lockstep-plugin-fake","version":"3.2.1","description":"","plugin_api":"1.0.0","components":[{"kind":"transform","name":"fake"}]}"#;

/// A site whose pipeline names a file as its transform.
fn site_with(file: &str) -> Site {
    Site::new().pipeline(
        "flow",
        &format!(
            "
sources: [ {{ plugin: probe, config: {{ dir: SITE/in, count: 10 }} }} ]
transforms: [ {{ plugin: ./{file} }} ]
sinks: [ {{ plugin: probe, config: {{ dir: SITE/out }} }} ]
"
        ),
    )
}

/// Both commands refuse, before anything is started, in words that hold all of these.
fn refused(site: &Site, parts: &[&str]) {
    for arguments in [["validate", "pipelines/flow.yaml"], ["run", "pipelines/flow.yaml"]] {
        let Finished { code, stdout, stderr } = site.run(arguments);
        let text = format!("{stdout}{stderr}");
        assert_eq!(code, Some(2), "{arguments:?}\n{text}");
        let line = text.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        assert!(line.is_some(), "no line of `{arguments:?}` has all of {parts:?}\n{text}");
    }
}

#[test]
fn a_text_file_is_refused() {
    let site = site_with("notes.so");
    site.write("pipelines/notes.so", "these are my notes\n");
    refused(&site, &["`notes`", "notes.so", "found", "expected", "ELF"]);
}

#[test]
fn a_truncated_library_is_refused() {
    let site = site_with("short.so");
    let whole = fs::read(built_library("rename_key")).expect("the example");
    for kept in [40, 4_096, whole.len() / 2, whole.len() - 100] {
        site.write("pipelines/short.so", &whole[..kept]);
        refused(&site, &["short.so", "found", "expected"]);
    }
}

#[test]
fn a_library_for_another_processor_is_refused() {
    let site = site_with("arm.so");
    let mut library = fs::read(built_library("rename_key")).expect("the example");
    let machine: u16 = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    library[18..20].copy_from_slice(&machine.to_le_bytes());
    site.write("pipelines/arm.so", library);
    let (found, expected) = if machine == 183 { ("arm64", "x86_64") } else { ("x86_64", "aarch64") };
    let parts = ["arm.so", "found", "expected", expected];
    refused(&site, &parts);
    let text = site.run(["validate", "pipelines/flow.yaml"]).stderr.to_lowercase();
    assert!(text.contains(found) || text.contains("aarch64") && text.contains("x86_64"), "{text}");
}

/// Compiles C into a shared library. The compiler is there: Rust links with it.
fn compile(source: &str, to: &Path, more: &[&str]) {
    let code = to.with_extension("c");
    fs::write(&code, source).expect("the site can be written");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(to).arg(&code).args(more).output();
    let compiled = compiled.expect("`cc` is there (package gcc)");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    fs::remove_file(code).expect("the site can be written");
}

/// C text that puts the metadata of a plugin into the right section, and a function beside it.
fn with_metadata(function: &str) -> String {
    let text = METADATA.replace('"', "\\\"");
    format!(
        "#define TEXT \"{text}\"\n\
         __attribute__((section(\".lockstep.meta\"), used)) static const char metadata[sizeof(TEXT) - 1] = TEXT;\n{function}\n"
    )
}

#[test]
fn a_library_that_is_no_plugin_is_refused() {
    let site = site_with("plain.so");
    compile("int answer(void) { return 42; }", &site.path("pipelines/plain.so"), &[]);
    refused(&site, &["`plain`", "plain.so", "found", "expected", ".lockstep.meta"]);
}

#[test]
fn a_plugin_without_the_root_symbol_is_refused() {
    let site = site_with("rootless.so");
    compile(&with_metadata("int answer(void) { return 42; }"), &site.path("pipelines/rootless.so"), &[]);
    refused(&site, &["lockstep-plugin-fake 3.2.1", "rootless.so", "found", "expected", "symbol"]);
}

#[test]
fn a_plugin_with_a_missing_dependency_is_refused_with_its_name() {
    let site = site_with("needy.so");
    let dependency = site.path("libgone.so");
    compile("int gone(void) { return 1; }", &dependency, &["-Wl,-soname,libgone.so"]);
    let folder = format!("-L{}", site.path("").display());
    compile(
        &with_metadata("int gone(void); int answer(void) { return gone(); }"),
        &site.path("pipelines/needy.so"),
        &[&folder, "-lgone", "-Wl,--no-as-needed"],
    );
    fs::remove_file(dependency).expect("the site can be written");
    refused(&site, &["lockstep-plugin-fake 3.2.1", "needy.so", "libgone.so"]);
}

/// The folder with a host and plugins whose `Record` has one field more, really built.
fn changed_build() -> PathBuf {
    let script = workspace_dir().join("tests/support/changed_abi.sh");
    let built = Command::new(script).arg(target_dir()).output().expect("bash is there");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target_dir().join("changed-abi/out")
}

#[test]
fn a_plugin_built_against_a_changed_struct_is_refused_and_loads_in_a_host_with_the_same_change() {
    let changed = changed_build();
    let site = Site::new().pipeline(
        "flow",
        "
sources: [ { plugin: file, config: { path: SITE/in.ndjson } } ]
transforms: [ { plugin: ./librename_key.so, config: { from: app.old., to: app.new. } } ]
sinks: [ { plugin: file, config: { path: SITE/out.ndjson } } ]
",
    );
    fs::copy(changed.join("librename_key.so"), site.path("pipelines/librename_key.so")).expect("the plugin");
    refused(&site, &["lockstep-plugin-api", "librename_key.so", "Record", "found", "expected"]);

    // The control: nothing is wrong with the file, only with the pair.
    append(&site.path("in.ndjson"), [r#"{"config_key":"app.old.x","new_value":1}"#]);
    fs::remove_file(site.path("plugins/liblockstep_plugin_file.so")).expect("the site can be written");
    site.install(&changed.join("liblockstep_plugin_file.so"));
    let mut host = site.start_with(site.command_of(&changed.join("lockstep"), ["run", "pipelines"]));
    let output = site.path("out.ndjson");
    host.wait_until("the line through the changed plugin", LIMIT, |_| {
        lines(&output).iter().any(|line| line.contains("app.new.x"))
    });

    // And the other way round: what was built without the change is refused by the changed host.
    let other = site_with("librename_key.so");
    fs::copy(built_library("rename_key"), other.path("pipelines/librename_key.so")).expect("the plugin");
    for plugin in ["file", "probe"] {
        let _ = fs::remove_file(other.path(format!("plugins/liblockstep_plugin_{plugin}.so")));
        other.install(&changed.join(format!("liblockstep_plugin_{plugin}.so")));
    }
    let mut command = other.command_of(&changed.join("lockstep"), ["validate", "pipelines/flow.yaml"]);
    let output = command.output().expect("the changed host runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("librename_key.so") && text.contains("Record"), "{text}");
}

#[test]
fn the_third_party_example_is_loaded_and_runs() {
    let site = Site::new().pipeline(
        "flow",
        "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 10 } } ]
transforms: [ { plugin: rename_key, config: { from: app.probe., to: renamed. } } ]
sinks: [ { plugin: probe, config: { dir: SITE/out } } ]
",
    );
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("ten records", LIMIT, |_| sink.written().len() == 10);
    let expected: Vec<String> =
        Probe::keys(10).iter().map(|key| key.replace("app.probe.", "renamed.")).collect();
    assert_eq!(sink.written(), expected);
    assert_eq!(host.metrics().sum("lockstep_plugin_renamed_keys_total", &[("pipeline", "flow")]), 10.0);
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let site = site_with("../plugins/librename_key.so");
    fs::set_permissions(site.path("plugins"), fs::Permissions::from_mode(0o777)).expect("its owner may");
    refused(&site, &["plugins", "0777", "found", "expected"]);
    fs::set_permissions(site.path("plugins"), fs::Permissions::from_mode(0o755)).expect("its owner may");
}

#[test]
fn a_cache_that_does_not_allow_execution_is_refused_with_what_to_do() {
    let site = site_with("../plugins/librename_key.so");
    let cache = site.path("cache");
    fs::create_dir(&cache).expect("the site can be written");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "noexec,mode=0755,size=64m", "none"])
        .arg(&cache)
        .output();
    let mounted = mounted.expect("`mount` is there (package mount)");
    assert!(mounted.status.success(), "a noexec folder needs root and the right to mount: {mounted:?}");
    let site = site.env("LOCKSTEP_PLUGIN_CACHE_DIR", cache.display().to_string());
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        refused(&site, &["plugin `", ".so", "noexec", "plugin_cache_dir", "found", "expected"]);
    }));
    let unmounted = Command::new("umount").arg(&cache).status();
    assert!(unmounted.is_ok_and(|status| status.success()), "the cache can be unmounted");
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn a_plugin_may_be_overwritten_while_it_runs() {
    let site = Site::new().pipeline(
        "flow",
        "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 1000000, rate: 500 } } ]
sinks: [ { plugin: probe, config: { dir: SITE/out } } ]
",
    );
    let plugin = site.path("plugins/liblockstep_plugin_probe.so");
    let bytes = fs::read(&plugin).expect("the plugin");
    // A copy of its own: writing into a hard link would write into the build's file.
    fs::remove_file(&plugin).expect("the site can be written");
    fs::write(&plugin, &bytes).expect("the site can be written");
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("a running pipeline", LIMIT, |_| sink.written().len() > 10);
    fs::write(&plugin, vec![0; bytes.len() / 2]).expect("the plugin can be overwritten");
    let so_far = sink.written().len();
    host.wait_until("it to go on", LIMIT, |_| sink.written().len() > so_far + 100);
    host.stop();
}
