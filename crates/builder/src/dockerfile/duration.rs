//! Durations as Go writes them: `1h30m`, `1.5s`, `300ms`.

/// Nanoseconds; `None` if the text is no duration, or one of more than 290 years.
pub fn parse(text: &str) -> Option<i64> {
    rctr_engine::options::parse_duration(text).ok()
}

/// Nanoseconds as Go writes a duration: `1m30s`, `1.5s`, `300ms`.
pub fn format(nanoseconds: i64) -> String {
    let fraction = |unit: u64, of: u64, name: &str| {
        let rest = format!("{:0width$}", of % unit, width = unit.ilog10() as usize);
        let rest = rest.trim_end_matches('0');
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{}{dot}{rest}{name}", of / unit)
    };
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let time = nanoseconds.unsigned_abs();
    let text = match time {
        0 => "0s".to_owned(),
        1..1_000 => format!("{time}ns"),
        1_000..1_000_000 => fraction(1_000, time, "\u{b5}s"),
        1_000_000..1_000_000_000 => fraction(1_000_000, time, "ms"),
        _ => {
            let minutes = time / 60_000_000_000;
            let seconds = fraction(1_000_000_000, time % 60_000_000_000, "s");
            match minutes {
                0 => seconds,
                1..60 => format!("{minutes}m{seconds}"),
                _ => format!("{}h{}m{seconds}", minutes / 60, minutes % 60),
            }
        }
    };
    format!("{sign}{text}")
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

    #[test]
    fn written_as_go_writes_them() {
        for text in [
            "0s",
            "1ns",
            "1.5\u{b5}s",
            "300ms",
            "1.5s",
            "1m30s",
            "1h0m0.000000001s",
            "-2m0s",
            "59.05s",
        ] {
            assert_eq!(parse(text).map(format).as_deref(), Some(text));
        }
    }
}
