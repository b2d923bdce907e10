//! Timestamps as the wire contract has them: ISO 8601 in, RFC 3339 UTC with six decimals out.

use crate::error::{Error, Result};
use jiff::{Timestamp, civil, tz::TimeZone};

/// Reads an ISO 8601 date and time: with `Z`, with an offset, or without one, which means UTC.
///
/// Gives microseconds since 1970 (UTC).
///
/// # Errors
/// `Rejected("bad_message")` if it is none of these.
pub fn parse_us(text: &str) -> Result<i64> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant.as_microsecond());
    }
    text.parse::<civil::DateTime>()
        .and_then(|local| local.to_zoned(TimeZone::UTC))
        .map(|zoned| zoned.timestamp().as_microsecond())
        .map_err(|_| Error::rejected("bad_message", "`timestamp` is not an ISO 8601 date and time"))
}

/// Writes microseconds since 1970 as `2024-01-01T12:00:00.000000Z`.
pub fn format_us(timestamp_us: i64) -> String {
    Timestamp::from_microsecond(timestamp_us).map_or_else(|_| timestamp_us.to_string(), |t| format!("{t:.6}"))
}

/// As [`format_us`], but as Python's naive `isoformat` has it: no `Z`, and no fraction of zero.
pub fn format_naive_us(timestamp_us: i64) -> String {
    let mut text = format_us(timestamp_us);
    text.truncate(text.trim_end_matches('Z').len());
    text.truncate(text.strip_suffix(".000000").map_or(text.len(), str::len));
    text
}

/// The wall clock, in microseconds since 1970 (UTC).
pub fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

/// How long the calling thread has run: what else its machine does does not count.
#[cfg(test)]
pub(crate) fn thread_time() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.try_into().expect("it begins with nothing")
}
