//! Transforming and composing operations on text.

use super::{
    Part, TextOp,
    pieces::{Piece, Whole},
};
use crate::ot::Side;

impl TextOp {
    /// This operation as it has to be after `other`, which was made from the same text.
    #[must_use]
    pub fn transformed(&self, other: &Self, side: Side) -> Self {
        let mut op = Self::default();
        let mut own = self.pieces();
        for part in &other.parts {
            match part {
                Part::Skip(n) => over(*n, |left| {
                    let piece = own.take(left, Whole::Inserts);
                    op.push(piece);
                    piece
                }),
                Part::Insert(text) => {
                    if side == Side::Left && own.is_at_insert() {
                        own.rest().into_iter().for_each(|piece| op.push(piece));
                    }
                    op.push(Piece::Skip(text.chars().count()));
                }
                // What is gone is neither skipped nor deleted once more; what was inserted in it stays.
                Part::Delete(n, _) => over(*n, |left| {
                    let piece = own.take(left, Whole::Inserts);
                    if matches!(piece, Piece::Insert(_)) {
                        op.push(piece);
                    }
                    piece
                }),
            }
        }
        op.push_rest(own)
    }

    /// One operation that does what this one and then `next` does.
    #[must_use]
    pub fn composed(&self, next: &Self) -> Self {
        let mut op = Self::default();
        let mut own = self.pieces();
        for part in &next.parts {
            match part {
                Part::Skip(n) => {
                    let mut left = *n;
                    while left > 0 {
                        let piece = own.take(left, Whole::Deletes);
                        left -= n_after(piece);
                        op.push(piece);
                    }
                }
                Part::Insert(text) => op.push(Piece::Insert(text)),
                Part::Delete(n, text) => {
                    let mut text = text.as_deref();
                    let mut left = *n;
                    while left > 0 {
                        let piece = own.take(left, Whole::Deletes);
                        let n_gone = n_after(piece);
                        left -= n_gone;
                        let gone = text
                            .map(|text| text.split_at(super::byte_of(text, n_gone).unwrap_or(text.len())));
                        text = gone.map(|(_, rest)| rest);
                        match piece {
                            Piece::Skip(n) => op.push(Piece::Delete(n, gone.map(|(gone, _)| gone))),
                            Piece::Delete(..) => op.push(piece),
                            Piece::Insert(_) => {}
                        }
                    }
                }
            }
        }
        op.push_rest(own)
    }

    fn push_rest(mut self, mut own: super::pieces::Pieces<'_>) -> Self {
        while let Some(piece) = own.rest() {
            self.push(piece);
        }
        self.trimmed()
    }
}

/// Goes over so many characters of the text before the operation that `next` takes pieces of.
fn over<'a>(n: usize, mut next: impl FnMut(usize) -> Piece<'a>) {
    let mut left = n;
    while left > 0 {
        left -= match next(left) {
            Piece::Skip(n) | Piece::Delete(n, _) => n,
            Piece::Insert(_) => 0,
        };
    }
}

/// How many characters of the text after an operation the piece stands for.
fn n_after(piece: Piece<'_>) -> usize {
    match piece {
        Piece::Skip(n) => n,
        Piece::Insert(text) => text.chars().count(),
        Piece::Delete(..) => 0,
    }
}
