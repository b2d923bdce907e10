//! The secret that allows changes over TCP: made at the first start, readable by the host's user only.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use uuid::Uuid;

/// Kept as a hash, whose comparison takes the same time whatever is given.
#[derive(Clone, Copy)]
pub(super) struct Token(blake3::Hash);

impl Token {
    /// Reads the token in `file`, or makes one.
    pub fn in_file(file: &Path) -> io::Result<Self> {
        match fs::read_to_string(file) {
            Ok(text) if !text.trim().is_empty() => {
                // An operator may have copied it; whoever else could read it until now should not from now on.
                fs::set_permissions(file, Permissions::from_mode(0o600))?;
                Ok(Self::of(&text))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Self::make(file),
        }
    }

    /// Written beside its place and moved there, so that a crash leaves the whole token or none.
    fn make(file: &Path) -> io::Result<Self> {
        let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let new = file.with_extension("token.new");
        let _ = fs::remove_file(&new);
        let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        writeln!(written, "{token}")?;
        written.sync_all()?;
        fs::rename(&new, file)?;
        Ok(Self::of(&token))
    }

    fn of(text: &str) -> Self {
        Self(blake3::hash(text.trim().as_bytes()))
    }

    pub fn is(&self, given: &str) -> bool {
        self.0 == blake3::hash(given.trim().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_is_the_owners() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("admin.token");
        let made = Token::in_file(&file).expect("a new token");
        let text = fs::read_to_string(&file).expect("the token");
        assert!(text.trim().len() >= 64 && made.is(&text) && !made.is("") && !made.is(&text[1..]));
        fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("its owner may");
        let read = Token::in_file(&file).expect("the same token");
        assert!(read.is(&text), "a restart keeps it");
        assert_eq!(fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_empty_file_is_no_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("admin.token");
        fs::write(&file, "\n").expect("written");
        assert!(!Token::in_file(&file).expect("a new token").is(""));
    }
}
