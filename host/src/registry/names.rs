//! Which of the installed plugins a pipeline means by `name` or `name@version`.

use super::{
    discover::InstalledPlugin,
    error::{Choice, LoadError},
};
use crate::config::ComponentKind;
use lockstep_plugin_api::abi::handshake::Metadata;
use std::collections::BTreeSet;

/// The one plugin that has a component of this kind and name, in this version if one is asked for.
///
/// A version is a beginning: `1.2` takes `1.2.0` as well as `1.2.7`. Two that fit are refused, not ranked: which one
/// runs should not change because a file was added.
pub(super) fn choose<'a>(
    installed: &'a [InstalledPlugin],
    kind: ComponentKind,
    name: &str,
    version: Option<&str>,
) -> Result<&'a InstalledPlugin, LoadError> {
    let named: Vec<_> = installed.iter().filter(|plugin| has(&plugin.metadata, kind, name)).collect();
    if named.is_empty() {
        return Err(unknown(installed, kind, name));
    }
    let fits = |plugin: &&&InstalledPlugin| {
        version.is_none_or(|version| starts_version(&plugin.metadata.version, version))
    };
    let fitting: Vec<&InstalledPlugin> = named.iter().filter(fits).copied().collect();
    let name = name.to_owned();
    match (&fitting[..], version) {
        ([plugin], _) => Ok(plugin),
        ([], Some(version)) => {
            let (version, installed) = (version.to_owned(), choices(&named));
            Err(LoadError::VersionNotInstalled { kind, name, version, installed })
        }
        _ => Err(LoadError::Ambiguous { kind, name, choices: choices(&fitting) }),
    }
}

/// Whether a plugin has a component of this kind and name.
pub(super) fn has(metadata: &Metadata, kind: ComponentKind, name: &str) -> bool {
    metadata.components.iter().any(|component| component.kind == kind.as_str() && component.name == name)
}

fn starts_version(found: &str, wanted: &str) -> bool {
    found.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
}

fn choices(plugins: &[&InstalledPlugin]) -> Vec<Choice> {
    let choice = |plugin: &&InstalledPlugin| Choice {
        version: plugin.metadata.version.clone(),
        file: plugin.file.clone(),
    };
    plugins.iter().map(choice).collect()
}

fn unknown(installed: &[InstalledPlugin], kind: ComponentKind, name: &str) -> LoadError {
    let kinds = [ComponentKind::Source, ComponentKind::Transform, ComponentKind::Sink];
    let is_one = |kind: &ComponentKind| installed.iter().any(|plugin| has(&plugin.metadata, *kind, name));
    let found: Vec<_> = kinds.into_iter().filter(is_one).collect();
    let name = name.to_owned();
    if !found.is_empty() {
        return LoadError::OtherKind { kind, name, found };
    }
    let installed = names_of(installed, kind);
    LoadError::Unknown { kind, nearest: nearest(&name, &installed), name, installed }
}

fn names_of(installed: &[InstalledPlugin], kind: ComponentKind) -> Vec<String> {
    let components = installed.iter().flat_map(|plugin| &plugin.metadata.components);
    let names: BTreeSet<_> = components
        .filter(|component| component.kind == kind.as_str())
        .map(|component| &component.name)
        .collect();
    names.into_iter().cloned().collect()
}

/// The name that was probably meant: at most a third of its letters differ.
fn nearest(name: &str, installed: &[String]) -> Option<String> {
    let distance = |candidate: &String| strsim::damerau_levenshtein(name, candidate);
    let nearest = installed.iter().min_by_key(|candidate| distance(candidate))?;
    (distance(nearest) <= name.len().div_ceil(3)).then(|| nearest.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_plugin_api::abi::handshake::ComponentMetadata;
    use std::path::PathBuf;

    /// `sink kafka 1.0.0` is a plugin with that one component.
    fn installed(plugins: &[&str]) -> Vec<InstalledPlugin> {
        let plugin = |line: &&str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, name, version] = words[..] else { panic!("{line}") };
            let component = ComponentMetadata {
                kind: kind.into(),
                name: name.into(),
                commits: false,
                notices: false,
                answers: false,
                replays: false,
                may_replay: false,
            };
            let metadata = Metadata {
                package: format!("lockstep-plugin-{name}"),
                version: version.into(),
                description: String::new(),
                plugin_api: "1.0.0".into(),
                components: vec![component],
            };
            InstalledPlugin { file: PathBuf::from(format!("/plugins/{name}-{version}.so")), metadata }
        };
        plugins.iter().map(plugin).collect()
    }

    /// What `name` or `name@version` leads to: a version or the error's text.
    fn check(plugins: &[&str], wanted: &str, expected: &str) {
        let (name, version) = match wanted.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (wanted, None),
        };
        let installed = installed(plugins);
        let answer = match choose(&installed, ComponentKind::Sink, name, version) {
            Ok(plugin) => plugin.metadata.version.clone(),
            Err(error) => error.to_string(),
        };
        assert!(answer.contains(expected), "{wanted} gave {answer:?}, expected {expected:?}");
    }

    #[test]
    fn a_version_is_a_beginning_of_whole_numbers() {
        check(&["sink kafka 1.0.0", "sink kafka 1.1.3"], "kafka@1.1", "1.1.3");
        check(&["sink kafka 1.1.0", "sink kafka 1.10.0"], "kafka@1.1", "1.1.0");
        check(&["sink kafka 1.1.0"], "kafka", "1.1.0");
    }

    #[test]
    fn two_versions_without_a_choice_are_refused_with_both_files() {
        let two = ["sink kafka 1.0.0", "sink kafka 1.1.0"];
        check(&two, "kafka", "1.0.0 (/plugins/kafka-1.0.0.so), 1.1.0 (/plugins/kafka-1.1.0.so)");
        check(&two, "kafka", "write `kafka@1.0.0` or `kafka@1.1.0`");
        check(&["sink kafka 1.0.0", "sink kafka 1.0.0"], "kafka@1.0.0", "write the path of the one you mean");
    }

    #[test]
    fn a_version_that_is_not_there_lists_those_that_are() {
        check(&["sink kafka 1.0.0"], "kafka@2", "not installed in version 2: found 1.0.0");
    }

    #[test]
    fn a_wrong_name_gets_the_nearest_of_its_kind() {
        let some = ["sink kafka 1.0.0", "sink redis 1.0.0", "source kafkaa 1.0.0"];
        check(&some, "kafak", "did you mean `kafka`? Installed: `kafka`, `redis`");
        check(&some, "websocket", "no sink named `websocket` is installed; installed: `kafka`, `redis`");
        check(&[], "kafka", "check `plugin_path`");
    }

    #[test]
    fn a_name_of_another_kind_is_told_apart() {
        check(&["source kafka 1.0.0"], "kafka", "`kafka` is not a sink: found a source, expected a sink");
    }
}
