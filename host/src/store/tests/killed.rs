//! The process is killed while it makes, seals or unseals a store: unlike after a power cut, every call that was made is
//! there, and the next one is not.

use std::os::unix::process::ExitStatusExt;
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

/// Kills a child so long after it began to open the store; false if it was done before.
fn open_and_kill(form: &str, dir: &Path, after: Duration) -> bool {
    let mut child = Command::new(std::env::current_exe().expect("own file"))
        .args(["--exact", "store::tests::killed::a_child_opens_the_store_that_it_is_told"])
        .env(CHILD, format!("{form}:{}", dir.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    // What it does before it opens the store is not what is looked at.
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while !dir.join("lock").exists() && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    std::thread::sleep(after);
    child.kill().expect("kill -9");
    let status = child.wait().expect("the child is gone");
    let is_killed = status.signal() == Some(libc::SIGKILL);
    assert!(is_killed || status.success(), "{form}: the child ends by itself: {status}");
    is_killed
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
        write_key(&dir.path().join("key"), [0xB7; 32]);
        fill(&Store::open(dir.path(), options_of(form, dir.path())).expect("opened"));
        dir
    });
    let empty = tempfile::tempdir().expect("a folder");
    write_key(&empty.path().join("key"), [0xB7; 32]);
    let mut random = fastrand::Rng::new();
    let (n_rounds, mut n, mut n_killed) = (scaled(24, 600), 0, 0);
    // Follows how long it takes here and now, so that about half of the kills come in time and none is always too early.
    let mut longest_us = 30_000;
    while n < n_rounds || n_killed < n_rounds / 2 {
        assert!(n < 20 * n_rounds, "{n_killed} kills came before the store was open");
        let (from, form) =
            [(&empty, "plain"), (&empty, "sealed"), (&plain, "sealed"), (&sealed, "unsealed")][n % 4];
        let dir = copy(from.path());
        for _ in 0..2 {
            let after = Duration::from_micros(random.u64(0..longest_us));
            let is_killed = open_and_kill(form, dir.path(), after);
            longest_us = if is_killed { longest_us + longest_us / 8 } else { longest_us - longest_us / 8 };
            longest_us = longest_us.clamp(100, 10_000_000);
            n_killed += usize::from(is_killed);
        }
        let next = FORMS[random.usize(if form == "plain" { 0..1 } else { 1..3 })];
        let store = Store::open(dir.path(), options_of(next, dir.path()))
            .unwrap_or_else(|error| panic!("{n}: {form}, then {next}: {error}: {error:?}"));
        if from.path() != empty.path() {
            check_filled(&store);
        }
        store.commit(state("next", "1")).expect("it takes commits");
        n += 1;
    }
}
