//! Durations as Go reads them: `1h30m`, `1.5s`, `300ms`.

use super::ParseError;

const MAXIMUM: u128 = i64::MAX as u128;

/// Nanoseconds.
///
/// # Errors
/// [`ParseError::Duration`] in Go's words.
pub fn parse_duration(text: &str) -> Result<i64, ParseError> {
    let invalid = || ParseError::Duration {
        reason: format!("invalid duration {text:?}"),
    };
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let length = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(length);
        let nanoseconds = nanoseconds_of(unit).ok_or_else(|| ParseError::Duration {
            reason: match unit {
                "" => format!("missing unit in duration {text:?}"),
                unit => format!("unknown unit {unit:?} in duration {text:?}"),
            },
        })?;
        // Nobody means what comes after eighteen digits.
        let fraction = &fraction[..fraction.len().min(18)];
        let digits = |text: &str| match text {
            "" => Ok(0),
            text => text.parse::<u64>().map(u128::from).map_err(|_| invalid()),
        };
        let part = digits(whole)? * nanoseconds
            + digits(fraction)? * nanoseconds / 10_u128.pow(fraction.len() as u32);
        total += part;
        if total > MAXIMUM {
            return Err(invalid());
        }
        rest = next;
    }
    let total = total as i64;
    Ok(if negative { -total } else { total })
}

fn split_digits(text: &str) -> (&str, &str) {
    let length = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(length)
}

fn nanoseconds_of(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("-2ms", -2_000_000),
            ("1m0.000000001s", 60_000_000_001),
        ] {
            assert_eq!(parse_duration(text).unwrap(), nanoseconds, "{text}");
        }
        for (text, reason) in [
            ("", "time: invalid duration \"\""),
            ("x", "time: invalid duration \"x\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("99999999999h", "time: invalid duration \"99999999999h\""),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), reason);
        }
    }
}
