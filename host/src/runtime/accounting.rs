//! Whether a transform gave back every record it was given, and a batch's parts in one order again.

use crate::registry::Applied;
use lockstep_plugin_api::{Record, abi::Records};
use std::collections::HashSet;

/// Two parts of one batch back in the order of their ids; records of one id keep their order.
pub fn merge(first: Records, second: Records) -> Records {
    if first.is_empty() {
        return second;
    }
    if second.is_empty() {
        return first;
    }
    let mut merged = Records::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    while let (Some(a), Some(b)) = (first.peek(), second.peek()) {
        let next = if a.id() <= b.id() { first.next() } else { second.next() };
        merged.extend(next);
    }
    merged.extend(first);
    merged.extend(second);
    merged
}

/// Whether every id given came back and no other: a sentence if not.
pub fn account(given: &[u64], applied: &Applied) -> Result<(), String> {
    let is_one_to_one =
        applied.out.len() == given.len() && applied.out.iter().map(Record::id).eq(given.iter().copied());
    if is_one_to_one
        && applied.failed.is_empty()
        && applied.dropped.is_empty()
        && applied.unapplied.is_empty()
    {
        return Ok(());
    }
    if applied.failed.iter().any(|failed| failed.record.is_none()) {
        return Err("`apply` gave back a failed record without the record".to_owned());
    }
    if !applied.unapplied.is_empty() && applied.stopped_by.is_none() {
        return Err("`apply` left records unapplied and did not say why".to_owned());
    }
    let ways: [HashSet<u64>; 4] = [
        applied.out.iter().map(Record::id).collect(),
        applied.unapplied.iter().map(Record::id).collect(),
        applied.failed.iter().map(|failed| failed.id).collect(),
        applied.dropped.iter().copied().collect(),
    ];
    let back: HashSet<u64> = ways.iter().flatten().copied().collect();
    let twice = ways.iter().map(HashSet::len).sum::<usize>() - back.len();
    if twice > 0 {
        return Err(format!("`apply` gave back {twice} records in two ways, such as passed on and dropped"));
    }
    let given: HashSet<u64> = given.iter().copied().collect();
    let (missing, unknown) = (given.difference(&back).count(), back.difference(&given).count());
    match (missing, unknown) {
        (0, 0) => Ok(()),
        (missing, 0) => Err(format!("`apply` lost {missing} of {} records without saying so", given.len())),
        (_, unknown) => Err(format!("`apply` gave back {unknown} records it was not given")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(ids: &[u64]) -> Records {
        let record = |id: &u64| {
            let mut record = Record::new("x");
            record.set_id(*id);
            record
        };
        ids.iter().map(record).collect()
    }

    fn applied(out: &[u64], dropped: &[u64]) -> Applied {
        let (failed, unapplied) = (Vec::new(), Records::new());
        Applied {
            out: records(out),
            failed,
            dropped: dropped.to_vec().into(),
            unapplied,
            stopped_by: None,
            told: Vec::new(),
        }
    }

    #[test]
    fn parts_of_a_batch_are_merged_in_the_order_of_ids() {
        let merged = merge(records(&[1, 1, 4]), records(&[2, 3, 5]));
        assert_eq!(merged.iter().map(Record::id).collect::<Vec<_>>(), [1, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn every_id_has_to_come_back() {
        assert!(account(&[1, 2, 3], &applied(&[1, 2, 3], &[])).is_ok());
        assert!(account(&[1, 2, 3], &applied(&[1, 1, 3], &[2])).is_ok(), "one split, one dropped");
        assert!(account(&[1, 2], &applied(&[1, 2], &[2])).expect_err("both").contains("in two ways"));
        assert!(account(&[1, 2, 3], &applied(&[1, 2], &[])).expect_err("lost").contains("lost 1 of 3"));
        assert!(
            account(&[1], &applied(&[1, 9], &[]))
                .expect_err("unknown")
                .contains("1 records it was not given")
        );
    }
}
