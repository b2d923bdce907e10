//! Secret keys of 32 bytes that an operator gives: how they are written down, the files that hold them, and programs that
//! print them.
//!
//! The host and plugins that seal read keys by the same rules. Invariant: what is wrong is said without what was read, and
//! what held a key is overwritten when it goes.
//!
//! A key of configuration, such as `app.port`, is another thing: [`Keys`](crate::keys::Keys).

mod file;
mod program;
mod written;

pub use file::{FileProblem, FoundFile, read_file};
pub use program::{ProgramProblem, printed};
pub use written::{Secret, of_file, of_text};
