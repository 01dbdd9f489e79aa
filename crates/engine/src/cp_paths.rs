//! Paths of `cp` as Go's `filepath` and Docker take them: what stands at the end says whether a directory or its content is
//! meant.

use std::path::Path;

use crate::{Error, Result};

/// An absolute path that ends as it was given.
pub(crate) fn local(path: &str) -> Result<String> {
    let absolute = std::path::absolute(path).map_err(Error::file("find", Path::new(path)))?;
    Ok(keep_end(clean(&absolute.to_string_lossy()), path))
}

/// Go's `filepath.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            ".." if rooted => {}
            name => names.push(name),
        }
    }
    match (rooted, names.is_empty()) {
        (true, _) => format!("/{}", names.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => names.join("/"),
    }
}

/// The last name, or `.` for the content of a directory and for the root.
pub(crate) fn base_of(path: &str) -> String {
    split_entry(path).1
}

/// The directory of something and its name there; a path that ends with `/.` names the content.
pub(crate) fn split_entry(path: &str) -> (String, String) {
    let cleaned = clean(path);
    if is_content(path) || cleaned == "/" {
        return (cleaned, ".".to_owned());
    }
    match cleaned.rsplit_once('/') {
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((dir, name)) => (dir.to_owned(), name.to_owned()),
        None => (".".to_owned(), cleaned),
    }
}

fn is_content(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    path == "." || path.ends_with("/.")
}

/// Whether a path says that it is a directory's.
pub(crate) fn asserts_directory(path: &str) -> bool {
    path.ends_with('/') || is_content(path)
}

/// Lets a path end as another one does: with `/.` or a slash.
fn keep_end(mut path: String, original: &str) -> String {
    if is_content(original) && !is_content(&path) {
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push('.');
    }
    if original.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// What a link leads to, ending as the link was written, and the link's own name if that is another one.
pub(crate) fn rebase_name(path: &str, found: String) -> (String, Option<String>) {
    let found = keep_end(found, path);
    let own = base_of(path);
    let renamed = own != base_of(&found);
    (found, renamed.then_some(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_split_as_go_does() {
        for (path, cleaned) in [
            ("", "."),
            ("/", "/"),
            ("a/../../b", "../b"),
            ("/../a//b/./c/", "/a/b/c"),
            ("./a", "a"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
        let split = |path: &str| split_entry(path);
        for (path, dir, name) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/b/.", "/a/b", "."),
            ("/a", "/", "a"),
            ("/", "/", "."),
            ("a", ".", "a"),
            (".", ".", "."),
        ] {
            assert_eq!(split(path), (dir.to_owned(), name.to_owned()), "{path}");
        }
        assert_eq!(keep_end("/a".into(), "x/."), "/a/.");
        assert_eq!(keep_end("/a".into(), "x/"), "/a/");
        assert_eq!(
            rebase_name("/l", "/d/t".into()),
            ("/d/t".into(), Some("l".into()))
        );
        assert_eq!(rebase_name("/l/", "/d/l".into()), ("/d/l/".into(), None));
    }
}
