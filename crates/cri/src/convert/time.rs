//! Times: the engine keeps RFC 3339 texts, the interface wants nanoseconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use rctr_engine::model::ZERO_TIME;

/// Nanoseconds since 1970; 0 for a time that never came.
pub(crate) fn nanos(text: &str) -> i64 {
    if text == ZERO_TIME {
        return 0;
    }
    let time = text.parse::<jiff::Timestamp>();
    time.map_or(0, |time| i64::try_from(time.as_nanosecond()).unwrap_or(0))
}

/// The same of a time that is known.
pub(crate) fn of(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The time now.
pub(crate) fn now() -> i64 {
    of(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_nanoseconds() {
        assert_eq!(nanos("1970-01-01T00:00:01.000000002Z"), 1_000_000_002);
        assert_eq!(nanos(ZERO_TIME), 0);
        assert_eq!(nanos("never"), 0);
    }
}
