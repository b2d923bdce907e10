//! Which message makes the broker end the connection.
//!
//! Some brokers answer what they do not like by ending the connection: a topic with too many levels, a publish that is not
//! allowed in 3.1.1. Published again on every connection, one such message would stop everything behind it. So after such an
//! end, what was unanswered is published one by one, and what is alone on its way when the connection ends, often enough,
//! is it.

use crate::outbox::Token;

/// How often a connection has to end on a message that is alone on its way.
const STRIKES: u32 = 3;

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    /// Everything up to this one is published alone.
    until: Option<Token>,
    /// On which message connections have ended, and how often.
    suspect: Option<(Token, u32)>,
}

impl Suspicion {
    /// How many messages may be on their way.
    pub(crate) fn limit(&self, limit: usize) -> usize {
        if self.until.is_some() { 1 } else { limit }
    }

    /// A message was answered, whatever the answer.
    pub(crate) fn answered(&mut self, token: Token) {
        if self.until.is_some_and(|until| until <= token) {
            *self = Self::default();
        }
    }

    /// The broker has ended a connection on which these were unanswered. Names the message that is why, once that is clear.
    pub(crate) fn cut(&mut self, unanswered: impl Iterator<Item = Token>) -> Option<Token> {
        let unanswered: Vec<Token> = unanswered.collect();
        let last = unanswered.iter().max().copied()?;
        if self.until.is_none() {
            self.until = Some(last);
            return None;
        }
        let [token] = unanswered[..] else { return None };
        let strikes = match self.suspect {
            Some((suspect, strikes)) if suspect == token => strikes + 1,
            _ => 1,
        };
        self.suspect = Some((token, strikes));
        (strikes == STRIKES).then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{Batches, Outbox, tests::batch};

    fn tokens() -> Vec<Token> {
        let outbox = Outbox::new(Batches::default());
        outbox.put(1, batch(&[1, 2, 3]));
        outbox.take(3).into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn a_message_that_ends_every_connection_is_found_among_its_neighbours() {
        let (tokens, mut suspicion) = (tokens(), Suspicion::default());
        assert_eq!(suspicion.limit(100), 100);
        assert_eq!(suspicion.cut(tokens.iter().copied()), None, "it may be any of them");
        assert_eq!(suspicion.limit(100), 1);
        suspicion.answered(tokens[0]);
        for _ in 1..STRIKES {
            assert_eq!(suspicion.cut([tokens[1]].into_iter()), None);
        }
        assert_eq!(suspicion.cut([tokens[1]].into_iter()), Some(tokens[1]));
        suspicion.answered(tokens[1]);
        assert_eq!(suspicion.limit(100), 1);
        suspicion.answered(tokens[2]);
        assert_eq!(suspicion.limit(100), 100);
    }

    #[test]
    fn an_end_without_anything_unanswered_accuses_nobody() {
        let mut suspicion = Suspicion::default();
        assert_eq!(suspicion.cut([].into_iter()), None);
        assert_eq!(suspicion.limit(100), 100);
    }
}
