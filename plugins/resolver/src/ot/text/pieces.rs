//! Taking an operation on text apart and putting one together, piece by piece.

use super::{Part, TextOp, byte_of};

/// A part of an operation, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    Skip(usize),
    Insert(&'a str),
    Delete(usize, Option<&'a str>),
}

/// Which parts are never cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    Inserts,
    Deletes,
}

impl TextOp {
    /// Adds a piece behind what is there; it grows the last part if both are of one kind.
    pub fn push(&mut self, piece: Piece<'_>) {
        match (piece, self.parts.last_mut()) {
            (Piece::Skip(0) | Piece::Insert("") | Piece::Delete(0, _), _) => {}
            (Piece::Skip(n), Some(Part::Skip(last))) => *last += n,
            (Piece::Insert(text), Some(Part::Insert(last))) => last.push_str(text),
            (Piece::Delete(n, text), Some(Part::Delete(last, known))) => {
                *last += n;
                // What was deleted is known if it is known of both.
                *known = known.take().zip(text).map(|(known, text)| known + text);
            }
            (Piece::Skip(n), _) => self.parts.push(Part::Skip(n)),
            (Piece::Insert(text), _) => self.parts.push(Part::Insert(text.to_owned())),
            (Piece::Delete(n, text), _) => self.parts.push(Part::Delete(n, text.map(str::to_owned))),
        }
    }

    /// Without what is skipped at the end.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        if matches!(self.parts.last(), Some(Part::Skip(_))) {
            self.parts.pop();
        }
        self
    }

    /// The operation's pieces from the front, of whatever size is asked for.
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces { parts: &self.parts, n_taken: 0, byte: 0 }
    }
}

/// What is left of an operation. After its last part it skips for ever.
#[derive(Debug)]
pub struct Pieces<'a> {
    parts: &'a [Part],
    /// Of the first part: how many characters were taken, and where the rest of its text begins.
    n_taken: usize,
    byte: usize,
}

impl<'a> Pieces<'a> {
    /// A piece of at most `n` characters, more only if it is one that is never cut.
    pub fn take(&mut self, n: usize, whole: Whole) -> Piece<'a> {
        match self.parts.first() {
            None => Piece::Skip(n),
            Some(Part::Skip(all)) if all - self.n_taken > n => {
                self.n_taken += n;
                Piece::Skip(n)
            }
            Some(Part::Insert(text)) if whole != Whole::Inserts => match self.cut(text, n) {
                Some(text) => {
                    self.byte += text.len();
                    Piece::Insert(text)
                }
                None => self.rest().unwrap_or(Piece::Skip(n)),
            },
            Some(Part::Delete(all, text)) if whole != Whole::Deletes && all - self.n_taken > n => {
                let text = text.as_deref().and_then(|text| self.cut(text, n));
                self.n_taken += n;
                self.byte += text.map_or(0, str::len);
                Piece::Delete(n, text)
            }
            Some(_) => self.rest().unwrap_or(Piece::Skip(n)),
        }
    }

    /// What is left of the first part; `None` behind the last.
    pub fn rest(&mut self) -> Option<Piece<'a>> {
        let piece = match self.parts.first()? {
            Part::Skip(n) => Piece::Skip(n - self.n_taken),
            Part::Insert(text) => Piece::Insert(&text[self.byte..]),
            Part::Delete(n, text) => {
                Piece::Delete(n - self.n_taken, text.as_deref().map(|text| &text[self.byte..]))
            }
        };
        self.advance();
        Some(piece)
    }

    /// Whether an insertion comes next.
    pub fn is_at_insert(&self) -> bool {
        matches!(self.parts.first(), Some(Part::Insert(_)))
    }

    /// The next `n` characters of the first part's text; `None` if it holds no more than these.
    fn cut(&self, text: &'a str, n: usize) -> Option<&'a str> {
        let rest = &text[self.byte..];
        byte_of(rest, n).filter(|end| *end < rest.len()).map(|end| &rest[..end])
    }

    fn advance(&mut self) {
        self.parts = &self.parts[1..];
        (self.n_taken, self.byte) = (0, 0);
    }
}
