//! Errors as instructions: what the host should do next.

use abi_stable::{
    StableAbi,
    std_types::{RBox, RNone, ROption, RSome, RString},
};
use std::{fmt, time::Duration};

/// What every fallible call of a component returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and what the host should do about it.
///
/// `?` turns any `std::error::Error` into [`Error::failed`]: this record (or this batch) failed, retry it as the
/// pipeline's `on_error` says, then give it up.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct Error {
    /// Boxed, because nearly no call has one and the answer of every call has room for one.
    parts: RBox<Parts>,
}

#[repr(C)]
#[derive(StableAbi, Clone)]
struct Parts {
    kind: ErrorKind,
    code: RString,
    message: RString,
    detail: RString,
    details: ROption<RString>,
    retry_after_ms: u64,
}

/// What the host does about an [`Error`]. Open: a newer plugin may say a kind an older host does not know, which is
/// then treated as [`ErrorKind::FATAL`].
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorKind(u32);

impl ErrorKind {
    /// The configuration cannot work. The pipeline is not started again until it changes.
    pub const CONFIG: Self = Self(1);
    /// This record can never succeed. Its author is told; without an author it goes to the dead letter queue.
    pub const REJECTED: Self = Self(2);
    /// This record failed, perhaps not for ever: retried as `on_error` says.
    pub const FAILED: Self = Self(3);
    /// The endpoint asks to come back later: nothing is lost, no attempt is used up, the breaker opens.
    pub const RETRY: Self = Self(4);
    /// The endpoint cannot be reached: as [`ErrorKind::RETRY`], with the host's own backoff.
    pub const NOT_CONNECTED: Self = Self(5);
    /// The component cannot go on. The pipeline is started again with backoff.
    pub const FATAL: Self = Self(6);
    /// The source has no more and never will. The pipeline drains.
    pub const END_OF_INPUT: Self = Self(7);
    /// The component panicked: as [`ErrorKind::FATAL`]. Only the boundary makes this kind.
    pub const PANIC: Self = Self(8);
    /// The host does not offer what was asked for.
    pub const UNSUPPORTED: Self = Self(9);

    /// The kind's name, as in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CONFIG => "config",
            Self::REJECTED => "rejected",
            Self::FAILED => "failed",
            Self::RETRY => "retry",
            Self::NOT_CONNECTED => "not_connected",
            Self::FATAL => "fatal",
            Self::END_OF_INPUT => "end_of_input",
            Self::PANIC => "panic",
            Self::UNSUPPORTED => "unsupported",
            _ => "unknown",
        }
    }

    /// Whether the error is about records and not about the component or its endpoint.
    pub fn is_about_records(self) -> bool {
        matches!(self, Self::REJECTED | Self::FAILED)
    }

    /// Whether the error is about the endpoint: it opens the breaker and uses up no attempt.
    pub fn is_about_endpoint(self) -> bool {
        matches!(self, Self::RETRY | Self::NOT_CONNECTED)
    }
}

impl fmt::Debug for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Error {
    fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        let (code, detail) = (RString::new(), RString::new());
        let message = RString::from(message.to_string());
        let parts = Parts { kind, code, message, detail, details: RNone, retry_after_ms: 0 };
        Self { parts: RBox::new(parts) }
    }

    fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(&mut self.parts);
        self
    }

    /// The configuration cannot work; say which field with [`Error::at`].
    pub fn config(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::CONFIG, message)
    }

    /// This record can never succeed. `code` is one of the wire contract's (`invalid_value`, `too_large`, …) or the
    /// plugin's own; `message` should be a fixed text, what varies goes into [`Error::with_details`].
    pub fn rejected(code: &str, message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::REJECTED, message).with(|parts| parts.code = RString::from(code))
    }

    /// This record failed, perhaps not for ever. Keeps the causes of a `std::error::Error`.
    pub fn failed(error: impl std::error::Error) -> Self {
        let mut causes = String::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push_str(&format!("caused by: {error}\n"));
            cause = error.source();
        }
        Self::new(ErrorKind::FAILED, error).with(|parts| parts.detail = RString::from(causes))
    }

    /// The endpoint asks to come back after this time.
    pub fn retry(after: Duration, message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::RETRY, message).with(|parts| parts.retry_after_ms = after.as_millis() as u64)
    }

    /// The endpoint cannot be reached.
    pub fn not_connected(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NOT_CONNECTED, message)
    }

    /// The component cannot go on.
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::FATAL, message)
    }

    /// The source has no more and never will.
    pub fn end_of_input() -> Self {
        Self::new(ErrorKind::END_OF_INPUT, "end of input")
    }

    /// The host does not offer what was asked for.
    pub fn unsupported(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::UNSUPPORTED, message)
    }

    /// The message says where, the detail what: a panic's text may quote a value, and messages are logged.
    #[doc(hidden)]
    pub fn panic(message: impl fmt::Display, detail: String) -> Self {
        Self::new(ErrorKind::PANIC, message).with(|parts| parts.detail = RString::from(detail))
    }

    /// The field of the configuration the error is about, as a path from `config` on: `ssl_context.certfile`.
    pub fn at(self, field: impl fmt::Display) -> Self {
        self.with(|parts| parts.detail = RString::from(field.to_string()))
    }

    /// Adds machine-readable details, such as `[{"path": "/port", "reason": "is a string"}]`.
    pub fn with_details<T: serde::Serialize>(self, details: &T) -> Self {
        let details = serde_json::to_string(details).map(RString::from).ok().into();
        self.with(|parts| parts.details = details)
    }

    /// What the host should do.
    pub fn kind(&self) -> ErrorKind {
        self.parts.kind
    }

    /// The code of a rejection, as its author sees it.
    pub fn code(&self) -> Option<&str> {
        Some(self.parts.code.as_str()).filter(|code| !code.is_empty())
    }

    /// What went wrong, in one sentence.
    pub fn message(&self) -> &str {
        &self.parts.message
    }

    /// The causes, the backtrace of a panic, or the field a configuration error is about; may be empty.
    pub fn detail(&self) -> &str {
        &self.parts.detail
    }

    /// Machine-readable details, as JSON.
    pub fn details(&self) -> Option<&str> {
        match &self.parts.details {
            RSome(details) => Some(details),
            RNone => None,
        }
    }

    /// When to try again, for [`ErrorKind::RETRY`].
    pub fn retry_after(&self) -> Duration {
        Duration::from_millis(self.parts.retry_after_ms)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.parts.kind, self.parts.message)?;
        if self.parts.detail.is_empty() { Ok(()) } else { write!(f, "\n{}", self.parts.detail) }
    }
}

// `Error` itself does not implement `std::error::Error`: this conversion would then meet the reflexive one.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}

/// Returns [`Error::fatal`] with a formatted message.
#[macro_export]
macro_rules! bail {
    ($($message:tt)*) => { return ::core::result::Result::Err($crate::Error::fatal(format!($($message)*))) };
}
