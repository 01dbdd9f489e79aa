//! `-v`, `--mount` and `--tmpfs`.

use std::path::Path;

use super::{MountKind, MountSpec, ParseError, check_volume_name, parse_size};

const PROPAGATIONS: [&str; 6] = [
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

impl MountSpec {
    /// Reads `-v`: `/host:/container[:options]`, `name:/container[:options]` or `/container`. A source that starts
    /// with `.` is taken from the current directory. Gives a warning beside it where an option has no effect here.
    ///
    /// # Errors
    /// [`ParseError`] in Docker's words.
    pub fn from_volume(text: &str) -> Result<(MountSpec, Option<String>), ParseError> {
        let parts: Vec<&str> = text.split(':').collect();
        if parts.iter().any(|p| p.is_empty()) {
            return Err(ParseError::VolumeEmptySection {
                value: text.to_owned(),
            });
        }
        let (source, target, mode) = match parts[..] {
            [target] => (None, target, ""),
            [source, target] => (Some(source), target, ""),
            [source, target, mode] => (Some(source), target, mode),
            _ => {
                return Err(ParseError::Volume {
                    value: text.to_owned(),
                });
            }
        };
        let source = source.map(absolute_source).transpose()?;
        let kind = match &source {
            Some(source) if source.starts_with('/') => MountKind::Bind,
            Some(name) => check_volume_name(name).map(|()| MountKind::Volume)?,
            None => MountKind::Volume,
        };
        let modes = VolumeModes::parse(mode, kind)?;
        let warning = modes
            .relabel
            .map(|z| format!("{text}: option {z} is ignored: there are no SELinux labels here"));
        let spec = MountSpec {
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
        };
        Ok((spec, warning))
    }

    /// Reads `--tmpfs`: `/container[:options]`.
    ///
    /// # Errors
    /// [`ParseError::MountPath`], [`ParseError::MountRoot`] or [`ParseError::TmpfsOption`].
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
        })
    }

    /// Reads `--mount`: `type=bind|volume|tmpfs,src=…,dst=…[,readonly]…`, fields quoted as in CSV where they hold a
    /// comma.
    ///
    /// # Errors
    /// [`ParseError`] in Docker's words; keys that this version does not have are refused by name.
    pub fn from_mount(text: &str) -> Result<MountSpec, ParseError> {
        let mut fields = MountFields::default();
        for field in split_csv(text) {
            fields.read(&field)?;
        }
        fields.finish()
    }
}

#[derive(Default)]
struct VolumeModes {
    read_only: bool,
    nocopy: bool,
    propagation: Option<String>,
    relabel: Option<&'static str>,
}

impl VolumeModes {
    /// Each kind of option may be given once; propagation belongs to binds, `nocopy` to volumes.
    fn parse(mode: &str, kind: MountKind) -> Result<VolumeModes, ParseError> {
        let fail = || ParseError::VolumeMode {
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
                    modes.relabel = Some(if option == "z" { "z" } else { "Z" });
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
                _ => return Err(fail()),
            };
            if std::mem::replace(&mut seen[group], true) {
                return Err(fail());
            }
        }
        Ok(modes)
    }
}

#[derive(Default)]
struct MountFields {
    kind: Option<MountKind>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<String>,
    nocopy: Option<bool>,
    create_source: bool,
    tmpfs_options: Vec<String>,
    bind_key: Option<String>,
}

