//! Topics of the wire contract: config key to topic and back.
//!
//! Invariant: what a key is written as can be a topic on any broker, and is read back as that key. What a topic says of a
//! key is only a second opinion: programs that know no percent-encoding write their keys as they are.

/// The tree of topics under one prefix: `{prefix}/{tenant}/{key}` and `{prefix}/status/{client}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    prefix: String,
}

/// The third level of a change without a tenant.
const NO_TENANT: &str = "global";

/// The third level of what clients say of themselves; no tenant is called so.
const STATUS: &str = "status";

/// What a topic is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum About<'a> {
    Change {
        tenant: Option<&'a str>,
        levels: Levels<'a>,
    },
    /// A client's `online` or `offline`, or nothing of ours.
    Else,
}

impl Tree {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where a change of this key is published.
    pub(crate) fn of_change(&self, tenant: Option<&str>, key: &str) -> String {
        let tenant = tenant.unwrap_or(NO_TENANT);
        let mut topic = String::with_capacity(self.prefix.len() + tenant.len() + key.len() + 2);
        for part in [self.prefix.as_str(), "/", tenant, "/"] {
            topic.push_str(part);
        }
        encode_key(key, &mut topic);
        topic
    }

    /// Where a client says whether it is there.
    pub(crate) fn of_status(&self, client_id: &str) -> String {
        format!("{}/{STATUS}/{client_id}", self.prefix)
    }

    pub(crate) fn read<'a>(&self, topic: &'a str) -> About<'a> {
        let below = topic.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('/'));
        match below.and_then(|rest| rest.split_once('/')) {
            None | Some((STATUS, _)) => About::Else,
            Some((tenant, levels)) => About::Change {
                tenant: Some(tenant).filter(|name| *name != NO_TENANT),
                levels: Levels(levels),
            },
        }
    }
}

/// The levels of a topic that stand for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Levels<'a>(&'a str);

impl Levels<'_> {
    /// Whether a publisher of this key writes these levels: percent-encoded as we do, differently, or not at all.
    pub(crate) fn name(self, key: &str) -> bool {
        let mut encoded = String::with_capacity(key.len());
        encode_key(key, &mut encoded);
        encoded == self.0 || self.readings().any(|reading| reading == key)
    }

    /// The key, if nobody else says one; `None` if no key is written like this.
    pub(crate) fn key(self) -> Option<String> {
        self.readings().next()
    }

    /// Every key that these levels may stand for.
    pub(crate) fn readings(self) -> impl Iterator<Item = String> {
        let as_written = (!self.0.contains('.')).then(|| self.0.replace('/', "."));
        self.decoded().into_iter().chain(as_written)
    }

    /// The key that was percent-encoded; `None` if this is no such encoding.
    fn decoded(self) -> Option<String> {
        let mut key = String::with_capacity(self.0.len());
        for (i, level) in self.0.split('/').enumerate() {
            if i > 0 {
                key.push('.');
            }
            let segment = decode(level)?;
            // A dot inside a segment would make two of it.
            if segment.is_empty() || segment.contains('.') {
                return None;
            }
            key.push_str(&segment);
        }
        Some(key)
    }
}

fn encode_key(key: &str, topic: &mut String) {
    for c in key.chars() {
        match c {
            '.' => topic.push('/'),
            c if needs_encoding(c) => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    topic.push('%');
                    topic.extend([byte >> 4, byte & 15].map(hex));
                }
            }
            c => topic.push(c),
        }
    }
}

/// Whether a character means something in a topic or an encoding, or makes brokers end the connection (MQTT 5, 1.5.4).
pub(crate) fn needs_encoding(c: char) -> bool {
    let is_noncharacter =
        matches!(c as u32 & 0xffff, 0xfffe | 0xffff) || ('\u{fdd0}'..='\u{fdef}').contains(&c);
    matches!(c, '%' | '/' | '+' | '#') || c.is_control() || is_noncharacter
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).expect("four bits").to_ascii_uppercase()
}

fn decode(level: &str) -> Option<String> {
    if !level.contains('%') {
        return Some(level.to_owned());
    }
    let mut bytes = Vec::with_capacity(level.len());
    let mut rest = level.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok().filter(|two| !two.starts_with('+'))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree() -> Tree {
        Tree::new("apg/config")
    }

    #[test]
    fn topics_are_the_contracts() {
        let key = "app.database.host";
        assert_eq!(
            tree().of_change(Some("company-tenant"), key),
            "apg/config/company-tenant/app/database/host"
        );
        assert_eq!(tree().of_change(None, key), "apg/config/global/app/database/host");
        assert_eq!(tree().of_status("apg_config_pub_0a1b2c3d"), "apg/config/status/apg_config_pub_0a1b2c3d");
    }

    #[test]
    fn a_topic_says_tenant_and_key() {
        let About::Change { tenant, levels } = tree().read("apg/config/t1/app/database/host") else {
            panic!("a change");
        };
        assert_eq!((tenant, levels.key().as_deref()), (Some("t1"), Some("app.database.host")));
        let About::Change { tenant, .. } = tree().read("apg/config/global/app/x") else { panic!("a change") };
        assert_eq!(tenant, None);
    }

    #[test]
    fn d_25_the_status_of_clients_is_no_tenant() {
        for topic in
            ["apg/config/status/apg_config_pub_1", "apg/config/t1", "apg/configs/t1/app", "other", ""]
        {
            assert_eq!(tree().read(topic), About::Else, "{topic}");
        }
    }

    #[test]
    fn d_26_segments_are_percent_encoded_and_a_foreign_spelling_is_understood() {
        let topic = tree().of_change(None, "app.a/b+c#d%.ö\u{85}");
        assert_eq!(topic, "apg/config/global/app/a%2Fb%2Bc%23d%25/ö%C2%85");
        assert!(Levels("app/a%2Fb").name("app.a/b"));
        assert!(Levels("app/rate%").name("app.rate%"), "written as it is");
        assert!(Levels("app/%61b").name("app.ab"), "encoded by somebody else");
        assert!(!Levels("app/a").name("app.b") && !Levels("app.a").name("app.a"));
        for unreadable in ["a%2Eb", "a%", "a%2", "a%zz", "a%+1", "a//b", "a%FF"] {
            assert_eq!(Levels(unreadable).decoded(), None, "{unreadable}");
        }
    }

    proptest! {
        #[test]
        fn every_key_is_read_back_from_its_topic(segments in prop::collection::vec("[^.]{1,8}", 1..6)) {
            let key = segments.join(".");
            let topic = tree().of_change(None, &key);
            prop_assert!(!topic.contains(['+', '#']) && !topic.chars().any(char::is_control));
            let About::Change { tenant: None, levels } = tree().read(&topic) else { panic!("a change") };
            prop_assert_eq!(levels.decoded(), Some(key.clone()));
            prop_assert!(levels.name(&key));
        }
    }
}
