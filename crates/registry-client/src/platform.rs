//! `os/architecture[/variant]`, and which image a machine of that kind can run.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// An operating system and processor, in Go's names ("linux", "amd64", "v8").
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    /// Operating system, `linux` for everything that runs here.
    pub os: String,
    /// Processor architecture as GOARCH names it.
    pub architecture: String,
    /// Version of the instruction set (`v7` of `arm`, `v3` of `amd64`); none for the ordinary one.
    pub variant: Option<String>,
}

/// A platform that is not `os/architecture[/variant]`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid platform {0:?}: write os/architecture[/variant], for example linux/arm64/v8")]
pub struct InvalidPlatform(pub String);

impl Platform {
    /// A platform in normal form: `x86_64` is `amd64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = variant.unwrap_or("");
        let lower = architecture.to_ascii_lowercase();
        let (architecture, variant) = match (lower.as_str(), variant) {
            ("i386" | "i686" | "x86", _) => ("386", ""),
            ("amd64" | "x86_64" | "x86-64", "v1") => ("amd64", ""),
            ("amd64" | "x86_64" | "x86-64", v) => ("amd64", v),
            ("arm64" | "aarch64", "8" | "v8" | "v8.0") => ("arm64", ""),
            ("arm64" | "aarch64", v) => ("arm64", v),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            ("powerpc64le", v) => ("ppc64le", v),
            ("loongarch64", v) => ("loong64", v),
            (other, v) => (other, v),
        };
        Self {
            os: os.to_ascii_lowercase(),
            architecture: architecture.to_owned(),
            variant: Some(variant.to_owned()).filter(|v| !v.is_empty()),
        }
    }

    /// The platform this program was built for.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// Whether an image made for `image` runs here without another processor's help; the rules are containerd's.
    pub fn matches(&self, image: &Platform) -> bool {
        self.rank(image).is_some()
    }

    /// How well an image for `image` fits, 0 being best; `None` if it does not run here.
    pub(crate) fn rank(&self, image: &Platform) -> Option<usize> {
        self.preferences().iter().position(|p| p == image)
    }

    /// What this machine runs, best first: its own variant, older ones, then its 32-bit mode.
    fn preferences(&self) -> Vec<Platform> {
        let own = |architecture: &str, variant: Option<String>| {
            Self::new(&self.os, architecture, variant.as_deref())
        };
        let variant = self.variant.as_deref().unwrap_or("");
        let mut found = vec![self.clone()];
        match self.architecture.as_str() {
            "amd64" => {
                let version = version_of(variant).unwrap_or(1);
                found.extend(
                    (1..version)
                        .rev()
                        .map(|v| own("amd64", Some(format!("v{v}")))),
                );
                found.push(own("386", None));
            }
            "arm64" => {
                if !variant.is_empty() {
                    found.push(own("arm64", None));
                }
                found.extend((5..=8).rev().map(|v| own("arm", Some(format!("v{v}")))));
            }
            "arm" => {
                let version = version_of(variant).unwrap_or(7);
                found.extend(
                    (5..version)
                        .rev()
                        .map(|v| own("arm", Some(format!("v{v}")))),
                );
            }
            _ => {}
        }
        found
    }

    /// The same, without the 32-bit mode: what a person means who names a platform.
    pub(crate) fn rank_strict(&self, image: &Platform) -> Option<usize> {
        self.rank(image)
            .filter(|_| self.architecture == image.architecture)
    }
}

fn version_of(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.parse().ok().filter(|v| *v < 16)
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let is_word = |word: &&str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let parts: Vec<&str> = s.split('/').collect();
        if !parts.iter().all(is_word) {
            return Err(InvalidPlatform(s.to_owned()));
        }
        match parts[..] {
            ["linux"] => Ok(Self::host()),
            [architecture] if architecture != "windows" && architecture != "darwin" => {
                Ok(Self::new("linux", architecture, None))
            }
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(InvalidPlatform(s.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl From<&oci_spec::image::Platform> for Platform {
    fn from(p: &oci_spec::image::Platform) -> Self {
        Self::new(
            &p.os().to_string(),
            &p.architecture().to_string(),
            p.variant().as_deref(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(s: &str) -> Platform {
        s.parse().unwrap()
    }

    #[test]
    fn parses_and_normalises() {
        for (typed, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("arm64", "linux/arm64"),
            ("Linux/ARM", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(p(typed).to_string(), shown);
        }
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/am d64", "linux//v8"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn falls_back_as_containerd_does() {
        assert!(p("linux/arm64").matches(&p("linux/arm64/v8")));
        assert!(p("linux/arm/v7").matches(&p("linux/arm/v5")));
        assert!(!p("linux/arm/v6").matches(&p("linux/arm/v7")));
        assert!(p("linux/amd64/v3").matches(&p("linux/amd64")));
        assert!(!p("linux/amd64").matches(&p("linux/amd64/v2")));
        assert!(!p("linux/amd64").matches(&p("linux/arm64")));
        assert!(!p("linux/amd64").matches(&p("windows/amd64")));
        assert!(p("linux/amd64").rank(&p("linux/386")) > p("linux/amd64").rank(&p("linux/amd64")));
        assert_eq!(p("linux/amd64").rank_strict(&p("linux/386")), None);
    }
}
