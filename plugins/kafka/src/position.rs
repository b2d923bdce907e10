//! A place in a topic, as it is stored: `apg-config-general/0@42` is the message with the offset 42 of partition 0, and
//! says that everything before it is taken care of.

use std::fmt;

/// The next message of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl<'a> Place<'a> {
    /// Reads what [`Place`] shows; `None` if it is something else.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (place, offset) = std::str::from_utf8(bytes).ok()?.rsplit_once('@')?;
        let (topic, partition) = place.rsplit_once('/')?;
        let place = Self { topic, partition: partition.parse().ok()?, offset: offset.parse().ok()? };
        (!topic.is_empty() && place.partition >= 0 && place.offset >= 0).then_some(place)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let place = Place { topic: "apg-config-general", partition: 3, offset: 42 };
        assert_eq!(place.to_string(), "apg-config-general/3@42");
        assert_eq!(Place::parse(place.to_string().as_bytes()), Some(place));
        for text in ["", "a@1", "a/1", "/1@1", "a/x@1", "a/-1@1", "a/1@-1", "a/1@1@"] {
            assert_eq!(Place::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_longest_place_fits() {
        let topic = "t".repeat(220);
        let place = Place { topic: &topic, partition: 999_999, offset: i64::MAX };
        assert!(place.to_string().len() <= lockstep_plugin_api::Position::MAX_BYTES);
    }
}
