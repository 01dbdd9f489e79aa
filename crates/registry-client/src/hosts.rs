//! Which hosts to ask for an image, and how each wants to be spoken to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use oci_spec::distribution::Reference;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::{Error, tls};

pub(crate) const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// One `[registry."host"]` table of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// Asked in this order before the host itself: `http[s]://HOST[:PORT][/PREFIX]`, or just `HOST[:PORT]`.
    /// A prefix goes before the repository's path.
    #[serde(deserialize_with = "deserialize_mirrors")]
    pub mirrors: Vec<String>,
    /// Accept plain HTTP and certificates nobody vouches for.
    pub insecure: bool,
    /// PEM file of certificates to trust besides the system's, by its absolute path.
    #[serde(deserialize_with = "deserialize_ca")]
    pub ca: Option<PathBuf>,
}

/// Settings by registry host, as it stands in references: `docker.io`, `localhost:5000`.
pub type HostConfigs = BTreeMap<String, HostConfig>;

/// For `deserialize_with`: [`HostConfigs`] whose keys have been checked, as their values are by themselves.
///
/// # Errors
/// A key that is no `HOST[:PORT]`.
pub fn deserialize_hosts<'de, D: Deserializer<'de>>(from: D) -> Result<HostConfigs, D::Error> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Host(String);
    impl<'de> Deserialize<'de> for Host {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let host = String::deserialize(from)?;
            let whole = Url::parse(&format!("https://{host}"))
                .is_ok_and(|url| url.path() == "/" && !host.contains(['/', '?', '#', '@']));
            match whole {
                true => Ok(Self(host)),
                false => Err(D::Error::custom(format!(
                    "{host:?} is no registry's host: write HOST[:PORT]"
                ))),
            }
        }
    }
    let hosts = BTreeMap::<Host, HostConfig>::deserialize(from)?;
    Ok(hosts
        .into_iter()
        .map(|(Host(key), value)| (key, value))
        .collect())
}

fn deserialize_mirrors<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let mirrors = Vec::<String>::deserialize(from)?;
    for mirror in &mirrors {
        parse_mirror(mirror)
            .map_err(|reason| D::Error::custom(format!("mirror {mirror:?}: {reason}")))?;
    }
    Ok(mirrors)
}

fn deserialize_ca<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let file = PathBuf::deserialize(from)?;
    if !file.is_absolute() {
        return Err(D::Error::custom(format!(
            "certificate file {}: write an absolute path",
            file.display()
        )));
    }
    tls::certificates(&file).map_err(D::Error::custom)?;
    Ok(Some(file))
}

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Https,
    Http,
    /// HTTPS, or HTTP if that is what it speaks; remembered once known.
    Either,
}

/// How far a host's certificate is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    System,
    SystemAnd(PathBuf),
    Anyone,
}

/// One place an image can come from.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Names credentials and shows in messages: `docker.io`, or a mirror's host.
    pub registry: String,
    /// Host and port to dial.
    pub authority: String,
    pub scheme: Scheme,
    pub trust: Trust,
    /// Path of the repository on this host.
    pub repository: String,
    /// The registry a mirror stands in for, if it must be told.
    pub namespace: Option<String>,
    pub is_mirror: bool,
}

/// The mirrors of the reference's registry in order, then the registry itself.
pub(crate) fn endpoints(
    hosts: &HostConfigs,
    reference: &Reference,
) -> Result<Vec<Endpoint>, Error> {
    let registry = reference.registry();
    let mut found = Vec::new();
    for mirror in hosts.get(registry).map_or(&[][..], |host| &host.mirrors) {
        found.push(mirror_endpoint(hosts, reference, mirror)?);
    }
    let authority = if registry == DOCKER_HUB {
        DOCKER_HUB_API
    } else {
        registry
    };
    let (scheme, trust) = manners(hosts, registry);
    found.push(Endpoint {
        registry: registry.to_owned(),
        authority: authority.to_owned(),
        scheme,
        trust,
        repository: reference.repository().to_owned(),
        namespace: None,
        is_mirror: false,
    });
    Ok(found)
}

