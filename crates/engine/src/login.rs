//! Accounts at registries: tried, kept where Docker keeps them, and forgotten.
//!
//! Needs no store: anybody may log in, also who may not run containers.

use rctr_registry_client::{Client, DockerConfig, default_docker_config_dir, parse_reference};

pub use rctr_registry_client::{Kept, Secret};

use crate::{Config, Error, ImageError, Result};

const DOCKER_HUB: &str = "docker.io";

/// The registry that a person means: `https://1.dkr.ecr.eu-west-1.amazonaws.com/` is the host in it, nothing is Docker
/// Hub.
///
/// # Errors
/// [`ImageError::BadServer`].
pub fn registry_of(server: Option<&str>) -> Result<String> {
    let Some(server) = server.filter(|server| !server.is_empty()) else {
        return Ok(DOCKER_HUB.to_owned());
    };
    let bare = server.trim_start_matches("https://");
    let bare = bare.trim_start_matches("http://");
    let host = bare.split('/').next().unwrap_or(bare);
    if matches!(host, "index.docker.io" | "registry-1.docker.io") {
        return Ok(DOCKER_HUB.to_owned());
    }
    // What may stand before the path of a reference is a host; a word without a dot only here.
    let valid = parse_reference(&format!("{host}/any"))
        .is_ok_and(|reference| [host, DOCKER_HUB].contains(&reference.registry()));
    match valid {
        true => Ok(host.to_owned()),
        false => Err(ImageError::BadServer {
            server: server.to_owned(),
        }
        .into()),
    }
}

/// The login that is kept for a registry.
///
/// # Errors
/// [`Error::Registry`] if Docker's configuration cannot be read, [`Error::NoConfigHome`].
pub fn kept(registry: &str) -> Result<Option<Secret>> {
    Ok(docker_config()?.find(registry)?)
}

/// Tries a login, and keeps it if the registry accepts it.
///
/// # Errors
/// [`Error::Registry`] with the registry's refusal, or with why it cannot be kept; [`Error::NoConfigHome`].
pub async fn login(config: &Config, registry: &str, secret: &Secret) -> Result<Kept> {
    let docker = docker_config()?;
    let client = Client::new(config.settings.registry.clone(), None)?;
    let secret = client.login(registry, secret).await?;
    Ok(docker.keep(registry, &secret)?)
}

/// Forgets a login.
///
/// # Errors
/// [`Error::Registry`] if Docker's configuration cannot be changed, [`Error::NoConfigHome`].
pub fn logout(registry: &str) -> Result<()> {
    docker_config()?.forget(registry)?;
    Ok(())
}

fn docker_config() -> Result<DockerConfig> {
    let dir = default_docker_config_dir().ok_or(Error::NoConfigHome)?;
    Ok(DockerConfig::new(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts() {
        let ecr = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
        for (server, registry) in [
            (None, "docker.io"),
            (Some(""), "docker.io"),
            (Some("docker.io"), "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("registry-1.docker.io"), "docker.io"),
            (Some(ecr), ecr),
            (Some(&*format!("https://{ecr}")), ecr),
            (Some(&*format!("https://{ecr}/")), ecr),
            (Some("http://localhost:5000"), "localhost:5000"),
            (Some("ghcr.io/me"), "ghcr.io"),
            (Some("harbor"), "harbor"),
            (Some("[::1]:5000"), "[::1]:5000"),
        ] {
            assert_eq!(registry_of(server).unwrap(), registry, "{server:?}");
        }
        for bad in ["a b", "https://", "-x", "a@b.io", "host:99999"] {
            assert!(registry_of(Some(bad)).is_err(), "{bad}");
        }
    }
}
