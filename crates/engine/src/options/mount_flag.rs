//! `--mount`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::mount::{PROPAGATIONS, absolute_source, check_target, check_tmpfs_option};
use super::{
    BindRecursion, MountFlagError, MountKind, MountSpec, ParseError, Relabel, check_volume_name,
    parse_size,
};

impl MountSpec {
    /// Reads `--mount`: `type=bind|volume|tmpfs|image,src=…,dst=…[,readonly]…`, fields quoted as in CSV where they hold
    /// a comma.
    ///
    /// # Errors
    /// [`ParseError`] in Docker's words.
    pub fn from_mount(text: &str) -> Result<MountSpec, ParseError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(MountFlagError::MountEmpty.into());
        }
        let mut fields = MountFields::default();
        for field in split_csv(text) {
            fields.read(&field)?;
        }
        fields.finish()
    }
}

#[derive(Default)]
struct MountFields {
    kind: Option<MountKind>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<String>,
    nocopy: bool,
    create_source: bool,
    recursion: BindRecursion,
    subpath: Option<String>,
    driver: Option<String>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    tmpfs_options: Vec<String>,
    /// `bind`, `volume`, … of the keys given.
    groups: BTreeSet<&'static str>,
}

/// Keys that may stand without a value.
const SWITCHES: [&str; 5] = [
    "readonly",
    "ro",
    "volume-nocopy",
    "bind-nonrecursive",
    "bind-create-src",
];

