//! What runs under a lock: all of it ends with the lock, the lock is kept as long as any of it goes on, and it has the
//! terminal as if there were no lock.

use lockstep_test_support::{Finished, Host, LIMIT, Site, eventually, free_port, host_binary, lines};
use serde_json::Value;
use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    ptr::null_mut,
    thread,
    time::Duration,
};

/// Writes a line again and again, for longer than anybody waits.
const TICKER: &str = "for n in $(seq 2000); do echo $n >> ticks; sleep 0.05; done\n";

struct Node {
    site: Site,
    _host: Host,
}

fn node() -> Node {
    let pipeline = format!(
        "
sources: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }} ]
transforms: [ {{ plugin: lock }}, {{ plugin: resolver }} ]
sinks: [ {{ plugin: file, config: {{ path: SITE/changes.ndjson }} }} ]
",
        port = free_port()
    );
    let site = Site::new().pipeline("flow", &pipeline).env("USER", "ann");
    let mut host = site.start();
    host.wait_ready();
    site.write("ticker.sh", TICKER);
    Node { site, _host: host }
}

impl Node {
    fn run(&self, line: &str) -> Finished {
        self.site.run(line.split_whitespace())
    }

    /// Runs a script under the lock of `app.x`.
    fn hold(&self, script: &str) -> Holding {
        self.site.write("job.sh", script);
        let mut command = self.site.command("locks run app.x --ttl 3s -- sh job.sh".split_whitespace());
        command.stdout(Stdio::null()).stderr(File::create(self.site.path("said")).expect("a file"));
        Holding(command.spawn().expect("a child"))
    }

    fn is_held(&self) -> bool {
        self.run("locks info app.x --json").expect_code(0).json() != Value::Null
    }

    fn ticks(&self) -> usize {
        let ticks = self.site.path("ticks");
        if ticks.exists() { lines(&ticks).len() } else { 0 }
    }

    /// Waits until the ticker goes on.
    fn wait_tick(&self) {
        let before = self.ticks();
        let goes_on = || (self.ticks() > before).then_some(());
        eventually(LIMIT, goes_on).unwrap_or_else(|| panic!("{:?}", lines(&self.site.path("said"))));
    }

    /// Whether the ticker ticks within a time in which it would several times.
    fn ticks_on(&self) -> bool {
        let before = self.ticks();
        thread::sleep(Duration::from_millis(400));
        self.ticks() > before
    }

    fn expect_no_tick(&self) {
        assert!(!self.ticks_on(), "it goes on");
    }
}

/// A `locks run`; killed when this is dropped.
struct Holding(Child);

impl Holding {
    fn signal(&self, signal: i32) {
        // SAFETY: a plain system call on a child that was not waited for.
        unsafe { libc::kill(self.0.id() as i32, signal) };
    }

