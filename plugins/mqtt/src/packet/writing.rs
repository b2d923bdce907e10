//! Packets as bytes.

use super::{Connect, Protocol, Publish, Quality, Sent};
use bytes::{Bytes, BytesMut};
use rumqttc::{
    mqttbytes::{QoS as Qos4, v4},
    v5::mqttbytes::{QoS as Qos5, v5},
};

impl Protocol {
    /// Appends a packet.
    pub(crate) fn write(self, packet: &Sent<'_>, out: &mut BytesMut) {
        let written = match self {
            Self::V4 => as_v4(packet).write(out, usize::MAX).map_err(|error| error.to_string()),
            Self::V5 => as_v5(packet).write(out, None).map_err(|error| error.to_string()),
        };
        // What a packet is made of was checked before: topics and payloads fit, ids are not 0.
        written.expect("a packet of checked parts");
    }

    /// How many bytes a publish is as a packet.
    pub(crate) fn size(self, publish: &Publish) -> usize {
        match self {
            Self::V4 => publish_v4(1, publish).size(),
            Self::V5 => publish_v5(1, publish).size(),
        }
    }
}

fn as_v4(packet: &Sent<'_>) -> v4::Packet {
    match *packet {
        Sent::Connect(connect) => v4::Packet::Connect(connect_v4(connect)),
        Sent::Publish { id, publish } => v4::Packet::Publish(publish_v4(id, publish)),
        Sent::Subscribe { id, filters, quality, .. } => {
            let filters =
                filters.iter().map(|filter| v4::SubscribeFilter::new(filter.clone(), quality.into()));
            v4::Packet::Subscribe(v4::Subscribe { pkid: id, ..v4::Subscribe::new_many(filters) })
        }
        Sent::PubAck(id) => v4::Packet::PubAck(v4::PubAck::new(id)),
        Sent::PubRec(id) => v4::Packet::PubRec(v4::PubRec::new(id)),
        Sent::PubRel(id) => v4::Packet::PubRel(v4::PubRel::new(id)),
        Sent::PubComp(id) => v4::Packet::PubComp(v4::PubComp::new(id)),
        Sent::Ping => v4::Packet::PingReq,
        Sent::Disconnect => v4::Packet::Disconnect,
    }
}

fn as_v5(packet: &Sent<'_>) -> v5::Packet {
    match *packet {
        Sent::Connect(connect) => connect_v5(connect),
        Sent::Publish { id, publish } => v5::Packet::Publish(publish_v5(id, publish)),
        Sent::Subscribe { id, filters, quality, reads_retained } => {
            let filters = filters.iter().map(|filter| v5::Filter {
                retain_forward_rule: match reads_retained {
                    true => v5::RetainForwardRule::OnEverySubscribe,
                    false => v5::RetainForwardRule::Never,
                },
                ..v5::Filter::new(filter.clone(), quality.into())
            });
            v5::Packet::Subscribe(v5::Subscribe { pkid: id, ..v5::Subscribe::new_many(filters, None) })
        }
        Sent::PubAck(id) => v5::Packet::PubAck(v5::PubAck::new(id, None)),
        Sent::PubRec(id) => v5::Packet::PubRec(v5::PubRec::new(id, None)),
        Sent::PubRel(id) => v5::Packet::PubRel(v5::PubRel::new(id, None)),
        Sent::PubComp(id) => v5::Packet::PubComp(v5::PubComp::new(id, None)),
        Sent::Ping => v5::Packet::PingReq(v5::PingReq),
        Sent::Disconnect => {
            v5::Packet::Disconnect(v5::Disconnect::new(v5::DisconnectReasonCode::NormalDisconnection))
        }
    }
}

fn connect_v4(connect: &Connect) -> v4::Connect {
    let will = connect.will.as_ref();
    v4::Connect {
        keep_alive: connect.keepalive_secs,
        clean_session: connect.is_clean,
        last_will: will.map(|will| {
            v4::LastWill::new(will.topic.as_str(), will.payload.as_ref(), will.quality.into(), will.retain)
        }),
        login: connect.login.as_ref().map(|(username, password)| v4::Login::new(username, password)),
        ..v4::Connect::new(connect.client_id.as_str())
    }
}

fn connect_v5(connect: &Connect) -> v5::Packet {
    let properties = v5::ConnectProperties {
        session_expiry_interval: Some(connect.session_expiry_secs),
        receive_maximum: Some(connect.receive_maximum),
        ..v5::ConnectProperties::new()
    };
    let will = connect.will.as_ref().map(|will| {
        v5::LastWill::new(will.topic.as_str(), will.payload.as_ref(), will.quality.into(), will.retain, None)
    });
    let login = connect.login.as_ref().map(|(username, password)| v5::Login::new(username, password));
    let connect = v5::Connect {
        keep_alive: connect.keepalive_secs,
        client_id: connect.client_id.clone(),
        clean_start: connect.is_clean,
        properties: Some(properties),
    };
    v5::Packet::Connect(connect, will, login)
}

fn publish_v4(id: u16, publish: &Publish) -> v4::Publish {
    v4::Publish {
        pkid: id,
        retain: publish.retain,
        ..v4::Publish::from_bytes(publish.topic.as_str(), publish.quality.into(), publish.payload.clone())
    }
}

fn publish_v5(id: u16, publish: &Publish) -> v5::Publish {
    let properties = || v5::PublishProperties {
        user_properties: publish.properties.clone(),
        ..v5::PublishProperties::default()
    };
    v5::Publish {
        dup: false,
        qos: publish.quality.into(),
        retain: publish.retain,
        topic: Bytes::copy_from_slice(publish.topic.as_bytes()),
        pkid: id,
        payload: publish.payload.clone(),
        properties: (!publish.properties.is_empty()).then(properties),
    }
}

impl From<Quality> for Qos4 {
    fn from(quality: Quality) -> Self {
        match quality {
            Quality::AtMostOnce => Self::AtMostOnce,
            Quality::AtLeastOnce => Self::AtLeastOnce,
            Quality::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<Quality> for Qos5 {
    fn from(quality: Quality) -> Self {
        match quality {
            Quality::AtMostOnce => Self::AtMostOnce,
            Quality::AtLeastOnce => Self::AtLeastOnce,
            Quality::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}
