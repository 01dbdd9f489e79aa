//! `--cpus`: a number as Go's `big.Rat` reads it, for that is what Docker does.

use super::{LimitError, ParseError};

const NANO: u128 = 1_000_000_000;
/// No machine has as many: the engine, which knows how many there are, refuses it.
const TOO_MANY: u64 = u64::MAX;

/// What became of a text.
enum Wrong {
    /// It is no number.
    Syntax,
    /// It is no whole number of billionths.
    Precise,
}

/// `--cpus`: a number of processors, in units of 10⁻⁹: `1.5`, `3/2`, `15e-1`, `0x18p-4`. What no machine can have, a
/// negative number too, is [`u64::MAX`].
///
/// # Errors
/// [`LimitError::Cpus`] or [`LimitError::CpusPrecision`].
pub fn parse_cpus(text: &str) -> Result<u64, ParseError> {
    let read = match text.split_once('/') {
        Some((above, below)) => fraction(above, below),
        None => number(text),
    };
    read.map_err(|wrong| match wrong {
        Wrong::Precise => LimitError::CpusPrecision.into(),
        Wrong::Syntax => {
            let value = text.to_owned();
            LimitError::Cpus { value }.into()
        }
    })
}

fn fraction(above: &str, below: &str) -> Result<u64, Wrong> {
    let (negative, above) = sign(above);
    let (above, rest) = Digits::scan(above, false).ok_or(Wrong::Syntax)?;
    let (below, more) = Digits::scan(below, false).ok_or(Wrong::Syntax)?;
    if !rest.is_empty() || !more.is_empty() || below.value == Some(0) {
        return Err(Wrong::Syntax);
    }
    let nanos = above.value.and_then(|above| above.checked_mul(NANO));
    match (nanos, below.value) {
        (Some(nanos), Some(below)) if nanos % below == 0 => Ok(whole(negative, nanos / below)),
        (Some(_), _) => Err(Wrong::Precise),
        (None, _) => Ok(TOO_MANY),
    }
}

fn number(text: &str) -> Result<u64, Wrong> {
    let (negative, text) = sign(text);
    let (digits, rest) = Digits::scan(text, true).ok_or(Wrong::Syntax)?;
    let (base, exponent) = exponent(rest).ok_or(Wrong::Syntax)?;
    let Some(mut nanos) = digits.value else {
        return match digits.places == 0 && exponent >= 0 {
            true => Ok(TOO_MANY),
            false => Err(Wrong::Precise),
        };
    };
    if nanos == 0 {
        return Ok(0);
    }
    // Powers of two and five are all that there can be.
    let places = -i64::from(digits.places);
    let (mut twos, mut fives) = match digits.base {
        10 => (places, places),
        base => (places * i64::from(base.ilog2()), 0),
    };
    let bounded =
        |power: i64, limit: i64| Some(power).filter(|power| (-limit..=limit).contains(power));
    if base == 10 {
        fives = fives.checked_add(exponent).ok_or(Wrong::Syntax)?;
    }
    twos = twos.checked_add(exponent).ok_or(Wrong::Syntax)?;
    fives = bounded(fives, 1_000_000).ok_or(Wrong::Syntax)? + 9;
    twos = bounded(twos, 10_000_000).ok_or(Wrong::Syntax)? + 9;
    for (factor, power) in [(5, fives), (2, twos)] {
        for _ in power..0 {
            if nanos % factor != 0 {
                return Err(Wrong::Precise);
            }
            nanos /= factor;
        }
    }
    for (factor, power) in [(5, fives), (2, twos)] {
        for _ in 0..power {
            match nanos.checked_mul(factor) {
                Some(more) => nanos = more,
                None => return Ok(TOO_MANY),
            }
        }
    }
    Ok(whole(negative, nanos))
}

