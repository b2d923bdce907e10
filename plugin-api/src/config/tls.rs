//! TLS as files, under the names of the wire contract. Plain data: each plugin brings its own TLS library.

use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// The certificate a server shows, and whom it lets in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The certificate chain, PEM.
    pub certfile: String,
    /// The certificate's private key, PEM.
    pub keyfile: String,
    /// If set, clients must show a certificate that these authorities signed, PEM.
    #[serde(default)]
    pub cafile: Option<String>,
}

/// Whom a client believes, and the certificate it shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// The authorities whose signature a server's certificate needs, PEM; by default those the system trusts.
    pub cafile: Option<String>,
    /// The certificate chain this client shows, PEM; needs `keyfile`.
    pub certfile: Option<String>,
    /// The certificate's private key, PEM; needs `certfile`.
    pub keyfile: Option<String>,
}

impl ClientTls {
    /// Checks that a certificate has its key.
    ///
    /// # Errors
    /// `Config`, about the field that is missing, inside `field`.
    pub fn check(&self, field: &str) -> Result<()> {
        match (&self.certfile, &self.keyfile) {
            (Some(_), None) => {
                Err(Error::config("`certfile` needs the key of that certificate")
                    .at(format!("{field}.keyfile")))
            }
            (None, Some(_)) => {
                Err(Error::config("`keyfile` needs the certificate of that key")
                    .at(format!("{field}.certfile")))
            }
            _ => Ok(()),
        }
    }
}
