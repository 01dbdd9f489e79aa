//! `--output`, `--push`, `--load` and `--annotation`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use rctr_builder::{ArchiveOutput, Destination, ImageOutput, Output};
use rctr_engine::{ArchiveFormat, Compression};
use rctr_registry_client::parse_reference;

use super::args::BuildArgs;

/// What the flags say; `rewrite_timestamps` concerns the whole build.
#[derive(Debug, Default)]
pub struct Outputs {
    pub outputs: Vec<Output>,
    pub rewrite_timestamps: bool,
}

/// Reads the flags. `tags` are canonical names.
///
/// # Errors
/// The flag, its value, and what is wrong with it.
pub fn parse(args: &BuildArgs, tags: &[String]) -> Result<Outputs, (String, &'static str, String)> {
    let mut annotations = BTreeMap::new();
    for text in &args.annotation {
        let (key, value) =
            annotation(text).map_err(|reason| (text.clone(), "--annotation", reason))?;
        annotations.insert(key, value);
    }
    let mut words = args.output.clone();
    if args.push {
        words.push("type=registry".to_owned());
    }
    if args.load {
        words.push("type=docker".to_owned());
    }
    if words.is_empty() && !annotations.is_empty() {
        words.push("type=image".to_owned());
    }
    let mut found = Outputs::default();
    for word in &words {
        let bad = |reason: String| (word.clone(), "-o, --output", reason);
        let spec = Spec::parse(word).map_err(bad)?;
        found.rewrite_timestamps |= spec.rewrite_timestamps;
        found
            .outputs
            .push(spec.output(tags, &annotations).map_err(bad)?);
    }
    Ok(found)
}

/// One `--output`, taken apart.
#[derive(Debug, Default)]
struct Spec {
    kind: String,
    dest: Option<String>,
    names: Vec<String>,
    push: bool,
    unpacked: bool,
    rewrite_timestamps: bool,
    compression: Option<String>,
    level: Option<i32>,
    force_compression: bool,
    annotations: BTreeMap<String, String>,
}

impl Spec {
    fn parse(word: &str) -> Result<Spec, String> {
        let mut spec = Spec::default();
        if word == "-" {
            spec.kind = "tar".to_owned();
            spec.dest = Some("-".to_owned());
            return Ok(spec);
        }
        if !word.contains('=') {
            spec.kind = "local".to_owned();
            spec.dest = Some(word.to_owned());
            return Ok(spec);
        }
        for field in fields(word) {
            let Some((key, value)) = field.split_once('=') else {
                return Err(format!("invalid value {field}"));
            };
            let truth = || match value {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(format!("{key} must be true or false")),
            };
            match key.to_lowercase().as_str() {
                "type" => spec.kind = value.to_owned(),
                "dest" => spec.dest = Some(value.to_owned()),
                "name" => spec.names = value.split(',').map(str::to_owned).collect(),
                "push" => spec.push = truth()?,
                "tar" => spec.unpacked = !truth()?,
                "rewrite-timestamp" => spec.rewrite_timestamps = truth()?,
                "compression" => spec.compression = Some(value.to_owned()),
                "compression-level" => {
                    let level = value.parse();
                    let level = level.map_err(|_| format!("{key} must be a number"))?;
                    spec.level = Some(level);
                }
                "force-compression" => spec.force_compression = truth()?,
                // Always so.
                "oci-mediatypes" | "store" if truth()? => {}
                "unpack" => _ = truth()?,
                key => match annotation_key(key) {
                    Some(kind) => {
                        let (_, name) = field.split_at(kind.len() + 1);
                        let name = name.split_once('=').map_or(name, |(name, _)| name);
                        spec.annotations.insert(name.to_owned(), value.to_owned());
                    }
                    None => return Err(format!("unknown option {field:?}")),
                },
            }
        }
        match spec.kind.is_empty() {
            true => Err("type is required".to_owned()),
            false => Ok(spec),
        }
    }

