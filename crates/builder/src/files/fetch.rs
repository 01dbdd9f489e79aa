//! Files from the web.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{
    CONTENT_DISPOSITION, DATE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::digest::hex;
use super::error::{FilesError, Result};
use super::tree::Tree;

const USER_AGENT: &str = concat!("rctr/", env!("CARGO_PKG_VERSION"));
const CONNECT: Duration = Duration::from_secs(30);
/// Without a byte.
const IDLE: Duration = Duration::from_secs(60);
const TRIES: u32 = 3;
/// A URL without a name in its path.
const UNNAMED: &str = "__unnamed__";
/// Bytes of a file name.
const MAX_NAME: usize = 255;

/// A file that was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// A tree of this one file, mode 0600, whose time is `Last-Modified`, or 1970.
    pub tree: Tree,
    /// The file's name: the last of the URL's path.
    pub name: String,
    /// `sha256:…` of its content.
    pub digest: String,
    /// Seconds since 1970.
    pub last_modified: Option<i64>,
    /// With what its server can be asked whether it is still the same.
    pub validators: Option<Validators>,
    /// Where the file is on this machine.
    pub(crate) dir: PathBuf,
}

impl Fetched {
    /// What stands for the file in keys.
    pub fn identity(&self) -> String {
        let time = self.last_modified.unwrap_or(0);
        format!("{} {time} {}", self.digest, self.name)
    }
}

/// How a server knows a file again (RFC 9110, section 8.8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Validators {
    /// `ETag`, as it was sent.
    Tag(String),
    /// `Last-Modified`, as it was sent.
    Time(String),
}

impl Validators {
    fn of(headers: &HeaderMap) -> Option<Validators> {
        let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
        if let Some(tag) = text(ETAG) {
            return Some(Validators::Tag(tag));
        }
        let time = text(LAST_MODIFIED)?;
        // A file that has just changed may change again within the same second.
        let age = http_date(&text(DATE)?)? - http_date(&time)?;
        (age >= 60).then_some(Validators::Time(time))
    }

    fn header(&self) -> (HeaderName, &str) {
        match self {
            Validators::Tag(tag) => (IF_NONE_MATCH, tag),
            Validators::Time(time) => (IF_MODIFIED_SINCE, time),
        }
    }
}

/// Fetches a URL into a new directory of `scratch`. `checksum` is `sha256:…`.
///
/// # Errors
/// [`FilesError::Fetch`] after three tries, at once for an answer that says no; [`FilesError::Checksum`];
/// [`FilesError::BadChecksum`].
pub fn fetch(url: &str, checksum: Option<&str>, scratch: &Path) -> Result<Fetched> {
    let fetched = fetch_unless(url, checksum, None, scratch)?;
    fetched.ok_or_else(|| FilesError::Fetch {
        url: redacted(url),
        problem: "invalid response status 304".into(),
    })
}

/// Fetches a file, and opens it; nothing of it stays when it is closed.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_file(url: &str) -> Result<File> {
    let scratch =
        tempfile::tempdir().map_err(|e| host("create a directory in", "/tmp".as_ref(), e))?;
    let fetched = fetch(url, None, scratch.path())?;
    let path = fetched.dir.join(&fetched.name);
    File::open(&path).map_err(|e| host("open", &path, e))
}

/// As [`fetch`], but `None` if the server says that the file is the one that `known` was said of.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_if_changed(
    url: &str,
    known: Option<&Validators>,
    scratch: &Path,
) -> Result<Option<Fetched>> {
    fetch_unless(url, None, known, scratch)
}

fn fetch_unless(
    url: &str,
    checksum: Option<&str>,
    known: Option<&Validators>,
    scratch: &Path,
) -> Result<Option<Fetched>> {
    let expected = checksum.map(check_checksum).transpose()?;
    let dir = tempfile::Builder::new()
        .prefix("url-")
        .tempdir_in(scratch)
        .map_err(|e| host("create a directory in", scratch, e))?
        .keep();
    let shown = redacted(url);
    let failed = |problem: String| FilesError::Fetch {
        url: shown.clone(),
        problem,
    };
    let parsed = Url::parse(url).map_err(|e| failed(e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| failed(e.to_string()))?;
    let part = dir.join(".part");
    let got = runtime.block_on(download(&parsed, known, &part));
    let Some(got) = got.map_err(failed)? else {
        return Ok(None);
    };
    if let Some(expected) = expected
        && expected != got.digest
    {
        return Err(FilesError::Checksum {
            url: shown,
            expected: expected.into(),
            actual: got.digest,
        });
    }
    let name = name_in_url(&parsed)
        .or_else(|| name_in_headers(&got.headers))
        .unwrap_or_else(|| UNNAMED.into());
    let path = dir.join(&name);
    std::fs::rename(&part, &path).map_err(|e| host("rename", &part, e))?;
    let last_modified = got
        .headers
        .get(LAST_MODIFIED)
        .and_then(|value| value.to_str().ok())
        .and_then(http_date);
    let time = super::target::times((last_modified.unwrap_or(0), 0));
    let no_follow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, &path, &time, no_follow)
        .map_err(|e| host("set the time of", &path, e.into()))?;
    let root = File::open(&dir).map_err(|e| host("open", &dir, e))?;
    Ok(Some(Fetched {
        tree: Tree::rootfs(root.into()),
        name,
        digest: got.digest,
        last_modified,
        validators: Validators::of(&got.headers),
        dir,
    }))
}

