//! Sizes (`64m`) and lists of processors.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, Visitor};

use super::{LimitError, ParseError};

/// Reads a size as Docker does for memory: a decimal number, then `b`, `k`, `m`, `g`, `t` or `p` in either case,
/// optionally followed by `b` or `ib`, all powers of 1024.
///
/// # Errors
/// [`ParseError::Size`] with the text.
pub fn parse_size(text: &str) -> Result<u64, ParseError> {
    let fail = || ParseError::Size {
        value: text.to_owned(),
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let shift = match unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit)
    {
        "" if unit != "ib" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(fail()),
    };
    if number.is_empty() || number.matches('.').count() > 1 || number == "." {
        return Err(fail());
    }
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(1 << shift),
        // The product of a decimal below 2^63 and a power of two is exact enough: Docker computes it the same way.
        Err(_) => number
            .parse::<f64>()
            .ok()
            .map(|n| n * (1u64 << shift) as f64)
            .filter(|n| *n < 9.2e18)
            .map(|n| n as u64),
    };
    bytes
        .filter(|bytes| *bytes <= i64::MAX as u64)
        .ok_or_else(fail)
}

/// `--memory-swap`: a size, or -1 for no limit.
///
/// # Errors
/// [`ParseError::Size`] with the text.
pub fn parse_memory_swap(text: &str) -> Result<i64, ParseError> {
    match text {
        "-1" => Ok(-1),
        _ => parse_size(text).map(|bytes| bytes as i64),
    }
}

/// Checks a `--cpuset-cpus` or `--cpuset-mems` list: `0-3,5`.
///
/// # Errors
/// [`LimitError::Cpuset`] with `kind` and the text.
pub fn check_cpuset(kind: &'static str, text: &str) -> Result<(), ParseError> {
    let number = |s: &str| {
        s.parse::<u16>()
            .ok()
            .filter(|n| *n < 8192 && !s.starts_with('+'))
    };
    let good = text.split(',').all(|part| match part.split_once('-') {
        None => number(part).is_some(),
        Some((first, last)) => {
            matches!((number(first), number(last)), (Some(a), Some(b)) if a <= b)
        }
    });
    if good {
        Ok(())
    } else {
        Err(LimitError::Cpuset {
            kind,
            value: text.to_owned(),
        }
        .into())
    }
}

/// For serde: a size as a whole number of bytes or as text.
///
/// # Errors
/// The deserializer's, with the words of [`parse_size`].
pub fn deserialize_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Size;
    impl Visitor<'_> for Size {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a size: bytes, or text such as \"10m\"")
        }

        fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<u64, E> {
            Ok(bytes)
        }

        fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<u64, E> {
            bytes
                .try_into()
                .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            parse_size(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_1024_based() {
        for (text, bytes) in [
            ("0", 0),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("64MiB", 64 << 20),
            ("1.5g", 3 << 29),
            ("0.5k", 512),
            ("32", 32),
            ("32b", 32),
            ("32 kb", 32 << 10),
            ("1t", 1 << 40),
            ("2p", 2 << 50),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn bad_sizes_are_named() {
        for text in [
            "",
            "64x",
            "m",
            "-1",
            "1.2.3m",
            ".",
            "64mm",
            "ib",
            "99999999p",
            "1e3",
            "64 m b",
            "18446744073709551616",
        ] {
            assert_eq!(
                parse_size(text).unwrap_err().to_string(),
                format!("invalid size: '{text}'")
            );
        }
    }

    #[test]
    fn swap_may_be_unlimited() {
        assert_eq!(parse_memory_swap("-1").unwrap(), -1);
        assert_eq!(parse_memory_swap("128m").unwrap(), 128 << 20);
        assert!(parse_memory_swap("-2").is_err());
    }

    #[test]
    fn cpusets() {
        for text in ["0", "0-3", "0,2-3", "1,1"] {
            check_cpuset("cpus", text).unwrap();
        }
        for text in ["", "a", "3-0", "0-", "0,,1", "+1", "99999"] {
            assert_eq!(
                check_cpuset("cpus", text).unwrap_err().to_string(),
                format!("invalid value {text} for cpuset cpus")
            );
        }
    }
}
