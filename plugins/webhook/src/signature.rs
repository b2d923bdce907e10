//! Signatures as Standard Webhooks has them: HMAC-SHA256 over `{id}.{timestamp}.{body}`, in base64, one per secret.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt::{self, Write};

/// What the standard asks of a key.
const SHORTEST_KEY: usize = 24;

/// What a secret in base64 begins with.
const PREFIX: &str = "whsec_";

/// Signs with the current secret, and with the one before it while there is one.
#[derive(Clone)]
pub(crate) struct Signer(Vec<hmac::Key>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} keys)", self.0.len())
    }
}

impl Signer {
    /// Signs with this secret.
    ///
    /// # Errors
    /// The end of a sentence that says why it cannot be one.
    pub(crate) fn new(secret: &str) -> Result<Self, &'static str> {
        Ok(Self(vec![key(secret)?]))
    }

    /// Signs with this one too.
    ///
    /// # Errors
    /// As [`Signer::new`].
    pub(crate) fn add(&mut self, secret: &str) -> Result<(), &'static str> {
        self.0.push(key(secret)?);
        Ok(())
    }

    /// The value of `webhook-signature`.
    pub(crate) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut signatures = String::new();
        for key in &self.0 {
            let mut signing = hmac::Context::with_key(key);
            signing.update(format!("{id}.{timestamp}.").as_bytes());
            signing.update(body);
            let gap = if signatures.is_empty() { "" } else { " " };
            let _ = write!(signatures, "{gap}v1,{}", STANDARD.encode(signing.sign()));
        }
        signatures
    }
}

fn key(secret: &str) -> Result<hmac::Key, &'static str> {
    let bytes = match secret.strip_prefix(PREFIX) {
        Some(encoded) => STANDARD.decode(encoded).map_err(|_| "has no base64 behind `whsec_`")?,
        None => secret.as_bytes().to_vec(),
    };
    if bytes.len() < SHORTEST_KEY {
        return Err("is too short: it needs at least 24 bytes, for example from `openssl rand -base64 32`");
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the standard's own documentation.
    #[test]
    fn the_standards_example_has_the_standards_signature() {
        let signer = Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let signed = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_secrets_change_both_sign() {
        let (old, new) = ("old-secret-old-secret-old-secret", "new-secret-new-secret-new-secret");
        let mut both = Signer::new(new).expect("a secret");
        both.add(old).expect("a secret");
        let alone = |secret: &str| Signer::new(secret).expect("a secret").sign("i", 1, b"x");
        assert_eq!(both.sign("i", 1, b"x"), format!("{} {}", alone(new), alone(old)));
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        for secret in ["", "hunter2", "whsec_", "whsec_hunter2", "whsec_aHVudGVyMg=="] {
            let why = Signer::new(secret).expect_err(secret);
            assert!(!why.contains("hunter2"), "{why}");
        }
        assert!(!format!("{:?}", Signer::new("hunter2hunter2hunter2hunter2")).contains("hunter2"));
    }
}
