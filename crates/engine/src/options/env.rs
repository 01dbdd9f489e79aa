//! `-e`, `--env-file`, `--label`, `--label-file`, `--sysctl`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ParseError;

const SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\u{b}', '\u{c}'];

/// Joins `--env-file` and `-e`, files first, as Docker does. `-e NAME` takes the value that `host` has for it, or
/// stays alone, which removes the image's variable; in a file it is skipped then.
///
/// # Errors
/// [`ParseError::Env`], [`ParseError::File`] or [`ParseError::EnvFileLine`].
pub fn resolve_env(
    values: &[String],
    files: &[PathBuf],
    host: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, ParseError> {
    let mut env = Vec::new();
    for file in files {
        for (name, value) in read_pairs(file)? {
            if let Some(value) = value.or_else(|| host(&name)) {
                env.push(format!("{name}={value}"));
            }
        }
    }
    for text in values {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), host(text)),
        };
        if name.is_empty() || text.contains('\0') {
            return Err(ParseError::Env {
                value: text.clone(),
            });
        }
        env.push(value.map_or_else(|| name.to_owned(), |value| format!("{name}={value}")));
    }
    Ok(env)
}

/// Joins `--label-file` and `--label`, files first; a label without `=` has an empty value.
///
/// # Errors
/// [`ParseError::LabelName`], [`ParseError::LabelSpace`], [`ParseError::File`] or [`ParseError::EnvFileLine`].
pub fn resolve_labels(
    values: &[String],
    files: &[PathBuf],
) -> Result<BTreeMap<String, String>, ParseError> {
    let mut labels = BTreeMap::new();
    for file in files {
        // As with Docker, a line without a value is none; only variables have the host to ask.
        let pairs = read_pairs(file)?.into_iter();
        labels.extend(pairs.filter_map(|(name, value)| Some((name, value?))));
    }
    for text in values {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let name = name.trim_start_matches(SPACE);
        if name.is_empty() {
            return Err(ParseError::LabelName {
                value: text.clone(),
            });
        }
        if name.contains(SPACE) {
            return Err(ParseError::LabelSpace {
                name: name.to_owned(),
            });
        }
        labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(labels)
}

/// Reads `--sysctl name=value`. Only what belongs to a namespace of the container is allowed.
///
/// # Errors
/// [`ParseError::Sysctl`] with the text.
pub fn parse_sysctl(text: &str) -> Result<(String, String), ParseError> {
    match text.split_once('=') {
        Some((name, value)) if is_namespaced(name) && !text.contains('\0') => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(ParseError::Sysctl {
            value: text.to_owned(),
        }),
    }
}

/// Docker's list of kernel parameters that a container may have for itself.
fn is_namespaced(name: &str) -> bool {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let name = name.trim();
    let plain = !name.contains("..") && !name.contains(SPACE) && !name.contains('/');
    plain
        && (IPC.contains(&name)
            || ["net.", "fs.mqueue."]
                .iter()
                .any(|p| name.strip_prefix(p).is_some_and(|r| !r.is_empty())))
}

/// The lines of an `--env-file`: `#` starts a comment only at the start of a line, quotes are part of the value,
/// white space before the name is dropped, nothing after the `=` is.
fn read_pairs(file: &Path) -> Result<Vec<(String, Option<String>)>, ParseError> {
    let bytes = std::fs::read(file).map_err(|source| ParseError::File {
        file: file.into(),
        source,
    })?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut pairs = Vec::new();
    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let fail = |reason: String| ParseError::EnvFileLine {
            file: file.into(),
            line: index + 1,
            reason,
        };
        let line = std::str::from_utf8(line).map_err(|_| fail("invalid utf8 bytes".to_owned()))?;
        let line = line
            .strip_suffix('\r')
            .unwrap_or(line)
            .trim_start_matches(SPACE);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, None),
        };
        if name.contains(SPACE) {
            return Err(fail(format!("variable '{name}' contains whitespaces")));
        }
        if name.is_empty() {
            return Err(fail(format!("no variable name on line '{line}'")));
        }
        if line.contains('\0') {
            return Err(fail("NUL byte".to_owned()));
        }
        pairs.push((name.to_owned(), value));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Option<String> {
        (name == "LANG").then(|| "de".to_owned())
    }

    fn file(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_bare_name_takes_the_hosts_value_or_removes() {
        let env = resolve_env(
            &["A=1".into(), "LANG".into(), "GONE".into(), "B=x=y".into()],
            &[],
            host,
        )
        .unwrap();
        assert_eq!(env, ["A=1", "LANG=de", "GONE", "B=x=y"]);
        assert_eq!(
            resolve_env(&["=x".into()], &[], host)
                .unwrap_err()
                .to_string(),
            "invalid environment variable: =x"
        );
    }

    #[test]
    fn files_keep_quotes_and_inner_hashes() {
        let (_dir, path) =
            file(b"\xef\xbb\xbfA=\"x\" # y\r\n# comment\n\n  B= two  \nLANG\nGONE\nC=\n");
        let env = resolve_env(&["A=flag".into()], &[path], host).unwrap();
        assert_eq!(env, ["A=\"x\" # y", "B= two  ", "LANG=de", "C=", "A=flag"]);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, reason) in [
            (
                &b"A=1\nB C=2\n"[..],
                "poorly formatted environment: variable 'B C' contains whitespaces",
            ),
            (
                b"A=1\n=2\n",
                "poorly formatted environment: no variable name on line '=2'",
            ),
            (
                b"A=1\nB=\xff\n",
                "poorly formatted environment: invalid utf8 bytes",
            ),
        ] {
            let (_dir, path) = file(text);
            let message = resolve_env(&[], &[path], host).unwrap_err().to_string();
            assert!(
                message.starts_with(reason) && message.ends_with("line 2)"),
                "{message}"
            );
        }
        let message = resolve_env(&[], &["/nosuch/file".into()], host)
            .unwrap_err()
            .to_string();
        assert_eq!(message, "open /nosuch/file");
    }

    #[test]
    fn labels() {
        let (_dir, path) = file(b"a=file\nb\n");
        let labels =
            resolve_labels(&["a=flag".into(), "c".into(), "d=x=y".into()], &[path]).unwrap();
        let pairs: Vec<_> = labels
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(pairs, [("a", "flag"), ("c", ""), ("d", "x=y")]);
        assert_eq!(
            resolve_labels(&["=v".into()], &[]).unwrap_err().to_string(),
            "invalid label '=v': empty name"
        );
        assert_eq!(
            resolve_labels(&["a b=v".into()], &[])
                .unwrap_err()
                .to_string(),
            "label 'a b' contains whitespaces"
        );
    }

    #[test]
    fn only_namespaced_sysctls() {
        assert_eq!(
            parse_sysctl("net.core.somaxconn=1024").unwrap(),
            ("net.core.somaxconn".into(), "1024".into())
        );
        parse_sysctl("kernel.shmmax=1").unwrap();
        parse_sysctl("fs.mqueue.msg_max=1").unwrap();
        for text in [
            "kernel.hostname=x",
            "vm.swappiness=1",
            "net.ipv4.ip_forward",
            "kernel.panic=1",
            "net.=1",
            "net.../../x=1",
        ] {
            assert_eq!(
                parse_sysctl(text).unwrap_err().to_string(),
                format!("sysctl '{text}' is not allowed")
            );
        }
    }
}
