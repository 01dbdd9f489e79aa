//! Proving who we are: Basic, and the token dance of the distribution specification's authors
//! (<https://distribution.github.io/distribution/spec/auth/token/>).
//!
//! Nothing is sent until a registry asks for it. Credentials belong to the registry they are filed under and go to
//! it and to the token server it names, nowhere else.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::Error;
use crate::challenge::{Challenge, best_challenge};
use crate::credentials::{Credential, look_up};
use crate::hosts::Endpoint;
use crate::retry::Failure;
use crate::transport::{Request, Transport};

const CLIENT_ID: &str = "rctr";
const MAX_TOKEN_ANSWER: usize = 1 << 20;
/// A token without a lifetime lives this long, and none is believed to live shorter.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// A token this close to its end is not used any more.
const MARGIN: Duration = Duration::from_secs(5);

/// Tokens granted so far, and where credentials come from.
pub(crate) struct Auth {
    source: Source,
    /// Held while a token is fetched: layers that need the same one fetch it once.
    state: Mutex<State>,
}

/// What somebody who asks for a pull says of who they are. No `Debug`: secrets stay out of logs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// Name and password.
    Password {
        /// Account.
        user: String,
        /// Its password or access token.
        password: String,
    },
    /// An OAuth2 refresh token, to get tokens with.
    Identity {
        /// The token.
        token: String,
    },
    /// A token to be shown to the registry as it is.
    Bearer {
        /// The token.
        token: String,
    },
}

/// Where credentials come from.
enum Source {
    /// `config.json` in this directory; without one there are none.
    Config(Option<PathBuf>),
    /// These, for every registry: somebody is logging in.
    Given(Credential),
    /// These for one registry, [`Source::Config`] for the others.
    Account {
        registry: String,
        account: Account,
        config: Option<PathBuf>,
    },
}

#[derive(Default)]
struct State {
    /// By host and scope.
    granted: HashMap<(String, String), Granted>,
    /// By registry: why there are no credentials, or that there were. The credentials themselves are looked up each time they are asked
    /// for, as a helper's may be short-lived.
    notes: HashMap<String, String>,
    refresh: Option<String>,
}

struct Granted {
    header: HeaderValue,
    ends: Option<Instant>,
    /// Only asked for when somebody logs in.
    refresh: Option<String>,
}

impl Granted {
    fn always(header: HeaderValue) -> Self {
        Self {
            header,
            ends: None,
            refresh: None,
        }
    }
}

impl Account {
    /// Name and password as Docker's configuration and the CRI write them: base64 of `USER:PASSWORD`, possibly padded
    /// with NULs.
    pub fn from_base64(text: &str) -> Option<Self> {
        let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Account::Password {
            user: user.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        })
    }

    fn credential(&self) -> Credential {
        match self.clone() {
            Account::Password { user, password } => Credential::Password { user, password },
            Account::Identity { token } => Credential::Identity { token },
            Account::Bearer { .. } => Credential::Anonymous {
                note: "the registry asks for a name and password, and a token was given".to_owned(),
            },
        }
    }
}

impl Auth {
    pub fn new(config_dir: Option<PathBuf>) -> Self {
        Self {
            source: Source::Config(config_dir),
            state: Mutex::default(),
        }
    }

    /// Tries these credentials and no others.
    pub fn with(credential: Credential) -> Self {
        Self {
            source: Source::Given(credential),
            state: Mutex::default(),
        }
    }

    /// The same, with an account at one registry.
    pub fn of(registry: String, account: Account, config: Option<PathBuf>) -> Self {
        Self {
            source: Source::Account {
                registry,
                account,
                config,
            },
            state: Mutex::default(),
        }
    }

    /// Where `config.json` is looked for.
    pub fn config_dir(&self) -> Option<PathBuf> {
        match &self.source {
            Source::Config(dir) | Source::Account { config: dir, .. } => dir.clone(),
            Source::Given(_) => None,
        }
    }

    /// The refresh token that came with the last token, if one did.
    pub async fn refresh_token(&self) -> Option<String> {
        self.state.lock().await.refresh.clone()
    }

