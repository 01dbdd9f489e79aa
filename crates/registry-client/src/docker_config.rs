//! Where logins are kept: Docker's `config.json`, or the helper program that it names.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::Error;
use crate::credentials::{Credential, host_of_key, keys_of, look_up};
use crate::words::one_line;

/// The user name under which helpers keep refresh tokens.
const TOKEN_USER: &str = "<token>";

/// An account at a registry. No `Debug`: secrets stay out of logs.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Name and password.
    Password {
        /// Account.
        user: String,
        /// Its password or access token.
        password: String,
    },
    /// An OAuth2 refresh token.
    Identity {
        /// Account, empty if not known.
        user: String,
        /// The token.
        token: String,
    },
}

/// Where a login was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Unencrypted in this file.
    File(PathBuf),
    /// By `docker-credential-NAME`.
    Helper(String),
}

/// Docker's configuration directory, as far as logins are concerned.
pub struct DockerConfig {
    dir: PathBuf,
}

impl DockerConfig {
    /// The one in this directory, which need not exist yet (see [`crate::default_docker_config_dir`]).
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The login for a registry, if there is one. May run a helper program.
    ///
    /// # Errors
    /// [`Error::Config`] if the file cannot be read.
    pub fn find(&self, registry: &str) -> Result<Option<Secret>, Error> {
        Ok(match look_up(Some(&self.dir), registry)? {
            Credential::Anonymous { .. } => None,
            Credential::Password { user, password } => Some(Secret::Password { user, password }),
            Credential::Identity { token } => Some(Secret::Identity {
                user: String::new(),
                token,
            }),
        })
    }

    /// Keeps a login in place of any other for this registry. Everything else in the file stays as it is.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::CredentialHelper`].
    pub fn keep(&self, registry: &str, secret: &Secret) -> Result<Kept, Error> {
        let key = keys_of(registry)[0];
        self.change(|config| {
            let kept = match helper_for(config, key) {
                Some(helper) => {
                    let (user, secret) = match secret {
                        Secret::Password { user, password } => (user.as_str(), password),
                        Secret::Identity { token, .. } => (TOKEN_USER, token),
                    };
                    let entry = json!({"ServerURL": key, "Username": user, "Secret": secret});
                    ask(&helper, "store", &entry.to_string())?;
                    Kept::Helper(helper)
                }
                None => Kept::File(self.file()),
            };
            let entry = match (&kept, secret) {
                (Kept::Helper(_), _) => json!({}),
                (_, Secret::Password { user, password }) => {
                    json!({"auth": STANDARD.encode(format!("{user}:{password}"))})
                }
                (_, Secret::Identity { user, token }) => {
                    let auth = STANDARD.encode(format!("{user}:"));
                    json!({"auth": auth, "identitytoken": token})
                }
            };
            let auths = config.entry("auths").or_insert_with(|| json!({}));
            if !auths.is_object() {
                *auths = json!({});
            }
            auths[key] = entry;
            Ok(kept)
        })
    }

    /// Forgets the login for a registry; whether there was one in the file.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::CredentialHelper`].
    pub fn forget(&self, registry: &str) -> Result<bool, Error> {
        let keys = keys_of(registry);
        if !self.file().exists() {
            return Ok(false);
        }
        self.change(|config| {
            if let Some(helper) = helper_for(config, keys[0]) {
                ask(&helper, "erase", keys[0])?;
            }
            let Some(Value::Object(auths)) = config.get_mut("auths") else {
                return Ok(false);
            };
            // Earlier versions of Docker wrote the scheme as well.
            let before = auths.len();
            auths.retain(|name, _| !keys.contains(&name.as_str()) && host_of_key(name) != registry);
            Ok(auths.len() < before)
        })
    }

    fn file(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// Reads, changes and writes the file, against anybody else who does the same.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Map<String, Value>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // Where somebody keeps it elsewhere, it stays there.
        let path = fs::canonicalize(self.file()).unwrap_or_else(|_| self.file());
        let fail = |reason: String| Error::Config {
            what: path.display().to_string(),
            reason,
        };
        let dir = path.parent().unwrap_or(&self.dir);
        make_private_dir(dir).map_err(|e| fail(e.to_string()))?;
        let lock = File::open(dir).and_then(|dir| dir.lock().map(|()| dir));
        let _lock = lock.map_err(|e| fail(e.to_string()))?;
        let mut config: Map<String, Value> = match fs::read(&path) {
            Ok(text) if text.trim_ascii().is_empty() => Map::new(),
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|e| fail(format!("not valid JSON: {e}")))?
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Map::new(),
            Err(e) => return Err(fail(e.to_string())),
        };
        let before = config.clone();
        let result = change(&mut config)?;
        if config != before {
            write_private(&path, &Value::Object(config)).map_err(|e| fail(e.to_string()))?;
        }
        Ok(result)
    }
}

fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// Writes a file nobody else can read; it appears whole or not at all.
fn write_private(path: &Path, config: &Value) -> std::io::Result<()> {
    let mut temp = path.to_owned();
    // A process that was killed may have left one, and had the same number.
    temp.set_file_name(format!("config.json{:016x}", rand::random::<u64>()));
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, tabs);
    serde::Serialize::serialize(config, &mut serializer)?;
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temp)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temp, path));
    if written.is_err() {
        let _ = fs::remove_file(&temp);
    }
    written
}

/// The helper for one registry, or the one for all.
fn helper_for(config: &Map<String, Value>, key: &str) -> Option<String> {
    let own = config.get("credHelpers").and_then(|all| all.get(key));
    let helper = own.or_else(|| config.get("credsStore"))?.as_str()?;
    Some(helper.to_owned()).filter(|helper| !helper.is_empty())
}

/// Runs `docker-credential-HELPER ACTION` with `input`.
fn ask(helper: &str, action: &str, input: &str) -> Result<(), Error> {
    let fail = |reason: String| Error::CredentialHelper {
        helper: helper.to_owned(),
        reason,
    };
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| fail(e.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that fails at once does not read.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|e| fail(e.to_string()))?;
    // Helpers say on standard output what is wrong.
    let said = [output.stdout, output.stderr].concat();
    let said = one_line(&String::from_utf8_lossy(&said));
    match output.status.success() {
        true => Ok(()),
        // There was nothing to erase.
        false if action == "erase" && said.contains("not found") => Ok(()),
        false => Err(fail(format!("{action} failed: {said}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Secret {
        Secret::Password {
            user: user.into(),
            password: password.into(),
        }
    }

    fn read(dir: &Path) -> Value {
        serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()
    }

    #[test]
    fn a_login_is_kept_privately_and_nothing_else_changes() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("new/.docker");
        let config = DockerConfig::new(home.clone());
        let kept = config.keep("h:5000", &password("me", "s:c")).unwrap();
        assert_eq!(kept, Kept::File(home.join("config.json")));
        assert_eq!(
            read(&home),
            json!({"auths": {"h:5000": {"auth": "bWU6czpj"}}})
        );
        let mode = fs::metadata(home.join("config.json"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);

        let mut other = read(&home);
        other["proxies"] = json!({"default": {"noProxy": "x"}});
        other["auths"]["a.io"] = json!({"auth": "bWU6"});
        fs::write(home.join("config.json"), other.to_string()).unwrap();
        let token = Secret::Identity {
            user: "me".into(),
            token: "t".into(),
        };
        config.keep("docker.io", &token).unwrap();
        let now = read(&home);
        assert_eq!(now["proxies"], other["proxies"]);
        assert_eq!(now["auths"]["a.io"], other["auths"]["a.io"]);
        let hub = &now["auths"]["https://index.docker.io/v1/"];
        assert_eq!(hub["identitytoken"], "t");
        assert!(config.find("h:5000").unwrap() == Some(password("me", "s:c")));

        assert!(config.forget("docker.io").unwrap());
        assert!(config.forget("h:5000").unwrap());
        assert!(!config.forget("h:5000").unwrap());
        let now = read(&home);
        assert_eq!(now["auths"], json!({"a.io": {"auth": "bWU6"}}));
        let left: Vec<_> = fs::read_dir(&home).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file stays");
    }

    #[test]
    fn logins_at_once_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let config = DockerConfig::new(dir.path().to_owned());
                scope.spawn(move || {
                    config
                        .keep(&format!("h{n}.io"), &password("u", "p"))
                        .unwrap();
                });
            }
        });
        assert_eq!(read(dir.path())["auths"].as_object().unwrap().len(), 8);
    }

    #[test]
    fn a_file_that_is_no_json_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        fs::write(&file, "{ no").unwrap();
        let config = DockerConfig::new(dir.path().to_owned());
        let error = config.keep("h.io", &password("u", "p")).unwrap_err();
        assert!(error.to_string().contains("config.json"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"{ no");
    }

    #[test]
    fn a_linked_file_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("real.json"), "{}").unwrap();
        std::os::unix::fs::symlink("real.json", dir.path().join("config.json")).unwrap();
        let config = DockerConfig::new(dir.path().to_owned());
        config.keep("h.io", &password("u", "p")).unwrap();
        let link = fs::symlink_metadata(dir.path().join("config.json")).unwrap();
        assert!(link.is_symlink());
        assert_eq!(read(dir.path())["auths"]["h.io"]["auth"], "dTpw");
    }

    #[test]
    fn a_helper_that_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"credHelpers": {"h.io": "rctr-no-such-helper"}}"#;
        fs::write(dir.path().join("config.json"), text).unwrap();
        let config = DockerConfig::new(dir.path().to_owned());
        let error = config.keep("h.io", &password("u", "p")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("docker-credential-rctr-no-such-helper"),
            "{error}"
        );
        config.keep("other.io", &password("u", "p")).unwrap();
    }
}