struct Got {
    digest: String,
    headers: HeaderMap,
}

/// `None` if it is still what it was.
async fn download(
    url: &Url,
    known: Option<&Validators>,
    path: &Path,
) -> Result<Option<Got>, String> {
    // Fails only if a provider is chosen already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT)
        .read_timeout(IDLE);
    // Reading the system's certificates takes longer than a request on loopback.
    let client = match url.scheme() {
        "http" => client
            .tls_certs_only([])
            .redirect(https_needs_certificates()),
        _ => client,
    };
    let client = client.build().map_err(|e| cause(&e))?;
    let mut pause = Duration::from_millis(500);
    for attempt in 1.. {
        match try_download(&client, url, known, path).await {
            Ok(got) => return Ok(got),
            Err(Trouble::Upgraded(target)) => {
                return Box::pin(download(&target, known, path)).await;
            }
            Err(Trouble::Final(problem)) => return Err(problem),
            Err(Trouble::Passing(problem)) if attempt == TRIES => return Err(problem),
            Err(Trouble::Passing(_)) => {}
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Err("not tried".into())
}

/// A redirect from plain HTTP to HTTPS is stopped, and begun again with the system's certificates.
fn https_needs_certificates() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        if attempt.previous().len() > 10 {
            return attempt.error("too many redirects");
        }
        match attempt.url().scheme() {
            "https" => attempt.stop(),
            _ => attempt.follow(),
        }
    })
}

enum Trouble {
    Final(String),
    Passing(String),
    Upgraded(Url),
}

async fn try_download(
    client: &reqwest::Client,
    url: &Url,
    known: Option<&Validators>,
    path: &Path,
) -> Result<Option<Got>, Trouble> {
    let mut request = client.get(url.clone());
    if let Some((name, value)) = known.map(Validators::header) {
        request = request.header(name, value);
    }
    let sent = request.send().await;
    let mut response = sent.map_err(|e| match e.is_redirect() || e.is_builder() {
        true => Trouble::Final(cause(&e)),
        false => Trouble::Passing(cause(&e)),
    })?;
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED && known.is_some() {
        return Ok(None);
    }
    if status.is_redirection() {
        let target = response
            .headers()
            .get(reqwest::header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| response.url().join(value).ok());
        return Err(match target {
            Some(target) if target.scheme() == "https" => Trouble::Upgraded(target),
            _ => Trouble::Final(format!("invalid response status {}", status.as_u16())),
        });
    }
    if !status.is_success() {
        let problem = format!("invalid response status {}", status.as_u16());
        return Err(match status.is_server_error() || status.as_u16() == 429 {
            true => Trouble::Passing(problem),
            false => Trouble::Final(problem),
        });
    }
    let local = |e: std::io::Error| Trouble::Final(format!("{}: {e}", path.display()));
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).map_err(local)?;
    let mut hash = Sha256::new();
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) => {
                hash.update(&bytes);
                file.write_all(&bytes).map_err(local)?;
            }
            Ok(None) => break,
            Err(e) => return Err(Trouble::Passing(cause(&e))),
        }
    }
    Ok(Some(Got {
        digest: format!("sha256:{}", hex(hash)),
        headers: response.headers().clone(),
    }))
}

/// The innermost reason: the outer ones repeat the URL.
fn cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn check_checksum(value: &str) -> Result<&str> {
    let bad = |reason| FilesError::BadChecksum {
        value: value.into(),
        reason,
    };
    let digits = match value.split_once(':') {
        Some(("sha256", digits)) => digits,
        Some(("sha384" | "sha512", _)) => return Err(bad("only sha256 can be compared with")),
        _ => return Err(bad("it should be sha256: and 64 hex digits")),
    };
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    match digits.len() == 64 && digits.bytes().all(is_hex) {
        true => Ok(value),
        false => Err(bad("it should be sha256: and 64 hex digits")),
    }
}

/// The URL without a password.
pub(super) fn redacted(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // Only a URL that cannot have one refuses.
            let _ = parsed.set_password(Some("xxxxx"));
            parsed.into()
        }
        _ => url.into(),
    }
}

fn name_in_url(url: &Url) -> Option<String> {
    let path = unescape(url.path());
    safe_name(path.trim_end_matches('/').rsplit('/').next()?)
}

fn name_in_headers(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_DISPOSITION)?.to_str().ok()?;
    let name = value
        .split(';')
        .filter_map(|part| part.trim().split_once('='))
        .find(|(key, _)| key.eq_ignore_ascii_case("filename"))?
        .1
        .trim_matches('"');
    safe_name(name.rsplit('/').next()?)
}

/// One name of a directory, and nothing that could be more.
fn safe_name(name: &str) -> Option<String> {
    let odd = name.is_empty() || name == "." || name == ".." || name.len() > MAX_NAME;
    (!odd && !name.contains(['/', '\0'])).then(|| name.into())
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        match (byte, digits.and_then(|d| u8::from_str_radix(d, 16).ok())) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in seconds since 1970.
fn http_date(text: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    Some(time.as_second())
}

fn host(action: &'static str, path: &Path, source: std::io::Error) -> FilesError {
    FilesError::Host {
        action,
        path: path.into(),
        source,
    }
}
