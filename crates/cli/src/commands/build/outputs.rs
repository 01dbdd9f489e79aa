//! `--output`, `--push`, `--load` and `--annotation`.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use rctr_builder::{
    Annotated, Annotation, ArchiveOutput, Destination, FilesOutput, ImageOutput, Output,
};
use rctr_engine::{ArchiveFormat, Compression};
use rctr_registry_client::{Platform, parse_reference};

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
    let mut annotations = Vec::new();
    for text in &args.annotation {
        let parsed = annotation(text);
        annotations.extend(parsed.map_err(|reason| (text.clone(), "--annotation", reason))?);
    }
    let kind = args.compression.as_deref();
    let usual = compression(kind, args.compression_level).map_err(|reason| {
        let value = kind.unwrap_or_default();
        (value.to_owned(), "--compression", reason)
    })?;
    let mut words = args.output.clone();
    if args.push {
        words.push("type=registry".to_owned());
    }
    if args.load {
        words.push("type=docker".to_owned());
    }
    if words.is_empty() && (!annotations.is_empty() || usual.is_some()) {
        words.push("type=image".to_owned());
    }
    let mut found = Outputs::default();
    for word in &words {
        let bad = |reason: String| (word.clone(), "-o, --output", reason);
        let spec = Spec::parse(word).map_err(bad)?;
        found.rewrite_timestamps |= spec.rewrite_timestamps;
        found
            .outputs
            .push(spec.output(tags, &annotations, usual).map_err(bad)?);
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
    annotations: Vec<Annotation>,
    files: FilesOutput,
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
                "platform-split" => spec.files.by_platform = Some(truth()?),
                "attestation-prefix" => spec.files.attestation_prefix = value.to_owned(),
                _ => match annotation_key(key)? {
                    Some((on, name)) => spec.annotations.push(Annotation {
                        on,
                        key: name.to_owned(),
                        value: value.to_owned(),
                    }),
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
        annotations: &[Annotation],
        usual: Option<Compression>,
    ) -> Result<Output, String> {
        let (kind, dest, unpacked) = (self.kind.clone(), self.dest.clone(), self.unpacked);
        let image = |push: bool| self.image(tags, annotations, usual, push);
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
            ("tar", dest) => Output::Tar(destination(dest, "tar")?, self.files()?),
            ("local", Some(dest)) if dest != "-" => Output::Local(dest.into(), self.files()?),
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
        annotations: &[Annotation],
        usual: Option<Compression>,
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
        Ok(ImageOutput {
            names,
            push,
            compression: compression(self.compression.as_deref(), self.level)?.or(usual),
            force_compression: self.force_compression,
            annotations: [annotations, &self.annotations].concat(),
        })
    }

    /// How files are laid out.
    fn files(&self) -> Result<FilesOutput, String> {
        match self.files.attestation_prefix.contains('/') {
            true => Err("attestation-prefix must not contain a slash".to_owned()),
            false => Ok(self.files.clone()),
        }
    }
}

