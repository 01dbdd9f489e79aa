//! Values as Go's libraries read them.

/// One line of comma-separated values, RFC 4180.
pub(super) fn fields(text: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, next) = match rest.split_once(',') {
                Some((field, next)) => (field, Some(next)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err("bare \" in non-quoted field");
            }
            fields.push(field.to_owned());
            match next {
                Some(next) => rest = next,
                None => return Ok(fields),
            }
            continue;
        };
        let mut field = String::new();
        let mut tail = quoted;
        loop {
            let (part, after) = tail
                .split_once('"')
                .ok_or("extraneous or missing \" in quoted field")?;
            field.push_str(part);
            match after.strip_prefix('"') {
                Some(next) => {
                    field.push('"');
                    tail = next;
                }
                None => {
                    tail = after;
                    break;
                }
            }
        }
        fields.push(field);
        match (tail.strip_prefix(','), tail.is_empty()) {
            (Some(next), _) => rest = next,
            (None, true) => return Ok(fields),
            (None, false) => return Err("extraneous or missing \" in quoted field"),
        }
    }
}

/// As Go's strconv.ParseBool.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Bytes from `64m`, `1.5GiB`, `1 kB`: units are powers of 1024.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let length = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let (number, unit) = text.split_at_checked(length)?;
    let number: f64 = number
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comma_separated_values() {
        for (text, expected) in [
            ("", vec![""]),
            ("a", vec!["a"]),
            ("a,b=c", vec!["a", "b=c"]),
            (",", vec!["", ""]),
            ("\"a,b\",c", vec!["a,b", "c"]),
            ("\"a\"\"b\"", vec!["a\"b"]),
            ("\"\",", vec!["", ""]),
        ] {
            assert_eq!(fields(text).expect(text), expected, "{text}");
        }
        for text in ["a\"b", "\"a", "\"a\"b", "\"a\"\""] {
            fields(text).expect_err(text);
        }
    }

    #[test]
    fn booleans() {
        assert_eq!(
            ["1", "t", "T", "true", "TRUE", "True"].map(parse_bool),
            [Some(true); 6]
        );
        assert_eq!(
            ["0", "f", "F", "false", "FALSE", "False"].map(parse_bool),
            [Some(false); 6]
        );
        assert_eq!(["", "yes", "tRUE", "2"].map(parse_bool), [None; 4]);
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("32", Some(32)),
            ("32b", Some(32)),
            ("64m", Some(64 << 20)),
            ("64MB", Some(64 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("1 kb", Some(1024)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1x", None),
            ("1  k", None),
            ("1e999", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }
}
