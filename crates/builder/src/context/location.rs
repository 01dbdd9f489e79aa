use std::path::{Path, PathBuf};

use crate::files::{GitAddress, Result};

/// Where a build context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine.
    Directory(PathBuf),
    /// Standard input: an archive, or a Dockerfile that needs no files.
    Stdin,
    /// A git repository.
    Git(GitAddress),
    /// An archive or Dockerfile served over HTTP.
    Url(String),
}

impl Location {
    /// What a person wrote: `-`, a directory, a git address or a URL. What exists as a directory is one.
    ///
    /// # Errors
    /// [`crate::files::FilesError::GitAddress`].
    pub fn parse(text: &str) -> Result<Location> {
        if text == "-" {
            return Ok(Location::Stdin);
        }
        if Path::new(text).is_dir() {
            return Ok(Location::Directory(text.into()));
        }
        if let Some(address) = GitAddress::of_context(text) {
            return address.map(Location::Git);
        }
        Ok(match text {
            _ if text.starts_with("http://") || text.starts_with("https://") => {
                Location::Url(text.into())
            }
            _ => Location::Directory(text.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_told_from_the_others() {
        let parse = |text| Location::parse(text).unwrap();
        assert_eq!(parse("-"), Location::Stdin);
        assert_eq!(parse("."), Location::Directory(".".into()));
        assert_eq!(parse("no/such"), Location::Directory("no/such".into()));
        assert_eq!(
            parse("https://example.com/x.tar.gz"),
            Location::Url("https://example.com/x.tar.gz".into())
        );
        for text in [
            "https://example.com/x.git",
            "https://example.com/x.git#main:sub",
            "git@example.com:a/b.git",
            "git://example.com/x",
            "ssh://git@example.com/x",
            "github.com/a/b",
        ] {
            assert!(matches!(parse(text), Location::Git(_)), "{text}");
        }
    }
}
