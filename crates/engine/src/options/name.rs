//! Names and addresses: of containers, volumes, hosts and domains.

use std::net::IpAddr;

use super::{MountFlagError, ParseError};

/// Reads `--dns`.
///
/// # Errors
/// [`ParseError::IpAddress`] with the text.
pub fn parse_dns(text: &str) -> Result<IpAddr, ParseError> {
    text.trim().parse().map_err(|_| ParseError::IpAddress {
        value: text.to_owned(),
    })
}

/// Reads `--dns-search`; `.` asks for no search domain at all.
///
/// # Errors
/// [`ParseError::Domain`] with the text.
pub fn parse_dns_search(text: &str) -> Result<String, ParseError> {
    let name = text.trim();
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let good = name == "."
        || (name.len() <= 255 && name.strip_suffix('.').unwrap_or(name).split('.').all(label));
    if good {
        Ok(name.to_owned())
    } else {
        Err(ParseError::Domain {
            value: text.to_owned(),
        })
    }
}

/// Checks `--name`, with or without a leading slash, and gives it without.
///
/// # Errors
/// [`ParseError::Name`] with the text.
pub fn parse_name(text: &str) -> Result<String, ParseError> {
    let name = text.strip_prefix('/').unwrap_or(text);
    if is_restricted_name(name) {
        Ok(name.to_owned())
    } else {
        Err(ParseError::Name {
            name: text.to_owned(),
        })
    }
}

/// Checks a volume's name.
///
/// # Errors
/// [`MountFlagError::VolumeName`] with the name, [`MountFlagError::VolumeNameShort`] for a single character.
pub fn check_volume_name(name: &str) -> Result<(), ParseError> {
    match name {
        _ if name.len() == 1 => Err(MountFlagError::VolumeNameShort.into()),
        _ if is_restricted_name(name) => Ok(()),
        _ => Err(MountFlagError::VolumeName {
            name: name.to_owned(),
        }
        .into()),
    }
}

/// Docker's `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most as long as a file name.
fn is_restricted_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (2..=255).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b))
}

/// Checks `--hostname`: at most 64 bytes (the kernel's limit) without white space.
///
/// # Errors
/// [`ParseError::Hostname`] with the text.
pub fn check_hostname(name: &str) -> Result<(), ParseError> {
    let good = !name.is_empty()
        && name.len() <= 64
        && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    if good {
        Ok(())
    } else {
        Err(ParseError::Hostname {
            value: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for text in ["example.com", ".", "a", "corp.example.com."] {
            parse_dns_search(text).unwrap();
        }
        for text in ["", "a b", "a..b", "a\nnameserver 1.1.1.1"] {
            assert_eq!(
                parse_dns_search(text).unwrap_err().to_string(),
                format!("{text} is not a valid domain")
            );
        }
        assert_eq!(
            parse_dns("1.1").unwrap_err().to_string(),
            "invalid IP address: 1.1"
        );
    }

    #[test]
    fn names() {
        assert_eq!(parse_name("/web_1.a-b").unwrap(), "web_1.a-b");
        for text in ["", "a", "-ab", "a b", "ä1", "a/b", "@@"] {
            assert_eq!(
                parse_name(text).unwrap_err().to_string(),
                format!(
                    "Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
                )
            );
        }
        check_hostname("web.example").unwrap();
        for text in ["", "a b", "a\nb", &"x".repeat(65)] {
            assert!(check_hostname(text).is_err());
        }
    }
}
