//! A folder in which a host is started, ended and started again.

use crate::{
    artifacts::{built_library, host_binary},
    gate::Busy,
    host::Host,
    wait::{LIMIT, eventually},
};
use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Once,
    time::Duration,
};

/// The plugins a site's `plugin_path` holds from the start, by crate name.
const PLUGINS: [&str; 17] = [
    "lockstep_plugin_encrypt",
    "lockstep_plugin_file",
    "lockstep_plugin_kafka",
    "lockstep_plugin_lock",
    "lockstep_plugin_mqtt",
    "lockstep_plugin_redis",
    "lockstep_plugin_resolver",
    "lockstep_plugin_validate",
    "lockstep_plugin_webhook",
    "lockstep_plugin_websocket",
    "lockstep_plugin_faulty",
    "lockstep_plugin_ledger",
    "lockstep_plugin_liar",
    "lockstep_plugin_probe",
    "lockstep_plugin_versioned_1_0",
    "lockstep_plugin_versioned_1_1",
    "rename_key",
];

/// A folder of its own with `pipelines/`, `plugins/` and `data/`.
#[derive(Debug)]
pub struct Site {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
    _busy: Busy,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// A site without pipelines.
    ///
    /// # Panics
    /// If the folder cannot be made.
    pub fn new() -> Self {
        static SAME_MODES: Once = Once::new();
        // Whoever runs the tests, a site's files are nobody else's to write: the host refuses plugins and keys that are.
        // SAFETY: plain system call that cannot fail.
        SAME_MODES.call_once(|| _ = unsafe { libc::umask(0o022) });
        let busy = Busy::new();
        let dir = tempfile::Builder::new().prefix("lockstep-site-").tempdir().expect("a folder for the site");
        for folder in ["pipelines", "plugins"] {
            fs::create_dir(dir.path().join(folder)).expect("the site's folder can be written");
        }
        let site = Self { dir, env: Vec::new(), _busy: busy };
        PLUGINS.iter().for_each(|plugin| site.install(&built_library(plugin)));
        site
    }

    /// Puts a plugin's file into the site's `plugin_path`.
    pub fn install(&self, library: &Path) {
        let name = library.file_name().expect("a library is a file");
        let place = self.path("plugins").join(name);
        // A link where it is possible: the files are large, and no test writes into one that it has not copied.
        if fs::hard_link(library, &place).is_err() {
            fs::copy(library, &place).expect("the plugin can be copied");
        }
        let mode = fs::metadata(&place).expect("it is there").permissions().mode();
        if mode & 0o022 != 0 {
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).expect("what was built is ours");
        }
    }

    /// A place in the site.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the site; folders are made.
    pub fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("inside the site")).expect("the site can be written");
        fs::write(&path, text).expect("the site can be written");
        path
    }

    /// Writes a pipeline; `SITE` in its text becomes the site's folder.
    pub fn pipeline(self, name: &str, yaml: &str) -> Self {
        let yaml = yaml.replace("SITE", &self.dir.path().display().to_string());
        self.write(format!("pipelines/{name}.yaml"), yaml);
        self
    }

    /// Sets a variable of the host's environment.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// `lockstep` with this site's settings, in this site's folder, and with nothing of the caller's environment that
    /// would configure it.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        self.command_of(&host_binary(), arguments)
    }

    /// The same with another build of the host.
    pub fn command_of<A: AsRef<OsStr>>(
        &self,
        host: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(host);
        let inherited = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("LOCKSTEP_"));
        inherited.for_each(|name| {
            command.env_remove(name);
        });
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("LOCKSTEP_PLUGIN_PATH", self.path("plugins"))
            .env("LOCKSTEP_DATA_DIR", self.path("data"))
            .env("LOCKSTEP_ADMIN__LISTEN", "127.0.0.1:0")
            .env("LOCKSTEP_LOG__FORMAT", "json")
            .env("NO_COLOR", "1")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Starts the host on the site's pipelines and waits until its admin server answers.
    pub fn start(&self) -> Host {
        Host::start(self, self.command(["run", "pipelines"]))
    }

    /// Starts the host and waits until it is ready.
    pub fn started(&self) -> Host {
        let mut host = self.start();
        host.wait_ready();
        host
    }

    /// Starts the host with a command of its own, made from [`Site::command`].
    pub fn start_with(&self, command: Command) -> Host {
        Host::start(self, command)
    }

    /// Runs a `lockstep` command to its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Finished {
        finish(self.command(arguments), LIMIT)
    }

    /// Runs a `lockstep` command by its words; none of them has a space.
    ///
    /// # Panics
    /// If it does not end.
    pub fn words(&self, line: &str) -> Finished {
        self.run(line.split_whitespace())
    }
}

/// Runs a command to its end, with its output read from files so that no pipe can fill up.
pub(crate) fn finish(mut command: Command, limit: Duration) -> Finished {
    let (stdout, stderr) = (tempfile::NamedTempFile::new(), tempfile::NamedTempFile::new());
    let (stdout, stderr) = (stdout.expect("a file"), stderr.expect("a file"));
    let shown = format!("{command:?}");
    let mut child = command
        .stdout(stdout.reopen().expect("a file"))
        .stderr(stderr.reopen().expect("a file"))
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    let ended = eventually(limit, || child.try_wait().expect("a child can be waited for"));
    let text = |file: &tempfile::NamedTempFile| crate::lines::read(file.path());
    let Some(status) = ended else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{shown} did not end within {limit:?}\n{}\n{}", text(&stdout), text(&stderr));
    };
    Finished { code: status.code(), stdout: text(&stdout), stderr: text(&stderr) }
}

impl Finished {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// If it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The same, if it ended with this code.
    ///
    /// # Panics
    /// If it did not.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}
