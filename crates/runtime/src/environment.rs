//! Environment variables whose values are no text: a specification is JSON and has only text.

use std::ffi::CString;

/// What no value has, and what follows it is hexadecimal.
const MARK: char = '\0';

/// A variable as an entry of a specification's `process.env`, also where its value is not UTF-8; only a monitor
/// understands such an entry. `None` if the name or value has a NUL byte, or the name `=`: no process can be given that.
pub fn variable(name: &str, value: &[u8]) -> Option<String> {
    if value.contains(&0) || name.contains(['\0', '=']) {
        return None;
    }
    Some(match std::str::from_utf8(value) {
        Ok(value) => format!("{name}={value}"),
        Err(_) => {
            let digits = value.iter().map(|byte| format!("{byte:02x}"));
            format!("{name}={MARK}{}", digits.collect::<String>())
        }
    })
}

/// An entry as execve takes it.
pub(crate) fn bytes_of(entry: &str) -> Option<CString> {
    let bytes = match entry.split_once(MARK) {
        Some((name, digits)) if name.ends_with('=') => {
            let pairs = digits.as_bytes().chunks(2).map(byte);
            [name.as_bytes(), &pairs.collect::<Option<Vec<_>>>()?].concat()
        }
        _ => entry.into(),
    };
    CString::new(bytes).ok()
}

fn byte(pair: &[u8]) -> Option<u8> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_reach_the_process() {
        for value in [
            &b""[..],
            b"plain",
            "ä".as_bytes(),
            b"\xff\xfe = \n",
            b"\x80",
        ] {
            let entry = variable("NAME", value).unwrap();
            let expected = [b"NAME=", value].concat();
            assert_eq!(bytes_of(&entry).unwrap().as_bytes(), expected);
        }
        assert_eq!(variable("A", b"x\0y"), None);
        assert_eq!(variable("A=B", b""), None);
        assert_eq!(variable("A\0", b""), None);
    }

    #[test]
    fn other_nul_bytes_are_refused() {
        for entry in ["A=x\0y", "A\0=ff", "A=\0xyz", "A=\0f", "A=\0ff00\0"] {
            assert_eq!(bytes_of(entry), None, "{entry:?}");
        }
        // Zero bytes cannot be smuggled in.
        assert_eq!(bytes_of("A=\x0000"), None);
    }
}
