//! The running host that a command talks to: found by its data folder or by its address, and what goes wrong with it.

use super::flags::Place;
use super::output::{refuse, without_control};
use super::problem::{self, BAD_ARGUMENT, Problem};
use super::{FAILED, REFUSED};
use crate::admin::{self, Client, ClientError};
use crate::config::HostSettings;
use crate::store::{Store, StoreError};
use clap::Args;
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The token for a host that --admin names.
const TOKEN_VARIABLE: &str = "LOCKSTEP_ADMIN_TOKEN";

/// Which host is asked.
#[derive(Debug, Clone, Args)]
pub(super) struct Live {
    /// A running host elsewhere, `http://HOST:PORT`
    #[arg(long, value_name = "URL")]
    pub(super) admin: Option<String>,
    #[command(flatten)]
    pub(super) place: Place,
}

/// Why a command that talks to a host failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(
        "no host runs on the data folder {}; start one with `lockstep run PIPELINE`, name its folder with `--data-dir` \
         or its address with `--admin http://HOST:PORT`", .0.display()
    )]
    NoHost(PathBuf),
    #[error(
        "a host runs on the data folder {} and cannot be reached there: it has no admin socket and no address (it may \
         be starting); try again, or name its address with `--admin http://HOST:PORT`", .0.display()
    )]
    Unreachable(PathBuf),
    #[error(
        "the audit in the data folder {} is from an earlier host, which did not chain its entries; the first start of this \
         one does that: start it once with `lockstep run PIPELINE`, then ask again", .0.display()
    )]
    NotChained(PathBuf),
    /// Nothing was asked of a host: what was given cannot be meant.
    #[error("{0}")]
    BadArgument(String),
    /// No host runs on the data folder, and it could not be read without one.
    #[error(transparent)]
    Store(StoreError),
    /// The host was asked, and it did not work out.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Live {
    /// Asks the host, and says what went wrong.
    pub fn with_host(&self, work: impl FnOnce(&Client) -> Result<u8, CommandError>) -> u8 {
        let config = match self.place.load() {
            Ok(config) => config,
            Err(problems) => return refuse(&problems),
        };
        let done = self.connect(&config.settings).and_then(|client| work(&client));
        done.unwrap_or_else(|error| error.tell())
    }

    /// The host that is named, or the one that runs on the data folder.
    pub fn connect(&self, settings: &HostSettings) -> Result<Client, CommandError> {
        let data_dir = &settings.data_dir;
        if let Some(address) = &self.admin {
            return Ok(Client::of_address(address, token(address, data_dir))?);
        }
        match at_folder(data_dir)? {
            Some(client) => Ok(client),
            None => Err(CommandError::NoHost(data_dir.clone())),
        }
    }

    pub fn address(&self) -> Option<&str> {
        self.admin.as_deref()
    }
}

/// The host that runs on a data folder; none if none does.
///
/// # Errors
/// `Unreachable` if one does and there is no way to it.
pub(super) fn at_folder(data_dir: &Path) -> Result<Option<Client>, CommandError> {
    let socket = Client::of_socket(&data_dir.join(admin::SOCKET));
    if socket.is_there() {
        return Ok(Some(socket));
    }
    // Only a host that has the folder open can be trusted to be at the address that lies in it: an old one is somebody
    // else's by now, who should get no token.
    if !Store::is_open(data_dir) {
        return Ok(None);
    }
    let address = fs::read_to_string(data_dir.join(admin::ADDRESS))
        .map_err(|_| CommandError::Unreachable(data_dir.to_owned()))?;
    Ok(Some(Client::of_address(address.trim(), kept_token(data_dir))?))
}

/// The folder's token belongs to a host on this machine and goes to no other.
fn token(address: &str, data_dir: &Path) -> Option<String> {
    let given = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
    given.or_else(|| kept_token(data_dir).filter(|_| is_here(address)))
}

/// Whether this is an address of the machine itself. `localhost.example` and `127.example` are names of others.
fn is_here(address: &str) -> bool {
    let bare = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    match bare.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => bare.split_once(':').is_some_and(|(host, _)| host == "localhost"),
    }
}

