//! Packets of a broker, written by hand, and what is made of them.

use super::*;
use bytes::BytesMut;
use proptest::prelude::*;

fn decoder(protocol: Protocol) -> Decoder {
    Decoder::new(protocol, 1024)
}

fn one(protocol: Protocol, bytes: &[u8]) -> Received {
    let mut buffer = BytesMut::from(bytes);
    let packet = decoder(protocol).next(&mut buffer).expect("a packet").expect("all of it");
    assert!(buffer.is_empty());
    packet
}

fn publish(topic: &str, payload: &[u8], quality: Quality) -> Publish {
    let payload = Bytes::copy_from_slice(payload);
    Publish { topic: topic.into(), payload, quality, retain: true, properties: Vec::new() }
}

#[test]
fn the_broker_says_whether_it_took_a_publish() {
    let refusal = |reason: u8| match one(Protocol::V5, &[0x40, 3, 0, 7, reason]) {
        Received::PubAck { id: 7, refusal } => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (refusal(0x00), refusal(0x10)),
        (None, None),
        "nobody listens, and it is published all the same"
    );
    assert_eq!((refusal(0x87), refusal(0x97)), (Some(Refusal::NotAuthorized), Some(Refusal::Quota)));
    assert_eq!(one(Protocol::V4, &[0x40, 2, 0, 7]), Received::PubAck { id: 7, refusal: None });
}

#[test]
fn a_goodbye_without_properties_is_read() {
    let Received::Disconnect(goodbye) = one(Protocol::V5, &[0xe0, 1, 0x8e]) else { panic!("a goodbye") };
    assert!(goodbye.reason.contains("client_id") && !goodbye.is_our_fault);
    assert!(matches!(one(Protocol::V5, &[0xe0, 0]), Received::Disconnect(_)));
}

#[test]
fn a_broker_of_the_older_version_only_is_told_apart() {
    let denied = Received::ConnAck(ConnAck::Refused(Denial::Version));
    assert_eq!(one(Protocol::V5, &[0x20, 2, 0, 1]), denied);
    assert_eq!(
        one(Protocol::V4, &[0x20, 2, 0, 5]),
        Received::ConnAck(ConnAck::Refused(Denial::NotAuthorized))
    );
}

#[test]
fn a_message_that_is_too_large_costs_nothing_but_itself() {
    for protocol in [Protocol::V4, Protocol::V5] {
        let mut buffer = BytesMut::new();
        let large = publish("a/b", &[b'x'; 5000], Quality::AtLeastOnce);
        protocol.write(&Sent::Publish { id: 9, publish: &large }, &mut buffer);
        protocol.write(
            &Sent::Publish { id: 10, publish: &publish("a/c", b"small", Quality::ExactlyOnce) },
            &mut buffer,
        );
        let whole = buffer.len();
        let (mut decoder, mut received, mut came) = (decoder(protocol), BytesMut::new(), Vec::new());
        // As it comes from a socket, a few bytes at a time.
        while !buffer.is_empty() {
            received.extend_from_slice(&buffer.split_to(buffer.len().min(7)));
            came.extend(decoder.next(&mut received).expect("packets"));
            assert!(received.len() < 100, "it is not kept");
        }
        let [Received::TooLarge { topic, ack, n_bytes, .. }, Received::Message(small)] = &came[..] else {
            panic!("{came:?}")
        };
        assert_eq!((topic.as_str(), *ack), ("a/b", Some(Ack::AtLeastOnce(9))));
        assert!(*n_bytes > 5000 && *n_bytes < whole);
        assert_eq!((&small.payload[..], small.ack), (&b"small"[..], Some(Ack::ExactlyOnce(10))));
    }
}

#[test]
fn properties_of_a_message_come_along_in_the_newer_version() {
    let mut buffer = BytesMut::new();
    let properties = vec![("event_type".to_owned(), "config_updated".to_owned())];
    let publish = Publish { properties: properties.clone(), ..publish("t", b"v", Quality::AtMostOnce) };
    Protocol::V5.write(&Sent::Publish { id: 0, publish: &publish }, &mut buffer);
    assert_eq!(buffer.len(), Protocol::V5.size(&Publish { quality: Quality::AtLeastOnce, ..publish }) - 2);
    let Received::Message(message) = one(Protocol::V5, &buffer) else { panic!("a message") };
    assert_eq!((message.properties, message.ack, message.is_retained), (properties, None, true));
}

proptest! {
    #[test]
    fn no_bytes_from_a_broker_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u8..16) {
        for protocol in [Protocol::V4, Protocol::V5] {
            let mut framed = vec![kind << 4 | bytes.first().copied().unwrap_or(0) & 15];
            framed.extend([(bytes.len() % 128) as u8]);
            framed.extend(&bytes);
            for text in [&framed, &bytes] {
                let (mut decoder, mut buffer) = (Decoder::new(protocol, 64), BytesMut::from(&text[..]));
                while let Ok(Some(_)) = decoder.next(&mut buffer) {}
            }
        }
    }
}
