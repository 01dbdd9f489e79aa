//! The documents.

use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

/// Media type of a configuration that is a [`CacheConfig`].
pub(super) const MEDIA_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";

/// What layers there are, and what they are results of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CacheConfig {
    #[serde(default)]
    pub layers: Vec<CacheLayer>,
    #[serde(default)]
    pub records: Vec<Record>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CacheLayer {
    pub blob: Digest,
    /// Position of the layer below, if that is in the list; else -1.
    #[serde(default)]
    pub parent: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
}

/// What is known of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Annotations {
    pub media_type: String,
    #[serde(rename = "diffID")]
    pub diff_id: Digest,
    pub size: u64,
}

/// A key, and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub digest: String,
    #[serde(default)]
    pub layers: Vec<RecordLayer>,
}

/// The layer that is a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordLayer {
    /// Its position in the list of layers.
    pub layer: usize,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}
