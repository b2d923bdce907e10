//! An answer that goes on: lines of JSON, each given as soon as it is there.

use super::exchange::Answer;
use std::io::{self, BufRead, BufReader, Read};

/// The lines of an answer. Ends when the host ends it.
pub struct Lines(BufReader<Box<dyn Read>>);

impl Lines {
    pub(super) fn new(answer: Answer) -> Self {
        Self(BufReader::new(Box::new(answer.into_body())))
    }
}

impl Iterator for Lines {
    type Item = io::Result<String>;

    /// A line without its end; an error says that the connection broke.
    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => {
                line.truncate(line.trim_end().len());
                Some(Ok(line))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(answer: &'static [u8]) -> Lines {
        Lines::new(Answer::read(Box::new(answer)).expect("readable").expect("HTTP"))
    }

    #[test]
    fn lines_are_found_whatever_pieces_they_come_in() {
        let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            4\r\n{\"a\"\r\n9;x=y\r\n:1}\n{\"a\":\r\n3\r\n2}\n\r\n0\r\n\r\n";
        let found: Vec<_> = lines(whole).map(|line| line.expect("a line")).collect();
        assert_eq!(found, [r#"{"a":1}"#, r#"{"a":2}"#]);
    }

    #[test]
    fn a_broken_connection_is_not_the_end() {
        let broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"a\":1}\n\r\n";
        let mut lines = lines(broken);
        assert!(lines.next().is_some_and(|line| line.is_ok()));
        assert!(lines.next().is_some_and(|line| line.is_err()));
    }
}
