//! Bytes in, whole lines out: cut from the chunks they were read in, without a copy per line.
//!
//! Invariant: every byte fed lies in exactly one of the lines given, in the line that is not finished yet, or is a newline.

use lockstep_plugin_api::Bytes;
use memchr::memchr;

/// How much of a line that is too long is kept for the dead letter queue.
pub const KEPT_OF_OVERSIZE: usize = 4 << 10;

/// One line, without its newline (`\n` or `\r\n`).
#[derive(Debug)]
pub struct Line {
    /// The line, or its first [`KEPT_OF_OVERSIZE`] bytes if it is too long.
    pub content: Bytes,
    /// Its whole length in bytes.
    pub length: u64,
    /// The offset behind its newline.
    pub end: u64,
    /// Whether it was longer than allowed.
    pub is_oversize: bool,
}

/// Cuts a stream of chunks into lines.
#[derive(Debug)]
pub struct Lines {
    max_line: usize,
    /// The chunk that lines are cut from, and how far.
    chunk: Bytes,
    at: usize,
    /// A line that began in one chunk and ended in the next; it comes before the chunk's own.
    joined: Option<Line>,
    /// The beginning of the line whose newline has not come yet; at most `max_line + 1` bytes of it.
    partial: Vec<u8>,
    /// Its length so far, with what was not kept.
    partial_length: u64,
    /// The offset behind the last line given.
    given: u64,
    /// The offset behind the last byte fed.
    fed: u64,
}

impl Lines {
    /// Starts at `offset`, where a line begins.
    pub fn at(offset: u64, max_line: usize) -> Self {
        Self {
            max_line,
            chunk: Bytes::new(),
            at: 0,
            joined: None,
            partial: Vec::new(),
            partial_length: 0,
            given: offset,
            fed: offset,
        }
    }

    /// The offset behind the last byte fed: where to read next.
    pub fn fed(&self) -> u64 {
        self.fed
    }

    /// The offset behind the last line given.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Takes the next bytes. Call it only when [`Lines::next`] has nothing left.
    pub fn feed(&mut self, bytes: &[u8]) {
        debug_assert!(self.joined.is_none() && self.at == self.chunk.len(), "lines are left");
        self.fed += bytes.len() as u64;
        let mut rest = bytes;
        if self.partial_length > 0 {
            let Some(newline) = memchr(b'\n', rest) else { return self.keep_partial(rest) };
            self.keep_partial(&rest[..newline]);
            rest = &rest[newline + 1..];
            self.joined = Some(self.take_partial(1));
        }
        let whole = memchr::memrchr(b'\n', rest).map_or(0, |newline| newline + 1);
        // Copied at its exact size: a record that waits for a slow sink then holds no more than was read with it.
        (self.chunk, self.at) = (Bytes::copy_from_slice(&rest[..whole]), 0);
        self.keep_partial(&rest[whole..]);
    }

    /// The next whole line that was fed.
    pub fn next(&mut self) -> Option<Line> {
        if let Some(line) = self.joined.take() {
            self.given = line.end;
            return Some(line);
        }
        let rest = &self.chunk[self.at..];
        let newline = memchr(b'\n', rest)?;
        let length = without_carriage_return(&rest[..newline]).len();
        let is_oversize = length > self.max_line;
        let kept = if is_oversize { length.min(KEPT_OF_OVERSIZE) } else { length };
        let content = self.chunk.slice(self.at..self.at + kept);
        self.at += newline + 1;
        self.given += newline as u64 + 1;
        Some(Line { content, length: length as u64, end: self.given, is_oversize })
    }

    /// Takes what has come of the last line as a line: no newline will follow.
    pub fn finish(&mut self) -> Option<Line> {
        if self.partial_length == 0 {
            return None;
        }
        let line = self.take_partial(0);
        self.given = line.end;
        Some(line)
    }

    fn keep_partial(&mut self, bytes: &[u8]) {
        self.partial_length += bytes.len() as u64;
        // One byte more than the longest line: it may be the `\r` before the newline.
        let room = (self.max_line + 1).max(KEPT_OF_OVERSIZE).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn take_partial(&mut self, newline: u64) -> Line {
        let mut content = std::mem::take(&mut self.partial);
        let whole_length = std::mem::take(&mut self.partial_length);
        let mut length = whole_length;
        if newline > 0 && content.len() as u64 == whole_length {
            content.truncate(without_carriage_return(&content).len());
            length = content.len() as u64;
        }
        let is_oversize = length > self.max_line as u64;
        if is_oversize {
            content.truncate(KEPT_OF_OVERSIZE);
        }
        // The vector grew by doubling; what it has in reserve would wait in memory with the record.
        content.shrink_to_fit();
        let end = self.given + whole_length + newline;
        Line { content: Bytes::from(content), length, end, is_oversize }
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of every size and checks that the lines and their ends are the same.
    fn check(text: &[u8], max_line: usize, expect: &[(&[u8], u64, bool)]) {
        for piece in 1..=text.len() {
            let mut lines = Lines::at(0, max_line);
            let mut found = Vec::new();
            for chunk in text.chunks(piece) {
                lines.feed(chunk);
                while let Some(line) = lines.next() {
                    assert_eq!(line.end, lines.given());
                    found.push((line.content.to_vec(), line.end, line.is_oversize));
                }
            }
            found.extend(lines.finish().map(|line| (line.content.to_vec(), line.end, line.is_oversize)));
            let expect: Vec<_> = expect.iter().map(|(text, end, big)| (text.to_vec(), *end, *big)).collect();
            assert_eq!(found, expect, "in pieces of {piece}");
            assert_eq!(lines.fed(), text.len() as u64);
        }
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        check(
            b"one\ntwo\r\n\nfour\n",
            100,
            &[(b"one", 4, false), (b"two", 9, false), (b"", 10, false), (b"four", 15, false)],
        );
    }

    #[test]
    fn a_line_without_its_newline_waits_for_the_end() {
        check(b"one\ntw\r", 100, &[(b"one", 4, false), (b"tw\r", 7, false)]);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_whole_and_a_longer_one_is_marked() {
        check(
            b"1234\r\n12345\n123456\n1\n",
            5,
            &[(b"1234", 6, false), (b"12345", 12, false), (b"123456", 19, true), (b"1", 21, false)],
        );
        check(b"12345\r\n", 5, &[(b"12345", 7, false)]);
    }

    #[test]
    fn of_a_line_that_is_too_long_only_the_beginning_is_kept() {
        let mut lines = Lines::at(0, 10);
        for _ in 0..100 {
            lines.feed(&[b'x'; 1000]);
            assert!(lines.next().is_none());
        }
        assert!(lines.partial.capacity() < 3 * KEPT_OF_OVERSIZE, "{}", lines.partial.capacity());
        lines.feed(b"\nnext\n");
        let line = lines.next().expect("the long line");
        assert_eq!((line.content.len(), line.length, line.end), (KEPT_OF_OVERSIZE, 100_000, 100_001));
        assert_eq!(&*lines.next().expect("the next line").content, b"next");
    }

    #[test]
    fn lines_of_one_chunk_share_its_buffer() {
        let mut lines = Lines::at(0, 100);
        lines.feed(b"one\ntwo\n");
        let (one, two) = (lines.next().expect("one").content, lines.next().expect("two").content);
        assert_eq!(one.as_ptr() as usize + 4, two.as_ptr() as usize);
    }
}