fn mirror_endpoint(
    hosts: &HostConfigs,
    reference: &Reference,
    mirror: &str,
) -> Result<Endpoint, Error> {
    let registry = reference.registry();
    let (url, authority) = parse_mirror(mirror).map_err(|reason| Error::Config {
        what: format!("mirror {mirror:?} of registry {registry:?}"),
        reason: reason.to_owned(),
    })?;
    let (scheme, trust) = manners(hosts, &authority);
    let prefix = url.path().trim_matches('/');
    Ok(Endpoint {
        registry: authority.clone(),
        scheme: match url.scheme() {
            "http" => Scheme::Http,
            _ if mirror.contains("://") => Scheme::Https,
            _ => scheme,
        },
        trust,
        authority,
        repository: if prefix.is_empty() {
            reference.repository().to_owned()
        } else {
            format!("{prefix}/{}", reference.repository())
        },
        namespace: Some(registry.to_owned()).filter(|host| host != DOCKER_HUB),
        is_mirror: true,
    })
}

/// A mirror's URL, HTTPS if it does not say, and its `HOST[:PORT]`.
fn parse_mirror(mirror: &str) -> Result<(Url, String), &'static str> {
    const FORM: &str = "write http[s]://HOST[:PORT][/PREFIX]";
    let text = if mirror.contains("://") {
        mirror.to_owned()
    } else {
        format!("https://{mirror}")
    };
    let url = Url::parse(&text).map_err(|_| FORM)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials belong in ~/.docker/config.json, not in the address");
    }
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
        return Err(FORM);
    }
    let authority = authority_of(&url).ok_or("has no host")?;
    Ok((url, authority))
}

/// What the settings, or Docker's rule for loopback, say about a host.
pub(crate) fn manners(hosts: &HostConfigs, host: &str) -> (Scheme, Trust) {
    let config = hosts.get(host).cloned().unwrap_or_default();
    match config.ca {
        _ if config.insecure => (Scheme::Either, Trust::Anyone),
        Some(ca) => (Scheme::Https, Trust::SystemAnd(ca)),
        None if is_loopback(host) => (Scheme::Either, Trust::Anyone),
        None => (Scheme::Https, Trust::System),
    }
}

/// `HOST[:PORT]` of a URL, without a port that is its scheme's own.
pub(crate) fn authority_of(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// Whether `HOST[:PORT]` is this machine by name or address.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_reference;

    #[test]
    fn loopback_is_recognised() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]:5000",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.evil.com",
            "128.0.0.1",
            "[::2]:1",
            "docker.io",
            "127.0.0.1.nip.io:80",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn mirrors_come_first_and_are_told_whom_they_stand_for() {
        let hosts = HostConfigs::from([
            (
                "quay.io".to_owned(),
                HostConfig {
                    mirrors: vec![
                        "http://m1:5000".into(),
                        "https://m2/cache/".into(),
                        "localhost:1".into(),
                    ],
                    ..HostConfig::default()
                },
            ),
            (
                "m2".to_owned(),
                HostConfig {
                    ca: Some("/ca.pem".into()),
                    ..HostConfig::default()
                },
            ),
        ]);
        let found = endpoints(&hosts, &parse_reference("quay.io/a/b").unwrap()).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|e| {
                (
                    e.authority.as_str(),
                    e.scheme,
                    e.repository.as_str(),
                    e.namespace.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("m1:5000", Scheme::Http, "a/b", Some("quay.io")),
                ("m2", Scheme::Https, "cache/a/b", Some("quay.io")),
                ("localhost:1", Scheme::Either, "a/b", Some("quay.io")),
                ("quay.io", Scheme::Https, "a/b", None),
            ]
        );
        assert_eq!(found[1].trust, Trust::SystemAnd("/ca.pem".into()));
    }

    #[test]
    fn docker_hub_has_another_api_host() {
        let found = endpoints(&HostConfigs::new(), &parse_reference("nginx").unwrap()).unwrap();
        assert_eq!(found[0].authority, "registry-1.docker.io");
        assert_eq!(found[0].registry, "docker.io");
    }

    #[test]
    fn bad_mirrors_are_named() {
        for bad in ["ftp://x", "http://u:p@x", "http://", "https://x?y"] {
            let hosts = HostConfigs::from([(
                "docker.io".to_owned(),
                HostConfig {
                    mirrors: vec![bad.to_owned()],
                    ..HostConfig::default()
                },
            )]);
            let error = endpoints(&hosts, &parse_reference("nginx").unwrap()).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }
}
