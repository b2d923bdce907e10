//! TLS as files, under the names of the wire contract. Plain data: each plugin brings its own TLS library.

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
