//! Addresses of git repositories, as ADD and `rctr build` take them.

use url::Url;

use super::error::{FilesError, Result};
use super::path::clean;

/// A repository, and what of it is wanted: `https://host/repo.git#ref:subdir`, `git@host:repo.git?tag=v1`, and so on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitAddress {
    /// What git is given.
    pub remote: String,
    /// A branch, tag or commit; the default branch if not given.
    pub reference: Option<String>,
    /// A directory of the repository, clean and relative.
    pub subdir: Option<String>,
    /// The commit that is expected, or how it begins.
    pub checksum: Option<String>,
    /// Whether to keep `.git`, if the address says.
    pub keep_git_dir: Option<bool>,
    /// Whether to fetch submodules, if the address says.
    pub submodules: Option<bool>,
    /// Files get the time of the commit instead of that of checking out.
    pub commit_times: bool,
    /// `checksum` is the commit to fetch; the reference is only its name.
    pub fetch_by_commit: bool,
}

impl GitAddress {
    /// A source of ADD. `None` for what is no git address: an HTTP URL is one only if its path ends with `.git`.
    pub fn of_source(text: &str) -> Option<Result<GitAddress>> {
        if text.starts_with("./") || text.starts_with("../") {
            return None;
        }
        let (remote, query, fragment) = match text.contains("://") {
            true => standard(text)?,
            false => scp_style(text)?,
        };
        Some(Self::with(text, remote, query, fragment))
    }

    /// A build context, which may also be `github.com/owner/repo`.
    pub fn of_context(text: &str) -> Option<Result<GitAddress>> {
        if !text.starts_with("github.com/") {
            return Self::of_source(text);
        }
        let (remote, query, fragment) = parts(&format!("https://{text}"))?;
        Some(Self::with(text, remote, query, fragment))
    }

    /// The address for messages.
    pub fn shown(&self) -> String {
        super::fetch::redacted(&self.remote)
    }

    fn with(text: &str, remote: String, query: Pairs, fragment: String) -> Result<GitAddress> {
        let bad = |reason: String| FilesError::GitAddress {
            address: super::fetch::redacted(text),
            reason,
        };
        let mut address = GitAddress {
            remote,
            ..GitAddress::default()
        };
        if !fragment.is_empty() {
            let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
            address.reference = (!reference.is_empty()).then(|| reference.into());
            address.subdir = directory(subdir);
        }
        address.query(query).map_err(bad)?;
        if let Some(reference) = &address.reference
            && (reference.starts_with('-')
                || reference.contains([' ', ':', '^', '~', '?', '*', '\\']))
        {
            return Err(bad(format!("invalid git ref {reference:?}")));
        }
        if let Some(checksum) = &address.checksum
            && !checksum.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return Err(bad(format!(
                "invalid checksum {checksum} for Git URL, expected hex commit hash"
            )));
        }
        if address.remote.starts_with('-') {
            return Err(bad("it begins with a dash".into()));
        }
        Ok(address)
    }

    fn query(&mut self, query: Pairs) -> Result<(), String> {
        let mut seen: Vec<&str> = Vec::new();
        let (mut tag, mut branch) = (None, None);
        for (key, value) in &query {
            if seen.contains(&key.as_str()) {
                return Err(format!("query {key:?} has multiple values"));
            }
            seen.push(key);
            let text = || match value.is_empty() {
                true => Err(format!("query {key:?} has no value")),
                false => Ok(value.clone()),
            };
            match key.as_str() {
                "ref" => agree("ref", &mut self.reference, text()?)?,
                "tag" => tag = Some(full(&text()?, "refs/tags/")),
                "branch" => branch = Some(full(&text()?, "refs/heads/")),
                "subdir" => {
                    if let Some(subdir) = directory(&text()?) {
                        agree("subdir", &mut self.subdir, subdir)?;
                    }
                }
                "checksum" | "commit" => self.checksum = Some(text()?),
                "keep-git-dir" => self.keep_git_dir = Some(boolean(key, value)?),
                "submodules" => self.submodules = Some(boolean(key, value)?),
                "fetch-by-commit" => self.fetch_by_commit = boolean(key, value)?,
                "mtime" => {
                    self.commit_times = match text()?.as_str() {
                        "commit" => true,
                        "checkout" => false,
                        other => {
                            return Err(format!(
                                "invalid mtime value: {other:?} (must be \"checkout\" or \"commit\")"
                            ));
                        }
                    }
                }
                _ => return Err(format!("unexpected query {key:?}")),
            }
        }
        match (tag, branch) {
            (Some(_), Some(_)) => Err("branch conflicts with tag".into()),
            (Some(reference), None) | (None, Some(reference)) => {
                agree("ref", &mut self.reference, reference)
            }
            (None, None) => Ok(()),
        }
    }
}

