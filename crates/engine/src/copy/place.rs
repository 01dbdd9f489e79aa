//! Where an image is copied from or to.

use std::fmt;
use std::path::PathBuf;

use oci_spec::distribution::Reference;
use rctr_registry_client::parse_reference;

use crate::{ImageError, Result};

/// A place of images, as `copy` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `docker://HOST/NAME[:TAG|@DIGEST]`.
    Registry(Reference),
    /// `oci:DIR[:TAG]`.
    Layout(PathBuf, Option<String>),
    /// `oci-archive:FILE[:TAG]`.
    OciArchive(PathBuf, Option<String>),
    /// `docker-archive:FILE[:NAME[:TAG]]`.
    DockerArchive(PathBuf, Option<String>),
    /// `rctr:NAME[:TAG]`, or an id to copy from.
    Store(String),
}

impl Place {
    pub fn parse(text: &str) -> Result<Place> {
        let bad = |reason: String| ImageError::BadPlace {
            place: text.to_owned(),
            reason,
        };
        const KINDS: &str = "write docker://NAME, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME] or rctr:NAME";
        let Some((kind, rest)) = text.split_once(':') else {
            return Err(bad(KINDS.to_owned()).into());
        };
        let file = || {
            let (path, name) = match rest.split_once(':') {
                Some((path, name)) => (path, Some(name)),
                None => (rest, None),
            };
            match (path, name) {
                ("", _) => Err(bad("there is no path in it".to_owned())),
                (_, Some("")) => Err(bad("there is nothing after the last colon".to_owned())),
                (path, name) => Ok((PathBuf::from(path), name.map(str::to_owned))),
            }
        };
        match kind {
            "docker" => {
                let name = rest.strip_prefix("//");
                let name = name.ok_or_else(|| bad("write docker://NAME".to_owned()))?;
                let reference = parse_reference(name).map_err(|e| bad(e.to_string()))?;
                Ok(Place::Registry(reference))
            }
            "oci" => Ok(file().map(|(path, tag)| Place::Layout(path, tag))?),
            "oci-archive" => Ok(file().map(|(path, tag)| Place::OciArchive(path, tag))?),
            "docker-archive" => {
                let (path, name) = file()?;
                let name = name
                    .map(|name| parse_reference(&name).map(|reference| reference.whole()))
                    .transpose();
                Ok(Place::DockerArchive(
                    path,
                    name.map_err(|e| bad(e.to_string()))?,
                ))
            }
            "rctr" if !rest.is_empty() => Ok(Place::Store(rest.to_owned())),
            _ => Err(bad(KINDS.to_owned()).into()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, name) = match self {
            Place::Registry(reference) => return write!(f, "docker://{}", reference.whole()),
            Place::Store(name) => return write!(f, "rctr:{name}"),
            Place::Layout(path, name) => ("oci", path, name),
            Place::OciArchive(path, name) => ("oci-archive", path, name),
            Place::DockerArchive(path, name) => ("docker-archive", path, name),
        };
        write!(f, "{kind}:{}", path.display())?;
        match name {
            Some(name) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_skopeo_s() {
        for (text, shown) in [
            ("docker://nginx", "docker://docker.io/library/nginx:latest"),
            ("docker://h:5/a:1", "docker://h:5/a:1"),
            ("oci:dir", "oci:dir"),
            ("oci:/a/b:v1", "oci:/a/b:v1"),
            ("oci-archive:x.tar:v", "oci-archive:x.tar:v"),
            ("docker-archive:x.tar", "docker-archive:x.tar"),
            (
                "docker-archive:x.tar:h:5/a",
                "docker-archive:x.tar:h:5/a:latest",
            ),
            ("rctr:nginx:1", "rctr:nginx:1"),
        ] {
            assert_eq!(Place::parse(text).unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "nginx",
            "docker:nginx",
            "docker://",
            "docker://A",
            "oci:",
            "oci::x",
            "oci:x:",
            "dir:x",
            "rctr:",
            "http://x",
        ] {
            let error = Place::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("Invalid image name"), "{error}");
        }
    }
}
