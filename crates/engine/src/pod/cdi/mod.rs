//! Devices by name: what vendors' files say a container needs to use one (Container Device Interface, up to 1.1).
//!
//! A name `vendor.com/class=device` is looked up in the JSON and YAML files of a few directories; the files are the host's, and
//! trusted as its other configuration is.

mod apply;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::Spec;
use serde::Deserialize;

use self::apply::apply;

/// Where vendors put their files; a device of a later directory takes the place of an earlier one's.
pub(crate) fn dirs() -> [PathBuf; 2] {
    ["/etc/cdi", "/var/run/cdi"].map(PathBuf::from)
}

/// A device cannot be given to a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CdiError {
    /// It is no name of a device.
    #[error("CDI device {name:?}: a name is written vendor/class=device")]
    Name {
        /// As given.
        name: String,
    },
    /// No file describes it.
    #[error("CDI device {name} is not known{}", told(unreadable))]
    Unknown {
        /// As given.
        name: String,
        /// Files that might, and cannot be read, each with the reason.
        unreadable: Vec<String>,
    },
    /// Two files of one directory describe it.
    #[error("CDI device {name} is described twice: in {} and {}", first.display(), second.display())]
    Twice {
        /// As given.
        name: String,
        /// One of the files.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The host has no such device node.
    #[error("CDI device node {}", path.display())]
    Node {
        /// Its path on the host.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file says something that cannot be done.
    #[error("CDI device: {what} {value:?} is not supported")]
    Unsupported {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// The parts do not make an OCI configuration.
    #[error("OCI configuration")]
    Oci(#[from] OciSpecError),
}

fn told(unreadable: &[String]) -> String {
    match unreadable {
        [] => String::new(),
        some => format!(" ({})", some.join("; ")),
    }
}

/// One file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    cdi_version: String,
    kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: ContainerEdits,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Device {
    name: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: ContainerEdits,
}

/// What a device, or all of a file, changes in a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ContainerEdits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    net_devices: Vec<serde_json::Value>,
    mounts: Vec<Shown>,
    hooks: Vec<NamedHook>,
    intel_rdt: Option<serde_json::Value>,
    #[serde(rename = "additionalGids")]
    additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Node {
    path: PathBuf,
    host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Shown {
    host_path: PathBuf,
    container_path: PathBuf,
    options: Vec<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct NamedHook {
    hook_name: String,
    path: PathBuf,
    args: Vec<String>,
    env: Vec<String>,
    timeout: Option<i64>,
}

/// What the devices of these names change, in their order; what a file says for all its devices comes once, before the
/// first of them. Without names no directory is looked at.
///
/// # Errors
/// [`CdiError::Name`], [`CdiError::Unknown`], [`CdiError::Twice`].
pub(crate) fn edits(names: &[String], dirs: &[PathBuf]) -> Result<Vec<ContainerEdits>, CdiError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let known = Known::read(dirs);
    let mut used: Vec<&Path> = Vec::new();
    let mut all = Vec::new();
    for name in names {
        let (path, file, device) = known.find(name)?;
        if !used.contains(&path) {
            used.push(path);
            all.push(file.container_edits.clone());
        }
        all.push(device.container_edits.clone());
    }
    Ok(all)
}

/// All files, in the order of their directories.
struct Known {
    /// Index of the directory, path, content.
    files: Vec<(usize, PathBuf, File)>,
    unreadable: Vec<String>,
}

impl Known {
    fn read(dirs: &[PathBuf]) -> Known {
        let mut known = Known {
            files: Vec::new(),
            unreadable: Vec::new(),
        };
        for (rank, dir) in dirs.iter().enumerate() {
            // No directory, no devices.
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                match parse(&path) {
                    Some(Ok(file)) => known.files.push((rank, path, file)),
                    Some(Err(why)) => known.unreadable.push(format!("{}: {why}", path.display())),
                    None => {}
                }
            }
        }
        known
    }

    fn find(&self, name: &str) -> Result<(&Path, &File, &Device), CdiError> {
        let (kind, wanted) = split(name).ok_or_else(|| CdiError::Name { name: name.into() })?;
        let mut found: Option<(usize, &Path, &File, &Device)> = None;
        for (rank, path, file) in &self.files {
            let device = file.devices.iter().find(|device| device.name == wanted);
            let Some(device) = device.filter(|_| file.kind == kind) else {
                continue;
            };
            match found {
                Some((before, first, ..)) if before == *rank => {
                    return Err(CdiError::Twice {
                        name: name.into(),
                        first: first.into(),
                        second: path.clone(),
                    });
                }
                _ => found = Some((*rank, path, file, device)),
            }
        }
        match found {
            Some((_, path, file, device)) => Ok((path, file, device)),
            None => Err(CdiError::Unknown {
                name: name.into(),
                unreadable: self.unreadable.clone(),
            }),
        }
    }
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// A file's content, or why there is none; `None` for what is no file of this kind.
fn parse(path: &Path) -> Option<Result<File, String>> {
    let yaml = match path.extension()?.to_str()? {
        "json" => false,
        "yaml" | "yml" => true,
        _ => return None,
    };
    let read = || -> Result<File, String> {
        let bytes = fs::read(path).map_err(|e| e.to_string())?;
        let file: File = match yaml {
            true => serde_saphyr::from_slice(&bytes).map_err(|e| one_line(&e.to_string()))?,
            false => serde_json::from_slice(&bytes).map_err(|e| e.to_string())?,
        };
        let mut version = file.cdi_version.split('.').map(str::parse::<u32>);
        match (version.next(), version.next()) {
            (Some(Ok(0)), Some(Ok(3..))) | (Some(Ok(1)), Some(Ok(0..=1))) => Ok(file),
            _ => Err(format!("version {} is not known", file.cdi_version)),
        }
    };
    Some(read())
}

/// `vendor/class=device` as kind and device.
fn split(name: &str) -> Option<(&str, &str)> {
    let (kind, device) = name.split_once('=')?;
    let (vendor, class) = kind.split_once('/')?;
    let plain = |text: &str, more: &[char], digit_first: bool| {
        let first = |c: char| c.is_ascii_alphabetic() || digit_first && c.is_ascii_digit();
        text.starts_with(first)
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    let good = plain(vendor, &['_', '-', '.'], false)
        && plain(class, &['_', '-', '.'], false)
        && plain(device, &['_', '-', '.', ':'], true);
    good.then_some((kind, device))
}

/// Whether a text is written as a device's name.
pub(crate) fn is_cdi_name(text: &str) -> bool {
    split(text).is_some()
}

/// Looks these devices up.
///
/// # Errors
/// [`CdiError`].
pub(crate) fn check_devices(names: &[String]) -> Result<(), CdiError> {
    edits(names, &dirs()).map(drop)
}

/// Gives a container the devices of these names.
///
/// # Errors
/// [`CdiError`].
pub(crate) fn give_devices(names: &[String], spec: &mut Spec) -> Result<(), CdiError> {
    apply(&edits(names, &dirs())?, spec)
}

#[cfg(test)]
mod tests;
