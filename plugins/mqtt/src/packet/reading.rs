//! Bytes as packets.

use super::{Ack, ConnAck, Denial, Goodbye, Malformed, Message, Protocol, Received, Refusal};
use bytes::{Buf, Bytes, BytesMut};
use rumqttc::{
    mqttbytes::{QoS as Qos4, v4},
    v5::mqttbytes::{
        QoS as Qos5,
        v5::{self, ConnectReturnCode as Code, DisconnectReasonCode as Reason},
    },
};

const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const DISCONNECT: u8 = 14;

/// Cuts packets out of what comes from the broker.
#[derive(Debug)]
pub(crate) struct Decoder {
    protocol: Protocol,
    /// The largest packet that is read.
    max_bytes: usize,
    /// How much of a packet that was too large is still to come.
    n_passed_over: usize,
}

/// The fixed header of a packet.
struct Header {
    kind: u8,
    flags: u8,
    n_bytes: usize,
    /// With the header.
    n_packet: usize,
}

impl Decoder {
    pub(crate) fn new(protocol: Protocol, max_bytes: usize) -> Self {
        Self { protocol, max_bytes, n_passed_over: 0 }
    }

    /// The next packet, if all of it is there.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Received>, Malformed> {
        self.pass_over(buffer);
        let Some(header) = header(buffer)? else { return Ok(None) };
        if header.n_packet > self.max_bytes {
            return self.too_large(&header, buffer);
        }
        if buffer.len() < header.n_packet {
            buffer.reserve(header.n_packet - buffer.len());
            return Ok(None);
        }
        let packet = buffer.split_to(header.n_packet);
        match (self.protocol, header.kind) {
            // Brokers leave the properties out here, and one that speaks 3.1.1 only answers in its own form.
            (Protocol::V5, DISCONNECT) => Ok(Some(goodbye(packet.get(header.n_bytes).copied().unwrap_or(0)))),
            (Protocol::V5, CONNACK) if header.n_packet == 4 => {
                Ok(Some(Received::ConnAck(ConnAck::Refused(Denial::Version))))
            }
            (Protocol::V5, _) => read_v5(packet).map(Some),
            (Protocol::V4, _) => read_v4(packet).map(Some),
        }
    }

    /// Whether there is more to come of what is passed over.
    pub(crate) fn is_amid(&self) -> bool {
        self.n_passed_over > 0
    }

    fn pass_over(&mut self, buffer: &mut BytesMut) {
        let n_here = self.n_passed_over.min(buffer.len());
        buffer.advance(n_here);
        self.n_passed_over -= n_here;
    }

    /// Reads where a message comes from and how it is acknowledged, and nothing else of it.
    fn too_large(&mut self, header: &Header, buffer: &mut BytesMut) -> Result<Option<Received>, Malformed> {
        if header.kind != PUBLISH {
            return Err(Malformed(format!("{} bytes that are no message", header.n_packet)));
        }
        let Some((topic, rest)) = text(&buffer[header.n_bytes..])? else { return Ok(None) };
        let ack = match (header.flags >> 1 & 3, rest) {
            (0, _) => None,
            (qos, [high, low, ..]) => {
                let id = u16::from_be_bytes([*high, *low]);
                Some(if qos == 1 { Ack::AtLeastOnce(id) } else { Ack::ExactlyOnce(id) })
            }
            _ => return Ok(None),
        };
        let topic = topic.to_owned();
        self.n_passed_over = header.n_packet;
        self.pass_over(buffer);
        let is_retained = header.flags & 1 == 1;
        Ok(Some(Received::TooLarge { topic, ack, is_retained, n_bytes: header.n_packet }))
    }
}

/// The header at the start of the buffer, if it is there.
fn header(buffer: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some((first, rest)) = buffer.split_first() else { return Ok(None) };
    let mut length = 0;
    for (i, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let n_bytes = i + 2;
            return Ok(Some(Header {
                kind: first >> 4,
                flags: first & 15,
                n_bytes,
                n_packet: n_bytes + length,
            }));
        }
    }
    if rest.len() < 4 { Ok(None) } else { Err(Malformed("a length of more than four bytes".into())) }
}

