//! Credentials from Docker's configuration: plain entries, `credsStore` and `credHelpers`.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};

use serde::Deserialize;

use crate::Error;
use crate::hosts::DOCKER_HUB;

/// The key Docker files Docker Hub's credentials under, for history's sake.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What is known about an account at a registry. No `Debug`: secrets stay out of logs.
#[derive(Clone)]
pub(crate) enum Credential {
    /// None; the note says why, for the error message if anonymous access is refused.
    Anonymous {
        note: String,
    },
    Password {
        user: String,
        password: String,
    },
    /// An OAuth2 refresh token.
    Identity {
        token: String,
    },
}

/// The directory of Docker's `config.json`: `$DOCKER_CONFIG`, else `~/.docker`.
pub fn default_docker_config_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".docker")))
}

/// Looks up a registry's credentials; may run a helper program, so call it on a blocking thread.
///
/// A helper that fails means anonymous access with a note, not an error: most pulls need no account.
pub(crate) fn look_up(config_dir: Option<&Path>, registry: &str) -> Result<Credential, Error> {
    let Some(dir) = config_dir else {
        return Ok(anonymous(String::new()));
    };
    let file = dir.join("config.json");
    let config_error = |reason: String| Error::Config {
        what: file.display().to_string(),
        reason,
    };
    let text = match std::fs::read(&file) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(anonymous(format!("there is no {}", file.display())));
        }
        Err(e) => return Err(config_error(e.to_string())),
    };
    if let Err(e) = serde_json::from_slice::<serde::de::IgnoredAny>(&text) {
        return Err(config_error(format!("not valid JSON: {e}")));
    }

    let mut note = format!("{} has no credentials for {registry}", file.display());
    let legacy = legacy_keys(&text, registry);
    let keys = keys_of(registry).into_iter();
    for key in keys.chain(legacy.iter().map(String::as_str)) {
        match get_credential_from_reader(&text[..], key) {
            Ok(found) => {
                if let Some(credential) = usable(found) {
                    return Ok(credential);
                }
            }
            Err(CredentialRetrievalError::NoCredentialConfigured) => {}
            Err(CredentialRetrievalError::HelperFailure {
                helper,
                stdout,
                stderr,
            }) => {
                let said = crate::words::one_line(&format!("{stdout} {stderr}"));
                if !said.contains("not found") {
                    note = format!("credential helper {helper} failed: {said}");
                }
            }
            Err(CredentialRetrievalError::HelperCommunicationError) => {
                let program = helper_of(&text, key);
                note = match in_path(&program) {
                    true => format!("credential helper {program} ended without an answer"),
                    false => format!(
                        "credential helper {program}, which {} names for {registry}, is not in PATH: install it or take it out there",
                        file.display()
                    ),
                };
            }
            Err(CredentialRetrievalError::MalformedHelperResponse) => {
                let program = helper_of(&text, key);
                note = format!("credential helper {program} gave no usable answer");
            }
            Err(e) => return Err(config_error(format!("entry {key:?}: {e}"))),
        }
    }
    Ok(anonymous(note))
}

/// The program that is asked for a registry's credentials.
fn helper_of(config: &[u8], key: &str) -> String {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Helpers {
        cred_helpers: HashMap<String, String>,
        creds_store: Option<String>,
    }
    let mut helpers: Helpers = serde_json::from_slice(config).unwrap_or_default();
    let suffix = helpers.cred_helpers.remove(key).or(helpers.creds_store);
    format!("docker-credential-{}", suffix.unwrap_or_default())
}

fn in_path(program: &str) -> bool {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&dirs).any(|dir| dir.join(program).is_file())
}

/// What a registry's credentials may be filed under, the usual first.
pub(crate) fn keys_of(registry: &str) -> Vec<&str> {
    match registry {
        DOCKER_HUB => vec![DOCKER_HUB_KEY, DOCKER_HUB],
        other => vec![other],
    }
}

/// Entries as Docker wrote them before version 1.12: `https://HOST`, `https://HOST/v1/`.
fn legacy_keys(config: &[u8], registry: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Auths {
        #[serde(default)]
        auths: HashMap<String, serde::de::IgnoredAny>,
    }
    let auths = serde_json::from_slice::<Auths>(config).map(|config| config.auths);
    let keys = auths.unwrap_or_default().into_keys();
    keys.filter(|key| key != registry && host_of_key(key) == registry)
        .collect()
}

/// The host in a key of `auths`.
pub(crate) fn host_of_key(key: &str) -> &str {
    let bare = key
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    bare.split('/').next().unwrap_or(bare)
}

fn anonymous(note: String) -> Credential {
    Credential::Anonymous { note }
}

/// Docker leaves empty entries behind, and may pad a password with NULs.
fn usable(found: DockerCredential) -> Option<Credential> {
    match found {
        DockerCredential::IdentityToken(token) if token.is_empty() => None,
        DockerCredential::IdentityToken(token) => Some(Credential::Identity { token }),
        DockerCredential::UsernamePassword(user, _) if user.is_empty() => None,
        DockerCredential::UsernamePassword(user, password) => Some(Credential::Password {
            user,
            password: password.trim_end_matches('\0').to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up_in(json: &str, registry: &str) -> Result<String, Error> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), json).unwrap();
        look_up(Some(dir.path()), registry).map(|found| match found {
            Credential::Anonymous { note } => format!("anonymous: {note}"),
            Credential::Password { user, password } => format!("{user}/{password}"),
            Credential::Identity { token } => format!("token {token}"),
        })
    }

    #[test]
    fn finds_plain_entries() {
        // bWU6czpj is "me:s:c".
        let json = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "bWU6czpj"},
            "host:5000": {"username": "u", "password": "p"}, "empty.io": {},
            "id.io": {"auth": "bWU6", "identitytoken": "t"}}}"#;
        let old = r#"{"auths": {"https://old.io/v1/": {"auth": "bWU6czpj"}}}"#;
        assert_eq!(look_up_in(old, "old.io").unwrap(), "me/s:c");
        assert_eq!(look_up_in(json, "docker.io").unwrap(), "me/s:c");
        assert_eq!(look_up_in(json, "host:5000").unwrap(), "u/p");
        assert_eq!(look_up_in(json, "id.io").unwrap(), "token t");
        assert!(
            look_up_in(json, "empty.io")
                .unwrap()
                .starts_with("anonymous")
        );
        assert!(
            look_up_in(json, "other.io")
                .unwrap()
                .contains("no credentials for other.io")
        );
    }

    #[test]
    fn a_missing_helper_is_a_note_and_broken_json_an_error() {
        let json = r#"{"credsStore": "rctr-no-such-helper"}"#;
        let note = look_up_in(json, "a.io").unwrap();
        for word in [
            "docker-credential-rctr-no-such-helper",
            "config.json",
            "PATH",
        ] {
            assert!(note.contains(word), "{note}");
        }
        let error = look_up_in("{", "a.io").unwrap_err().to_string();
        assert!(error.contains("config.json"), "{error}");
    }

    #[test]
    fn no_configuration_is_anonymous() {
        let missing = Path::new("/nonexistent/rctr");
        assert!(matches!(
            look_up(Some(missing), "a.io"),
            Ok(Credential::Anonymous { .. })
        ));
        assert!(matches!(
            look_up(None, "a.io"),
            Ok(Credential::Anonymous { .. })
        ));
    }
}
