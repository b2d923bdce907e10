//! Paths of a configuration.

use std::path::{Component, Path, PathBuf};

/// `path`, from this folder if it is relative, as people read it: without a `.` that says nothing.
pub(crate) fn from_folder(folder: &Path, path: &Path) -> PathBuf {
    let path = folder.join(path);
    let said: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    if said.as_os_str().is_empty() { PathBuf::from(".") } else { said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_as_somebody_would_write_it() {
        for (folder, path, expected) in [
            (".", "./schemas/port.json", "schemas/port.json"),
            (".", "port.json", "port.json"),
            (".", ".", "."),
            ("./pipelines", "../keys/./k1", "pipelines/../keys/k1"),
            ("/etc/lockstep/.", "ca.pem", "/etc/lockstep/ca.pem"),
            ("pipelines", "/run/secrets/k1", "/run/secrets/k1"),
        ] {
            let shown = from_folder(Path::new(folder), Path::new(path));
            assert_eq!(shown.to_str(), Some(expected), "{folder} {path}");
        }
    }
}
