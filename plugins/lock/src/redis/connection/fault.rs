//! What a failed command means: come back later, or never like this.

use redis::{ErrorKind as Kind, RedisError, ServerErrorKind};
use std::fmt;

/// Why a command failed.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The server cannot be used now; a sentence that says why. The command may have been carried out.
    Away(String),
    /// The server said no to this command.
    Refused {
        /// Such as `NOPERM` or `NOSCRIPT`.
        code: String,
        detail: String,
    },
    /// What lies at this name is nothing that a host writes.
    Malformed(String),
}

/// Answers that speak of the state of the server and not of the command.
const AWAY_CODES: [&str; 6] = ["NOAUTH", "WRONGPASS", "MISCONF", "NOREPLICAS", "BUSY", "UNKILLABLE"];

/// What this client will not send, and an answer that it cannot read; beside the codes of servers.
const NOT_SENT: &str = "CLIENT";
const NOT_READ: &str = "ANSWER";

/// How the client of a cluster says that it lost a request.
const GIVEN_UP: &str = "internal failure";

impl Fault {
    pub fn is_no_script(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "NOSCRIPT")
    }

    /// That there was no answer within the time for one.
    pub fn silent() -> Self {
        Self::Away("the server does not answer in time".to_owned())
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let away = || Self::Away(said(&error));
        match error.kind() {
            Kind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask,
            ) => away(),
            Kind::Server(_) | Kind::Extension => {
                let code = error.code().unwrap_or("ERR").to_owned();
                if AWAY_CODES.contains(&code.as_str()) {
                    return away();
                }
                Self::Refused { code, detail: error.detail().unwrap_or_default().to_owned() }
            }
            // Of the client, and of any connection alike; but a cluster's client also gives up so what it was asked for.
            Kind::Client if !error.to_string().contains(GIVEN_UP) => {
                Self::Refused { code: NOT_SENT.to_owned(), detail: error.to_string() }
            }
            Kind::UnexpectedReturnType => {
                Self::Refused { code: NOT_READ.to_owned(), detail: error.to_string() }
            }
            _ => away(),
        }
    }
}

/// An error in words.
pub fn said(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("the server answers {code}: {detail}"),
        (Some(code), None) => format!("the server answers {code}"),
        (None, _) if error.is_timeout() => "the server does not answer in time".to_owned(),
        (None, _) => error.to_string(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) => f.write_str(why),
            Self::Refused { code, detail } => write!(f, "{code}: {detail}"),
            Self::Malformed(name) => write!(f, "what lies at `{name}` is nothing that a host writes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(reply: &str) -> Fault {
        let value = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).expect("a reply");
        value.extract_error().expect_err("an error").into()
    }

    #[test]
    fn a_server_that_cannot_now_is_told_from_one_that_will_not() {
        for reply in [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica.",
            "CLUSTERDOWN The cluster is down",
            "NOAUTH Authentication required.",
            "MISCONF Redis is configured to save RDB snapshots",
        ] {
            assert!(matches!(fault(reply), Fault::Away(why) if why.contains(&reply[..6])), "{reply}");
        }
        assert!(fault("NOSCRIPT No matching script. Please use EVAL.").is_no_script());
        let denied = fault("NOPERM No permissions to access a key");
        assert!(matches!(denied, Fault::Refused { code, .. } if code == "NOPERM"));
        let cut = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(matches!(Fault::from(cut), Fault::Away(_)));
    }

    #[test]
    fn what_no_other_connection_cures_is_not_tried_on_one() {
        for (kind, text, is_away) in [
            (Kind::Client, "empty command", false),
            (Kind::UnexpectedReturnType, "expected an array", false),
            (Kind::Client, "request wasn't handled due to internal failure", true),
            (Kind::ClusterConnectionNotFound, "no node answers", true),
        ] {
            let fault = Fault::from(RedisError::from((kind, text)));
            assert_eq!(matches!(fault, Fault::Away(_)), is_away, "{fault}");
        }
    }
}
