//! Durations as Go writes them: `1h30m`, `1.5s`, `300ms`.

/// Nanoseconds; `None` if the text is no duration, or one of more than 290 years.
pub fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after_fraction) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let length = after_fraction
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after_fraction.len());
        let (unit, next) = after_fraction.split_at_checked(length)?;
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = next;
        let whole: i64 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        // Digits beyond what a nanosecond shows are cut.
        let shown = fraction.get(..fraction.len().min(18)).unwrap_or("");
        let numerator: i128 = if shown.is_empty() {
            0
        } else {
            shown.parse().ok()?
        };
        total += i128::from(whole) * unit + numerator * unit / 10_i128.pow(shown.len() as u32);
        if total > i128::from(i64::MAX) {
            return None;
        }
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn digits(text: &str) -> (&str, &str) {
    let length = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at_checked(length).unwrap_or(("", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", Some(0)),
            ("5s", Some(5_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("-1ms", Some(-1_000_000)),
            ("2us", Some(2_000)),
            ("2µs", Some(2_000)),
            ("0.3333333333333333333333h", Some(1_200_000_000_000 - 1)),
            ("", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1 s", None),
            ("1d", None),
            ("9999999999h", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
