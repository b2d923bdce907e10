//! The guide's STRING: how its JSON is written, and what it says, also if another program wrote it.
//!
//! Scripts put it together from parts and never read it, so that what a caller gave as metadata stays as it is.

use crate::{
    clock::Now,
    config::Rules,
    lease::{Fields, Lease, as_seconds},
    name::LockName,
    request::Ask,
};
use lockstep_plugin_api::{
    prelude::*,
    time::{format_us, parse_us},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What of a lease's text the host knows before the server has decided: the token comes behind it, and a closing brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    pub head: String,
    pub middle: String,
    pub tail: String,
}

#[derive(Serialize)]
struct Head<'a> {
    config_key: &'a str,
    user_id: &'a str,
    tenant_id: Option<&'a str>,
    acquired_at: String,
}

#[derive(Serialize)]
struct Middle {
    expires_at: String,
    #[serde(rename = "heartbeat_interval", serialize_with = "as_seconds")]
    heartbeat_ms: u64,
}

#[derive(Serialize)]
struct Tail<'a> {
    metadata: &'a Fields,
    session: &'a str,
}

impl Parts {
    /// The text of a lease that begins now.
    pub fn new(name: &LockName, ask: &Ask, rules: &Rules, now: Now) -> Self {
        let head = fields(&Head {
            config_key: name.key(),
            user_id: &ask.user_id,
            tenant_id: name.tenant(),
            acquired_at: format_us(now.wall_us),
        });
        let tail = fields(&Tail { metadata: &ask.metadata, session: &ask.session });
        Self {
            head: format!("{{{head},"),
            middle: middle(ask.ttl, rules, now),
            tail: format!(",{tail},\"token\":"),
        }
    }
}

/// The part that changes when a lease is extended.
pub fn middle(ttl: Duration, rules: &Rules, now: Now) -> String {
    fields(&Middle {
        expires_at: format_us(now.wall_us_at(now.mono + ttl)),
        heartbeat_ms: heartbeat(ttl, rules).as_millis() as u64,
    })
}

/// How often the holder of a lease says that it lives.
pub fn heartbeat(ttl: Duration, rules: &Rules) -> Duration {
    rules.longest_heartbeat.min(ttl / 3)
}

/// The fields of an object, without its braces.
fn fields(object: &impl Serialize) -> String {
    let text = serde_json::to_string(object).expect("it has only fields that JSON has");
    text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).expect("it is an object").to_owned()
}

/// What the text of this plugin says.
#[derive(Debug, Deserialize)]
pub struct Written {
    pub user_id: String,
    pub session: String,
    pub token: u64,
    acquired_at: String,
    #[serde(default)]
    expires_at: String,
    #[serde(default)]
    metadata: Fields,
}

/// A lease as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub text: String,
    pub depth: u32,
    pub ttl_ms: u64,
    /// How long it lasts from when the server was asked; 0 if it has ended.
    pub left_ms: u64,
}

impl Row {
    /// The lease, as it was asked for at `asked`: it ends no later than that.
    ///
    /// # Errors
    /// If the text is none of this version's.
    pub fn lease(&self, rules: &Rules, asked: Now) -> Result<Lease> {
        let written: Written = serde_json::from_str(&self.text).map_err(Error::failed)?;
        let ends = asked.mono + Duration::from_millis(self.left_ms);
        Ok(Lease {
            user_id: written.user_id,
            session: written.session,
            token: written.token,
            depth: self.depth,
            acquired_at_us: parse_us(&written.acquired_at)?,
            expires_at_us: as_written(Some(&written.expires_at), asked, ends),
            ttl_ms: self.ttl_ms,
            heartbeat_ms: heartbeat(Duration::from_millis(self.ttl_ms), rules).as_millis() as u64,
            metadata: written.metadata,
            request_id: None,
            ends,
        })
    }
}

/// When what ends at `ends` does, as the text has it where that is the same.
fn as_written(expires_at: Option<&str>, now: Now, ends: Duration) -> i64 {
    match expires_at.and_then(|text| parse_us(text).ok()) {
        Some(written) => now.wall_us_as_said(written, ends),
        None => now.wall_us_at(ends),
    }
}

/// Any text that stands for a lock.
#[derive(Debug, Clone, PartialEq)]
pub struct AnyText(Fields);

impl AnyText {
    /// What somebody wrote; something that is no object says nothing.
    pub fn read(text: &[u8]) -> Self {
        Self(serde_json::from_slice(text).unwrap_or_default())
    }

    fn field(&self, name: &str) -> Option<String> {
        self.0.get(name)?.read().ok()
    }

    pub fn user_id(&self) -> String {
        self.field("user_id").unwrap_or_else(|| UNKNOWN.to_owned())
    }

    pub fn session(&self) -> Option<String> {
        self.field("session")
    }

    pub fn token(&self) -> Option<u64> {
        self.0.get("token")?.read().ok()
    }

    /// Whether it stands for the lock of this name: `a` and `b:c` are called like `a:b` and `c`.
    pub fn is_of(&self, rest: &str) -> bool {
        let tenant = self.tenant_id();
        let key = rest.strip_prefix(tenant.as_deref().unwrap_or("global"));
        let key = key.and_then(|rest| rest.strip_prefix(':'));
        key.is_some() && self.field("config_key").as_deref() == key
    }

    /// When it ends, which is so long from now.
    pub fn ends_at_us(&self, now: Now, left: Duration) -> i64 {
        as_written(self.field("expires_at").as_deref(), now, now.mono + left)
    }

