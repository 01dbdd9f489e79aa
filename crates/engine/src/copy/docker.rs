//! The archives of `docker save` before they were OCI layouts as well: a manifest is made up for what they hold.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use oci_spec::image::{Digest, MediaType};
use rctr_registry_client::parse_reference;
use rctr_store::sha256;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::files::{Files, Part};
use super::source::Layout;
use crate::push::Document;
use crate::{Error, Result};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    pub config: String,
    pub repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Opens an archive with a `manifest.json`; `name` chooses among several images.
pub(super) fn open(files: Arc<Files>, name: Option<&str>) -> Result<Layout> {
    let Some(entries) = entries(&files)? else {
        return Err(files.bad("has neither manifest.json nor index.json"));
    };
    let entry = choose(&files, entries, name)?;
    layout(files, entry)
}

/// The images of a `manifest.json`; `None` if there is none.
pub(super) fn entries(files: &Files) -> Result<Option<Vec<Entry>>> {
    let Some(manifest) = files.read("manifest.json")? else {
        return Ok(None);
    };
    let entries = serde_json::from_slice(&manifest)
        .map_err(|e| files.bad(format!("manifest.json is malformed: {e}")))?;
    Ok(Some(entries))
}

/// One image of a `manifest.json`.
pub(super) fn layout(files: Arc<Files>, entry: Entry) -> Result<Layout> {
    let config = files.read(&entry.config)?;
    let config = config.ok_or_else(|| files.bad(format!("lacks {}", entry.config)))?;
    let mut elsewhere = HashMap::from([(sha256(&config).to_string(), entry.config)]);
    let mut layers: Vec<Value> = Vec::new();
    for name in entry.layers {
        let (digest, size, suffix) = measure(&files, &name)?;
        layers
            .push(json!({"mediaType": format!("{LAYER}{suffix}"), "size": size, "digest": digest}));
        elsewhere.insert(digest, name);
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": config.len(), "digest": sha256(&config)},
        "layers": layers,
    });
    let bytes = manifest.to_string().into_bytes();
    let root = Document::new(MediaType::from(MANIFEST), &sha256(&bytes), bytes);
    Ok(Layout {
        files,
        root,
        elsewhere,
        pack: true,
    })
}

fn choose(files: &Files, entries: Vec<Entry>, name: Option<&str>) -> Result<Entry> {
    let is_named = |entry: &Entry, wanted: &str| {
        let tags = entry.repo_tags.iter().flatten();
        let mut names = tags.filter_map(|tag| parse_reference(tag).ok());
        names.any(|name| name.whole() == wanted)
    };
    let count = entries.len();
    let mut found = entries.into_iter();
    let found = match name {
        Some(name) => found.find(|entry| is_named(entry, name)),
        None if count > 1 => {
            let names: Vec<_> = found
                .flat_map(|entry| entry.repo_tags.unwrap_or_default())
                .collect();
            let names = names.join(", ");
            return Err(files.bad(format!("has several images, name one of them: {names}")));
        }
        None => found.next(),
    };
    found.ok_or_else(|| match name {
        Some(name) => files.bad(format!("has no image {name:?}")),
        None => files.bad("has no image"),
    })
}

/// Digest and size of a layer, and how its media type ends for what it is packed with.
fn measure(files: &Files, name: &str) -> Result<(String, u64, &'static str)> {
    let Some((file, range)) = files.find(name)? else {
        return Err(files.bad(format!("lacks {name}")));
    };
    let size = range.end - range.start;
    let mut part = Part::new(file, range);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut suffix = None;
    loop {
        let got = part.read(&mut buffer);
        let got = got.map_err(Error::file("read", &files.path().join(name)))?;
        if got == 0 {
            break;
        }
        suffix.get_or_insert(match buffer[..got] {
            [0x1f, 0x8b, ..] => ".gzip",
            [0x28, 0xb5, 0x2f, 0xfd, ..] => ".zstd",
            _ => "",
        });
        hash.update(&buffer[..got]);
    }
    Ok((digest_of(hash), size, suffix.unwrap_or_default()))
}

/// `sha256:…` of what was hashed.
pub(super) fn digest_of(hash: Sha256) -> String {
    let hex = hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        use std::fmt::Write;
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!("sha256:{hex}")
}

/// The same as a digest.
pub(super) fn finished(hash: Sha256) -> Option<Digest> {
    Digest::try_from(digest_of(hash)).ok()
}
