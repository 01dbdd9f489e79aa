//! Docker's image references: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
//!
//! Parsed by hand: the grammar is small, and a `run` of a local image should not pay for compiling a regular
//! expression.

use std::net::Ipv6Addr;

use oci_spec::distribution::Reference;
use oci_spec::image::{Digest, DigestAlgorithm};

use crate::Error;

const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_LEGACY: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// Parses an image reference as Docker does: no host means `docker.io`, no slash means `library/`, neither tag nor
/// digest means `latest`.
///
/// # Errors
/// [`Error::InvalidReference`], naming the string and what is wrong with it.
pub fn parse_reference(s: &str) -> Result<Reference, Error> {
    parse(s).map_err(|reason| Error::InvalidReference {
        reference: s.to_owned(),
        reason,
    })
}

/// The short form people type: `docker.io/library/nginx:latest` becomes `nginx:latest`.
pub fn familiar_name(reference: &Reference) -> String {
    let whole = reference.whole();
    let Some(path) = whole
        .strip_prefix(DOCKER_HUB)
        .and_then(|rest| rest.strip_prefix('/'))
    else {
        return whole;
    };
    match path.strip_prefix(OFFICIAL) {
        // `library/a/b` would be read back as user `a`.
        Some(name) if !name.contains('/') => name.to_owned(),
        // `example.org/a` would be read back as another registry's.
        _ if split_host(path).1 != path => whole,
        _ => path.to_owned(),
    }
}

fn parse(s: &str) -> Result<Reference, String> {
    const FORMAT: &str = "invalid reference format";
    if is_image_id(s) {
        return Err("a 64-digit hexadecimal string names an image id, not a repository".to_owned());
    }
    let (rest, digest) = match s.split_once('@') {
        Some((rest, digest)) => (rest, Some(checked_digest(digest)?)),
        None => (s, None),
    };
    let (host, remote) = split_host(rest);
    let (path, tag) = match remote.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (remote, None),
    };
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!(
            "{FORMAT}: repository name ({path}) must be lowercase"
        ));
    }
    if !is_host(host) || !path.split('/').all(is_path_component) {
        return Err(FORMAT.to_owned());
    }
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(format!("invalid tag format: {tag:?}"));
    }

    let host = if host == DOCKER_HUB_LEGACY {
        DOCKER_HUB
    } else {
        host
    };
    let path = if host == DOCKER_HUB && !path.contains('/') {
        format!("{OFFICIAL}{path}")
    } else {
        path.to_owned()
    };
    if path.len() > NAME_MAX {
        return Err(format!(
            "repository name must not be longer than {NAME_MAX} characters"
        ));
    }
    let host = host.to_owned();
    Ok(match (tag, digest) {
        (Some(tag), Some(digest)) => {
            Reference::with_tag_and_digest(host, path, tag.to_owned(), digest)
        }
        (None, Some(digest)) => Reference::with_digest(host, path, digest),
        (tag, None) => Reference::with_tag(host, path, tag.unwrap_or("latest").to_owned()),
    })
}

/// What stands before the first slash is a host only if it could not be a Docker Hub user.
fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, remote))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, remote)
        }
        _ => (DOCKER_HUB, name),
    }
}

fn is_image_id(s: &str) -> bool {
    s.len() == 64 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => (None, port),
        Some(_) => return false,
        None => match host.find(':') {
            Some(colon) => (Some(&host[..colon]), &host[colon..]),
            None => (Some(host), ""),
        },
    };
    let port_ok = match port.strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit()),
        None => port.is_empty(),
    };
    let name_ok = name.is_none_or(|name| {
        name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    });
    name_ok && port_ok
}

/// Lower-case words joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_in_words =
        bytes.first().is_some_and(|b| is_word(*b)) && bytes.last().is_some_and(|b| is_word(*b));
    ends_in_words
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= TAG_MAX
        && tag.bytes().enumerate().all(|(i, b)| {
            b.is_ascii_alphanumeric() || b == b'_' || (i > 0 && matches!(b, b'.' | b'-'))
        })
        && !tag.is_empty()
}

fn checked_digest(digest: &str) -> Result<String, String> {
    match Digest::try_from(digest) {
        Ok(parsed) if matches!(parsed.algorithm(), DigestAlgorithm::Other(_)) => {
            Err(format!("unsupported digest algorithm in {digest:?}"))
        }
        Ok(_) => Ok(digest.to_owned()),
        Err(_) => Err(format!("invalid digest {digest:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    #[test]
    fn normalises_as_docker_does() {
        let digest = format!("nginx@{SHA}");
        let digest_whole = format!("docker.io/library/nginx@{SHA}");
        let both = format!("host.io:5000/a/b:1@{SHA}");
        for (typed, whole) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("me/app", "docker.io/me/app:latest"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
            ("docker.io/me/app", "docker.io/me/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:x", "localhost:5000/app:x"),
            (
                "127.0.0.1:5000/a/b/c:T_1.x-y",
                "127.0.0.1:5000/a/b/c:T_1.x-y",
            ),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("Host/app", "Host/app:latest"),
            ("test.com:5000", "docker.io/library/test.com:5000"),
            ("a__b/c---d.e_f", "docker.io/a__b/c---d.e_f:latest"),
            (digest.as_str(), digest_whole.as_str()),
            (both.as_str(), both.as_str()),
        ] {
            assert_eq!(parse_reference(typed).unwrap().whole(), whole, "{typed}");
        }
    }

    #[test]
    fn refuses_what_docker_refuses() {
        let long = format!("a/{}", "b".repeat(300));
        let long_tag = format!("a:{}", "b".repeat(129));
        for bad in [
            "",
            " ",
            ":tag",
            "@sha256:00",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "a:",
            "a:-x",
            "a:b:c",
            "http://host/a",
            "a b",
            "a\nb",
            "ünix",
            "a:é",
            "host:99999/a",
            "[::g]:1/a",
            "-h.io/a",
            "a@sha256:abcd",
            "a@md5:d41d8cd98f00b204e9800998ecf8427e",
            "../../etc",
            "a/../b",
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            long.as_str(),
            long_tag.as_str(),
        ] {
            let error = parse_reference(bad).expect_err(bad);
            assert!(matches!(error, Error::InvalidReference { .. }), "{bad}");
        }
        assert_eq!(
            parse_reference("Nginx").unwrap_err().to_string(),
            "invalid reference format: repository name (Nginx) must be lowercase: \"Nginx\""
        );
    }

    #[test]
    fn familiar_names_read_back() {
        for (whole, short) in [
            ("docker.io/library/nginx:latest", "nginx:latest"),
            ("docker.io/me/app:1", "me/app:1"),
            ("docker.io/library/a/b:1", "library/a/b:1"),
            ("docker.io/example.org/a:1", "docker.io/example.org/a:1"),
            ("docker.io/localhost/a:1", "docker.io/localhost/a:1"),
            ("docker.io/docker.io/a:1", "docker.io/docker.io/a:1"),
            ("quay.io/library/nginx:1", "quay.io/library/nginx:1"),
        ] {
            let reference = parse_reference(whole).unwrap();
            assert_eq!(familiar_name(&reference), short);
            assert_eq!(parse_reference(short).unwrap(), reference);
        }
    }
}
