//! Manifests, indexes and configs: what they may be, and what they must not pretend to be.

use oci_spec::image::{Descriptor, Digest, DigestAlgorithm, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::{Platform, PulledLayer};

/// Largest manifest or index taken, as in other clients.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// Largest image configuration taken.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// `Accept` of every manifest request.
pub(crate) const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// A manifest as the registry served it, of one kind without doubt.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Box<ImageIndex>),
    Manifest(Box<ImageManifest>),
}

/// What may be done with a media type in the place of a manifest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Manifest,
}

/// Only the fields that tell kinds apart. A document with the fields of two kinds means different things to different
/// readers, and is refused (CVE-2021-41190).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// Reads a manifest or index. `declared` is the type that led here: the `Content-Type`, or a descriptor's.
pub(crate) fn parse(bytes: &[u8], declared: Option<&str>) -> Result<(MediaType, Document), String> {
    let shape: Shape =
        serde_json::from_slice(bytes).map_err(|e| format!("its manifest is malformed: {e}"))?;
    let declared = declared.map(essence).filter(|t| !is_generic(t));
    let schema_1 = shape.schema_version == Some(1)
        || shape.fs_layers.is_some()
        || [declared.as_deref(), shape.media_type.as_deref()]
            .iter()
            .flatten()
            .any(|t| t.starts_with(DOCKER_SCHEMA_1));
    if schema_1 {
        return Err(
            "it is a Docker schema 1 image, a format given up in 2017: have it built or pushed again with a current tool"
                .to_owned(),
        );
    }
    if let (Some(declared), Some(own)) = (&declared, &shape.media_type)
        && declared != own
    {
        return Err(format!(
            "it is announced as {declared} but calls itself {own}"
        ));
    }
    let media_type = match declared.or(shape.media_type) {
        Some(named) => MediaType::from(named.as_str()),
        None if shape.manifests.is_some() => MediaType::ImageIndex,
        None => MediaType::ImageManifest,
    };
    let malformed = |e: serde_json::Error| format!("its manifest is malformed: {e}");
    let document = match kind(&media_type) {
        Some(Kind::Index) if shape.config.is_some() || shape.layers.is_some() => {
            return Err("its index has the fields of an image manifest as well".to_owned());
        }
        Some(Kind::Manifest) if shape.manifests.is_some() => {
            return Err("its image manifest has the fields of an index as well".to_owned());
        }
        Some(Kind::Index) => Document::Index(serde_json::from_slice(bytes).map_err(malformed)?),
        Some(Kind::Manifest) => {
            Document::Manifest(serde_json::from_slice(bytes).map_err(malformed)?)
        }
        None => return Err(format!("its manifest is of the unknown type {media_type}")),
    };
    if shape.schema_version != Some(2) {
        return Err("its manifest has no schemaVersion 2".to_owned());
    }
    Ok((media_type, document))
}

/// Whether a `Content-Type` or descriptor names a manifest or index we read.
pub(crate) fn is_manifest_type(media_type: &str) -> bool {
    kind(&MediaType::from(essence(media_type).as_str())).is_some()
}

fn kind(media_type: &MediaType) -> Option<Kind> {
    match media_type {
        MediaType::ImageIndex => Some(Kind::Index),
        MediaType::ImageManifest => Some(Kind::Manifest),
        MediaType::Other(other) if other == DOCKER_LIST => Some(Kind::Index),
        MediaType::Other(other) if other == DOCKER_MANIFEST => Some(Kind::Manifest),
        _ => None,
    }
}

/// A media type without its parameters.
pub(crate) fn essence(media_type: &str) -> String {
    let bare = media_type.split(';').next().unwrap_or(media_type);
    bare.trim().to_ascii_lowercase()
}

/// What servers say that do not know what they serve.
fn is_generic(media_type: &str) -> bool {
    matches!(
        media_type,
        "" | "application/json" | "application/octet-stream" | "text/plain"
    )
}

/// The digest of some bytes; `None` for an algorithm we do not know.
pub(crate) fn digest_of(algorithm: &DigestAlgorithm, bytes: &[u8]) -> Option<Digest> {
    let hex = match algorithm {
        DigestAlgorithm::Sha256 => hex(&Sha256::digest(bytes)),
        DigestAlgorithm::Sha384 => hex(&Sha384::digest(bytes)),
        DigestAlgorithm::Sha512 => hex(&Sha512::digest(bytes)),
        _ => return None,
    };
    Digest::try_from(format!("{algorithm}:{hex}")).ok()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The entry of an index for a platform, or the platforms there are. With `None` this machine's is preferred and its
/// 32-bit mode accepted.
///
/// # Errors
/// The platforms that the index has, if none fits.
pub fn choose_manifest<'a>(
    index: &'a ImageIndex,
    platform: Option<&Platform>,
) -> Result<&'a Descriptor, Vec<Platform>> {
    match platform {
        Some(platform) => choose(index, platform, true),
        None => choose(index, &Platform::host(), false),
    }
}