type Pairs = Vec<(String, String)>;

fn standard(text: &str) -> Option<(String, Pairs, String)> {
    let scheme = text.split("://").next()?.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https" | "ssh" | "git") {
        return None;
    }
    let found = parts(text)?;
    let is_http = scheme.starts_with("http");
    (!is_http || Url::parse(&found.0).ok()?.path().ends_with(".git")).then_some(found)
}

fn parts(text: &str) -> Option<(String, Pairs, String)> {
    let mut url = Url::parse(text).ok()?;
    let pairs = url.query_pairs().into_owned().collect();
    let fragment = url.fragment().unwrap_or_default().to_owned();
    url.set_query(None);
    url.set_fragment(None);
    Some((url.into(), pairs, fragment))
}

/// `user@host:path[?query][#fragment]`.
fn scp_style(text: &str) -> Option<(String, Pairs, String)> {
    let (user, rest) = text.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    let word = |text: &str, extra: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    if !word(user, "-_") || !word(host, "-.") || host.starts_with('-') {
        return None;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let pairs = Url::parse(&format!("query:?{query}")).ok()?;
    let pairs = pairs.query_pairs().into_owned().collect();
    Some((format!("{user}@{host}:{path}"), pairs, fragment.into()))
}

/// A directory without `..` and slashes around it; `None` for the root.
fn directory(text: &str) -> Option<String> {
    let clean = String::from_utf8_lossy(&clean(text.as_bytes())).into_owned();
    (!clean.is_empty()).then_some(clean)
}

fn full(name: &str, prefix: &str) -> String {
    match name.starts_with(prefix) {
        true => name.into(),
        false => format!("{prefix}{name}"),
    }
}

fn agree(what: &str, known: &mut Option<String>, value: String) -> Result<(), String> {
    match known {
        Some(known) if *known != value => Err(format!("{what} conflicts: {known:?} vs {value:?}")),
        _ => {
            *known = Some(value);
            Ok(())
        }
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid {key} value: {value:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> GitAddress {
        GitAddress::of_source(text)
            .unwrap_or_else(|| panic!("{text}"))
            .unwrap()
    }

    #[test]
    fn addresses_and_what_they_ask_for() {
        let plain = address("https://user@example.com/foo/bar.git#baz/qux:quux/../up/");
        assert_eq!(plain.remote, "https://user@example.com/foo/bar.git");
        assert_eq!(plain.reference.as_deref(), Some("baz/qux"));
        assert_eq!(plain.subdir.as_deref(), Some("up"));
        let scp = address("git@example.com:foo/bar.git?tag=v1&keep-git-dir#");
        assert_eq!(scp.remote, "git@example.com:foo/bar.git");
        assert_eq!(scp.reference.as_deref(), Some("refs/tags/v1"));
        assert_eq!(scp.keep_git_dir, Some(true));
        let query =
            address("git://h/r?branch=main&subdir=/a/../../b&commit=abc&submodules=0&mtime=commit");
        assert_eq!(query.remote, "git://h/r");
        assert_eq!(query.reference.as_deref(), Some("refs/heads/main"));
        assert_eq!(query.subdir.as_deref(), Some("b"));
        assert_eq!(query.checksum.as_deref(), Some("abc"));
        assert_eq!(query.submodules, Some(false));
        assert!(query.commit_times);
        assert_eq!(address("ssh://git@h/r#:sub").reference, None);
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "https://example.com/foo",
            "https://example.com/foo.git/x",
            "./git@example.com:x",
            "../x.git",
            "file:///etc/x.git",
            "ext::sh -c x",
            "dir/file",
            "github.com/a/b",
            "a b@host:x",
        ] {
            assert!(GitAddress::of_source(text).is_none(), "{text}");
        }
        assert!(GitAddress::of_context("github.com/a/b").is_some());
    }

    #[test]
    fn contradictions_and_tricks_are_refused() {
        for (text, reason) in [
            ("https://h/r.git?ref=a#b", "ref conflicts"),
            (
                "https://h/r.git?tag=a&branch=b",
                "branch conflicts with tag",
            ),
            ("https://h/r.git?nonsense=1", "unexpected query"),
            ("https://h/r.git?ref=a&ref=a", "multiple values"),
            ("https://h/r.git?ref=", "has no value"),
            ("https://h/r.git?mtime=now", "invalid mtime value"),
            ("https://h/r.git#--upload-pack=x", "invalid git ref"),
            ("https://h/r.git?checksum=xyz", "expected hex commit hash"),
        ] {
            let message = GitAddress::of_source(text)
                .unwrap()
                .unwrap_err()
                .to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
        let message = GitAddress::of_source("https://me:secret@h/r.git?x=1")
            .unwrap()
            .unwrap_err()
            .to_string();
        assert!(!message.contains("secret"), "{message}");
    }
}
