//! Signals by name or number.

use super::ParseError;

/// Reads `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` in either case. Gives the number as the C library counts it
/// (SIGRTMIN is 34), which is Docker's count too.
///
/// # Errors
/// [`ParseError::Signal`] with the text.
pub fn parse_signal(text: &str) -> Result<i32, ParseError> {
    let fail = || ParseError::Signal {
        value: text.to_owned(),
    };
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .filter(|n| (1..=64).contains(n))
            .ok_or_else(fail);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |base: i32, sign: i32, rest: &str| match rest {
        "" => Some(base),
        _ => rest
            .get(1..)?
            .parse::<i32>()
            .ok()
            .filter(|n| (0..=30).contains(n))
            .map(|n| base + sign * n),
    };
    let number = match name {
        "IOT" => Some(libc::SIGABRT),
        "POLL" => Some(libc::SIGIO),
        "CLD" => Some(libc::SIGCHLD),
        _ if name.starts_with("RTMIN") && !name.starts_with("RTMIN-") => {
            real_time(34, 1, &name[5..])
        }
        _ if name.starts_with("RTMAX") && !name.starts_with("RTMAX+") => {
            real_time(64, -1, &name[5..])
        }
        _ => format!("SIG{name}")
            .parse::<nix::sys::signal::Signal>()
            .ok()
            .map(|s| s as i32),
    };
    number.ok_or_else(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("TERM", 15),
            ("term", 15),
            ("15", 15),
            ("SIGKILL", 9),
            ("quit", 3),
            ("WINCH", 28),
            ("SIGRTMIN+3", 37),
            ("RTMIN", 34),
            ("SIGRTMAX-1", 63),
            ("64", 64),
            ("IOT", 6),
        ] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for text in [
            "",
            "0",
            "65",
            "FOO",
            "SIGRTMIN+31",
            "SIGRTMIN-1",
            "SIGRTMIN3x",
            "-9",
            "SIG",
            "999999999999",
        ] {
            assert_eq!(
                parse_signal(text).unwrap_err().to_string(),
                format!("invalid signal: {text}")
            );
        }
    }
}
