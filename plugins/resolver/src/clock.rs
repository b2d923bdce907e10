//! The hybrid logical clock: orders concurrent changes for people, and decides nothing else.
//!
//! A host's clock never goes back, whatever its wall clock does, and no stamp from elsewhere carries it further than a
//! bound ahead of its wall clock.

use std::{fmt, str::FromStr, time::Duration};

/// A stamp: 48 bits of milliseconds since 1970, then a 16-bit counter. As text `<ms>-<counter>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hlc(u64);

/// The text is not `<ms>-<counter>`.
#[derive(Debug, thiserror::Error)]
#[error("an HLC is `<milliseconds>-<counter>`")]
pub struct NotAnHlc;

const COUNTER_BITS: u32 = 16;
const MAX_MS: u64 = u64::MAX >> COUNTER_BITS;

impl Hlc {
    /// The first stamp of a millisecond.
    pub fn at(ms: u64) -> Self {
        Self(ms.min(MAX_MS) << COUNTER_BITS)
    }

    /// The last stamp of a millisecond.
    fn end_of(ms: u64) -> Self {
        Self(Self::at(ms).0 | u64::from(u16::MAX))
    }

    /// The stamp as a number, in the same order.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// As [`Hlc::bits`] gave it.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The milliseconds since 1970.
    pub fn ms(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    fn counter(self) -> u16 {
        self.0 as u16
    }

    /// The stamp of a change made now. More than 65,536 in one millisecond run into the next.
    #[must_use]
    pub fn tick(self, now_ms: u64) -> Self {
        Self(self.0.saturating_add(1)).max(Self::at(now_ms))
    }

    /// The clock after it met another's stamp: never earlier, and carried at most `max_ahead` beyond the wall clock. The
    /// stamp itself stays as it is; two hosts that changed it would no longer agree.
    #[must_use]
    pub fn merge(self, other: Self, now_ms: u64, max_ahead: Duration) -> Self {
        self.max(other.min(Self::end_of(Self::bound(now_ms, max_ahead))))
    }

    /// Whether the stamp lies further ahead of the wall clock than the bound.
    pub fn is_ahead(self, now_ms: u64, max_ahead: Duration) -> bool {
        self.ms() > Self::bound(now_ms, max_ahead)
    }

    fn bound(now_ms: u64, max_ahead: Duration) -> u64 {
        now_ms.saturating_add(u64::try_from(max_ahead.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms(), self.counter())
    }
}

impl FromStr for Hlc {
    type Err = NotAnHlc;

    fn from_str(text: &str) -> Result<Self, NotAnHlc> {
        let (ms, counter) = text.split_once('-').ok_or(NotAnHlc)?;
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(ms) || !is_number(counter) {
            return Err(NotAnHlc);
        }
        let ms: u64 = ms.parse().ok().filter(|ms| *ms <= MAX_MS).ok_or(NotAnHlc)?;
        let counter: u16 = counter.parse().map_err(|_| NotAnHlc)?;
        Ok(Self(Self::at(ms).0 | u64::from(counter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AHEAD: Duration = Duration::from_millis(500);
    const HOUR: i64 = 3_600_000;

    #[test]
    fn the_text_form_is_read_as_it_is_written() {
        let stamp: Hlc = "1700000000000-42".parse().expect("an HLC");
        assert_eq!((stamp.ms(), stamp.counter()), (1_700_000_000_000, 42));
        assert_eq!(stamp.to_string(), "1700000000000-42");
        for text in ["", "1", "-", "1-", "+1-2", "1-65536", "281474976710656-0", "1-2-3", "a-b"] {
            assert!(text.parse::<Hlc>().is_err(), "{text}");
        }
    }

    #[test]
    fn more_changes_than_the_counter_holds_run_into_the_next_millisecond() {
        let mut clock = Hlc::at(1000);
        for _ in 0..70_000 {
            let next = clock.tick(1000);
            assert!(next > clock);
            clock = next;
        }
        assert_eq!(clock.ms(), 1001);
    }

    #[test]
    fn a_stamp_from_a_clock_that_is_far_ahead_is_capped_and_one_behind_changes_nothing() {
        let clock = Hlc::at(1000);
        let far = Hlc::at(1000 + HOUR as u64);
        assert!(far.is_ahead(1000, AHEAD));
        assert_eq!(clock.merge(far, 1000, AHEAD), Hlc::end_of(1500));
        assert_eq!(clock.merge(Hlc::at(1400), 1000, AHEAD), Hlc::at(1400));
        assert_eq!(clock.merge(Hlc::at(3), 1000, AHEAD), clock);
    }

    proptest! {
        #[test]
        fn the_clock_never_goes_back(
            steps in prop::collection::vec((-HOUR..HOUR, prop::option::of(-2 * HOUR..2 * HOUR)), 1..200),
        ) {
            let mut wall = 1_700_000_000_000_i64;
            let (mut clock, mut furthest) = (Hlc::default(), wall);
            for (step, foreign) in steps {
                wall += step;
                furthest = furthest.max(wall);
                if let Some(off) = foreign {
                    let met = clock.merge(Hlc::at((wall + off) as u64), wall as u64, AHEAD);
                    prop_assert!(met >= clock);
                    clock = met;
                }
                let next = clock.tick(wall as u64);
                prop_assert!(next > clock, "{next} after {clock}");
                clock = next;
            }
            // However far the stamps it met were ahead, it stayed within the bound of the furthest its own clock was.
            prop_assert!(clock.ms() <= (furthest + 501) as u64);
        }
    }
}