    /// The `Authorization` that opened this scope before, unless it has run out.
    pub async fn known(&self, endpoint: &Endpoint, scope: &str) -> Option<HeaderValue> {
        let state = self.state.lock().await;
        let granted = state.granted.get(&key(endpoint, scope))?;
        granted
            .ends
            .is_none_or(|ends| Instant::now() + MARGIN < ends)
            .then(|| granted.header.clone())
    }

    /// What became of the credentials, for the message of a refusal.
    pub async fn note(&self, endpoint: &Endpoint) -> String {
        let state = self.state.lock().await;
        state
            .notes
            .get(&endpoint.registry)
            .cloned()
            .unwrap_or_default()
    }

    /// The `Authorization` that answers a challenge; `None` if there is none we have not tried (`rejected`).
    pub async fn answer(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scope: &str,
        challenge: &HeaderMap,
        secure: bool,
        rejected: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Failure> {
        let Some(challenge) = best_challenge(challenge) else {
            return Ok(None);
        };
        let mut state = self.state.lock().await;
        let key = key(endpoint, scope);
        if let Some(granted) = state.granted.get(&key)
            && Some(&granted.header) != rejected
        {
            // Somebody else fetched a new one while we waited for the lock.
            return Ok(Some(granted.header.clone()));
        }
        state.granted.remove(&key);
        let credential = self.credential(endpoint).await?;
        let note = match &credential {
            Credential::Anonymous { note } => note.clone(),
            _ => format!("the credentials for {} were refused", endpoint.registry),
        };
        state.notes.insert(endpoint.registry.clone(), note);
        let granted = match challenge {
            Challenge::Basic => match basic(&credential) {
                Some(header) => Granted::always(header),
                None => return Ok(None),
            },
            Challenge::Bearer { .. } if let Some(header) = self.bearer(endpoint) => {
                Granted::always(header)
            }
            Challenge::Bearer {
                realm,
                service,
                scope: wanted,
            } => {
                let dance = TokenDance {
                    transport,
                    endpoint,
                    realm: &realm,
                    service: service.as_deref(),
                    scope: &requested(scope, wanted.as_deref()),
                    credential: &credential,
                    secure,
                    offline: matches!(self.source, Source::Given(_)),
                };
                dance.fetch().await?
            }
        };
        let header = granted.header.clone();
        if Some(&header) == rejected {
            return Ok(None);
        }
        state.refresh = granted.refresh.clone();
        state.granted.insert(key, granted);
        Ok(Some(header))
    }

    /// A token that was given to be used as it is.
    fn bearer(&self, endpoint: &Endpoint) -> Option<HeaderValue> {
        match &self.source {
            Source::Account {
                registry,
                account: Account::Bearer { token },
                ..
            } if *registry == endpoint.registry => secret(&format!("Bearer {token}")),
            _ => None,
        }
    }

    async fn credential(&self, endpoint: &Endpoint) -> Result<Credential, Failure> {
        let dir = match &self.source {
            Source::Given(credential) => return Ok(credential.clone()),
            Source::Account {
                registry, account, ..
            } if *registry == endpoint.registry => return Ok(account.credential()),
            Source::Config(dir) | Source::Account { config: dir, .. } => dir.clone(),
        };
        let registry = endpoint.registry.clone();
        let found = tokio::task::spawn_blocking(move || look_up(dir.as_deref(), &registry)).await;
        let found = found.unwrap_or_else(|e| {
            Err(Error::Config {
                what: format!("credentials of {}", endpoint.registry),
                reason: e.to_string(),
            })
        });
        found.map_err(Failure::Fatal)
    }
}

fn key(endpoint: &Endpoint, scope: &str) -> (String, String) {
    (endpoint.authority.clone(), scope.to_owned())
}

/// The scope to ask a token for. A registry names what the refused request needs; a push needs more soon after.
fn requested(ours: &str, theirs: Option<&str>) -> String {
    match theirs {
        None => ours.to_owned(),
        Some(theirs) if !ours.contains("push") => theirs.to_owned(),
        Some(theirs) => {
            let resource = |scope: &str| scope.rsplit_once(':').map(|(name, _)| name.to_owned());
            let known: Vec<_> = ours.split(' ').map(resource).collect();
            let others = theirs
                .split(' ')
                .filter(|scope| !scope.is_empty() && !known.contains(&resource(scope)));
            let all: Vec<&str> = ours.split(' ').chain(others).collect();
            all.join(" ")
        }
    }
}

fn basic(credential: &Credential) -> Option<HeaderValue> {
    let Credential::Password { user, password } = credential else {
        return None;
    };
    secret(&format!(
        "Basic {}",
        STANDARD.encode(format!("{user}:{password}"))
    ))
}

fn secret(value: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(value).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// One request for a token.
struct TokenDance<'a> {
    transport: &'a Transport,
    endpoint: &'a Endpoint,
    realm: &'a str,
    service: Option<&'a str>,
    scope: &'a str,
    credential: &'a Credential,
    /// The registry was reached over TLS, so the token server must be as well.
    secure: bool,
    /// Ask for a refresh token as well.
    offline: bool,
}

impl TokenDance<'_> {
    async fn fetch(&self) -> Result<Granted, Failure> {
        let realm = Url::parse(self.realm)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                self.protocol(format!("names no usable token server: {:?}", self.realm))
            })?;
        let anonymous = matches!(self.credential, Credential::Anonymous { .. });
        if self.secure && realm.scheme() == "http" && !anonymous {
            return Err(self
                .protocol("wants credentials sent to a token server over plain HTTP".to_owned()));
        }
        let (url, request) = self.request(realm);
        let mut answer = self
            .transport
            .exchange(url, &self.endpoint.trust, &request)
            .await?;
        if !answer.status().is_success() {
            return Err(answer.into_failure().await);
        }
        let body = answer.body(MAX_TOKEN_ANSWER).await?;
        self.granted(&body)
    }

    fn request(&self, mut realm: Url) -> (Url, Request) {
        let scopes = self.scope.split(' ').filter(|s| !s.is_empty());
        if let Credential::Identity { token } = self.credential {
            let mut form = Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token")
                .append_pair("refresh_token", token)
                .append_pair("client_id", CLIENT_ID)
                .append_pair("scope", self.scope);
            if let Some(service) = self.service {
                form.append_pair("service", service);
            }
            let mut request = Request::new(Method::POST);
            request.headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
            request.body = Some(form.finish().into());
            return (realm, request);
        }
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = self.service {
                query.append_pair("service", service);
            }
            for scope in scopes {
                query.append_pair("scope", scope);
            }
            if let Credential::Password { user, .. } = self.credential {
                query.append_pair("account", user);
            }
            if self.offline {
                query
                    .append_pair("client_id", CLIENT_ID)
                    .append_pair("offline_token", "true");
            }
        }
        let mut request = Request::new(Method::GET);
        request
            .headers
            .insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(header) = basic(self.credential) {
            request.headers.insert(AUTHORIZATION, header);
        }
        (realm, request)
    }

    fn granted(&self, body: &[u8]) -> Result<Granted, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<u64>,
            refresh_token: Option<String>,
        }
        let answer: Answer = serde_json::from_slice(body)
            .map_err(|_| self.protocol("its token server's answer is no JSON".to_owned()))?;
        let header = [answer.token, answer.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .and_then(|token| secret(&format!("Bearer {token}")))
            .ok_or_else(|| self.protocol("its token server gave no token".to_owned()))?;
        let life = Duration::from_secs(answer.expires_in.unwrap_or(0)).max(SHORTEST_LIFE);
        Ok(Granted {
            header,
            ends: Instant::now().checked_add(life),
            refresh: answer.refresh_token.filter(|token| !token.is_empty()),
        })
    }

    fn protocol(&self, reason: String) -> Failure {
        Failure::Fatal(Error::Protocol {
            host: self.endpoint.authority.clone(),
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::requested;

    #[test]
    fn a_push_asks_for_all_it_needs_at_once() {
        let ours = "repository:a/b:pull,push repository:c:pull";
        assert_eq!(requested(ours, None), ours);
        assert_eq!(requested(ours, Some("repository:a/b:pull")), ours);
        assert_eq!(
            requested(ours, Some("repository:other:pull repository:c:pull")),
            format!("{ours} repository:other:pull")
        );
        // What is only read, the registry may call by another name.
        assert_eq!(
            requested("repository:a:pull", Some("repository:x:pull")),
            "repository:x:pull"
        );
    }
}