/// `compression` and `compression-level`.
pub fn compression(kind: Option<&str>, level: Option<i32>) -> Result<Option<Compression>, String> {
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
        Some("estargz") => within(0, 9, Compression::DEFAULT_ESTARGZ, |level| {
            Compression::Estargz(level.unsigned_abs())
        })?,
        Some(other) => {
            return Err(format!(
                "unsupported compression type {other}: gzip, zstd, estargz and uncompressed are known"
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

/// `annotation[-TYPE][[PLATFORM]].KEY`; `None` for what is no annotation.
fn annotation_key(key: &str) -> Result<Option<(Annotated, &str)>, String> {
    let Some(rest) = key.strip_prefix("annotation") else {
        return Ok(None);
    };
    // A platform has no dot.
    let Some((kind, name)) = rest.split_once('.').filter(|(_, name)| !name.is_empty()) else {
        return Ok(None);
    };
    match kind {
        "" => Ok(Some((Annotated::Manifest(None), name))),
        kind if kind.starts_with('[') => Ok(Some((annotated(&format!("manifest{kind}"))?, name))),
        kind => match kind.strip_prefix('-') {
            Some(kind) => Ok(Some((annotated(kind)?, name))),
            None => Ok(None),
        },
    }
}

/// `[TYPE[,TYPE…]:]KEY=VALUE`.
fn annotation(text: &str) -> Result<Vec<Annotation>, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "expected key=value".to_owned())?;
    let (kinds, key) = key.split_once(':').unwrap_or(("manifest", key));
    if key.is_empty() {
        return Err("the key is empty".to_owned());
    }
    let on = kinds.split(',').map(annotated);
    let all = on.map(|on| {
        Ok(Annotation {
            on: on?,
            key: key.to_owned(),
            value: value.to_owned(),
        })
    });
    all.collect()
}

/// `TYPE[[PLATFORM]]`.
fn annotated(text: &str) -> Result<Annotated, String> {
    let (kind, platform) = match text.strip_suffix(']').map(|text| text.split_once('[')) {
        None => (text, None),
        Some(None) => return Err(format!("invalid annotation type {text:?}")),
        Some(Some((kind, platform))) => {
            let parsed = platform.parse::<Platform>();
            let parsed = parsed.map_err(|e| format!("invalid platform {platform:?}: {e}"))?;
            (kind, Some(parsed))
        }
    };
    match kind {
        "manifest" => Ok(Annotated::Manifest(platform)),
        "manifest-descriptor" => Ok(Annotated::ManifestDescriptor(platform)),
        // There is only one, whatever the platform.
        "index" => Ok(Annotated::Index),
        "index-descriptor" => Ok(Annotated::IndexDescriptor),
        other => Err(format!(
            "unrecognized annotation type {other:?}: manifest, manifest-descriptor, index and index-descriptor are known"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(word: &str) -> Result<Output, String> {
        let tags = ["docker.io/library/a:1".to_owned()];
        Spec::parse(word)?.output(&tags, &[], None)
    }

    fn image(word: &str) -> ImageOutput {
        match output(word) {
            Ok(Output::Image(image)) => image,
            other => panic!("{word}: {other:?}"),
        }
    }

    fn said(on: Annotated, key: &str, value: &str) -> Annotation {
        Annotation {
            on,
            key: key.to_owned(),
            value: value.to_owned(),
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
        let annotated = image(
            "type=image,annotation.a.B=c=d,annotation-manifest.e=f,annotation[linux/arm64].g=h,\
             annotation-manifest-descriptor[linux/arm64].i=j,annotation-index.k=l,annotation-index-descriptor.m=n",
        );
        let arm64 = || "linux/arm64".parse::<Platform>().ok();
        let expected = [
            said(Annotated::Manifest(None), "a.B", "c=d"),
            said(Annotated::Manifest(None), "e", "f"),
            said(Annotated::Manifest(arm64()), "g", "h"),
            said(Annotated::ManifestDescriptor(arm64()), "i", "j"),
            said(Annotated::Index, "k", "l"),
            said(Annotated::IndexDescriptor, "m", "n"),
        ];
        assert_eq!(annotated.annotations, expected);
        assert_eq!(
            image("type=image,compression=estargz").compression,
            Some(Compression::DEFAULT_ESTARGZ)
        );
        assert_eq!(
            image("type=docker,compression=uncompressed,force-compression=true").compression,
            Some(Compression::None)
        );
    }

    #[test]
    fn files() {
        assert!(matches!(output("out"), Ok(Output::Local(path, _)) if path.ends_with("out")));
        assert!(matches!(
            output("type=local,dest=x"),
            Ok(Output::Local(path, _)) if path.ends_with("x")
        ));
        assert!(matches!(
            output("type=tar,dest=x.tar"),
            Ok(Output::Tar(Destination::File(_), _))
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
                "type=image,compression=estargz,compression-level=10",
                "compression-level 10 is not within 0…9",
            ),
            (
                "type=image,annotation-everything.a=b",
                "unrecognized annotation type \"everything\"",
            ),
            ("type=image,annotation[x/y/z/w].a=b", "invalid platform"),
            (
                "type=local,dest=x,attestation-prefix=../x",
                "must not contain a slash",
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
        let error = spec.output(&[], &[], None).unwrap_err();
        assert_eq!(error, "tag is needed when pushing to registry");
    }

    #[test]
    fn annotations() {
        let manifest =
            |key: &str, value: &str| Ok(vec![said(Annotated::Manifest(None), key, value)]);
        assert_eq!(annotation("a=b=c"), manifest("a", "b=c"));
        assert_eq!(annotation("manifest:org.x/y=1"), manifest("org.x/y", "1"));
        assert_eq!(
            annotation("index,manifest-descriptor[linux/amd64]:a=b"),
            Ok(vec![
                said(Annotated::Index, "a", "b"),
                said(
                    Annotated::ManifestDescriptor("linux/amd64".parse().ok()),
                    "a",
                    "b"
                ),
            ])
        );
        for bad in ["a", "=b", "image:a=b", "manifest[:a=b", "manifest]:a=b"] {
            assert!(annotation(bad).is_err(), "{bad}");
        }
    }
}