impl MountFields {
    fn read(&mut self, field: &str) -> Result<(), ParseError> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let key = key.to_ascii_lowercase();
        if value.is_none()
            && !matches!(
                key.as_str(),
                "readonly" | "ro" | "volume-nocopy" | "bind-create-src"
            )
        {
            return Err(ParseError::MountField {
                field: field.to_owned(),
            });
        }
        let bad = |value: &str| ParseError::MountValue {
            key: key.clone(),
            value: value.to_owned(),
        };
        let flag =
            |value: Option<&str>| value.map_or(Ok(true), |v| parse_bool(v).ok_or_else(|| bad(v)));
        let text = value.unwrap_or_default();
        match key.as_str() {
            "type" => {
                self.kind = Some(match text.to_ascii_lowercase().as_str() {
                    "bind" => MountKind::Bind,
                    "volume" => MountKind::Volume,
                    "tmpfs" => MountKind::Tmpfs,
                    _ => {
                        return Err(ParseError::MountType {
                            value: text.to_owned(),
                        });
                    }
                });
            }
            "source" | "src" => self.source = Some(text.to_owned()).filter(|s| !s.is_empty()),
            "target" | "dst" | "destination" => self.target = Some(text.to_owned()),
            "readonly" | "ro" => self.read_only = flag(value)?,
            "bind-propagation" => {
                let propagation = text.to_ascii_lowercase();
                if !PROPAGATIONS.contains(&propagation.as_str()) {
                    return Err(bad(text));
                }
                self.propagation = Some(propagation);
                self.bind_key = Some(key);
            }
            "bind-create-src" => {
                self.create_source = flag(value)?;
                self.bind_key = Some(key);
            }
            "volume-nocopy" => self.nocopy = Some(flag(value)?),
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
            "consistency" => {}
            _ => {
                return Err(ParseError::MountKey {
                    key,
                    field: field.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<MountSpec, ParseError> {
        let kind = self.kind.unwrap_or(MountKind::Volume);
        let target = self
            .target
            .filter(|t| !t.is_empty())
            .ok_or(ParseError::MountMissing { key: "target" })?;
        let mix = |key: &str, kind| {
            Err(ParseError::MountMix {
                key: key.to_owned(),
                kind,
            })
        };
        match (
            &self.bind_key,
            self.nocopy,
            self.tmpfs_options.first(),
            kind,
        ) {
            (Some(key), _, _, MountKind::Volume) => return mix(key, "volume"),
            (Some(key), _, _, MountKind::Tmpfs) => return mix(key, "tmpfs"),
            (_, Some(_), _, MountKind::Bind) => return mix("volume-nocopy", "bind"),
            (_, Some(_), _, MountKind::Tmpfs) => return mix("volume-nocopy", "tmpfs"),
            (_, _, Some(_), MountKind::Bind) => return mix("tmpfs-*", "bind"),
            (_, _, Some(_), MountKind::Volume) => return mix("tmpfs-*", "volume"),
            _ => {}
        }
        let source = match (kind, self.source) {
            (MountKind::Bind, Some(source)) => {
                let source = absolute_source(&source)?;
                if !source.starts_with('/') {
                    return Err(ParseError::BindSource {
                        source_path: source,
                    });
                }
                Some(source)
            }
            (MountKind::Bind, None) => return Err(ParseError::MountMissing { key: "source" }),
            (MountKind::Volume, Some(name)) => {
                check_volume_name(&name)?;
                Some(name)
            }
            (MountKind::Tmpfs, Some(_)) => return mix("source", "tmpfs"),
            (_, None) => None,
        };
        let mut tmpfs_options = self.tmpfs_options;
        if kind == MountKind::Tmpfs && self.read_only {
            tmpfs_options.push("ro".to_owned());
        }
        Ok(MountSpec {
            kind,
            source,
            target: check_target(&target)?,
            read_only: self.read_only,
            propagation: self.propagation,
            create_source: self.create_source,
            copy: kind == MountKind::Volume && self.nocopy != Some(true),
            tmpfs_options,
            mode: String::new(),
        })
    }
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The options that tmpfs and the mount flags know, as Docker allows them.
fn check_tmpfs_option(option: &str) -> Result<(), ParseError> {
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
            .map_or_else(|| parse_size(value).is_ok(), |percent| number(percent)),
        Some(("nr_inodes", value)) => parse_size(value).is_ok(),
        Some(("mode", value)) => u32::from_str_radix(value, 8).is_ok_and(|m| m <= 0o7777),
        Some(("uid" | "gid", value)) => number(value),
        Some(("mpol", value)) => !value.is_empty(),
        Some(_) => false,
    };
    if good {
        Ok(())
    } else {
        Err(ParseError::TmpfsOption {
            option: option.to_owned(),
        })
    }
}

/// A relative source that starts with a dot counts from the current directory, as Docker's command line does it.
fn absolute_source(source: &str) -> Result<String, ParseError> {
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
        None => Err(ParseError::Volume {
            value: source.to_owned(),
        }),
    }
}

fn check_target(target: &str) -> Result<String, ParseError> {
    if !target.starts_with('/') {
        return Err(ParseError::MountPath {
            path: target.to_owned(),
        });
    }
    match clean_path(target) {
        root if root == "/" => Err(ParseError::MountRoot),
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

/// Splits one line of comma-separated values; `"a,b"` is one field, `""` inside it a quotation mark.
fn split_csv(line: &str) -> Vec<String> {
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
mod tests {
    use super::*;

    fn volume(text: &str) -> MountSpec {
        MountSpec::from_volume(text)
            .unwrap_or_else(|e| panic!("{text}: {e}"))
            .0
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
    fn selinux_relabelling_is_ignored_with_a_word() {
        for text in ["/h:/c:z", "/h:/c:ro,Z"] {
            let (_, warning) = MountSpec::from_volume(text).unwrap();
            assert!(warning.unwrap().contains("ignored"), "{text}");
        }
        assert!(MountSpec::from_volume("/h:/c:ro").unwrap().1.is_none());
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
    fn mounts() {
        let bind =
            MountSpec::from_mount("type=bind,src=/h,dst=/c,readonly,bind-propagation=rshared")
                .unwrap();
        assert_eq!(
            (bind.kind, bind.source.as_deref(), bind.target.as_str()),
            (MountKind::Bind, Some("/h"), "/c")
        );
        assert!(
            bind.read_only && !bind.create_source && bind.propagation.as_deref() == Some("rshared")
        );
        let volume =
            MountSpec::from_mount("source=vol,target=/c,volume-nocopy=true,ro=false").unwrap();
        assert_eq!(
            (volume.kind, volume.copy, volume.read_only),
            (MountKind::Volume, false, false)
        );
        let tmpfs =
            MountSpec::from_mount("type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=1770")
                .unwrap();
        assert_eq!(tmpfs.tmpfs_options, ["size=1048576", "mode=1770"]);
        let quoted = MountSpec::from_mount("type=bind,\"src=/a,b\",dst=/c").unwrap();
        assert_eq!(quoted.source.as_deref(), Some("/a,b"));
    }

    #[test]
    fn bad_mounts() {
        for (text, message) in [
            ("type=bind,src=/h", "target is required"),
            ("type=bind,dst=/c", "source is required"),
            (
                "type=foo,dst=/c",
                "mount type unknown: \"foo\": only bind, volume and tmpfs are known",
            ),
            (
                "type=bind,src=/h,dst=/c,colour=red",
                "unexpected key 'colour' in 'colour=red'",
            ),
            (
                "type=volume,src=vol,dst=/c,volume-driver=x",
                "unexpected key 'volume-driver' in 'volume-driver=x'",
            ),
            (
                "type=bind,src",
                "invalid field 'src' must be a key=value pair",
            ),
            (
                "type=bind,src=/h,dst=/c,ro=maybe",
                "invalid value for ro: maybe",
            ),
            (
                "type=volume,src=vol,dst=/c,bind-propagation=shared",
                "cannot mix 'bind-propagation' with mount type 'volume'",
            ),
            (
                "type=tmpfs,src=/h,dst=/c",
                "cannot mix 'source' with mount type 'tmpfs'",
            ),
            (
                "type=tmpfs,dst=/c,tmpfs-mode=9",
                "invalid value for tmpfs-mode: 9",
            ),
            (
                "type=bind,src=h,dst=/c",
                "invalid mount config for type \"bind\": invalid mount path: 'h' mount path must be absolute",
            ),
            (
                "type=bind,src=/h,dst=c",
                "invalid mount path: 'c' mount path must be absolute",
            ),
        ] {
            assert_eq!(
                MountSpec::from_mount(text).unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
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
