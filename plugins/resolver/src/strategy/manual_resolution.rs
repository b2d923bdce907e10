//! A person decides. Until then the last write is shown, and nothing is discarded.
//!
//! Where everybody wants the same there is nothing to decide.

use super::{
    contender::Contender,
    resolution::{Method, Resolution},
};
use crate::value::Value;

/// What is shown while somebody has to decide; `None` if nobody has to.
pub fn resolve(contenders: &[Contender<'_>]) -> Option<Resolution> {
    let last = contenders.len().checked_sub(1)?;
    if contenders.iter().all(|one| is_same(*one, contenders[last])) {
        return None;
    }
    let shown = Resolution::won_by(last, Method::LastWriteWins, contenders);
    Some(Resolution::left_to_a_person(contenders, shown.conflicts))
}

/// Whether two authors want the same. What cannot be read is the same only if it is written alike.
fn is_same(one: Contender<'_>, other: Contender<'_>) -> bool {
    match (one.value, other.value) {
        (Some(one), Some(other)) => {
            one == other || Value::parse(one).ok().zip(Value::parse(other).ok()).is_some_and(|(a, b)| a == b)
        }
        (None, None) => true,
        _ => false,
    }
}
