//! An export, and whatever may become of the file.

use super::*;

#[test]
fn every_byte_and_every_line_of_an_export_counts() {
    let scene = Scene::new();
    let whole = exported(&scene.store);
    assert!(matches!(verified(whole.as_bytes(), &[scene.head]), Ok(N)));
    for place in 0..whole.len() {
        // The other case of a letter, and the next digit: what a reader might take for the same, and what not.
        for flip in [0x20, 1] {
            let mut text = whole.clone().into_bytes();
            text[place] ^= flip;
            assert!(verified(&text, &[]).is_err(), "byte {place} ^ {flip}");
        }
        assert!(verified(&whole.as_bytes()[..place], &[]).is_err(), "cut at {place}");
    }
    let lines: Vec<_> = whole.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    for first in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(first);
        assert!(verified(joined(&without).as_bytes(), &[]).is_err(), "without line {first}");
        let mut twice = lines.clone();
        twice.insert(first, lines[first]);
        assert!(verified(joined(&twice).as_bytes(), &[]).is_err(), "line {first} twice");
        for second in first + 1..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(first, second);
            assert!(verified(joined(&swapped).as_bytes(), &[]).is_err(), "lines {first} and {second}");
        }
    }
}

#[test]
fn an_export_whose_end_and_head_were_cut_is_found_by_a_noted_head() {
    let scene = Scene::new();
    let whole = exported(&scene.store);
    let new_head = Link { number: 5, hash: hash_of(&scene.bytes(5)) };
    let cut: Vec<_> = whole.lines().take(6).collect();
    let cut = cut.join("\n").replacen(&scene.head.to_string(), &new_head.to_string(), 1) + "\n";
    assert!(matches!(verified(cut.as_bytes(), &[]), Ok(5)));
    let found = verified(cut.as_bytes(), &[scene.head]).expect_err("cut");
    assert!(found.to_string().contains("its end was cut off"), "{found}");
}
