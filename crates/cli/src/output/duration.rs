//! Times as people read them, in the words of Docker's tables.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `About a minute`, `3 hours`, `2 weeks`.
pub fn human(duration: Duration) -> String {
    const HOUR: u64 = 3600;
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // Docker rounds hours to the nearest, and everything else down.
    let hours = (seconds + HOUR / 2) / HOUR;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / 24 / 7),
        (.., 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / HOUR / 24 / 365),
    }
}

/// How long ago a time was, in words; an unreadable time was just now.
pub fn since(time: &str, now: Timestamp) -> String {
    let elapsed = time
        .parse::<Timestamp>()
        .map(|then| now.duration_since(then))
        .unwrap_or_default();
    human(Duration::try_from(elapsed).unwrap_or_default())
}

/// A time as Go prints one: `2006-01-02 15:04:05 -0700 MST`, in the local zone.
pub fn local(time: &str) -> String {
    in_zone(time, TimeZone::system())
}

fn in_zone(time: &str, zone: TimeZone) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time
            .to_zoned(zone)
            .strftime("%Y-%m-%d %H:%M:%S %z %Z")
            .to_string(),
        Err(_) => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_docker_s() {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (MINUTE, "About a minute"),
            (2 * MINUTE - 1, "About a minute"),
            (2 * MINUTE, "2 minutes"),
            (HOUR - 1, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 30 * MINUTE - 1, "About an hour"),
            (HOUR + 30 * MINUTE, "2 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (365 * DAY, "12 months"),
            (2 * 365 * DAY, "2 years"),
            (3 * 365 * DAY, "3 years"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), words, "{seconds}");
        }
    }

    #[test]
    fn a_clock_that_went_back_is_no_error() {
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        assert_eq!(since("2026-11-21T01:00:00Z", now), "Less than a second");
        assert_eq!(since("2026-11-20T23:56:30.5Z", now), "3 minutes");
    }

    #[test]
    fn go_s_layout() {
        assert_eq!(
            in_zone("2026-11-21T01:02:03.456Z", TimeZone::UTC),
            "2026-11-21 01:02:03 +0000 UTC"
        );
    }
}
