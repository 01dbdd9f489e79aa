//! Times as Docker writes them.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Now, RFC 3339 with nanoseconds, UTC.
pub(crate) fn now() -> String {
    format(SystemTime::now())
}

/// RFC 3339 with nanoseconds, UTC; times that no calendar has become the epoch.
pub(crate) fn format(time: SystemTime) -> String {
    let timestamp = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{timestamp:.9}")
}

/// `--since` and `--until`: RFC 3339 with or without zone, a date, seconds since 1970 with a fraction, or a Go
/// duration counted back from now; a negative one lies in the future.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    if let Some(since) = seconds(text) {
        return SystemTime::UNIX_EPOCH.checked_add(since);
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.into());
    }
    if let Ok(civil) = text.parse::<jiff::civil::DateTime>() {
        return civil
            .to_zoned(jiff::tz::TimeZone::system())
            .ok()
            .map(|zoned| zoned.timestamp().into());
    }
    let ago = text.parse::<jiff::SignedDuration>().ok()?;
    match ago.is_negative() {
        true => SystemTime::now().checked_add(ago.unsigned_abs()),
        false => SystemTime::now().checked_sub(ago.unsigned_abs()),
    }
}

/// `1700000000` or `1700000000.25`, to the nanosecond.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_read_in_all_of_dockers_forms() {
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for text in [
            "1700000000",
            "1700000000.0",
            "2023-11-14T22:13:20Z",
            "2023-11-14T23:13:20+01:00",
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        let exact = expected + Duration::from_nanos(123_456_789);
        assert_eq!(parse("1700000000.123456789"), Some(exact));
        let ago = parse("1h30m").unwrap();
        let distance = SystemTime::now().duration_since(ago).unwrap().as_secs();
        assert!((5400..5410).contains(&distance), "{distance}");
        let to_come = parse("-1h30m").unwrap();
        let distance = to_come.duration_since(SystemTime::now()).unwrap().as_secs();
        assert!((5390..=5400).contains(&distance), "{distance}");
        assert!(parse("2023-11-14").is_some());
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn times_are_written_with_nine_digits() {
        assert_eq!(
            format(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)),
            "1970-01-01T00:00:01.500000000Z"
        );
    }
}
