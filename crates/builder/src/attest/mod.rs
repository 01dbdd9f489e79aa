//! Attestations: how an image was made (SLSA provenance v1) and what is in it (SPDX 2.3), as in-toto statements.

mod files;
mod packages;
mod programs;
mod provenance;
mod rpm;
mod sbom;

use std::os::fd::{AsFd, OwnedFd};

use oci_spec::image::Digest;
use rctr_registry_client::{Platform, parse_reference};
use serde_json::{Value, json};

use crate::Result;
use crate::solve::Solver;

pub(crate) use files::files;

/// What is to be attested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attestations {
    /// How the image was made.
    pub provenance: Option<Detail>,
    /// Which packages are in it.
    pub sbom: bool,
}

/// How much the provenance tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Neither values of build arguments nor the Dockerfile.
    Min,
    /// These, too.
    Max,
}

impl Attestations {
    pub(crate) fn any(self) -> bool {
        self.provenance.is_some() || self.sbom
    }
}

/// What is known of a build beyond its plan.
pub(crate) struct Facts<'a> {
    /// When it began: seconds since 1970.
    pub(crate) started: i64,
    /// When its last step ended, the same in all that is made of it.
    pub(crate) finished: i64,
    /// The Dockerfile's name and text.
    pub(crate) dockerfile: (&'a str, &'a str),
}

/// What is said of one image.
pub(crate) struct Predicate {
    /// Its kind: an address.
    pub(crate) kind: &'static str,
    /// What it is called as a file.
    pub(crate) file: &'static str,
    value: Value,
}

/// Says what was asked for of an image, whose files are beneath `root`.
pub(crate) fn predicates(
    solver: &Solver<'_>,
    facts: &Facts<'_>,
    names: &[String],
    root: impl FnOnce() -> Result<OwnedFd>,
) -> Result<Vec<Predicate>> {
    let asked = solver.options.attestations;
    let mut all = Vec::new();
    if asked.sbom {
        let root = root()?;
        let epoch = solver.options.epoch.unwrap_or(facts.started);
        let name = names.first().map_or("image", String::as_str);
        all.push(Predicate {
            kind: "https://spdx.dev/Document",
            file: "sbom.spdx.json",
            value: sbom::document(name, &packages::find(root.as_fd()), epoch),
        });
    }
    if let Some(detail) = asked.provenance {
        all.push(Predicate {
            kind: "https://slsa.dev/provenance/v1",
            file: "provenance.json",
            value: provenance::predicate(solver, facts, detail),
        });
    }
    Ok(all)
}

impl Predicate {
    /// The statement that says it of its subjects.
    pub(crate) fn statement(&self, subjects: &[Value]) -> Value {
        json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": self.kind,
            "subject": subjects,
            "predicate": self.value,
        })
    }
}

/// The subjects of what is said of an image: its names, with the digest of its manifest.
pub(crate) fn image(names: &[String], platform: &Platform, manifest: &Digest) -> Vec<Value> {
    let digest = json!({"sha256": manifest.digest()});
    let named = names
        .iter()
        .map(|name| json!({"name": purl(name, platform), "digest": digest}));
    let subjects: Vec<Value> = named.collect();
    match subjects.is_empty() {
        true => vec![json!({"name": "_", "digest": digest})],
        false => subjects,
    }
}

/// The package URL of an image.
fn purl(name: &str, platform: &Platform) -> String {
    let platform = encoded(&platform.to_string());
    let Ok(reference) = parse_reference(name) else {
        return format!("pkg:docker/{}?platform={platform}", encoded(name));
    };
    let path = rctr_registry_client::familiar_name(&reference);
    let path = path.split('@').next().unwrap_or_default();
    let tag = reference.tag().unwrap_or_default();
    let path = path.strip_suffix(&format!(":{tag}")).unwrap_or(path);
    let path: Vec<String> = path.split('/').map(encoded).collect();
    match tag {
        "" => format!("pkg:docker/{}?platform={platform}", path.join("/")),
        tag => format!(
            "pkg:docker/{}@{}?platform={platform}",
            path.join("/"),
            encoded(tag)
        ),
    }
}

/// As a package URL has text: with per cent for what might mean something.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out += &format!("%{other:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_package_addresses() {
        let amd64: Platform = "linux/amd64".parse().unwrap();
        for (name, expected) in [
            (
                "docker.io/library/busybox:latest",
                "pkg:docker/busybox@latest",
            ),
            ("h:5/me/app:v1", "pkg:docker/h%3A5/me/app@v1"),
        ] {
            let expected = format!("{expected}?platform=linux%2Famd64");
            assert_eq!(purl(name, &amd64), expected);
        }
    }
}
