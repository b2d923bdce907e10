use super::super::tests::write_keys;
use super::*;
use crate::config::RingEntry;
use std::{fs, path::Path};

fn keeper(dir: &Path, files: &[(Option<&str>, &str)]) -> Result<Arc<Keeper>> {
    let entry = |(id, file): &(Option<&str>, &str)| RingEntry {
        id: id.map(str::to_owned),
        env: None,
        file: Some((*file).to_owned()),
        exec: None,
    };
    let sources = files.iter().map(|file| Source::new(entry(file), dir, Duration::from_secs(1)));
    Keeper::open("test", sources.collect(), None, Known::nothing())
}

fn hex(digit: char) -> String {
    std::iter::repeat_n(digit, 64).collect()
}

#[test]
fn a_changed_file_is_a_new_ring_and_a_bad_one_leaves_the_last_in_force() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("ring");
    write_keys(&file, format!("k1: {}\n", hex('1')));
    let keeper = keeper(dir.path(), &[(None, "ring")]).expect("a ring");
    let first = keeper.generation();
    keeper.look();
    assert_eq!(keeper.generation(), first, "nothing has changed");

    write_keys(&file, format!("k2: {}\nk1: {}\n", hex('2'), hex('1')));
    keeper.look();
    assert!(keeper.generation() > first);
    assert_eq!((keeper.kept().current.as_str(), keeper.kept().kids.len()), ("k2", 2));

    let second = keeper.generation();
    for broken in ["", "k2", "k2: hunter2"] {
        write_keys(&file, broken);
        keeper.look();
        let kept = keeper.kept();
        assert_eq!((kept.kids.len(), keeper.generation()), (2, second), "{broken}");
        let problem = kept.problem.expect("told");
        assert!(problem.contains("ring") && !problem.contains("hunter2"), "{problem}");
    }
    fs::remove_file(&file).expect("removed");
    keeper.look();
    assert_eq!(keeper.kept().kids.len(), 2);

    write_keys(&file, format!("k3: {}\n", hex('3')));
    keeper.look();
    assert_eq!((keeper.kept().kids, keeper.kept().problem), (vec!["k3".to_owned()], None));
}

#[test]
fn rotating_orders_new_data_keys_even_if_the_ring_is_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    write_keys(&dir.path().join("k"), hex('a'));
    let keeper = keeper(dir.path(), &[(Some("k"), "k")]).expect("a ring");
    let before = keeper.generation();
    keeper.rotate().expect("read");
    assert!(keeper.generation() > before);
    fs::remove_file(dir.path().join("k")).expect("removed");
    let before = keeper.generation();
    assert!(keeper.rotate().expect_err("it is gone").contains("cannot be read"));
    assert!(keeper.generation() > before && keeper.kept().problem.is_some());
}

#[test]
fn another_key_under_an_old_name_leaves_the_last_ring_in_force() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |text: String| write_keys(&dir.path().join("ring"), text);
    write(format!("k2: {}\nk1: {}\n", hex('2'), hex('1')));
    let keeper = keeper(dir.path(), &[(None, "ring")]).expect("a ring");
    let generation = keeper.generation();
    write(format!("k3: {}\nk1: {}\n", hex('3'), hex('9')));
    keeper.look();
    let kept = keeper.kept();
    assert_eq!((kept.current.as_str(), keeper.generation()), ("k2", generation));
    assert!(kept.problem.is_some_and(|problem| problem.contains("`k1` was the name of another key")));

    write(format!("k2: {}\n", hex('2')));
    keeper.look();
    assert_eq!((keeper.kept().gone, keeper.kept().problem), (vec!["k1".to_owned()], None));
    // Also after it was away.
    write(format!("k2: {}\nk1: {}\n", hex('2'), hex('9')));
    keeper.look();
    assert!(keeper.kept().problem.is_some());
    write(format!("k2: {}\nk1: {}\n", hex('2'), hex('1')));
    keeper.look();
    assert_eq!((keeper.kept().kids.len(), keeper.kept().gone, keeper.kept().problem), (2, vec![], None));
}

#[test]
fn what_cannot_be_a_ring_is_refused_with_its_source() {
    let dir = tempfile::tempdir().expect("a folder");
    write_keys(&dir.path().join("a"), format!("k: {}", hex('a')));
    write_keys(&dir.path().join("b"), hex('b'));
    write_keys(&dir.path().join("large"), "x".repeat(70_000));
    for (files, says) in [
        (&[(None, "a"), (Some("k"), "b")][..], "two keys of the ring are called `k`"),
        (&[(None, "b")], "line 1"),
        (&[(Some("k"), "a")], "without `id`"),
        (&[(Some("k"), "none")], "cannot be read"),
        (&[(Some("k"), "large")], "more than 65536 bytes"),
    ] {
        let error = keeper(dir.path(), files).err().expect(says);
        assert!(error.message().contains(says), "{error}");
    }
}
