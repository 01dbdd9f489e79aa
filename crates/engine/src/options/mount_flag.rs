//! `--mount`.

use super::mount::{PROPAGATIONS, absolute_source, check_target};
use super::{MountKind, MountSpec, ParseError, check_volume_name, parse_size};

impl MountSpec {
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
            // Docker's word for a volume without options.
            mode: match kind {
                MountKind::Volume => "z".to_owned(),
                _ => String::new(),
            },
            by_mount_flag: true,
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
}
