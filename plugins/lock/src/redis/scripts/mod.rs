//! The scripts: each is one operation, done wholly or not at all, and done once however often it is sent.
//!
//! Invariant: a script touches the three keys that it is given and no other.

use redis::{Cmd, cmd};
use std::sync::OnceLock;

/// A script, and the name that the server gives it.
pub struct Script {
    text: &'static str,
    digest: OnceLock<String>,
}

macro_rules! script {
    ($file:literal) => {
        Script { text: concat!(include_str!("shared.lua"), include_str!($file)), digest: OnceLock::new() }
    };
}

pub static ACQUIRE: Script = script!("acquire.lua");
pub static EXTEND: Script = script!("extend.lua");
pub static RELEASE: Script = script!("release.lua");
pub static FORCE_RELEASE: Script = script!("force_release.lua");
pub static LEAVE: Script = script!("leave.lua");

impl Script {
    /// The call of a script that the server knows.
    pub fn by_digest(&self, keys: &[String; 3], arguments: &[&str]) -> Cmd {
        let digest = self.digest.get_or_init(|| sha1_smol::Sha1::from(self.text).digest().to_string());
        call("EVALSHA", digest, keys, arguments)
    }

    /// The call of a script that the server does not know yet; it does from then on.
    pub fn by_text(&self, keys: &[String; 3], arguments: &[&str]) -> Cmd {
        call("EVAL", self.text, keys, arguments)
    }
}

fn call(verb: &str, script: &str, keys: &[String; 3], arguments: &[&str]) -> Cmd {
    let mut command = cmd(verb);
    command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    command
}
