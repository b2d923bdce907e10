//! The process is killed while it makes, seals or unseals a store: unlike after a power cut, every call that was made is
//! there, and the next one is not.

use std::process::{Command, Stdio};

use super::power_cut::scaled;
use super::sealing::*;
use super::*;

const CHILD: &str = "LOCKSTEP_TEST_STORE_CHILD";

/// What a child does with the store in a folder.
const FORMS: [&str; 3] = ["plain", "sealed", "unsealed"];

/// The key lies in the folder itself, where both processes find it.
fn options_of(form: &str, dir: &Path) -> StoreOptions {
    match form {
        "plain" => StoreOptions::default(),
        "sealed" => {
            let source = KeySource::File(dir.join("key"));
            let keys = vec![SealingKey { id: "k1".to_owned(), source }];
            let sealing = SealingOptions { keys, current: Some("k1".to_owned()), wanted: Wanted::Sealed };
            StoreOptions { sealing, ..StoreOptions::default() }
        }
        _ => {
            let mut options = options_of("sealed", dir);
            options.sealing.wanted = Wanted::Plain;
            options
        }
    }
}

/// The child's part: as a test of its own it does nothing.
#[test]
fn a_child_opens_the_store_that_it_is_told() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (form, dir) = told.split_once(':').expect("form:folder");
    let opened = Store::open(Path::new(dir), options_of(form, Path::new(dir)));
    opened.expect("the store opens").commit(state("child", "1")).expect("committed");
}

/// Kills a child at some moment of opening the store; false if it was done before.
fn open_and_kill(form: &str, dir: &Path, after: Duration) -> bool {
    let mut child = Command::new(std::env::current_exe().expect("own file"))
        .args(["--exact", "store::tests::killed::a_child_opens_the_store_that_it_is_told"])
        .env(CHILD, format!("{form}:{}", dir.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    // What it does before it opens the store is not what is looked at.
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while !dir.join("lock").exists() && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    std::thread::sleep(after);
    child.kill().expect("kill -9");
    !child.wait().expect("the child is gone").success()
}

fn copy(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let copied = Command::new("cp").arg("-r").arg(from.join(".")).arg(dir.path()).status();
    assert!(copied.is_ok_and(|status| status.success()), "`cp` copies");
    let _ = fs::remove_file(dir.path().join("lock"));
    dir
}

#[test]
fn a_store_whose_making_sealing_or_unsealing_was_killed_opens_with_everything_in_it() {
    let [plain, sealed] = ["plain", "sealed"].map(|form| {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("key"), [0xB7; 32]).expect("written");
        fill(&Store::open(dir.path(), options_of(form, dir.path())).expect("opened"));
        dir
    });
    let empty = tempfile::tempdir().expect("a folder");
    fs::write(empty.path().join("key"), [0xB7; 32]).expect("written");
    let mut random = fastrand::Rng::new();
    let mut n_killed = 0;
    for n in 0..scaled(24, 600) {
        let (from, form) =
            [(&empty, "plain"), (&empty, "sealed"), (&plain, "sealed"), (&sealed, "unsealed")][n % 4];
        let dir = copy(from.path());
        for _ in 0..2 {
            n_killed +=
                usize::from(open_and_kill(form, dir.path(), Duration::from_micros(random.u64(0..30_000))));
        }
        let next = FORMS[random.usize(if form == "plain" { 0..1 } else { 1..3 })];
        let store = Store::open(dir.path(), options_of(next, dir.path()))
            .unwrap_or_else(|error| panic!("{n}: {form}, then {next}: {error}: {error:?}"));
        if from.path() != empty.path() {
            check_filled(&store);
        }
        store.commit(state("next", "1")).expect("it takes commits");
    }
    println!("{n_killed} kills");
    assert!(n_killed >= 12, "{n_killed} kills came before the store was open");
}
