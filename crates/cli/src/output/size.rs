//! Sizes as people read them: decimal as Docker's tables have them, binary for memory.

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// Three digits: `133MB`, the images' and containers' way.
pub fn human3(bytes: u64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 3)
}

/// Four digits: `1.234GB`, the way of `system df`.
pub fn human4(bytes: u64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 4)
}

/// Four digits, binary units: `15.61GiB`.
pub fn binary(bytes: u64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

fn scaled(bytes: u64, base: f64, units: &[&str; 9], digits: usize) -> String {
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= base && unit < units.len() - 1 {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// C's `%.<digits>g` of a number from 0 to 1024.
fn significant(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: usize = exponent.parse().unwrap_or(0);
    if exponent >= digits {
        return format!("{}e+{exponent:02}", trim_zeros(mantissa));
    }
    trim_zeros(&format!("{value:.*}", digits - 1 - exponent)).to_owned()
}

fn trim_zeros(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (2, "2B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_240_000, "1.24MB"),
            (4_261_502, "4.26MB"),
            (132_812_345, "133MB"),
            (999_900_000, "1e+03MB"),
            (1_000_000_000, "1GB"),
            (21_500_000_000, "21.5GB"),
        ] {
            assert_eq!(human3(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn df_has_four() {
        assert_eq!(human4(1_234_567_890), "1.235GB");
        assert_eq!(human4(82_300_000), "82.3MB");
        assert_eq!(human4(0), "0B");
    }

    #[test]
    fn memory_is_binary() {
        assert_eq!(binary(16_761_888_768), "15.61GiB");
        assert_eq!(binary(1 << 30), "1GiB");
        assert_eq!(binary(1023 << 20), "1023MiB");
    }
}