fn whole(negative: bool, nanos: u128) -> u64 {
    match u64::try_from(nanos) {
        Ok(0) => 0,
        Ok(nanos) if !negative => nanos,
        _ => TOO_MANY,
    }
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Digits of a base that their prefix tells, with underscores between them as Go has them.
struct Digits {
    base: u32,
    /// Without the point; none if it is out of all bounds.
    value: Option<u128>,
    /// So many of them are behind the point, zeros at the end left out.
    places: u32,
}

impl Digits {
    /// Reads as many as there are, and gives the rest. A zero before an integer makes it octal.
    fn scan(text: &str, point: bool) -> Option<(Self, &str)> {
        let prefix = text.get(..2).unwrap_or_default().to_ascii_lowercase();
        let (base, start) = match prefix.as_str() {
            "0x" => (16, 2),
            "0o" => (8, 2),
            "0b" => (2, 2),
            _ if !point && text.len() > 1 && text.starts_with('0') => (8, 0),
            _ => (10, 0),
        };
        let mut digits = Self {
            base,
            value: Some(0),
            places: 0,
        };
        let (mut any, mut behind, mut zeros) = (false, false, 0);
        // An underscore may stand behind a prefix as behind a digit.
        let mut separable = start > 0;
        let mut end = text.len();
        for (at, letter) in text.char_indices().skip(start) {
            match letter {
                '.' if point && !behind => {
                    if text[..at].ends_with('_') {
                        return None;
                    }
                    (behind, separable) = (true, false);
                }
                '_' if separable => separable = false,
                '_' => return None,
                _ => {
                    let Some(digit) = letter.to_digit(base) else {
                        end = at;
                        break;
                    };
                    (any, separable) = (true, true);
                    match (behind, digit) {
                        (true, 0) => zeros += 1,
                        _ => {
                            digits.push(0, zeros);
                            digits.push(digit, 1);
                            digits.places += if behind { zeros + 1 } else { 0 };
                            zeros = 0;
                        }
                    }
                }
            }
        }
        let trailing = text[..end].ends_with('_');
        (any && !trailing).then_some((digits, &text[end..]))
    }

    fn push(&mut self, digit: u32, times: u32) {
        for _ in 0..times {
            let shifted = self
                .value
                .and_then(|value| value.checked_mul(self.base.into()));
            self.value = shifted.and_then(|value| value.checked_add(digit.into()));
        }
    }
}

/// What follows a mantissa, all of it: the exponent's base and the exponent.
fn exponent(text: &str) -> Option<(u32, i64)> {
    let mut letters = text.chars();
    let base = match letters.next() {
        None => return Some((10, 0)),
        Some('e' | 'E') => 10,
        Some('p' | 'P') => 2,
        Some(_) => return None,
    };
    let (negative, digits) = sign(letters.as_str());
    let mut before = '_';
    for letter in digits.chars() {
        if !(letter.is_ascii_digit() || (letter == '_' && before != '_')) {
            return None;
        }
        before = letter;
    }
    if before == '_' {
        return None;
    }
    let value: i64 = digits.replace('_', "").parse().ok()?;
    Some((base, if negative { -value } else { value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every answer here is one of docker 28.2's, but that it takes 10⁴⁰⁰ for 0.
    #[test]
    fn numbers_are_go_s() {
        for (texts, nanos) in [
            (
                "1 +1 1. 1.e0 1e0 1E0 1P0 0b1 0o1 0x_1 0_1 0.1e1 0_1/1",
                1_000_000_000,
            ),
            (
                "0.5 .5 1/2 +1/2 5e-1 0x1p-1 0x.8 1p-1 1_000/2_000 0x1/0x2 0b1/2",
                500_000_000,
            ),
            (
                "1.5 3/2 1.50000000000000000000000000000000000000000000 15_0e-2",
                1_500_000_000,
            ),
            ("0.000000001 1e-9 1/1000000000", 1),
            ("0 -0 0.0 0e5 0/7 00/1", 0),
            ("010 1_0 8_0/010 1e1 0x1.4p3", 10_000_000_000),
            (
                "-1 -1/2 99999999999999 1e18 1e1000000 1e400 1p400",
                TOO_MANY,
            ),
        ] {
            for text in texts.split(' ') {
                let read = parse_cpus(text).map_err(|e| e.to_string());
                assert_eq!(read, Ok(nanos), "{text}");
            }
        }
        for text in "1/3 1e-10 0.0000000001 1.0000000001 1e-400 010/3 0x1p-31 1p-40 1/7".split(' ')
        {
            let told = parse_cpus(text).unwrap_err().to_string();
            assert_eq!(told, "value is too precise", "{text}");
        }
        let none = "abc 1/0 1/+2 1/-2 1/2.0 1.5/3 inf NaN 1e 1e+ . / 1/ /2 1__0 _1 1_ 0x1e-1 0xp1 1.5.5 2/7e1 1,5 --1 \
                    1_.5 1._5 1e_1 1e1_ 08/2 0x 1e1000001 1p10000001 1e99999999999999999999 ½ 1½";
        for text in none.split_whitespace().chain(["", " 1", "1 "]) {
            let told = parse_cpus(text).map_err(|e| e.to_string());
            let words = format!("failed to parse {text} as a rational number");
            assert_eq!(told, Err(words), "{text}");
        }
    }
}
