//! What can go wrong, one variant for each thing a caller can act on.

use std::time::Duration;

use oci_spec::image::Digest;
use thiserror::Error;

use crate::{Platform, SinkError};

/// Why a reference could not be parsed, resolved or pulled. Each message is one line and names the way out, if any.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The string is no image reference.
    #[error("{reason}: {reference:?}")]
    InvalidReference {
        /// As given.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A `[registry."host"]` table or the Docker configuration cannot be used.
    #[error("{what}: {reason}")]
    Config {
        /// Which setting or file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry does not know this repository, tag or digest.
    #[error("{reference} not found{}", because(.detail))]
    NotFound {
        /// What was asked for.
        reference: String,
        /// The registry's own words, possibly empty.
        detail: String,
    },
    /// The registry wants (other) credentials, or hides a repository that does not exist.
    #[error(
        "access to {repository} denied: the repository does not exist or needs credentials; run `rctr login {registry}`{}",
        because(.detail)
    )]
    Unauthorized {
        /// Host as in the reference.
        registry: String,
        /// Host and path.
        repository: String,
        /// The registry's own words and what became of a credential helper, possibly empty.
        detail: String,
    },
    /// The credentials are good, but not for this.
    #[error(
        "{registry} forbids access to {repository}: check the account's rights or run `rctr login {registry}` with another one{}",
        because(.detail)
    )]
    Denied {
        /// Host as in the reference.
        registry: String,
        /// Host and path.
        repository: String,
        /// The registry's own words, possibly empty.
        detail: String,
    },
    /// The registry could not be reached, or the connection broke too often.
    #[error("cannot reach registry {host}: {reason}")]
    Network {
        /// Host and port dialled.
        host: String,
        /// The deepest cause.
        reason: String,
    },
    /// TLS could not be set up: certificate not trusted, or no TLS spoken there.
    #[error("no secure connection to registry {host}: {reason}; {hint}")]
    Tls {
        /// Host and port dialled.
        host: String,
        /// The deepest cause.
        reason: String,
        /// The setting that helps.
        hint: String,
    },
    /// The rate limit is used up, and waiting did not help.
    #[error(
        "{registry} allows no more requests now{}; wait, or run `rctr login {registry}` for a higher limit",
        retry_hint(.retry_after)
    )]
    TooManyRequests {
        /// Host as in the reference.
        registry: String,
        /// How long the registry asked to wait.
        retry_after: Option<Duration>,
    },
    /// The registry answered with a status that means nothing useful.
    #[error("registry {host} answered {status}{}", because(.detail))]
    Server {
        /// Host and port dialled.
        host: String,
        /// HTTP status code.
        status: u16,
        /// The registry's own words, possibly empty.
        detail: String,
    },
    /// The registry's answer breaks the protocol.
    #[error("registry {host}: {reason}")]
    Protocol {
        /// Host and port dialled.
        host: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The image exists, but not for this platform.
    #[error(
        "{reference} has no image for {wanted}, only for {}; choose one with --platform",
        list(.available)
    )]
    NoMatchingPlatform {
        /// What was asked for.
        reference: String,
        /// The platform looked for.
        wanted: Platform,
        /// The platforms there are.
        available: Vec<Platform>,
    },
    /// A manifest or layer of a kind this program does not run, or one that contradicts itself.
    #[error("{reference} cannot be used: {reason}")]
    UnsupportedManifest {
        /// What was asked for.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Content that is not what its digest says.
    #[error("content of {expected} from {host} has digest {actual}: it was damaged or exchanged")]
    DigestMismatch {
        /// Host and port dialled.
        host: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: String,
    },
    /// Content longer or shorter than its descriptor says.
    #[error("content of {digest} from {host} has {actual} bytes instead of {expected}")]
    SizeMismatch {
        /// Host and port dialled.
        host: String,
        /// The digest asked for.
        digest: Digest,
        /// Bytes promised by the descriptor (or the most accepted).
        expected: u64,
        /// Bytes announced or sent before it was cut off.
        actual: u64,
    },
    /// The account, or nobody without an account, may not push there.
    #[error(
        "denied: requested access to the resource is denied: pushing to {repository} needs an account that may; run `rctr login {registry}`{}",
        because(.detail)
    )]
    PushDenied {
        /// Host as in the reference.
        registry: String,
        /// Host and path.
        repository: String,
        /// The registry's own words and what became of the credentials, possibly empty.
        detail: String,
    },
    /// The registry makes no repository by itself, and this one does not exist.
    #[error("name unknown: {registry} has no repository {repository}; it must be made there first{}", because(.detail))]
    NoRepository {
        /// Host as in the reference.
        registry: String,
        /// Path on that host.
        repository: String,
        /// The registry's own words, possibly empty.
        detail: String,
    },
    /// The registry, or a proxy before it, takes nothing as large as this, not in pieces either.
    #[error("{registry} refuses {what}: too large{}", because(.detail))]
    TooLarge {
        /// Host as in the reference.
        registry: String,
        /// What was to be pushed.
        what: String,
        /// The registry's own words, possibly empty.
        detail: String,
    },
    /// The registry does not take what was pushed.
    #[error("{registry} refuses {what} with status {status}{}", because(.detail))]
    Refused {
        /// Host as in the reference.
        registry: String,
        /// What was to be pushed.
        what: String,
        /// HTTP status code.
        status: u16,
        /// The registry's own words, possibly empty.
        detail: String,
    },
    /// What is to be pushed cannot be read.
    #[error("cannot read {digest}")]
    Source {
        /// Which blob or layer.
        digest: Digest,
        /// The reader's own error.
        #[source]
        source: SinkError,
    },
    /// A login with credentials that the registry does not accept.
    #[error("login to {registry} refused: unauthorized{}", because(.detail))]
    LoginRefused {
        /// Host that was logged in to.
        registry: String,
        /// The registry's own words, possibly empty.
        detail: String,
    },
    /// A program that keeps credentials failed.
    #[error("credential helper docker-credential-{helper}: {reason}")]
    CredentialHelper {
        /// Its name, without `docker-credential-`.
        helper: String,
        /// What it said, or why it could not be started.
        reason: String,
    },
    /// The place the content goes to refused it.
    #[error("{source}")]
    Sink {
        /// Which blob or layer.
        digest: Digest,
        /// The sink's own error.
        #[source]
        source: SinkError,
    },
    /// The registry and all its mirrors failed.
    #[error("cannot fetch {wanted}: tried {}", .tried.join("; then "))]
    Mirrors {
        /// What was asked for.
        wanted: String,
        /// The registry's own failure; see [`Error::upstream`].
        upstream: Box<Error>,
        /// Host and reason of each, in the order they were asked.
        tried: Vec<String>,
    },
}

impl Error {
    /// The error a caller acts on: that of the registry itself if mirrors failed before it.
    pub fn upstream(&self) -> &Error {
        match self {
            Error::Mirrors { upstream, .. } => upstream.upstream(),
            other => other,
        }
    }

    /// The error in fewer words, where host and what was asked for are named already.
    pub(crate) fn of_host(&self) -> String {
        match self {
            Error::NotFound { detail, .. } => format!("not found{}", because(detail)),
            Error::Network { reason, .. } => format!("cannot be reached: {reason}"),
            Error::Tls { reason, hint, .. } => format!("no secure connection: {reason}; {hint}"),
            Error::Server { status, detail, .. } => format!("answered {status}{}", because(detail)),
            Error::Protocol { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }
}

fn because(detail: &str) -> String {
    if detail.is_empty() {
        String::new()
    } else {
        format!(" ({detail})")
    }
}

fn retry_hint(after: &Option<Duration>) -> String {
    match after {
        Some(after) => format!(" (retry after {} s)", after.as_secs()),
        None => String::new(),
    }
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none it names".to_owned();
    }
    let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    names.join(", ")
}
