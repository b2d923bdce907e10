//! One place to POST to.

use reqwest::Url;
use std::{fmt, net::IpAddr};

/// An address, and what may be shown of it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Receiver {
    url: Url,
    /// Scheme, host and port: path and query may hold a token.
    shown: String,
}

impl Receiver {
    /// Reads an address.
    ///
    /// # Errors
    /// The end of a sentence that says what is wrong, without the text.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is no URL: write `https://host/path`")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("begins with neither `http://` nor `https://`");
        }
        let shown = url.origin().ascii_serialization();
        Ok(Self { url, shown })
    }

    /// The whole address, for the request alone.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// What may be shown of it.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether it is spoken to by TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether what is sent crosses a network in the open.
    pub(crate) fn is_plain_elsewhere(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = match host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        };
        !self.is_tls() && !is_loopback
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_no_path_no_query_and_no_login() {
        let receiver =
            Receiver::parse("https://me:hunter2@hooks.example:8443/T0/hunter2?t=hunter2").expect("a URL");
        assert_eq!(receiver.shown(), "https://hooks.example:8443");
        assert!(!format!("{receiver:?}").contains("hunter2"));
    }

    #[test]
    fn plain_text_is_for_loopback() {
        for (url, is_plain_elsewhere) in [
            ("http://hooks.example/", true),
            ("http://10.0.0.1/", true),
            ("http://localhost.example/", true),
            ("https://hooks.example/", false),
            ("http://127.0.0.1:8080/", false),
            ("http://[::1]:8080/", false),
            ("http://localhost/", false),
            ("http://a.localhost/", false),
        ] {
            assert_eq!(Receiver::parse(url).expect(url).is_plain_elsewhere(), is_plain_elsewhere, "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_quoted() {
        for text in ["", "hunter2", "ftp://hunter2/", "https://", "/hunter2"] {
            assert!(!Receiver::parse(text).expect_err(text).contains("hunter2"), "{text}");
        }
    }
}
