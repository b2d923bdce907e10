//! A folder with the host, its plugins and two pipelines.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(10);
const LINE: &str = "{\"config_key\":\"app.theme\",\"new_value\":\"dark\"}\n";

const FILES: &str = "
sources:
  - { plugin: file, config: { path: in.ndjson } }
transforms:
  - plugin: validate
sinks:
  - { plugin: file, config: { path: out.ndjson } }
";

const SOCKETS: &str = "
sources:
  - { plugin: websocket, config: { port: 0 } }
transforms:
  - plugin: validate
sinks:
  - { plugin: websocket, config: { port: 0 } }
";

pub struct Site {
    dir: PathBuf,
}

/// A host that runs.
pub struct Host(Child);

impl Site {
    pub fn new(host: &Path, plugins: &Path, dir: &Path) -> Self {
        for folder in ["plugins", "pipelines"] {
            fs::create_dir(dir.join(folder)).expect("a folder");
        }
        strip(host, &dir.join("lockstep"));
        for plugin in ["file", "validate", "websocket"] {
            let library = format!("liblockstep_plugin_{plugin}.so");
            strip(&plugins.join(&library), &dir.join("plugins").join(&library));
        }
        let pipelines = dir.join("pipelines");
        fs::write(pipelines.join("files.yaml"), FILES).expect("a pipeline");
        fs::write(pipelines.join("sockets.yaml"), SOCKETS).expect("a pipeline");
        Self { dir: dir.to_owned() }
    }

    /// As on a machine where the host never ran.
    pub fn forget(&self) {
        let _ = fs::remove_dir_all(self.dir.join("data"));
    }

    /// Starts the host, and gives how long the first record took.
    pub fn start(&self) -> (Host, Duration) {
        let (input, output) = (self.dir.join("pipelines/in.ndjson"), self.dir.join("pipelines/out.ndjson"));
        let _ = fs::remove_file(&output);
        // One line more each time: the position behind the others is stored.
        let mut lines = fs::OpenOptions::new().append(true).create(true).open(input).expect("the input");
        lines.write_all(LINE.as_bytes()).expect("a line");
        let started = Instant::now();
        let child = Command::new(self.dir.join("lockstep"))
            .args(["run", "pipelines", "--plugin-path", "plugins", "--data-dir", "data"])
            .args(["--admin-listen", "127.0.0.1:0"])
            .current_dir(&self.dir)
            .env("RUST_LOG", "warn")
            .stderr(Stdio::null())
            .spawn()
            .expect("the host starts");
        while fs::metadata(&output).map_or(0, |output| output.len()) == 0 {
            assert!(started.elapsed() < LIMIT, "no record was written");
            std::thread::sleep(Duration::from_micros(200));
        }
        (Host(child), started.elapsed())
    }

    pub fn remove(self) {
        fs::remove_dir_all(&self.dir).expect("the folder can be removed");
    }
}

impl Host {
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn end(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

/// A copy without symbols, if there is a `strip`; with them if not.
fn strip(from: &Path, to: &Path) {
    fs::copy(from, to).expect("it was built");
    let stripped = Command::new("strip").arg("--strip-all").arg(to).status();
    if !stripped.is_ok_and(|status| status.success()) {
        println!("{} keeps its symbols: there is no `strip`", to.display());
    }
}