fn kept_token(data_dir: &Path) -> Option<String> {
    fs::read_to_string(data_dir.join(admin::TOKEN)).ok().map(|token| token.trim().to_owned())
}

impl CommandError {
    /// Says it, with what to do; gives how to exit.
    pub fn tell(&self) -> u8 {
        problem::tell(self, &self.problem());
        self.help().into_iter().for_each(|help| eprintln!("help: {help}"));
        if self.is_refusal() { REFUSED } else { FAILED }
    }

    /// The same for programs.
    pub fn problem(&self) -> Problem<'_> {
        match self {
            Self::NoHost(_) => Problem::of("no_host", self),
            Self::Unreachable(_) => Problem::of("unreachable", self),
            Self::NotChained(_) => Problem::of("not_chained", self),
            Self::BadArgument(text) => Problem::plain(BAD_ARGUMENT, text),
            Self::Store(error) => Problem::of_store(error),
            Self::Failed(text) => Problem::plain("failed", text),
            Self::Client(error) => Problem::of_client(error),
        }
    }

    /// Whether nothing was begun.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Store(error) => problem::is_left_alone(error),
            Self::NoHost(_) | Self::Unreachable(_) | Self::NotChained(_) | Self::BadArgument(_) => true,
            Self::Client(error) => {
                !matches!(error, ClientError::Refused { .. } | ClientError::Unanswered { .. })
            }
            Self::Failed(_) => false,
        }
    }

    /// What to do about it, where that is known.
    fn help(&self) -> Vec<String> {
        let Self::Client(ClientError::Refused { code, details, .. }) = self else { return Vec::new() };
        let help = match code.as_str() {
            "locked" => return vec![locked(details)],
            "stale_fence" => "the lock was lost in between; acquire it again, then read and change once more",
            "conflict" if details["status"].is_string() => return vec![decided(details)],
            "conflict" => {
                "somebody else has changed the key; read it with `lockstep get --json`, then change it on that revision"
            }
            "base_required" => {
                "say which revision was read under the lock: `--base-revision`, as `lockstep get --json` shows it"
            }
            "unknown_base" => {
                "`lockstep history KEY` lists the revisions that are kept, `lockstep get KEY --json` shows the newest"
            }
            "unauthenticated" => {
                "set LOCKSTEP_ADMIN_TOKEN to what is in `admin.token` of that host's data folder"
            }
            _ => return reasons(details),
        };
        vec![help.to_owned()]
    }
}

fn locked(details: &Value) -> String {
    let text = |name: &str| details[name].as_str();
    let holder = match (text("locked_by"), text("expires_at")) {
        (Some(user), Some(until)) => format!("{user} holds it until {until}; "),
        (Some(user), None) => format!("{user} holds it; "),
        _ => String::new(),
    };
    format!("{holder}see `lockstep locks list`, wait, or take it away with `lockstep locks release --force`")
}

/// What became of a conflict that somebody wanted to decide.
fn decided(details: &Value) -> String {
    let resolution = &details["resolution"];
    match (
        details["superseded_by"].as_str(),
        resolution["user_id"].as_str(),
        resolution["resolved_at"].as_str(),
    ) {
        (Some(id), ..) => format!("look at it again: `lockstep conflicts show {id}`"),
        (None, Some(user), Some(at)) => {
            format!("{user} decided it at {at}; `lockstep get` shows what the key has now")
        }
        _ => "`lockstep get` shows what the key has now".to_owned(),
    }
}