    fn output(
        self,
        tags: &[String],
        annotations: &BTreeMap<String, String>,
    ) -> Result<Output, String> {
        let (kind, dest, unpacked) = (self.kind.clone(), self.dest.clone(), self.unpacked);
        let image = |push: bool| self.image(tags, annotations, push);
        Ok(match (kind.as_str(), dest) {
            ("image", None) => Output::Image(image(self.push)?),
            ("registry", None) => Output::Image(image(true)?),
            // Into Docker: here that is the store.
            ("docker", None) => Output::Image(image(false)?),
            ("image" | "registry", Some(_)) => {
                return Err(format!("dest is not supported for {kind}"));
            }
            ("oci" | "docker", dest) => Output::Archive(ArchiveOutput {
                image: image(false)?,
                format: match kind.as_str() {
                    "oci" => ArchiveFormat::Oci,
                    _ => ArchiveFormat::Docker,
                },
                to: match (dest, unpacked) {
                    (Some(dest), true) if dest != "-" => Destination::Directory(dest.into()),
                    (_, true) => return Err(format!("dest is required for {kind} with tar=false")),
                    (dest, false) => destination(dest, &kind)?,
                },
            }),
            ("tar", dest) => Output::Tar(destination(dest, "tar")?),
            ("local", Some(dest)) if dest != "-" => Output::Local(dest.into()),
            ("local", _) => return Err("dest is required for local exporter".to_owned()),
            (kind, _) => {
                return Err(format!(
                    "unknown type {kind:?}: image, registry, oci, docker, tar and local are known"
                ));
            }
        })
    }

    fn image(
        &self,
        tags: &[String],
        annotations: &BTreeMap<String, String>,
        push: bool,
    ) -> Result<ImageOutput, String> {
        let named = self.names.iter().filter(|name| !name.is_empty());
        let mut names = Vec::new();
        for name in named {
            let reference = parse_reference(name).map_err(|e| e.to_string())?;
            names.push(reference.whole());
        }
        if names.is_empty() {
            names = tags.to_vec();
        }
        if push && names.is_empty() {
            return Err("tag is needed when pushing to registry".to_owned());
        }
        let mut all = annotations.clone();
        all.extend(self.annotations.clone());
        Ok(ImageOutput {
            names,
            push,
            compression: self.compression()?,
            force_compression: self.force_compression,
            annotations: all,
        })
    }

    fn compression(&self) -> Result<Option<Compression>, String> {
        compression(self.compression.as_deref(), self.level)
    }
}

/// `compression` and `compression-level`.
pub(super) fn compression(
    kind: Option<&str>,
    level: Option<i32>,
) -> Result<Option<Compression>, String> {
    let within = |low: i32, high: i32, usual: Compression, of: fn(i32) -> Compression| match level {
        None => Ok(usual),
        Some(level) if (low..=high).contains(&level) => Ok(of(level)),
        Some(level) => Err(format!(
            "compression-level {level} is not within {low}…{high}"
        )),
    };
    let chosen = match kind {
        None if level.is_none() => return Ok(None),
        None | Some("gzip") => within(0, 9, Compression::DEFAULT_GZIP, |level| {
            Compression::Gzip(level.unsigned_abs())
        })?,
        Some("zstd") => within(1, 22, Compression::DEFAULT_ZSTD, Compression::Zstd)?,
        Some("uncompressed") => Compression::None,
        Some("estargz") => return Err("compression type estargz is not supported yet".to_owned()),
        Some(other) => {
            return Err(format!(
                "unsupported compression type {other}: gzip, zstd and uncompressed are known"
            ));
        }
    };
    Ok(Some(chosen))
}

fn destination(dest: Option<String>, kind: &str) -> Result<Destination, String> {
    match dest {
        Some(path) if path != "-" => Ok(Destination::File(PathBuf::from(path))),
        _ if io::stdout().is_terminal() => Err(format!(
            "dest file is required for {kind} exporter. refusing to write to console"
        )),
        _ => {
            let stdout = io::stdout().as_fd().try_clone_to_owned();
            let stdout = stdout.map_err(|e| e.to_string())?;
            Ok(Destination::Stream(Arc::new(File::from(stdout))))
        }
    }
}