    fn code(&mut self) -> Option<i32> {
        let ended = eventually(LIMIT, || self.0.try_wait().expect("a child can be asked"));
        ended.expect("it ends").code()
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_a_command_has_started_ends_before_a_lost_lock_is_given_on() {
    for ignores in ["", "trap '' TERM; "] {
        let node = node();
        let mut holding = node.hold(&format!("{ignores} sh ticker.sh & wait\n"));
        node.wait_tick();
        node.run("locks release app.x --force").expect_code(0);
        assert_eq!(holding.code(), Some(1));
        node.run("locks acquire app.x --user bob").expect_code(0);
        node.expect_no_tick();
        let said = lines(&node.site.path("said"));
        assert!(said.len() == 1 && said[0].contains("is lost"), "{said:?}");
    }
}

#[test]
fn a_lock_is_kept_while_something_that_the_command_has_started_goes_on() {
    let node = node();
    let mut holding = node.hold("sh ticker.sh & exit 7\n");
    node.wait_tick();
    let is_said = || lines(&node.site.path("said")).iter().any(|line| line.contains("is kept")).then_some(());
    eventually(LIMIT, is_said).expect("it is said");
    thread::sleep(Duration::from_millis(4_500));
    assert!(node.is_held(), "longer than the lease lasts by itself");
    holding.signal(libc::SIGTERM);
    assert_eq!(holding.code(), Some(7), "the command's own");
    node.expect_no_tick();
    assert!(!node.is_held());
}

#[test]
fn what_leaves_the_group_and_ends_is_not_left_in_the_table_of_processes() {
    let node = node();
    let holding =
        node.hold("for n in 1 2 3; do (setsid sh -c 'echo gone >> ended' &); done; exec sleep 60\n");
    let (ended, pid) = (node.site.path("ended"), holding.0.id());
    eventually(LIMIT, || (ended.exists() && lines(&ended).len() == 3).then_some(())).expect("all have run");
    let is_alone = eventually(LIMIT, || (children_of(pid).len() == 1).then_some(()));
    assert!(is_alone.is_some(), "the command and no other: {:?}", children_of(pid));
}

/// What the system says of the processes that are a process's children, also of those that have ended.
fn children_of(parent: u32) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("a table of processes");
    let said =
        processes.filter_map(|process| std::fs::read_to_string(process.ok()?.path().join("stat")).ok());
    let is_child = |said: &String| {
        let behind_its_name = said.rsplit(") ").next().unwrap_or_default();
        behind_its_name.split(' ').nth(1) == Some(parent.to_string().as_str())
    };
    said.filter(is_child).collect()
}

/// A command that goes to the group of its own child; another child stays where it was.
const MOVES: &str = "
import os, time
command = os.getpid()
def stay():
    while os.getppid() == command:
        time.sleep(0.05)
    os._exit(0)
if not (child := os.fork()):
    os.setpgid(0, 0)
    stay()
if not os.fork():
    stay()
while os.getpgid(child) != child:
    time.sleep(0.01)
os.setpgid(0, child)
open('ticks', 'w').write('1\\n')
time.sleep(60)
";

#[test]
fn a_signal_reaches_the_command_and_those_whose_group_it_has_left() {
    let node = node();
    node.site.write("moves.py", MOVES);
    let mut holding = node.hold("exec python3 moves.py\n");
    node.wait_tick();
    holding.signal(libc::SIGTERM);
    assert_eq!(holding.code(), Some(128 + libc::SIGTERM));
    assert!(!node.is_held());
}

#[test]
fn a_command_ends_with_the_one_that_keeps_its_lock() {
    let node = node();
    let mut holding = node.hold("exec sh ticker.sh\n");
    node.wait_tick();
    holding.signal(libc::SIGKILL);
    assert_eq!(holding.code(), None);
    node.expect_no_tick();
}

#[test]
fn who_slept_past_the_lease_says_so_once_and_ends_the_command() {
    let node = node();
    let mut holding = node.hold("sh ticker.sh\n");
    node.wait_tick();
    holding.signal(libc::SIGSTOP);
    eventually(LIMIT, || (!node.is_held()).then_some(())).expect("its time is over");
    holding.signal(libc::SIGCONT);
    assert_eq!(holding.code(), Some(1));
    node.expect_no_tick();
    let said = lines(&node.site.path("said"));
    assert!(said.len() == 1 && said[0].contains("was stopped"), "{said:?}");
}

#[test]
fn what_cannot_be_run_exits_as_in_a_shell() {
    let node = node();
    node.run("locks run app.x -- ./missing").expect_code(127);
    node.run("locks run app.x -- ./ticker.sh").expect_code(126);
    assert!(!node.is_held());
}

#[test]
fn a_change_in_a_command_is_made_by_the_user_who_took_the_lock() {
    let node = node();
    let lockstep = host_binary();
    let set = ["locks", "run", "app.x", "--user", "eve", "--", lockstep.to_str().expect("text")];
    node.site.run([&set[..], &["set", "app.x", "1"]].concat()).expect_code(0);
    assert_eq!(node.run("get app.x --json").json()["user_id"], "eve");
    node.site.run([&set[..], &["set", "app.x", "2", "--user", "bob"]].concat()).expect_code(0);
    assert_eq!(node.run("get app.x --json").json()["user_id"], "bob", "who says so");
    node.run("set app.x 3").expect_code(0);
    assert_eq!(node.run("get app.x --json").json()["user_id"], "ann");
}

/// A terminal, and what runs at it as its foreground.
struct Seat {
    keyboard: File,
    screen: thread::JoinHandle<()>,
    holding: Holding,
}

fn sit_down(node: &Node, script: &str) -> Seat {
    node.site.write("job.sh", script);
    let (mut ours, mut theirs) = (0, 0);
    // SAFETY: a plain system call, with places for two files.
    let opened = unsafe { libc::openpty(&raw mut ours, &raw mut theirs, null_mut(), null_mut(), null_mut()) };
    assert_eq!(opened, 0, "a terminal");
    // SAFETY: both were opened just now, and belong to nobody else.
    let (ours, theirs) = unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) };
    let side = || Stdio::from(theirs.try_clone().expect("a second handle"));
    let mut command: Command = node.site.command("locks run app.x --ttl 20s -- sh job.sh".split_whitespace());
    command.stdin(side()).stdout(side()).stderr(side());
    let (master, terminal) = (ours.as_raw_fd(), theirs.as_raw_fd());
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(move || {
            libc::close(master);
            libc::setsid();
            match libc::ioctl(terminal, libc::TIOCSCTTY as _, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let holding = Holding(command.spawn().expect("a child"));
    let (mut seen, shown) = (ours.try_clone().expect("a second handle"), node.site.path("said"));
    let mut shown = File::create(shown).expect("a file");
    let screen = thread::spawn(move || {
        let mut some = [0; 1024];
        // The last one at the other end is gone, which is an error here.
        while let Ok(n @ 1..) = seen.read(&mut some) {
            shown.write_all(&some[..n]).expect("written");
        }
    });
    Seat { keyboard: ours, screen, holding }
}

impl Seat {
    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("typed");
    }

    fn code(mut self) -> Option<i32> {
        let code = self.holding.code();
        self.screen.join().expect("no panic");
        code
    }
}

#[test]
fn a_command_reads_the_terminal_and_is_interrupted_there() {
    let node = node();
    // By who has read from it, and by who has not.
    for script in
        ["read line; echo \"got $line\" > got; exec sleep 60\n", "echo ready > got; exec sleep 60\n"]
    {
        let mut seat = sit_down(&node, script);
        seat.types("hello\n");
        let got = node.site.path("got");
        eventually(LIMIT, || (got.exists() && !lines(&got).is_empty()).then_some(())).expect("it is read");
        if script.starts_with("read") {
            assert_eq!(lines(&got), ["got hello"]);
        }
        thread::sleep(Duration::from_millis(100));
        seat.types("\x03");
        assert_eq!(seat.code(), Some(128 + libc::SIGINT));
        assert!(!node.is_held());
        std::fs::remove_file(got).expect("removed");
    }
}

#[test]
fn a_command_that_is_stopped_at_the_terminal_goes_on_only_under_its_lock() {
    let node = node();
    for is_lost in [false, true] {
        let mut seat = sit_down(&node, "sh ticker.sh\n");
        node.wait_tick();
        seat.types("\x1a");
        eventually(LIMIT, || (!node.ticks_on()).then_some(())).expect("it stops");
        node.expect_no_tick();
        if is_lost {
            node.run("locks release app.x --force").expect_code(0);
        }
        seat.holding.signal(libc::SIGCONT);
        if !is_lost {
            node.wait_tick();
            seat.types("\x03");
        }
        let expected = if is_lost { 1 } else { 128 + libc::SIGINT };
        assert_eq!(seat.code(), Some(expected));
        node.expect_no_tick();
    }
}
