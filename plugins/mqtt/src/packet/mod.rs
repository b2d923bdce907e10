//! MQTT packets in one form for both versions of the protocol: what this plugin sends and what it is sent.
//!
//! The bytes of each packet are rumqttc's business; which bytes are one packet is decided here, so that a message that is
//! too large costs that message and not the connection.

mod reading;
mod writing;

pub(crate) use reading::Decoder;

use bytes::Bytes;

/// Which version of MQTT is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// 3.1.1
    V4,
    V5,
}

/// How often a message arrives.
#[expect(clippy::enum_variant_names, reason = "the protocol's own names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Quality {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

impl TryFrom<u8> for Quality {
    type Error = ();
    fn try_from(qos: u8) -> Result<Self, ()> {
        match qos {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            _ => Err(()),
        }
    }
}

/// What this plugin sends.
#[derive(Debug)]
pub(crate) enum Sent<'a> {
    Connect(&'a Connect),
    Publish { id: u16, publish: &'a Publish },
    Subscribe { id: u16, filters: &'a [String], quality: Quality, reads_retained: bool },
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    Ping,
    Disconnect,
}

/// How this client introduces itself.
#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) client_id: String,
    pub(crate) keepalive_secs: u16,
    pub(crate) login: Option<(String, String)>,
    /// Whether what the broker knows of an earlier connection is forgotten.
    pub(crate) is_clean: bool,
    /// How long the broker remembers this one.
    pub(crate) session_expiry_secs: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) will: Option<Publish>,
}

/// A message on its way to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) quality: Quality,
    pub(crate) retain: bool,
    /// MQTT 5's user properties; 3.1.1 has none.
    pub(crate) properties: Vec<(String, String)>,
}

/// What this plugin is sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    ConnAck(ConnAck),
    Message(Message),
    /// A message that was larger than it may be, and was not read.
    TooLarge {
        topic: String,
        ack: Option<Ack>,
        n_bytes: usize,
    },
    PubAck {
        id: u16,
        refusal: Option<Refusal>,
    },
    PubRec {
        id: u16,
        refusal: Option<Refusal>,
    },
    PubRel {
        id: u16,
    },
    PubComp {
        id: u16,
    },
    /// Why each filter was refused, in the order they were sent.
    SubAck {
        refusals: Vec<Option<String>>,
    },
    Pong,
    Disconnect(Goodbye),
    /// Of no concern here.
    Other,
}

/// What the broker says to a connect.
#[derive(Debug, PartialEq)]
pub(crate) enum ConnAck {
    Refused(Denial),
    Accepted {
        /// It remembers an earlier connection.
        session_present: bool,
        /// How many messages may be on their way to it.
        receive_maximum: Option<u16>,
        /// How large they may be.
        max_packet_size: Option<usize>,
        /// What it takes for `keepalive` instead.
        keepalive_secs: Option<u16>,
    },
}

/// Why the broker does not let this client in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denial {
    Login,
    NotAuthorized,
    ClientId,
    Version,
    Unavailable,
    Other(&'static str),
}

/// A message from the broker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// How it has to be acknowledged.
    pub(crate) ack: Option<Ack>,
    /// The broker had kept it.
    pub(crate) is_retained: bool,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) content_type: Option<String>,
}

impl Message {
    /// About how much memory it takes.
    pub(crate) fn n_bytes(&self) -> usize {
        let property =
            |(name, value): &(String, String)| size_of::<(String, String)>() + name.len() + value.len();
        let beside: usize = self.properties.iter().map(property).sum();
        let content_type = self.content_type.as_ref().map_or(0, String::len);
        self.payload.len() + self.topic.len() + beside + content_type
    }
}

/// What the broker waits for after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    /// PUBACK
    AtLeastOnce(u16),
    /// PUBREC, and the broker then releases the message.
    ExactlyOnce(u16),
}

/// Why the broker did not take a publish; 3.1.1 has no such answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotAuthorized,
    BadTopic,
    BadPayload,
    Quota,
    Other,
}

/// Why the broker ends the connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goodbye {
    pub(crate) reason: &'static str,
    /// Whether something that this client sent may be why.
    pub(crate) is_our_fault: bool,
}

/// What the broker sent is no MQTT.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker sent what is no MQTT packet: {0}")]
pub(crate) struct Malformed(pub(crate) String);

#[cfg(test)]
mod tests;
