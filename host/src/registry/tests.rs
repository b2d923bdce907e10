//! Discovery and refusals on crafted files; loading real plugins is the suite's part.

use super::*;
use crate::telemetry::log_host;
use lockstep_plugin_api::abi::handshake::METADATA_SECTION;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};
use tempfile::TempDir;

const THIS_MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
const OTHER_MACHINE: u16 = if cfg!(target_arch = "x86_64") { 183 } else { 62 };

/// A whole ELF file that has nothing but one section of this name and content.
fn elf(machine: u16, section: &str, content: &str) -> Vec<u8> {
    let names = format!("\0.shstrtab\0{section}\0");
    let names_at = 64 + content.len() as u64;
    let table_at = names_at + names.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for half in [3, machine] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for word in [0, 0, table_at] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 0, 64, 3, 1] {
        file.extend(half.to_le_bytes());
    }
    file.extend(content.as_bytes());
    file.extend(names.as_bytes());
    let sections = [(0, 0, 0, 0), (1, 3, names_at, names.len() as u64), (11, 1, 64, content.len() as u64)];
    for (name, kind, offset, size) in sections {
        for word in [name, kind] {
            file.extend(u32::to_le_bytes(word));
        }
        for long in [0, 0, offset, size, 0, 1, 0] {
            file.extend(u64::to_le_bytes(long));
        }
    }
    file
}

fn metadata(name: &str, api: &str) -> String {
    format!(
        r#"{{"package":"lockstep-plugin-{name}","version":"1.2.0","description":"","plugin_api":"{api}","components":[{{"kind":"sink","name":"{name}"}}]}}"#
    )
}

fn plugin(name: &str) -> Vec<u8> {
    elf(THIS_MACHINE, METADATA_SECTION, &metadata(name, "1.0.0"))
}

/// A folder with these files, which only its owner may write to.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    // Whatever the mask of the process.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    for (name, content) in files {
        let file = folder.path().join(name);
        fs::write(&file, content).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("changed");
    }
    folder
}

fn open(folders: &[&TempDir]) -> Registry {
    Registry::open(RegistryOptions {
        plugin_path: folders.iter().map(|folder| folder.path().to_owned()).collect(),
        cache_dir: folders[0].path().join("cache"),
        log_host: log_host(),
    })
}

fn sink(registry: &Registry, plugin: PluginRef) -> LoadError {
    registry.component(ComponentKind::Sink, &plugin).expect_err("a refusal")
}

fn named(name: &str) -> PluginRef {
    PluginRef::Named { name: name.to_owned(), version: None }
}

/// A file with this content is refused with this text, found by its folder as well as named by its path.
fn check_refused(content: &[u8], expected: &[&str]) {
    let folder = folder(&[("liblockstep_plugin_broken.so", content)]);
    let registry = open(&[&folder]);
    assert!(registry.installed().is_empty());
    let file = folder.path().join("liblockstep_plugin_broken.so");
    let listed = registry.problems().next().expect("a problem").to_string();
    let by_path = sink(&registry, PluginRef::Path(file.clone())).to_string();
    let by_name = sink(&registry, named("broken")).to_string();
    for text in [&listed, &by_path, &by_name] {
        assert!(text.starts_with("plugin `") && text.contains(&*file.to_string_lossy()), "{text}");
        for expected in expected {
            assert!(text.contains(expected), "{text:?} says nothing of {expected:?}");
        }
    }
}

#[test]
fn a_plugin_is_found_by_what_it_says_and_nothing_of_it_runs() {
    let folder = folder(&[("libany_name.so", &plugin("redis")), ("notes.txt", b"notes")]);
    let registry = open(&[&folder]);
    assert_eq!(registry.installed().len(), 1);
    assert_eq!(registry.installed()[0].metadata.components[0].name, "redis");
    assert_eq!(registry.problems().count(), 0);
    assert!(!folder.path().join("cache").exists(), "nothing was copied to be loaded");
}

#[test]
fn what_is_no_whole_library_for_this_machine_is_refused() {
    let whole = plugin("broken");
    check_refused(b"#!/bin/sh\n", &["found text", "expected a 64-bit ELF file"]);
    check_refused(b"", &["found an empty file"]);
    check_refused(
        b"\x7fELF\x01\x01\x01 ..............................................................",
        &["32-bit"],
    );
    for n_bytes in [40, 70, whole.len() - 1] {
        check_refused(&whole[..n_bytes], &["truncated", &format!("found {n_bytes} bytes")]);
    }
    let foreign = elf(OTHER_MACHINE, METADATA_SECTION, &metadata("broken", "1.0.0"));
    check_refused(&foreign, &["another processor", &format!("expected {}", std::env::consts::ARCH)]);
}

