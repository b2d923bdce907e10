//! What a failed command means: come back later, or never like this.

use lockstep_plugin_api::{prelude::*, tally};
use redis::{ErrorKind as Kind, RedisError, ServerErrorKind};
use std::fmt;

/// The server cannot be used now; a sentence that says why.
#[derive(Debug, Clone)]
pub(crate) struct Away(pub(crate) String);

/// The server said no to one command.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// Such as `NOPERM` or `WRONGTYPE`.
    pub(crate) code: String,
    detail: String,
}

/// Why a command failed.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Away(Away),
    Refused(Refusal),
}

/// Answers that speak of the state of the server and not of the command.
const AWAY_CODES: [&str; 5] = ["NOAUTH", "WRONGPASS", "MISCONF", "NOREPLICAS", "BUSY"];

impl Fault {
    pub(crate) fn of(error: RedisError) -> Self {
        let away = || Self::Away(Away::of(&error));
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
                Self::Refused(Refusal { code, detail: error.detail().unwrap_or_default().to_owned() })
            }
            _ => away(),
        }
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        Self::of(error)
    }
}

impl Away {
    pub(crate) fn of(error: &RedisError) -> Self {
        let text = match (error.code(), error.detail()) {
            (Some(code), Some(detail)) => format!("the server answers {code}: {detail}"),
            (Some(code), None) => format!("the server answers {code}"),
            (None, _) if error.is_timeout() => "the server does not answer in time".to_owned(),
            (None, _) => error.to_string(),
        };
        Self(text)
    }

    /// As the host hears it.
    pub(crate) fn error(&self) -> Error {
        Error::not_connected(&self.0)
    }

    /// As the sink's tally tells it.
    pub(crate) fn to_tell(&self) -> tally::Away {
        tally::Away { why: self.0.clone(), until: None }
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl Refusal {
    /// As the host hears it of a record: what the access list or the type of a key forbids it forbids next time too, a
    /// full memory is not full for ever.
    pub(crate) fn error(&self) -> Error {
        match self.code.as_str() {
            "NOPERM" => Error::rejected("forbidden", format!("the server's access list forbids it ({self})")),
            "WRONGTYPE" => {
                Error::rejected("wrong_type", "the stream's or the cache's name holds something else")
            }
            _ => Error::failed(Refused(self.to_string())),
        }
    }
}

#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server refused the record: {}", self.0)
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(reply: &str) -> Fault {
        let value = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).expect("a reply");
        Fault::of(value.extract_error().expect_err("an error"))
    }

    #[test]
    fn a_server_that_cannot_now_is_told_from_one_that_will_not() {
        for reply in [
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "READONLY You can't write against a read only replica.",
            "CLUSTERDOWN The cluster is down",
            "NOAUTH Authentication required.",
            "MISCONF Redis is configured to save RDB snapshots",
        ] {
            let Fault::Away(away) = fault(reply) else { panic!("{reply}") };
            let code = reply.split(' ').next().expect("a code");
            assert!(away.0.contains(code), "{away}");
        }
        let said = |reply: &str| match fault(reply) {
            Fault::Refused(refusal) => refusal.error(),
            Fault::Away(away) => panic!("{away}"),
        };
        assert_eq!(said("NOPERM No permissions to access a key").code(), Some("forbidden"));
        assert_eq!(said("WRONGTYPE Operation against a key").code(), Some("wrong_type"));
        assert_eq!(said("OOM command not allowed when used memory > 'maxmemory'.").kind(), ErrorKind::FAILED);
    }

    #[test]
    fn a_cut_connection_is_away() {
        let cut = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(matches!(Fault::of(cut), Fault::Away(_)));
        let silent = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let Fault::Away(away) = Fault::of(silent) else { panic!("a timeout") };
        assert_eq!(away.error().kind(), ErrorKind::NOT_CONNECTED);
        assert!(away.0.contains("in time"), "{away}");
    }
}