/// A text with its length in front, and what comes behind it, if both are there.
fn text(bytes: &[u8]) -> Result<Option<(&str, &[u8])>, Malformed> {
    let [high, low, rest @ ..] = bytes else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let Some((text, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    let text = std::str::from_utf8(text).map_err(|_| Malformed("a topic that is not UTF-8".into()))?;
    Ok(Some((text, rest)))
}

fn read_v4(mut packet: BytesMut) -> Result<Received, Malformed> {
    let packet = v4::Packet::read(&mut packet, usize::MAX).map_err(|error| Malformed(error.to_string()))?;
    Ok(match packet {
        v4::Packet::ConnAck(ack) => Received::ConnAck(connack_v4(&ack)),
        v4::Packet::Publish(publish) => Received::Message(Message {
            ack: match publish.qos {
                Qos4::AtMostOnce => None,
                Qos4::AtLeastOnce => Some(Ack::AtLeastOnce(publish.pkid)),
                Qos4::ExactlyOnce => Some(Ack::ExactlyOnce(publish.pkid)),
            },
            topic: publish.topic,
            payload: publish.payload,
            is_retained: publish.retain,
            is_said_again: false,
            properties: Vec::new(),
            content_type: None,
        }),
        v4::Packet::PubAck(ack) => Received::PubAck { id: ack.pkid, refusal: None },
        v4::Packet::PubRec(ack) => Received::PubRec { id: ack.pkid, refusal: None },
        v4::Packet::PubRel(release) => Received::PubRel { id: release.pkid },
        v4::Packet::PubComp(complete) => Received::PubComp { id: complete.pkid },
        v4::Packet::SubAck(ack) => {
            let refusal = |code: &v4::SubscribeReasonCode| match code {
                v4::SubscribeReasonCode::Success(_) => None,
                v4::SubscribeReasonCode::Failure => Some("no reason given".to_owned()),
            };
            Received::SubAck { refusals: ack.return_codes.iter().map(refusal).collect() }
        }
        v4::Packet::PingResp => Received::Pong,
        _ => Received::Other,
    })
}

fn connack_v4(ack: &v4::ConnAck) -> ConnAck {
    ConnAck::Refused(match ack.code {
        v4::ConnectReturnCode::Success => {
            return ConnAck::Accepted {
                session_present: ack.session_present,
                receive_maximum: None,
                max_packet_size: None,
                keepalive_secs: None,
            };
        }
        v4::ConnectReturnCode::RefusedProtocolVersion => Denial::Version,
        v4::ConnectReturnCode::BadClientId => Denial::ClientId,
        v4::ConnectReturnCode::ServiceUnavailable => Denial::Unavailable,
        v4::ConnectReturnCode::BadUserNamePassword => Denial::Login,
        v4::ConnectReturnCode::NotAuthorized => Denial::NotAuthorized,
    })
}

fn read_v5(mut packet: BytesMut) -> Result<Received, Malformed> {
    let packet = v5::Packet::read(&mut packet, None).map_err(|error| Malformed(error.to_string()))?;
    Ok(match packet {
        v5::Packet::ConnAck(ack) => Received::ConnAck(connack_v5(ack)),
        v5::Packet::Publish(publish) => Received::Message(message_v5(publish)?),
        v5::Packet::PubAck(ack) => Received::PubAck { id: ack.pkid, refusal: puback_refusal(ack.reason) },
        v5::Packet::PubRec(ack) => Received::PubRec { id: ack.pkid, refusal: pubrec_refusal(ack.reason) },
        v5::Packet::PubRel(release) => Received::PubRel { id: release.pkid },
        v5::Packet::PubComp(complete) => Received::PubComp { id: complete.pkid },
        v5::Packet::SubAck(ack) => {
            let refusal = |code: &v5::SubscribeReasonCode| match code {
                v5::SubscribeReasonCode::Success(_) => None,
                v5::SubscribeReasonCode::NotAuthorized => Some("not authorized".to_owned()),
                v5::SubscribeReasonCode::TopicFilterInvalid => Some("not a filter it accepts".to_owned()),
                v5::SubscribeReasonCode::QuotaExceeded => Some("too many subscriptions".to_owned()),
                v5::SubscribeReasonCode::SharedSubscriptionsNotSupported => {
                    Some("it knows no shared subscriptions".to_owned())
                }
                v5::SubscribeReasonCode::WildcardSubscriptionsNotSupported => {
                    Some("it knows no wildcards".to_owned())
                }
                _ => Some("no reason given".to_owned()),
            };
            Received::SubAck { refusals: ack.return_codes.iter().map(refusal).collect() }
        }
        v5::Packet::PingResp(_) => Received::Pong,
        _ => Received::Other,
    })
}

fn message_v5(publish: v5::Publish) -> Result<Message, Malformed> {
    let properties = publish.properties.unwrap_or_default();
    if properties.topic_alias.is_some() {
        return Err(Malformed("a topic alias, which was not offered".into()));
    }
    Ok(Message {
        ack: match publish.qos {
            Qos5::AtMostOnce => None,
            Qos5::AtLeastOnce => Some(Ack::AtLeastOnce(publish.pkid)),
            Qos5::ExactlyOnce => Some(Ack::ExactlyOnce(publish.pkid)),
        },
        topic: utf8(publish.topic)?,
        payload: publish.payload,
        is_retained: publish.retain,
        is_said_again: false,
        properties: properties.user_properties,
        content_type: properties.content_type,
    })
}

fn utf8(topic: Bytes) -> Result<String, Malformed> {
    String::from_utf8(topic.into()).map_err(|_| Malformed("a topic that is not UTF-8".into()))
}

fn connack_v5(ack: v5::ConnAck) -> ConnAck {
    let denial = match ack.code {
        Code::Success => {
            let properties = ack.properties.as_ref();
            return ConnAck::Accepted {
                session_present: ack.session_present,
                receive_maximum: properties.and_then(|properties| properties.receive_max),
                max_packet_size: properties
                    .and_then(|properties| properties.max_packet_size)
                    .map(|n| n as usize),
                keepalive_secs: properties.and_then(|properties| properties.server_keep_alive),
            };
        }
        Code::BadUserNamePassword => Denial::Login,
        Code::NotAuthorized => Denial::NotAuthorized,
        Code::ClientIdentifierNotValid | Code::BadClientId => Denial::ClientId,
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => Denial::Version,
        Code::ServerUnavailable | Code::ServerBusy | Code::ServiceUnavailable => Denial::Unavailable,
        Code::Banned => Denial::Other("this client is banned"),
        Code::QuotaExceeded => Denial::Other("a limit of the broker is exceeded"),
        Code::ConnectionRateExceeded => Denial::Other("too many connections in a short time"),
        Code::QoSNotSupported => {
            Denial::Other("it does not know the quality of service of the status messages")
        }
        Code::RetainNotSupported => Denial::Other("it retains no messages, so there can be no status"),
        Code::UseAnotherServer | Code::ServerMoved => Denial::Other("it names another broker"),
        _ => Denial::Other("it gives no reason"),
    };
    ConnAck::Refused(denial)
}

fn puback_refusal(reason: v5::PubAckReason) -> Option<Refusal> {
    match reason {
        v5::PubAckReason::Success | v5::PubAckReason::NoMatchingSubscribers => None,
        v5::PubAckReason::NotAuthorized => Some(Refusal::NotAuthorized),
        v5::PubAckReason::TopicNameInvalid => Some(Refusal::BadTopic),
        v5::PubAckReason::PayloadFormatInvalid => Some(Refusal::BadPayload),
        v5::PubAckReason::QuotaExceeded => Some(Refusal::Quota),
        _ => Some(Refusal::Other),
    }
}

fn pubrec_refusal(reason: v5::PubRecReason) -> Option<Refusal> {
    match reason {
        v5::PubRecReason::Success | v5::PubRecReason::NoMatchingSubscribers => None,
        v5::PubRecReason::NotAuthorized => Some(Refusal::NotAuthorized),
        v5::PubRecReason::TopicNameInvalid => Some(Refusal::BadTopic),
        v5::PubRecReason::PayloadFormatInvalid => Some(Refusal::BadPayload),
        v5::PubRecReason::QuotaExceeded => Some(Refusal::Quota),
        _ => Some(Refusal::Other),
    }
}

fn goodbye(reason: u8) -> Received {
    let (reason, is_our_fault) = match Reason::try_from(reason) {
        Ok(Reason::SessionTakenOver) => ("another client with the same `client_id` has connected", false),
        Ok(Reason::ServerShuttingDown) => ("it shuts down", false),
        Ok(Reason::ServerBusy) => ("it is busy", false),
        Ok(Reason::AdministrativeAction) => ("an administrator has ended the connection", false),
        Ok(Reason::KeepAliveTimeout) => ("it has not heard of this client for too long", false),
        Ok(Reason::UseAnotherServer | Reason::ServerMoved) => ("it names another broker", false),
        Ok(Reason::ConnectionRateExceeded | Reason::MaximumConnectTime) => {
            ("a limit on connections is reached", false)
        }
        Ok(Reason::NotAuthorized) => ("something this client did is not authorized", true),
        Ok(Reason::MalformedPacket | Reason::ProtocolError) => ("it does not understand what was sent", true),
        Ok(Reason::TopicNameInvalid) => ("it does not take a topic", true),
        Ok(Reason::PacketTooLarge) => ("a message is too large for it", true),
        Ok(Reason::QuotaExceeded | Reason::MessageRateTooHigh) => ("a limit on messages is reached", true),
        Ok(Reason::RetainNotSupported) => ("it retains no messages", true),
        Ok(Reason::QoSNotSupported) => ("it does not know the quality of service", true),
        _ => ("it gives no reason", true),
    };
    Received::Disconnect(Goodbye { reason, is_our_fault })
}