#[test]
fn a_segment_beyond_the_end_is_refused_although_the_headers_are_there() {
    let executable = fs::read(std::env::current_exe().expect("this test")).expect("its file");
    // The section headers lie at the end; without them only the segments tell that something is missing.
    let mut headless = executable[..64 * 1024].to_vec();
    headless[40..48].fill(0);
    headless[60..64].fill(0);
    check_refused(&headless, &["truncated", &format!("found {} bytes", headless.len())]);
}

#[test]
fn what_is_no_plugin_or_another_generation_is_refused() {
    let library = elf(THIS_MACHINE, ".other", "{}");
    check_refused(&library, &["not a Lockstep plugin", "no section `.lockstep.meta`"]);
    check_refused(&elf(THIS_MACHINE, METADATA_SECTION, "{}"), &["metadata", "missing field `package`"]);
    let other = elf(THIS_MACHINE, METADATA_SECTION, &metadata("broken", "2.1.0"));
    let folder = folder(&[("libx.so", &other)]);
    let problem = open(&[&folder]).problems().next().expect("a problem").to_string();
    assert!(problem.contains("plugin `lockstep-plugin-broken 1.2.0`"), "{problem}");
    assert!(problem.contains("found 2.1.0, expected 1."), "{problem}");
}

#[test]
fn other_libraries_beside_plugins_are_left_alone() {
    let folder = folder(&[("libssl.so", &elf(THIS_MACHINE, ".other", "{}"))]);
    assert_eq!(open(&[&folder]).problems().count(), 0);
}

#[test]
fn what_others_may_write_is_refused_by_folder_and_by_file() {
    let by_folder = folder(&[("libredis.so", &plugin("redis"))]);
    fs::set_permissions(by_folder.path(), fs::Permissions::from_mode(0o777)).expect("changed");
    let by_file = folder(&[("libredis.so", &plugin("redis"))]);
    let file = by_file.path().join("libredis.so");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).expect("changed");

    for (folder, path, mode) in [(&by_folder, by_folder.path(), "0777"), (&by_file, file.as_path(), "0646")] {
        let registry = open(&[folder]);
        assert!(registry.installed().is_empty());
        let listed = registry.problems().next().expect("a problem").to_string();
        let by_name = sink(&registry, named("redis")).to_string();
        let by_path = sink(&registry, PluginRef::Path(folder.path().join("libredis.so"))).to_string();
        for text in [listed, by_name, by_path] {
            assert!(text.contains(&format!("chmod o-w {}", path.display())), "{text}");
            assert!(text.contains(&format!("found mode {mode}")), "{text}");
        }
    }
}

#[test]
fn a_link_is_judged_by_the_folder_it_leads_to() {
    let real = folder(&[("libredis.so", &plugin("redis"))]);
    fs::set_permissions(real.path(), fs::Permissions::from_mode(0o777)).expect("changed");
    let links = folder(&[]);
    symlink(real.path().join("libredis.so"), links.path().join("libredis.so")).expect("a link");
    assert!(matches!(sink(&open(&[&links]), named("redis")), LoadError::WritableByOthers { .. }));
}

#[test]
fn one_file_reached_through_two_folders_is_one_plugin() {
    let real = folder(&[("libredis.so", &plugin("redis"))]);
    let links = folder(&[]);
    symlink(real.path().join("libredis.so"), links.path().join("libother.so")).expect("a link");
    assert_eq!(open(&[&links, &real]).installed().len(), 1);
}

#[test]
fn a_file_that_vanished_and_a_folder_that_is_not_there_are_named() {
    let folder = folder(&[("libredis.so", &plugin("redis"))]);
    let registry = open(&[&folder]);
    fs::remove_file(folder.path().join("libredis.so")).expect("removed");
    assert!(matches!(sink(&registry, named("redis")), LoadError::Vanished { .. }));

    let gone = tempfile::tempdir().expect("a folder");
    fs::remove_dir(gone.path()).expect("removed");
    let problems: Vec<String> = open(&[&gone]).problems().map(ToString::to_string).collect();
    assert!(problems[0].contains("correct `plugin_path`"), "{problems:?}");
}

#[test]
fn a_file_that_the_linker_refuses_is_answered_and_not_loaded() {
    let folder = folder(&[("libredis.so", &plugin("redis"))]);
    let error = sink(&open(&[&folder]), named("redis"));
    assert!(matches!(error, LoadError::WillNotLink { .. }), "{error:?}");
    let copies = fs::read_dir(folder.path().join("cache")).expect("the cache").count();
    assert_eq!(copies, 1, "it was the copy that was tried");
}