/// The same, with a platform at hand; `strict` accepts no other architecture.
pub(crate) fn choose<'a>(
    index: &'a ImageIndex,
    wanted: &Platform,
    strict: bool,
) -> Result<&'a Descriptor, Vec<Platform>> {
    let images = || {
        index
            .manifests()
            .iter()
            .filter(|d| kind(d.media_type()).is_some())
    };
    let ranked = images().filter_map(|d| {
        let platform = Platform::from(d.platform().as_ref()?);
        let rank = if strict {
            wanted.rank_strict(&platform)
        } else {
            wanted.rank(&platform)
        };
        Some((rank?, d))
    });
    // The first of equals: min_by_key keeps it.
    if let Some((_, best)) = ranked.min_by_key(|(rank, _)| *rank) {
        return Ok(best);
    }
    // An entry may leave its platform to its config, which is checked later.
    if let Some(unnamed) = images().find(|d| d.platform().is_none()) {
        return Ok(unnamed);
    }
    let mut available: Vec<Platform> = Vec::new();
    for platform in images().filter_map(|d| d.platform().as_ref()) {
        let platform = Platform::from(platform);
        // Build attestations hide behind unknown/unknown.
        if platform.os != "unknown" && !available.contains(&platform) {
            available.push(platform);
        }
    }
    Err(available)
}

/// The parts of an image configuration that decide whether and how it is pulled.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
    rootfs: Option<RootFs>,
}

#[derive(Deserialize)]
struct RootFs {
    /// Go writes an empty list as null.
    diff_ids: Option<Vec<Digest>>,
}

/// The platform an image configuration is for, and the layers of its manifest with their identities.
pub(crate) fn image(
    manifest: &ImageManifest,
    config: &[u8],
) -> Result<(Platform, Vec<PulledLayer>), String> {
    let config: Config = serde_json::from_slice(config)
        .map_err(|e| format!("its image configuration is malformed: {e}"))?;
    let platform = Platform::new(
        if config.os.is_empty() {
            "linux"
        } else {
            &config.os
        },
        &config.architecture,
        config.variant.as_deref(),
    );
    let diff_ids = config.rootfs.and_then(|r| r.diff_ids).unwrap_or_default();
    if diff_ids.len() != manifest.layers().len() {
        return Err(format!(
            "its manifest has {} layers, its configuration {}",
            manifest.layers().len(),
            diff_ids.len()
        ));
    }
    let chain_ids = chain_ids(&diff_ids)?;
    let layers = manifest.layers().iter().zip(diff_ids).zip(chain_ids);
    let layers = layers.map(|((descriptor, diff_id), chain_id)| PulledLayer {
        descriptor: descriptor.clone(),
        diff_id,
        chain_id,
    });
    Ok((platform, layers.collect()))
}

/// Each layer's identity together with all beneath it (OCI image specification, "Layer ChainID").
fn chain_ids(diff_ids: &[Digest]) -> Result<Vec<Digest>, String> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => Some(diff_id.clone()),
            Some(parent) => digest_of(
                &DigestAlgorithm::Sha256,
                format!("{parent} {diff_id}").as_bytes(),
            ),
        };
        let known = !matches!(diff_id.algorithm(), DigestAlgorithm::Other(_));
        let next = next.filter(|_| known);
        chain
            .push(next.ok_or_else(|| format!("its diff id {diff_id} is of an unknown algorithm"))?);
    }
    Ok(chain)
}

/// Refuses manifests that are no container image, before anything large is fetched.
pub(crate) fn check_image(media_type: &MediaType, manifest: &ImageManifest) -> Result<(), String> {
    let config = manifest.config();
    let config_type = config.media_type().to_string();
    let is_docker = media_type.to_string() == DOCKER_MANIFEST;
    let is_config = match config_type.as_str() {
        // Docker 1.10 wrote this.
        "application/octet-stream" => is_docker,
        DOCKER_CONFIG => true,
        _ => *config.media_type() == MediaType::ImageConfig,
    };
    if !is_config {
        return Err(format!(
            "it is no container image but an artifact of type {config_type}"
        ));
    }
    if config.size() > MAX_CONFIG {
        return Err(format!(
            "its configuration has {} bytes, more than {MAX_CONFIG}",
            config.size()
        ));
    }
    for layer in manifest.layers() {
        check_layer_type(layer.media_type().as_ref())?;
    }
    let mut blobs = manifest.layers().iter().chain([config]);
    match blobs.find(|d| matches!(d.digest().algorithm(), DigestAlgorithm::Other(_))) {
        Some(odd) => Err(format!(
            "its blob {} is of an unknown algorithm",
            odd.digest()
        )),
        None => Ok(()),
    }
}

fn check_layer_type(layer: &str) -> Result<(), String> {
    match layer {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(()),
        foreign if foreign.contains(".nondistributable.") || foreign.contains(".foreign.") => {
            Err(format!(
                "it has a layer that registries may not distribute ({foreign}), as Windows images do"
            ))
        }
        unknown => Err(format!("it has a layer of the unknown type {unknown}")),
    }
}
