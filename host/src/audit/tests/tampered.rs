//! Entries altered, taken out, moved, put in or cut off behind the store's back.

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;
use crate::store::{AuditLimit, AuditRecord};

#[test]
fn every_flipped_byte_of_every_entry_is_found_where_it_is() {
    let scene = Scene::new();
    for number in 1..=N {
        let bytes = scene.bytes(number);
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            let broken = scene.tampered(&[(number, Some(flipped))], &[]).expect_err("altered");
            at(number)(broken).unwrap_or_else(|wrong| panic!("byte {place}: {wrong}"));
        }
    }
    assert!(walk(&scene.store, &[]).is_ok(), "all is as it was");
}

/// The same bytes with another number before them, as their owner would put them into the chain.
fn forged(previous: Hash, number: u64, entry: &str) -> Vec<u8> {
    let new = NewAudit { at_us: 1, entry: entry.to_owned(), revision_of: None };
    let record = AuditRecord::after(Link { number: number - 1, hash: previous }, new, 0);
    let at = record.at_us.to_be_bytes();
    [&[1][..], &at, &record.previous, &record.hash, record.entry.as_bytes()].concat()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_taken_out_moved_put_in_or_replaced_is_found(first in 1..=N, second in 1..=N) {
        let scene = Scene::new();
        let removed = scene.tampered(&[(first, None)], &[]);
        prop_assert_eq!(removed.map_err(|broken| broken.number), Err(first));
        if first != second {
            let swap = [(first, Some(scene.bytes(second))), (second, Some(scene.bytes(first)))];
            prop_assert_eq!(scene.tampered(&swap, &[]).map_err(|broken| broken.number), Err(first.min(second)));
        }
        // Somebody who can compute a hash replaces one entry: the one after it no longer follows.
        let previous = if first == 1 { Hash::default() } else { hash_of(&scene.bytes(first - 1)) };
        let replaced = forged(previous, first, "{}");
        let found = scene.tampered(&[(first, Some(replaced.clone()))], &[]);
        prop_assert_eq!(found.map_err(|broken| broken.number), Err((first + 1).min(N)));
        // Or puts one in, and moves the others on.
        let mut shifted: Vec<_> = (first..=N).map(|number| (number + 1, Some(scene.bytes(number)))).collect();
        shifted.push((first, Some(replaced)));
        prop_assert_eq!(scene.tampered(&shifted, &[]).map_err(|broken| broken.number), Err(first + 1));
        // Or writes one behind the head.
        let after = forged(scene.head.hash, N + 1, "{}");
        prop_assert_eq!(scene.tampered(&[(N + 1, Some(after))], &[]).map_err(|broken| broken.number), Err(N + 1));
    }
}

/// Sets where the store says that its audit begins and ends.
fn set_chain(store: &Store, anchor: Link, head: Link) -> Option<Vec<u8>> {
    let old = store.get(Namespace::Meta, b"audit_chain").expect("readable");
    let link = |link: Link| [&link.number.to_be_bytes()[..], &link.hash].concat();
    let bytes = [link(anchor), link(head), 0_u64.to_be_bytes().to_vec()].concat();
    store.commit(Commit::default().put(Namespace::Meta, "audit_chain", bytes)).expect("written");
    old
}

#[test]
fn a_cut_or_rewritten_chain_is_found_by_a_head_that_was_noted() {
    let scene = Scene::new();
    let links: Vec<_> = (1..=N).map(|number| Link { number, hash: hash_of(&scene.bytes(number)) }).collect();
    for (place, noted) in links.iter().enumerate() {
        assert!(walk(&scene.store, &[*noted]).is_ok(), "{place}");
        let other = Link { hash: scene.head.hash.map(|byte| !byte), ..*noted };
        assert_eq!(
            walk(&scene.store, &[other]),
            Err(Broken { number: noted.number, problem: Problem::Rewritten })
        );
    }
    // The last three are cut off, and the store's own note of the head is put right.
    let cut: Vec<_> = (N - 2..=N).map(|number| (number, None)).collect();
    let place = set_chain(&scene.store, Link::default(), links[N as usize - 4]).expect("a chain");
    assert!(scene.tampered(&cut, &[]).is_ok(), "nothing inside the store can tell");
    let noted = scene.tampered(&cut, &[scene.head]);
    assert_eq!(noted, Err(Broken { number: N, problem: Problem::CutOff { head: N - 3 } }));
    let put_back = Commit::default().put(Namespace::Meta, "audit_chain", place);
    scene.store.commit(put_back).expect("written");
    // All of it is written anew, with other content and right hashes.
    let (mut hash, mut rewritten) = (Hash::default(), Vec::new());
    for number in 1..=N {
        let bytes = forged(hash, number, r#"{"harmless":true}"#);
        hash = hash_of(&bytes);
        rewritten.push((number, Some(bytes)));
    }
    set_chain(&scene.store, Link::default(), Link { number: N, hash });
    assert!(scene.tampered(&rewritten, &[]).is_ok(), "nothing inside the store can tell");
    let noted = scene.tampered(&rewritten, &[scene.head]);
    assert_eq!(noted, Err(Broken { number: N, problem: Problem::Rewritten }));
}

/// What the chain is for: hashes of entries alone are all right still when two of them change places.
#[test]
fn a_checker_without_the_hash_before_misses_a_reorder() {
    let scene = Scene::new();
    let entries =
        |records: &[AuditRecord]| records.iter().map(|record| record.entry.clone()).collect::<Vec<_>>();
    let page = scene.store.audit_page(0, AuditLimit { records: 100, bytes: 1 << 20 }).expect("readable");
    let mut records: Vec<_> = page.records.into_iter().filter_map(|(_, record)| record).collect();
    let sum = |entry: &str| {
        AuditRecord::after(
            Link::default(),
            NewAudit { at_us: 0, entry: entry.to_owned(), revision_of: None },
            0,
        )
        .hash
    };
    let mut sums: Vec<_> = records.iter().map(|record| sum(&record.entry)).collect();
    let before = entries(&records);
    records.swap(3, 7);
    sums.swap(3, 7);
    assert_ne!(entries(&records), before);
    assert!(
        records.iter().zip(&sums).all(|(record, hash)| sum(&record.entry) == *hash),
        "it notices nothing"
    );
    let mut verifier = Verifier::new(Link::default(), Vec::new()).expect("an anchor");
    let verified =
        (1..).zip(&records).try_for_each(|(number, record)| verifier.take(number, Some(record), scene.head));
    assert_eq!(verified, Err(Broken { number: 4, problem: Problem::Unlinked }));
}