impl MountFields {
    fn read(&mut self, field: &str) -> Result<(), ParseError> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let key = key.to_ascii_lowercase();
        if value.is_none() && !SWITCHES.contains(&key.as_str()) {
            return Err(MountFlagError::MountField {
                field: field.to_owned(),
            }
            .into());
        }
        let bad = |value: &str| MountFlagError::MountValue {
            key: key.clone(),
            value: value.to_owned(),
        };
        let flag =
            |value: Option<&str>| value.map_or(Ok(true), |v| parse_bool(v).ok_or_else(|| bad(v)));
        let text = value.unwrap_or_default();
        match key.as_str() {
            "type" => self.kind = Some(kind(text)?),
            "source" | "src" => self.source = Some(text.to_owned()).filter(|s| !s.is_empty()),
            "target" | "dst" | "destination" => self.target = Some(text.to_owned()),
            "readonly" | "ro" => self.read_only = flag(value)?,
            "bind-propagation" => {
                let propagation = text.to_ascii_lowercase();
                if !PROPAGATIONS.contains(&propagation.as_str()) {
                    return Err(bad(text).into());
                }
                self.propagation = Some(propagation);
            }
            "bind-create-src" => self.create_source = flag(value)?,
            "bind-nonrecursive" => {
                if flag(value)? {
                    self.recursion = BindRecursion::Disabled;
                }
            }
            "bind-recursive" => self.recursion = recursion(&key, text)?,
            "volume-nocopy" => self.nocopy = flag(value)?,
            "volume-subpath" | "image-subpath" => self.subpath = Some(text.to_owned()),
            "volume-driver" => self.driver = Some(text.to_owned()),
            "volume-opt" => put(&mut self.options, text),
            "volume-label" => put(&mut self.labels, text),
            "tmpfs-size" => {
                let size = parse_size(text).map_err(|_| bad(text))?;
                self.tmpfs_options.push(format!("size={size}"));
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(text, 8)
                    .ok()
                    .filter(|m| *m <= 0o7777)
                    .ok_or_else(|| bad(text))?;
                self.tmpfs_options.push(format!("mode={mode:o}"));
            }
            "tmpfs-options" => {
                for option in text.split(',').filter(|option| !option.is_empty()) {
                    check_tmpfs_option(option)?;
                    self.tmpfs_options.push(option.to_owned());
                }
            }
            "consistency" => {}
            _ => {
                return Err(MountFlagError::MountKey {
                    key,
                    field: field.to_owned(),
                }
                .into());
            }
        }
        let groups = ["bind", "volume", "tmpfs", "image"];
        let group = groups.into_iter().find(|group| {
            let rest = key.strip_prefix(group);
            rest.is_some_and(|rest| rest.starts_with('-'))
        });
        self.groups.extend(group);
        Ok(())
    }

    fn finish(self) -> Result<MountSpec, ParseError> {
        let kind = self.kind.unwrap_or(MountKind::Volume);
        let target = self
            .target
            .as_ref()
            .filter(|t| !t.is_empty())
            .ok_or(MountFlagError::MountMissing { key: "target" })?;
        let target = check_target(target)?;
        // Docker looks at them in this order.
        for group in ["volume", "image", "bind", "tmpfs"] {
            if self.groups.contains(group) && group != kind.as_str() {
                return Err(MountFlagError::MountMix {
                    key: group.to_owned(),
                    kind: kind.as_str(),
                }
                .into());
            }
        }
        self.check_recursion()?;
        let source = self.checked_source(kind)?;
        self.check_subpath(kind, source.is_none())?;
        let mut tmpfs_options = self.tmpfs_options;
        if kind == MountKind::Tmpfs && self.read_only {
            tmpfs_options.push("ro".to_owned());
        }
        let subpath = self.subpath.filter(|path| !path.is_empty());
        Ok(MountSpec {
            kind,
            source,
            target,
            read_only: self.read_only || kind == MountKind::Image,
            propagation: self.propagation,
            create_source: self.create_source,
            copy: kind == MountKind::Volume && !self.nocopy && subpath.is_none(),
            tmpfs_options,
            // Docker's word for a volume without options.
            mode: match kind {
                MountKind::Volume => "z".to_owned(),
                _ => String::new(),
            },
            by_mount_flag: true,
            subpath,
            recursion: self.recursion,
            relabel: Relabel::Unsaid,
            volume_driver: self.driver.filter(|driver| !driver.is_empty()),
            volume_options: self.options,
            volume_labels: self.labels,
        })
    }

    fn check_recursion(&self) -> Result<(), ParseError> {
        let needs = |recursion, required| {
            Err(MountFlagError::BindRecursionNeeds {
                recursion,
                required,
            }
            .into())
        };
        let private = self.propagation.as_deref() == Some("rprivate");
        match self.recursion {
            BindRecursion::Writable if !self.read_only => needs("writable", "readonly"),
            BindRecursion::Readonly if !self.read_only => needs("readonly", "readonly"),
            BindRecursion::Readonly if !private => needs("readonly", "bind-propagation=rprivate"),
            _ => Ok(()),
        }
    }

    fn checked_source(&self, kind: MountKind) -> Result<Option<String>, ParseError> {
        let config = |reason| {
            Err(MountFlagError::MountConfig {
                kind: kind.as_str(),
                reason,
            }
            .into())
        };
        match (kind, &self.source) {
            (MountKind::Bind, Some(source)) => {
                let source = absolute_source(source)?;
                if !source.starts_with('/') {
                    return Err(MountFlagError::BindSource {
                        source_path: source,
                    }
                    .into());
                }
                Ok(Some(source))
            }
            (MountKind::Bind | MountKind::Image, None) => config("field Source must not be empty"),
            (MountKind::Volume, Some(name)) => {
                check_volume_name(name)?;
                Ok(Some(name.clone()))
            }
            (MountKind::Volume, None) if self.read_only => {
                config("must not set ReadOnly mode when using anonymous volumes")
            }
            (MountKind::Tmpfs, Some(_)) => config("field Source must not be specified"),
            (MountKind::Image, Some(name)) => Ok(Some(name.clone())),
            (MountKind::Volume | MountKind::Tmpfs, None) => Ok(None),
        }
    }

    fn check_subpath(&self, kind: MountKind, anonymous: bool) -> Result<(), ParseError> {
        let reason = match self.subpath.as_deref() {
            None | Some("") => return Ok(()),
            Some(_) if anonymous => "must not set Subpath when using anonymous volumes",
            Some(path) if !is_local(path) => "subpath must be a relative path within the volume",
            Some(_) => return Ok(()),
        };
        Err(MountFlagError::MountConfig {
            kind: kind.as_str(),
            reason,
        }
        .into())
    }
}

fn kind(text: &str) -> Result<MountKind, ParseError> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        "image" => MountKind::Image,
        _ => {
            return Err(MountFlagError::MountType {
                value: text.to_owned(),
            }
            .into());
        }
    })
}

fn recursion(key: &str, text: &str) -> Result<BindRecursion, ParseError> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "enabled" => BindRecursion::Enabled,
        "disabled" => BindRecursion::Disabled,
        "writable" => BindRecursion::Writable,
        "readonly" => BindRecursion::Readonly,
        _ => {
            return Err(MountFlagError::BindRecursion {
                key: key.to_owned(),
                value: text.to_owned(),
            }
            .into());
        }
    })
}

/// `NAME=VALUE`, or a name without a value; no name is nothing.
fn put(to: &mut BTreeMap<String, String>, text: &str) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if !name.is_empty() {
        to.insert(name.to_owned(), value.to_owned());
    }
}

/// Go's `filepath.IsLocal`: it does not lead out, as far as its words tell.
fn is_local(path: &str) -> bool {
    let mut depth = 0_i64;
    for component in Path::new(path).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    true
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Splits one line of comma-separated values; `"a,b"` is one field, `""` inside it a quotation mark.
pub(super) fn split_csv(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let last = fields.len() - 1;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields[last].push('"');
            }
            '"' if quoted || fields[last].is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields[last].push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests;
