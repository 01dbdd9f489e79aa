//! Times as images write them.

/// RFC 3339 of seconds since 1970; the first second for what no calendar has.
pub(crate) fn format(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_string()
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Seconds since 1970 of RFC 3339.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_second())
}