    pub fn tenant_id(&self) -> Option<String> {
        self.field("tenant_id")
    }

    /// A lease that says as much as the text does, for whoever is to be told of it.
    pub fn to_lease(&self) -> Lease {
        let time = |name| self.field(name).and_then(|text| parse_us(&text).ok()).unwrap_or_default();
        Lease {
            user_id: self.user_id(),
            session: self.session().unwrap_or_default(),
            token: self.token().unwrap_or_default(),
            depth: 0,
            acquired_at_us: time("acquired_at"),
            expires_at_us: time("expires_at"),
            ttl_ms: 0,
            heartbeat_ms: 0,
            metadata: Fields::new(),
            request_id: None,
            ends: Duration::ZERO,
        }
    }

    /// The lock that it stands for, if there can be one of this name.
    pub fn name(&self) -> Option<LockName> {
        LockName::new(self.tenant_id().as_deref(), &self.field("config_key")?).ok()
    }

    /// As it is shown, with what the guide's own list adds and when it really ends; what the text does not say, the name
    /// of the lock does.
    pub fn into_shown(mut self, lock_key: &str, rest: &str, expires_at_us: Option<i64>) -> Fields {
        let json = |text: Option<&str>| Json::write(&text).expect("texts can be written");
        self.0.remove("token");
        self.0.insert("lock_key".to_owned(), json(Some(lock_key)));
        let (tenant, key) = rest.split_once(':').unwrap_or(("global", rest));
        let tenant = Some(tenant).filter(|tenant| *tenant != "global");
        for (field, text) in [("config_key", Some(key)), ("tenant_id", tenant), ("user_id", Some(UNKNOWN))] {
            self.0.entry(field.to_owned()).or_insert_with(|| json(text));
        }
        if let Some(expires_at_us) = expires_at_us {
            self.0.insert("expires_at".to_owned(), json(Some(&format_us(expires_at_us))));
        }
        self.0
    }
}

/// Who holds a lock that does not say so.
const UNKNOWN: &str = "unknown";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RULES: Rules = Rules { longest_heartbeat: Duration::from_secs(30), max_per_user: 100 };

    fn text(ttl: Duration, metadata: &str) -> String {
        let ask = Ask {
            user_id: "al\"ice".to_owned(),
            session: "s1".to_owned(),
            ttl,
            metadata: serde_json::from_str(metadata).expect("an object"),
            request_id: None,
        };
        let name = LockName::new(None, "app.x").expect("a name");
        let parts = Parts::new(&name, &ask, &RULES, Now { mono: Duration::ZERO, wall_us: 0 });
        format!("{}{}{}7}}", parts.head, parts.middle, parts.tail)
    }

    #[test]
    fn a_lease_is_written_as_the_guide_has_it_and_read_again() {
        let metadata = r#"{"big":12345678901234567890123,"huge":1e400,"why":1.10}"#;
        let text = text(Duration::from_secs(300), metadata);
        assert_eq!(
            text,
            format!(
                r#"{{"config_key":"app.x","user_id":"al\"ice","tenant_id":null,"acquired_at":"1970-01-01T00:00:00.000000Z","expires_at":"1970-01-01T00:05:00.000000Z","heartbeat_interval":30,"metadata":{metadata},"session":"s1","token":7}}"#
            )
        );
        let row = Row { text, depth: 2, ttl_ms: 300_000, left_ms: 1000 };
        let now = Now { mono: Duration::from_secs(5), wall_us: 60_000_000 };
        let lease = row.lease(&RULES, now).expect("a lease");
        assert_eq!((lease.token, lease.depth, lease.ends), (7, 2, Duration::from_secs(6)));
        assert_eq!((lease.user_id.as_str(), lease.expires_at_us), ("al\"ice", 61_000_000));
    }

    #[test]
    fn a_short_lease_shows_its_real_heartbeat() {
        assert!(text(Duration::from_millis(250), "{}").contains(r#""heartbeat_interval":0.083"#));
    }

    #[test]
    fn a_number_that_is_none_to_this_program_hides_no_lock_of_another_one() {
        let guide =
            r#"{"config_key":"app.x","user_id":"bob","tenant_id":null,"metadata":{"n":[1e400,1.10]}}"#;
        let read = AnyText::read(guide.as_bytes());
        assert!(read.is_of("global:app.x") && read.user_id() == "bob");
        let shown = read.into_shown("config_lock:global:app.x", "global:app.x", None);
        assert_eq!(shown["metadata"].as_str(), r#"{"n":[1e400,1.10]}"#);
    }

    #[test]
    fn what_another_program_wrote_is_shown_with_its_own_fields() {
        let guide =
            json!({ "config_key": "b:c", "user_id": "bob", "tenant_id": "a", "token": 3, "extra": 1 });
        let read = AnyText::read(guide.to_string().as_bytes());
        assert!(read.is_of("a:b:c") && !read.is_of("a:c"));
        let shown = read.into_shown("config_lock:a:b:c", "a:b:c", Some(0));
        let expected = json!({
            "config_key": "b:c", "user_id": "bob", "tenant_id": "a", "extra": 1, "lock_key": "config_lock:a:b:c",
            "expires_at": "1970-01-01T00:00:00.000000Z",
        });
        assert_eq!(serde_json::to_value(shown).expect("JSON"), expected);
        assert_eq!(AnyText::read(b"1").user_id(), "unknown");
    }
}