/// `[{path, reason}]` as the contract has it. What is refused is told by its place, if it is not the whole.
fn reasons(details: &Value) -> Vec<String> {
    let reason = |detail: &Value| {
        let place = match detail["path"].as_str() {
            None => "it",
            Some("") => "the value",
            Some(path) => path,
        };
        Some(without_control(&format!("{place} {}", detail["reason"].as_str()?)))
    };
    details.as_array().into_iter().flatten().filter_map(reason).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;
    use serde_json::json;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn refused(code: &str, details: Value) -> CommandError {
        let (code, message) = (code.to_owned(), "no".to_owned());
        ClientError::Refused { status: 409, code, message, details }.into()
    }

    #[test]
    fn a_folder_without_a_host_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(at_folder(folder.path()), Ok(None)));
        let error = CommandError::NoHost(folder.path().to_owned());
        assert!(error.is_refusal());
        for part in ["lockstep run", "--data-dir", "--admin"] {
            assert!(error.to_string().contains(part), "`{part}` in {error}");
        }
    }

    #[test]
    fn the_folders_token_goes_to_this_machine_only() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(admin::TOKEN), "secret\n").expect("written");
        for here in ["http://127.0.0.1:8780", "localhost:1", "http://[::1]:8780/", "127.8.8.8:1"] {
            assert_eq!(token(here, folder.path()).as_deref(), Some("secret"), "{here}");
        }
        for elsewhere in
            ["http://127.0.0.1.evil.example:1", "http://localhost.evil.example:80", "127.evil:1", "[::1].x:1"]
        {
            assert_eq!(token(elsewhere, folder.path()), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_host_that_went_away_before_it_answered_may_have_done_it_all_the_same() {
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address").to_string();
            let host = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a command");
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).expect("a request") > 0);
                stream.write_all(answer).expect("sent");
            });
            let client = Client::of_address(&address, None).expect("an address");
            let error: CommandError = client.post_json("/v1/changes", "{}").expect_err("gone").into();
            assert!(!error.is_refusal() && error.to_string().contains("may have"), "{error}");
            host.join().expect("it ends");
        }
        // Bound, so that nobody else gets it, and never listened on.
        let nobody = tokio::net::TcpSocket::new_v4().expect("a socket");
        nobody.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = nobody.local_addr().expect("an address").to_string();
        let client = Client::of_address(&address, None).expect("an address");
        let error: CommandError = client.post_json("/v1/changes", "{}").expect_err("nobody").into();
        assert!(error.is_refusal(), "{error}");
    }

    #[test]
    fn an_address_is_trusted_only_while_a_host_has_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(admin::ADDRESS), "127.0.0.1:1\n").expect("written");
        assert!(matches!(at_folder(folder.path()), Ok(None)), "nobody has the folder");
        let store = crate::store::Store::open(folder.path(), StoreOptions::default()).expect("a store");
        assert!(matches!(at_folder(folder.path()), Ok(Some(_))));
        fs::remove_file(folder.path().join(admin::ADDRESS)).expect("removed");
        assert!(matches!(at_folder(folder.path()), Err(CommandError::Unreachable(_))));
        drop(store);
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let holder = json!({ "locked_by": "ann", "expires_at": "2026-01-01T00:00:00Z" });
        let help = refused("locked", holder).help().join("\n");
        assert!(help.contains("ann holds it until 2026-01-01") && help.contains("--force"), "{help}");
        let details =
            json!([{ "path": "", "reason": "is a string" }, { "path": "/a", "reason": "is missing" }]);
        assert_eq!(refused("invalid_value", details).help(), ["the value is a string", "/a is missing"]);
        let named = json!([{ "path": "/config_key", "reason": "is empty" }, { "reason": "has a /" }]);
        for code in ["bad_key", "bad_tenant", "bad_message", "a_plugins_own"] {
            assert_eq!(refused(code, named.clone()).help(), ["/config_key is empty", "it has a /"], "{code}");
        }
        assert!(!refused("locked", Value::Null).is_refusal());
        for (details, part) in [
            (json!({ "status": "superseded", "superseded_by": "5f1c" }), "conflicts show 5f1c"),
            (
                json!({ "status": "resolved", "resolution": { "user_id": "ann", "resolved_at": "T" } }),
                "ann decided",
            ),
            (Value::Null, "somebody else has changed"),
        ] {
            let help = refused("conflict", details).help().join("\n");
            assert!(help.contains(part), "{help}");
        }
    }
}
