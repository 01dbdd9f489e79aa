//! `RUN --mount=`.

use super::error::ParseErrorKind;
use super::expand::ExpandError;
use super::suggest::nearest;
use super::values::{fields, parse_bool, parse_size};

/// A mount that a RUN asks for. Targets and sources are as written: a relative target is below the working
/// directory, an empty one is the working directory; a target that comes out as `/` is an error where it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunMount {
    /// A directory or file of the context, a stage or an image.
    Bind {
        /// Where.
        target: String,
        /// A stage, image or named context; the context if none.
        from: Option<String>,
        /// The path in it, empty for its root.
        source: String,
        /// Writes are allowed, and lost.
        read_only: bool,
    },
    /// A directory kept for later builds.
    Cache {
        /// Where.
        target: String,
        /// Its name; the target, cleaned, if none is given.
        id: Option<String>,
        /// What it holds at first; nothing if none.
        from: Option<String>,
        /// The path in `from`, empty for its root.
        source: String,
        /// Whether several builds may write to it at once.
        sharing: Sharing,
        /// Writes fail.
        read_only: bool,
        /// Permissions of a new one.
        mode: u32,
        /// Owner of a new one.
        uid: u32,
        /// Group of a new one.
        gid: u32,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Where.
        target: String,
        /// Bytes at most; the kernel's default if none.
        size: Option<u64>,
    },
    /// A secret, as a file, as a variable or as both.
    Secret {
        /// Its name: `id`, else `source`, else the last part of the target.
        id: String,
        /// The file; none if it is only a variable.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// The build fails without it.
        required: bool,
        /// Permissions of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Its name.
        id: String,
        /// Where; `/run/buildkit/ssh_agent.N` if none.
        target: Option<String>,
        /// The build fails without it.
        required: bool,
        /// Permissions of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// How builds share a cache directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// All write to it at once.
    #[default]
    Shared,
    /// Each that runs at the same time gets its own.
    Private,
    /// One waits for the other.
    Locked,
}

