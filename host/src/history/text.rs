//! Two texts beside each other, for people: line by line, or word by word.

use super::align::runs;

/// A piece of one text, of the other one, or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'t> {
    Same(&'t str),
    Removed(&'t str),
    Added(&'t str),
}

/// Lines, each with its end.
pub fn lines<'t>(old: &'t str, new: &'t str) -> Vec<Piece<'t>> {
    pieces(&split_lines(old), &split_lines(new))
}

/// Words, the spaces between them, and everything else sign by sign.
pub fn words<'t>(old: &'t str, new: &'t str) -> Vec<Piece<'t>> {
    pieces(&split_words(old), &split_words(new))
}

pub(super) fn split_lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn pieces<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Piece<'t>> {
    let mut pieces = Vec::new();
    for run in runs(old, new) {
        if run.is_same {
            pieces.extend(new[run.new].iter().map(|part| Piece::Same(part)));
        } else {
            pieces.extend(old[run.old].iter().map(|part| Piece::Removed(part)));
            pieces.extend(new[run.new].iter().map(|part| Piece::Added(part)));
        }
    }
    pieces
}

fn split_words(text: &str) -> Vec<&str> {
    #[derive(PartialEq)]
    enum Kind {
        Word,
        Space,
        Sign,
    }
    let kind = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' => Kind::Word,
        c if c.is_whitespace() => Kind::Space,
        _ => Kind::Sign,
    };
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next().map(kind) {
        let is_other = |c: char| first == Kind::Sign || kind(c) != first;
        let end = rest.char_indices().skip(1).find(|(_, c)| is_other(*c)).map_or(rest.len(), |(at, _)| at);
        let (word, left) = rest.split_at(end);
        words.push(word);
        rest = left;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_line_by_line_and_word_by_word() {
        let found = lines("one\ntwo\nthree", "one\n2\nthree");
        assert_eq!(
            found,
            [Piece::Same("one\n"), Piece::Removed("two\n"), Piece::Added("2\n"), Piece::Same("three")]
        );
        let found = words("db1.example is up", "db2.example is  up!");
        let changed: Vec<_> = found.into_iter().filter(|piece| !matches!(piece, Piece::Same(_))).collect();
        assert_eq!(
            changed,
            [
                Piece::Removed("db1"),
                Piece::Added("db2"),
                Piece::Removed(" "),
                Piece::Added("  "),
                Piece::Added("!")
            ]
        );
    }

    #[test]
    fn both_texts_are_in_their_pieces() {
        for (old, new) in [("", "a\n"), ("a\nb", "a\nb\n"), ("é 😀\n\n", "é 😁"), ("x-y_z", "x--y_z")] {
            for pieces in [lines(old, new), words(old, new)] {
                let part = |is_old: bool| {
                    let of = |piece: &Piece<'_>| match piece {
                        Piece::Same(text) => Some((*text).to_owned()),
                        Piece::Removed(text) => is_old.then(|| (*text).to_owned()),
                        Piece::Added(text) => (!is_old).then(|| (*text).to_owned()),
                    };
                    pieces.iter().filter_map(of).collect::<String>()
                };
                assert_eq!((part(true).as_str(), part(false).as_str()), (old, new));
            }
        }
    }
}
