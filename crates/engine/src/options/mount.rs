//! `-v` and `--tmpfs`.

use std::path::Path;

use super::{
    MountFlagError, MountKind, MountSpec, ParseError, Relabel, check_volume_name, parse_size,
};

pub(super) const PROPAGATIONS: [&str; 6] = [
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

impl MountSpec {
    /// Reads `-v`: `/host:/container[:options]`, `name:/container[:options]` or `/container`. A source that starts
    /// with `.` is taken from the current directory.
    ///
    /// # Errors
    /// [`ParseError`] in Docker's words.
    pub fn from_volume(text: &str) -> Result<MountSpec, ParseError> {
        let parts: Vec<&str> = text.split(':').collect();
        if parts.iter().any(|p| p.is_empty()) {
            return Err(MountFlagError::VolumeEmptySection {
                value: text.to_owned(),
            }
            .into());
        }
        let (source, target, mode) = match parts[..] {
            [target] => (None, target, ""),
            [source, target] => (Some(source), target, ""),
            [source, target, mode] => (Some(source), target, mode),
            _ => {
                return Err(MountFlagError::Volume {
                    value: text.to_owned(),
                }
                .into());
            }
        };
        let source = source.map(absolute_source).transpose()?;
        let kind = match &source {
            Some(source) if source.starts_with('/') => MountKind::Bind,
            Some(name) => check_volume_name(name).map(|()| MountKind::Volume)?,
            None => MountKind::Volume,
        };
        let modes = VolumeModes::parse(mode, kind)?;
        Ok(MountSpec {
            kind,
            read_only: modes.read_only,
            propagation: modes.propagation,
            create_source: kind == MountKind::Bind,
            copy: kind == MountKind::Volume && !modes.nocopy,
            tmpfs_options: Vec::new(),
            mode: match (kind, &source, mode) {
                // Docker shows `z` for a named volume without options.
                (MountKind::Volume, Some(_), "") => "z".to_owned(),
                _ => mode.to_owned(),
            },
            target: check_target(target)?,
            source,
            relabel: modes.relabel,
            ..MountSpec::default()
        })
    }

    /// Reads `--tmpfs`: `/container[:options]`.
    ///
    /// # Errors
    /// [`MountFlagError::MountPath`], [`MountFlagError::MountRoot`] or [`MountFlagError::TmpfsOption`].
    pub fn from_tmpfs(text: &str) -> Result<MountSpec, ParseError> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let tmpfs_options: Vec<String> = options
            .split(',')
            .filter(|o| !o.is_empty())
            .map(str::to_owned)
            .collect();
        for option in &tmpfs_options {
            check_tmpfs_option(option)?;
        }
        Ok(MountSpec {
            kind: MountKind::Tmpfs,
            source: None,
            target: check_target(target)?,
            read_only: tmpfs_options.iter().rev().find_map(|o| match o.as_str() {
                "ro" => Some(true),
                "rw" => Some(false),
                _ => None,
            }) == Some(true),
            propagation: None,
            create_source: false,
            copy: false,
            tmpfs_options,
            mode: options.to_owned(),
            ..MountSpec::default()
        })
    }
}

#[derive(Default)]
struct VolumeModes {
    read_only: bool,
    nocopy: bool,
    propagation: Option<String>,
    relabel: Relabel,
}

impl VolumeModes {
    /// Each kind of option may be given once; propagation belongs to binds, `nocopy` to volumes.
    fn parse(mode: &str, kind: MountKind) -> Result<VolumeModes, ParseError> {
        let fail = || MountFlagError::VolumeMode {
            mode: mode.to_owned(),
        };
        let mut modes = VolumeModes::default();
        let mut seen = [false; 5];
        for option in mode.split(',').filter(|_| !mode.is_empty()) {
            let group = match option {
                "ro" | "rw" => {
                    modes.read_only = option == "ro";
                    0
                }
                "z" | "Z" => {
                    modes.relabel = match option {
                        "z" => Relabel::Shared,
                        _ => Relabel::Private,
                    };
                    1
                }
                "nocopy" if kind == MountKind::Volume => {
                    modes.nocopy = true;
                    2
                }
                // Docker Desktop's words: without meaning on Linux, for Docker too.
                "consistent" | "cached" | "delegated" => 3,
                _ if PROPAGATIONS.contains(&option) && kind == MountKind::Bind => {
                    modes.propagation = Some(option.to_owned());
                    4
                }
                _ => return Err(fail().into()),
            };
            if std::mem::replace(&mut seen[group], true) {
                return Err(fail().into());
            }
        }
        Ok(modes)
    }
}

/// The options that tmpfs and the mount flags know, as Docker allows them.
pub(super) fn check_tmpfs_option(option: &str) -> Result<(), ParseError> {
    let flags = [
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "sync",
        "async",
        "dirsync",
    ];
    let number = |v: &str| v.parse::<u32>().is_ok();
    let good = match option.split_once('=') {
        None => flags.contains(&option),
        Some(("size" | "nr_blocks", value)) => value
            .strip_suffix('%')
            .map_or_else(|| parse_size(value).is_ok(), number),
        Some(("nr_inodes", value)) => parse_size(value).is_ok(),
        Some(("mode", value)) => u32::from_str_radix(value, 8).is_ok_and(|m| m <= 0o7777),
        Some(("uid" | "gid", value)) => number(value),
        Some(("mpol", value)) => !value.is_empty(),
        Some(_) => false,
    };
    if good {
        Ok(())
    } else {
        Err(MountFlagError::TmpfsOption {
            option: option.to_owned(),
        }
        .into())
    }
}

