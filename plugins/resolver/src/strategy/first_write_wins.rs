//! The change with the smallest stamp is shown.

/// Where the winner stands; `None` among no changes.
pub fn winner<S: Ord>(stamps: &[S]) -> Option<usize> {
    (0..stamps.len()).min_by(|a, b| stamps[*a].cmp(&stamps[*b]))
}
