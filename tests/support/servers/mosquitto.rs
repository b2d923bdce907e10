//! Mosquitto: an MQTT broker with a listener for each way in.

use super::{
    PASSWORD_SUFFIX, USER,
    certificates::{Certificates, Identity},
    daemon::{Daemon, Recipe},
    folder::Folder,
};
use crate::ports::free_port;
use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

/// What a test wants otherwise than usual.
#[derive(Debug, Clone, Default)]
pub struct MosquittoOptions {
    /// More lines of `mosquitto.conf`, for example `max_packet_size 20000`.
    pub settings: String,
    /// More lines of the access list, which already has `app` (everything) and `guest` (reads everything, writes below
    /// `apg/config/+/open/`).
    pub access: String,
    /// How many messages wait for a client, other than a million; 1,000 is what Mosquitto does by itself.
    pub max_queued_messages: Option<u32>,
}

/// A broker. Gone when it is dropped.
#[derive(Debug)]
pub struct Mosquitto {
    daemon: Daemon,
    /// The port without TLS: a password is wanted.
    pub port: u16,
    /// The port with TLS: a password is wanted.
    pub tls_port: u16,
    /// The port that wants a client's certificate, whose name is the user.
    pub mtls_port: u16,
    /// A port with TLS whose certificate has expired.
    pub expired_port: u16,
    _folder: Folder,
}

impl Mosquitto {
    /// A broker with nothing in it.
    ///
    /// # Panics
    /// If Mosquitto is missing or refuses the options.
    pub fn start(options: &MosquittoOptions) -> Self {
        let folder = Folder::new("mosquitto");
        let [port, tls_port, mtls_port, expired_port] = std::array::from_fn(|_| free_port());
        folder.write("access", &format!("{ACCESS}{}", options.access));
        write_passwords(&folder);
        let certificates = Certificates::shared();
        let settings = [
            general(&folder, options.max_queued_messages.unwrap_or(1_000_000)),
            format!("{}\nlistener {port} 127.0.0.1\n", options.settings),
            tls_listener(tls_port, &certificates.server),
            tls_listener(mtls_port, &certificates.server),
            "require_certificate true\nuse_identity_as_username true\n".to_owned(),
            tls_listener(expired_port, &certificates.expired),
        ];
        let settings = folder.write("mosquitto.conf", &settings.concat());
        let recipe = Recipe {
            name: "Mosquitto",
            log: folder.file("mosquitto.log"),
            command: Box::new(move || {
                let mut command = Command::new(program("mosquitto"));
                command.arg("-c").arg(&settings);
                command
            }),
            answers: Box::new(move || answers(port)),
        };
        Self { daemon: recipe.start(), port, tls_port, mtls_port, expired_port, _folder: folder }
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.daemon.id()
    }

    /// Ends it as a crash would (SIGKILL): what came in the last second may be forgotten.
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// It does nothing from now on, but its connections stay open (SIGSTOP).
    pub fn stop(&self) {
        self.daemon.stop();
    }

    /// It goes on where it was stopped (SIGCONT).
    pub fn cont(&self) {
        self.daemon.cont();
    }

    /// Starts it again with its sessions and retained messages, and waits until it answers.
    pub fn restart(&self) {
        self.daemon.restart();
    }
}

/// Settings of the whole broker come before the first listener. The limit of queued messages is large and not 0, with which
/// Mosquitto 2.0.11 ends the connection whose message it denies.
fn general(folder: &Folder, max_queued_messages: u32) -> String {
    format!(
        "per_listener_settings false
user root
allow_anonymous false
password_file {}
acl_file {}
persistence true
persistence_location {}/
autosave_interval 1
max_queued_messages {max_queued_messages}
set_tcp_nodelay true
log_dest file {}
log_type error
log_type warning
log_type notice
",
        folder.file("passwords").display(),
        folder.file("access").display(),
        folder.path().display(),
        folder.file("mosquitto.log").display(),
    )
}

fn tls_listener(port: u16, server: &Identity) -> String {
    format!(
        "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\n",
        Certificates::shared().ca.display(),
        server.certificate.display(),
        server.key.display()
    )
}

const ACCESS: &str = "user app
topic readwrite #
user client-a
topic readwrite #
user guest
topic read #
topic write apg/config/+/open/#
topic write apg/config/status/#
";

fn write_passwords(folder: &Folder) {
    let users = [USER, "guest"].map(|user| format!("{user}:{user}{PASSWORD_SUFFIX}\n"));
    let file = folder.write("passwords", &users.concat());
    let sealed = Command::new(program("mosquitto_passwd")).arg("-U").arg(&file).status();
    assert!(sealed.is_ok_and(|status| status.success()), "mosquitto_passwd takes the file");
    restrict(&file);
    restrict(&folder.file("access"));
}

/// Mosquitto warns of files that everybody reads.
fn restrict(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).expect("a file of our own");
}

/// Debian keeps the broker where only root looks for programs.
fn program(name: &str) -> PathBuf {
    let place = Path::new("/usr/sbin").join(name);
    if place.exists() { place } else { name.into() }
}

/// The shortest exchange: CONNECT of a client without a name that is told why not.
fn answers(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let connect = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 5, 0, 0];
    let mut answer = [0; 2];
    let _ = stream.set_read_timeout(Some(std::time::Duration::from_secs(1)));
    stream.write_all(&connect).and_then(|()| stream.read_exact(&mut answer)).is_ok() && answer[0] == 0x20
}