/// A relative source that starts with a dot counts from the current directory, as Docker's command line does it.
pub(super) fn absolute_source(source: &str) -> Result<String, ParseError> {
    if source != "." && source != ".." && !source.starts_with("./") && !source.starts_with("../") {
        return Ok(if source.starts_with('/') {
            clean_path(source)
        } else {
            source.to_owned()
        });
    }
    let file = Path::new(source);
    let here = std::env::current_dir().map_err(|e| ParseError::File {
        file: file.into(),
        source: e,
    })?;
    match here.join(file).to_str() {
        Some(path) => Ok(clean_path(path)),
        None => Err(MountFlagError::Volume {
            value: source.to_owned(),
        }
        .into()),
    }
}

pub(super) fn check_target(target: &str) -> Result<String, ParseError> {
    if !target.starts_with('/') {
        return Err(MountFlagError::MountPath {
            path: target.to_owned(),
        }
        .into());
    }
    match clean_path(target) {
        root if root == "/" => Err(MountFlagError::MountRoot.into()),
        clean => Ok(clean),
    }
}

/// Removes `.`, `..` and doubled slashes from an absolute path, by text alone.
pub(crate) fn clean_path(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(text: &str) -> MountSpec {
        MountSpec::from_volume(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn volumes() {
        let bind = volume("/h:/c");
        assert_eq!(
            (bind.kind, bind.source.as_deref(), bind.target.as_str()),
            (MountKind::Bind, Some("/h"), "/c")
        );
        assert!(bind.create_source && !bind.read_only && !bind.copy && bind.mode.is_empty());
        let bind = volume("/h//x/:/c/../d/:ro,rslave");
        assert_eq!(
            (bind.source.as_deref(), bind.target.as_str()),
            (Some("/h/x"), "/d")
        );
        assert!(
            bind.read_only
                && bind.propagation.as_deref() == Some("rslave")
                && bind.mode == "ro,rslave"
        );
        let named = volume("data:/var/lib/x");
        assert_eq!(
            (named.kind, named.source.as_deref(), named.copy),
            (MountKind::Volume, Some("data"), true)
        );
        assert_eq!(named.mode, "z");
        assert!(!volume("data:/x:nocopy").copy);
        let anonymous = volume("/data");
        assert_eq!(
            (anonymous.kind, anonymous.source, anonymous.copy),
            (MountKind::Volume, None, true)
        );
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            volume("./sub:/c").source.unwrap(),
            here.join("sub").to_str().unwrap()
        );
    }

    #[test]
    fn whose_selinux_label_files_get() {
        for (text, relabel) in [
            ("/h:/c:z", Relabel::Shared),
            ("/h:/c:ro,Z", Relabel::Private),
            ("data:/c:Z", Relabel::Private),
            ("/h:/c:ro", Relabel::Unsaid),
            ("data:/c", Relabel::Unsaid),
        ] {
            assert_eq!(volume(text).relabel, relabel, "{text}");
        }
        let both = MountSpec::from_volume("/h:/c:z,Z").unwrap_err();
        assert_eq!(both.to_string(), "invalid mode: z,Z");
    }

    #[test]
    fn bad_volumes() {
        for (text, message) in [
            ("", "invalid spec: : empty section between colons"),
            (
                "/h::/c",
                "invalid spec: /h::/c: empty section between colons",
            ),
            ("/h:/c:ro:rw", "invalid volume specification: '/h:/c:ro:rw'"),
            ("/h:/c:foo", "invalid mode: foo"),
            ("/h:/c:ro,rw", "invalid mode: ro,rw"),
            ("/h:/c:nocopy", "invalid mode: nocopy"),
            ("name:/c:rshared", "invalid mode: rshared"),
            (
                "/h:c",
                "invalid mount path: 'c' mount path must be absolute",
            ),
            (
                "data",
                "invalid mount path: 'data' mount path must be absolute",
            ),
            ("/h:/", "invalid specification: destination can't be '/'"),
            (
                "/h:/a/..",
                "invalid specification: destination can't be '/'",
            ),
        ] {
            assert_eq!(
                MountSpec::from_volume(text).unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
        let message = MountSpec::from_volume("sub/dir:/c")
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("\"sub/dir\" includes invalid characters for a local volume name"),
            "{message}"
        );
    }

    #[test]
    fn tmpfs() {
        let spec = MountSpec::from_tmpfs("/run:size=64m,mode=1770,exec").unwrap();
        assert_eq!(
            (spec.kind, spec.target.as_str()),
            (MountKind::Tmpfs, "/run")
        );
        assert_eq!(spec.tmpfs_options, ["size=64m", "mode=1770", "exec"]);
        assert!(
            MountSpec::from_tmpfs("/run")
                .unwrap()
                .tmpfs_options
                .is_empty()
        );
        assert!(MountSpec::from_tmpfs("/run:ro").unwrap().read_only);
        for text in ["/run:bind", "/run:size=x", "/run:foo=1", "/run:mode=8"] {
            assert!(
                MountSpec::from_tmpfs(text)
                    .unwrap_err()
                    .to_string()
                    .starts_with("invalid tmpfs option"),
                "{text}"
            );
        }
        assert!(MountSpec::from_tmpfs("run").is_err());
    }
}