/// A mount that makes no sense; the texts are BuildKit's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum MountError {
    #[error("failed to parse csv mounts: {0}")]
    Csv(&'static str),
    #[error(transparent)]
    Expand(#[from] ExpandError),
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    #[error("unsupported mount type {value:?}{}", did_you_mean(.hint))]
    Type { value: String, hint: Option<String> },
    #[error("unsupported sharing value {value:?}{}", did_you_mean(.hint))]
    Sharing { value: String, hint: Option<String> },
    #[error("unexpected key '{key}' in '{field}'{}", did_you_mean(.hint))]
    Key {
        key: String,
        field: String,
        hint: Option<String>,
    },
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    KeyForType { key: String, kind: &'static str },
    #[error("invalid value for {key}: {value}")]
    Value { key: String, value: String },
    #[error("invalid value {value} for {key}")]
    Number { key: &'static str, value: String },
    #[error("{key} not allowed for \"{kind}\" type mounts")]
    OwnerForType {
        key: &'static str,
        kind: &'static str,
    },
    #[error("invalid cache sharing set for {0} mount")]
    SharingForType(&'static str),
    #[error("secret mount should not have a from")]
    SecretFrom,
    #[error("secret mount should not define sharing")]
    SecretSharing,
    #[error("invalid secret mount. one of source, target required")]
    SecretUnnamed,
    #[error("both source and id can't be set")]
    SecretTwoNames,
    #[error("ssh does not support source")]
    SshSource,
}

fn did_you_mean(hint: &Option<String>) -> String {
    hint.as_ref()
        .map_or_else(String::new, |hint| format!(" (did you mean {hint}?)"))
}

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARING: [&str; 3] = ["shared", "private", "locked"];
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl RunMount {
    /// A value of `--mount=` without variables, such as `type=cache,target=/root/.cache`.
    pub fn parse(text: &str) -> Result<RunMount, MountError> {
        Self::parse_with(text, &mut |value| Ok(value.to_owned()))
    }

    /// As [`Self::parse`], each option's value expanded by `expand` on its own.
    pub fn parse_with(
        text: &str,
        expand: &mut dyn FnMut(&str) -> Result<String, ExpandError>,
    ) -> Result<RunMount, MountError> {
        let mut options = Options::default();
        for field in fields(text).map_err(MountError::Csv)? {
            match field.split_once('=') {
                Some((key, value)) => options.set(&field, &key.to_lowercase(), expand(value)?)?,
                None => options.set_flag(&field)?,
            }
        }
        options.finish()
    }
}

/// Options as they are read; which of them go together is told at the end.
#[derive(Default)]
struct Options {
    /// An index into `TYPES`.
    kind: Option<&'static str>,
    from: Option<String>,
    source: String,
    target: String,
    id: Option<String>,
    env: Option<String>,
    read_only: Option<bool>,
    required: bool,
    size: Option<u64>,
    sharing: Option<Sharing>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Options {
    fn kind(&self) -> &'static str {
        self.kind.unwrap_or("bind")
    }

    /// An option without a value.
    fn set_flag(&mut self, field: &str) -> Result<(), MountError> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            key @ "required" => {
                self.only_for(key, &["secret", "ssh"])?;
                self.required = true;
            }
            _ => return Err(MountError::NoValue(field.to_owned())),
        }
        Ok(())
    }

    fn set(&mut self, field: &str, key: &str, value: String) -> Result<(), MountError> {
        let bool = |value: &str| {
            parse_bool(value).ok_or_else(|| MountError::Value {
                key: key.to_owned(),
                value: value.to_owned(),
            })
        };
        let number = |key, value: String| {
            // Go's parser takes no sign.
            let plain = value.bytes().all(|byte| byte.is_ascii_digit());
            let number = if plain { value.parse().ok() } else { None };
            number.map(Some).ok_or(MountError::Number { key, value })
        };
        match key {
            "type" => {
                let lower = value.to_lowercase();
                let Some(kind) = TYPES.into_iter().find(|kind| *kind == lower) else {
                    let hint = nearest(&value, TYPES, true);
                    return Err(MountError::Type { value: lower, hint });
                };
                self.kind = Some(kind);
            }
            "from" => self.from = Some(value).filter(|from| !from.is_empty()),
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => self.read_only = Some(bool(&value)?),
            "readwrite" | "rw" => self.read_only = Some(!bool(&value)?),
            "required" => {
                self.only_for(key, &["secret", "ssh"])?;
                self.required = bool(&value)?;
            }
            "size" => {
                self.only_for(key, &["tmpfs"])?;
                let Some(size) = parse_size(&value) else {
                    return Err(MountError::Value {
                        key: key.to_owned(),
                        value,
                    });
                };
                self.size = Some(size).filter(|size| *size > 0);
            }
            "id" => self.id = Some(value).filter(|id| !id.is_empty()),
            "sharing" => {
                self.sharing = Some(match value.to_lowercase().as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    lower => {
                        let hint = nearest(&value, SHARING, true);
                        return Err(MountError::Sharing {
                            value: lower.to_owned(),
                            hint,
                        });
                    }
                });
            }
            "mode" => {
                let octal =
                    !value.is_empty() && value.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
                let mode = if octal {
                    u32::from_str_radix(&value, 8).ok()
                } else {
                    None
                };
                self.mode = Some(mode.ok_or(MountError::Number { key: "mode", value })?);
            }
            "uid" => self.uid = number("uid", value)?,
            "gid" => self.gid = number("gid", value)?,
            "env" => self.env = Some(value),
            _ => {
                let hint = nearest(key, KEYS, true);
                return Err(MountError::Key {
                    key: key.to_owned(),
                    field: field.to_owned(),
                    hint,
                });
            }
        }
        Ok(())
    }

    /// The type has to be told before an option that only some have.
    fn only_for(&self, key: &str, kinds: &[&str]) -> Result<(), MountError> {
        let kind = self.kind();
        if kinds.contains(&kind) {
            return Ok(());
        }
        Err(MountError::KeyForType {
            key: key.to_owned(),
            kind,
        })
    }

    fn finish(self) -> Result<RunMount, MountError> {
        let kind = self.kind();
        if matches!(kind, "bind" | "tmpfs") {
            let given = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
            if let Some((key, _)) = given.into_iter().find(|(_, value)| value.is_some()) {
                return Err(MountError::OwnerForType { key, kind });
            }
        }
        match kind {
            "secret" => return self.secret(),
            _ if self.sharing.is_some() && kind != "cache" => {
                return Err(MountError::SharingForType(kind));
            }
            "ssh" => return self.ssh(),
            _ => {}
        }
        let Options {
            target,
            from,
            source,
            read_only,
            ..
        } = self;
        Ok(match kind {
            "tmpfs" => RunMount::Tmpfs {
                target,
                size: self.size,
            },
            "cache" => RunMount::Cache {
                target,
                id: self.id,
                from,
                source,
                sharing: self.sharing.unwrap_or_default(),
                read_only: read_only.unwrap_or(false),
                mode: self.mode.unwrap_or(0o755),
                uid: self.uid.unwrap_or(0),
                gid: self.gid.unwrap_or(0),
            },
            _ => RunMount::Bind {
                target,
                from,
                source,
                read_only: read_only.unwrap_or(true),
            },
        })
    }

    fn secret(self) -> Result<RunMount, MountError> {
        if self.from.is_some() {
            return Err(MountError::SecretFrom);
        }
        if self.sharing.is_some() {
            return Err(MountError::SecretSharing);
        }
        let target = Some(self.target).filter(|target| !target.is_empty());
        let id = match (self.id, self.source, &target) {
            (Some(_), source, _) if !source.is_empty() => return Err(MountError::SecretTwoNames),
            (Some(id), _, _) => id,
            (None, source, _) if !source.is_empty() => source,
            (None, _, Some(target)) => base_name(target).to_owned(),
            (None, _, None) => return Err(MountError::SecretUnnamed),
        };
        let target = match (target, &self.env) {
            (None, None) => Some(format!("/run/secrets/{}", base_name(&id))),
            (target, _) => target,
        };
        Ok(RunMount::Secret {
            id,
            target,
            env: self.env,
            required: self.required,
            mode: self.mode.unwrap_or(0o400),
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
        })
    }

    fn ssh(self) -> Result<RunMount, MountError> {
        if !self.source.is_empty() {
            return Err(MountError::SshSource);
        }
        Ok(RunMount::Ssh {
            id: self.id.unwrap_or_else(|| "default".to_owned()),
            target: Some(self.target).filter(|target| !target.is_empty()),
            required: self.required,
            mode: self.mode.unwrap_or(0o600),
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
        })
    }
}

/// What can be told before the variables are known.
pub(super) fn check(text: &str) -> Result<(), ParseErrorKind> {
    let fields = fields(text).map_err(|why| ParseErrorKind::MountCsv(why.to_owned()))?;
    let has_variable = |value: &str| value.find('$').is_some_and(|at| at + 1 != value.len());
    let from = fields.iter().filter_map(|field| field.split_once('='));
    match from
        .filter(|(key, _)| key.eq_ignore_ascii_case("from"))
        .any(|(_, value)| has_variable(value))
    {
        true => Err(ParseErrorKind::VariableInMountFrom),
        false => Ok(()),
    }
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path)
}

#[cfg(test)]
#[path = "mount_tests.rs"]
mod tests;