/// Comma-separated fields, of which some are in double quotes.
pub(super) fn fields(text: &str) -> Vec<String> {
    let (mut all, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    all.push(field);
    all
}

/// `annotation` or `annotation-manifest` before the name.
fn annotation_key(key: &str) -> Option<&str> {
    let (kind, name) = key.split_once('.')?;
    (["annotation", "annotation-manifest"].contains(&kind) && !name.is_empty()).then_some(kind)
}

/// `[manifest:]KEY=VALUE`.
fn annotation(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "expected key=value".to_owned())?;
    let key = match key.split_once(':') {
        None | Some(("manifest", _)) => key.trim_start_matches("manifest:"),
        Some((kind, _)) if kind.starts_with("index") => {
            return Err("index annotations not supported for single platform export".to_owned());
        }
        Some((kind, _)) if ["manifest-descriptor", "manifest,index"].contains(&kind) => {
            return Err(format!("{kind} annotations are not supported"));
        }
        Some(_) => key,
    };
    match key.is_empty() {
        true => Err("the key is empty".to_owned()),
        false => Ok((key.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(word: &str) -> Result<Output, String> {
        let tags = ["docker.io/library/a:1".to_owned()];
        Spec::parse(word)?.output(&tags, &BTreeMap::new())
    }

    fn image(word: &str) -> ImageOutput {
        match output(word) {
            Ok(Output::Image(image)) => image,
            other => panic!("{word}: {other:?}"),
        }
    }

    #[test]
    fn images() {
        assert_eq!(image("type=image").names, ["docker.io/library/a:1"]);
        assert!(!image("type=image").push && image("type=registry").push);
        assert!(image("type=image,push=true").push);
        let named = image("type=image,\"name=b,h:5/c:2\",compression=zstd,compression-level=9");
        assert_eq!(named.names, ["docker.io/library/b:latest", "h:5/c:2"]);
        assert_eq!(named.compression, Some(Compression::Zstd(9)));
        let annotated = image("type=image,annotation.a.B=c=d,annotation-manifest.e=f");
        assert_eq!(annotated.annotations["a.B"], "c=d");
        assert_eq!(annotated.annotations["e"], "f");
        assert_eq!(
            image("type=docker,compression=uncompressed,force-compression=true").compression,
            Some(Compression::None)
        );
    }

    #[test]
    fn files() {
        assert!(matches!(output("out"), Ok(Output::Local(path)) if path.ends_with("out")));
        assert!(matches!(
            output("type=local,dest=x"),
            Ok(Output::Local(path)) if path.ends_with("x")
        ));
        assert!(matches!(
            output("type=tar,dest=x.tar"),
            Ok(Output::Tar(Destination::File(_)))
        ));
        for (word, format) in [
            ("type=oci,dest=x.tar", ArchiveFormat::Oci),
            ("type=docker,dest=x.tar", ArchiveFormat::Docker),
        ] {
            match output(word) {
                Ok(Output::Archive(archive)) => assert_eq!(archive.format, format),
                other => panic!("{word}: {other:?}"),
            }
        }
        assert!(matches!(
            output("type=oci,dest=x,tar=false"),
            Ok(Output::Archive(ArchiveOutput {
                to: Destination::Directory(_),
                ..
            }))
        ));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (word, reason) in [
            ("type=", "type is required"),
            ("dest=x", "type is required"),
            ("type=zip", "unknown type \"zip\""),
            ("type=local", "dest is required for local exporter"),
            ("type=image,dest=x", "dest is not supported for image"),
            ("type=image,colour=red", "unknown option \"colour=red\""),
            ("type=image,push=maybe", "push must be true or false"),
            (
                "type=image,compression=lzw",
                "unsupported compression type lzw",
            ),
            (
                "type=image,compression=estargz",
                "estargz is not supported yet",
            ),
            (
                "type=image,compression-level=11",
                "compression-level 11 is not within 0…9",
            ),
            ("type=image,name=A", "repository name"),
        ] {
            let error = output(word).unwrap_err();
            assert!(error.contains(reason), "{word}: {error}");
        }
        let spec = Spec::parse("type=registry").unwrap();
        let error = spec.output(&[], &BTreeMap::new()).unwrap_err();
        assert_eq!(error, "tag is needed when pushing to registry");
    }

    #[test]
    fn annotations() {
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(annotation("a=b=c"), pair("a", "b=c"));
        assert_eq!(annotation("manifest:org.x/y=1"), pair("org.x/y", "1"));
        assert!(annotation("index:a=b").is_err() && annotation("a").is_err());
        assert!(annotation("=b").is_err());
    }
}
