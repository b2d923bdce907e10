//! What an answer means, or that there is none.
//!
//! Invariant: no text is made of an answer's body, of an address beyond its origin or of a message, so none holds a value
//! or a token.

use crate::tls;
use jiff::{Timestamp, fmt::rfc2822};
use lockstep_plugin_api::prelude::*;
use reqwest::{StatusCode, header::HeaderValue};
use std::{error::Error as StdError, time::Duration};

/// The longest wait that a receiver may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What became of one attempt.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The receiver has it.
    Taken,
    /// The receiver will not have it.
    Refused(Error),
    /// Not now.
    Later(Later),
}

/// Why a receiver takes nothing at the moment.
#[derive(Debug, Clone)]
pub(crate) struct Later {
    /// A whole sentence.
    pub(crate) why: String,
    /// How long it asked to be left alone.
    pub(crate) asked: Option<Duration>,
    /// Whether it said so itself, about this very message perhaps.
    pub(crate) is_server_error: bool,
}

/// What a status says. `shown` is the receiver, `retry_after` the header of that name.
pub(crate) fn of_status(shown: &str, status: StatusCode, retry_after: Option<&HeaderValue>) -> Answer {
    let why = format!("{shown} answered {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Answer::Taken,
        408 | 425 | 429 | 500..=599 => {
            let asked = retry_after.and_then(|value| wait_of(value.to_str().ok()?, Timestamp::now()));
            Answer::Later(Later { why, asked, is_server_error: status.is_server_error() })
        }
        // About the address or the login rather than about this message, so another attempt may see it mended.
        300..=399 | 401 | 403..=405 | 407 | 410 => {
            Answer::Refused(Error::failed(Unwelcome(explained(why, status))))
        }
        _ => Answer::Refused(Error::rejected("refused", why)),
    }
}

/// A receiver that takes no message, whichever.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unwelcome(String);

fn explained(why: String, status: StatusCode) -> String {
    match status.as_u16() {
        300..=399 => format!("{why}, and redirects are not followed: is `url` right?"),
        401 | 403 | 407 => format!("{why}: are `headers` right?"),
        _ => format!("{why}: is `url` right?"),
    }
}

/// What it means that there is no answer.
pub(crate) fn of_failure(shown: &str, error: &reqwest::Error, timeout: Duration) -> Later {
    let later = |why: String| Later { why, asked: None, is_server_error: false };
    if let Some(why) = tls::failure(error) {
        return later(format!("{shown} {why}"));
    }
    if error.is_timeout() {
        return later(format!("{shown} has not answered within {timeout:?}"));
    }
    // The innermost cause knows no address.
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let is_outermost = std::ptr::addr_eq(cause, std::ptr::from_ref(error));
    later(match (error.is_connect(), is_outermost) {
        (_, true) => format!("{shown} cannot be spoken to"),
        (true, false) => format!("{shown} cannot be reached: {cause}"),
        (false, false) => format!("{shown} gave no answer: {cause}"),
    })
}

/// How long `Retry-After` asks to wait, in seconds or until a date.
fn wait_of(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Answer {
        of_status("https://hooks.example", StatusCode::from_u16(status).expect("a status"), None)
    }

    #[test]
    fn a_status_says_whether_to_send_again() {
        for status in [200, 201, 202, 204] {
            assert!(matches!(answer(status), Answer::Taken), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            let Answer::Later(later) = answer(status) else { panic!("{status}") };
            assert_eq!(later.why, format!("https://hooks.example answered {status}"));
            assert_eq!(later.is_server_error, status >= 500);
        }
        for (status, kind) in [
            (301, ErrorKind::FAILED),
            (308, ErrorKind::FAILED),
            (401, ErrorKind::FAILED),
            (404, ErrorKind::FAILED),
            (400, ErrorKind::REJECTED),
            (409, ErrorKind::REJECTED),
            (413, ErrorKind::REJECTED),
            (422, ErrorKind::REJECTED),
        ] {
            let Answer::Refused(error) = answer(status) else { panic!("{status}") };
            assert_eq!(error.kind(), kind, "{status}");
            assert!(error.message().contains(&status.to_string()), "{error}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_has_a_limit() {
        let now: Timestamp = "2024-01-01T12:00:00Z".parse().expect("a time");
        for (text, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("86400", Some(300)),
            ("Mon, 01 Jan 2024 12:00:30 GMT", Some(30)),
            ("Mon, 01 Jan 2024 11:00:00 GMT", Some(0)),
            ("Tue, 02 Jan 2024 12:00:00 GMT", Some(300)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(wait_of(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }
}
