//! Images made without a Dockerfile: of what a container changed (`commit`), and of an archive (`import`).

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use oci_spec::image::{Descriptor, Digest, MediaType};
use rctr_registry_client::{Platform, parse_reference};
use rctr_store::{CommitOptions, Compression, ImageLayer, ImageRecord, Lease, sha256};
use serde_json::{Map, Value, json};

use crate::changes::made_for_mounts;
use crate::events::{self, ContainerEvent, ImageEvent};
use crate::model::{Container, Status};
use crate::pull::parse_platform;
use crate::rootfs_view::RootfsView;
use crate::{Engine, Error, ImageError, Result, familiar_name, image, time};

/// How a container becomes an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitRequest {
    /// Who made it; empty for nobody.
    pub author: String,
    /// What there is to say about it.
    pub comment: String,
    /// Its name; none for none.
    pub reference: Option<String>,
    /// Freeze the container meanwhile.
    pub pause: bool,
}

/// How an archive becomes an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportRequest {
    /// What there is to say about it.
    pub comment: String,
    /// Its name; none for none.
    pub reference: Option<String>,
    /// What it is for; this machine if not said.
    pub platform: Option<String>,
}

/// An image but for its layer.
struct Draft {
    /// The configuration so far: `rootfs` is still to come.
    document: Map<String, Value>,
    layers: Vec<ImageLayer>,
}

/// What its history says of a layer.
struct Note {
    created_by: String,
    author: String,
    comment: String,
}

impl Engine {
    /// Makes an image of a container, with what it changed as a layer upon its image's; the image's id. `edit` gets the
    /// configuration it is to be run with, the container's own, and may change it.
    ///
    /// # Errors
    /// Those of `edit`; [`Error::CommitDead`], [`ImageError::BadTag`], [`Error::Store`] if a file cannot be in a layer.
    pub fn commit<E: From<Error>>(
        &self,
        name: &str,
        request: &CommitRequest,
        edit: impl FnOnce(Value) -> Result<Value, E>,
    ) -> Result<String, E> {
        let reference = request.reference.as_deref().map(whole_name).transpose()?;
        let container = self.container(name)?;
        if container.state.status == Status::Dead {
            return Err(Error::CommitDead { id: container.id }.into());
        }
        let config = edit(Value::Object(run_config(&container)))?;
        let id = self
            .commit_container(&container, request, config, reference.as_deref())
            .map_err(|error| match self.record(&container.id) {
                // Removed meanwhile.
                Ok(None) => Error::NoSuchContainer { name: name.into() },
                _ => error,
            })?;
        let event = ContainerEvent::Commit {
            image: &id,
            comment: &request.comment,
        };
        self.tell(&container, event)?;
        Ok(id)
    }

    fn commit_container(
        &self,
        container: &Container,
        request: &CommitRequest,
        config: Value,
        reference: Option<&str>,
    ) -> Result<String> {
        let chain = image::parse_digests(&container.layers, &container.image_name)?;
        let lease = self.store.lease(&chain).map_err(Error::from)?;
        let mut draft = self.draft_of(container, &chain)?;
        draft.document.insert("config".into(), config);
        draft.document.remove("container_config");
        draft
            .document
            .insert("container".into(), container.id.clone().into());
        match request.author.as_str() {
            "" => drop(draft.document.remove("author")),
            author => drop(draft.document.insert("author".into(), author.into())),
        }
        let step = self
            .store
            .begin_build_step(chain.last())
            .map_err(Error::from)?;
        {
            let _frozen = match request.pause && container.state.status == Status::Running {
                true => Some(Frozen::new(self, &container.id)?),
                false => None,
            };
            let (upper, skip) = self.changed(container)?;
            step.fill_from(&upper, &skip)?;
        }
        let built = step.commit(CommitOptions {
            lease: Some(&lease),
            ..CommitOptions::default()
        })?;
        let words: Vec<&str> = [container.process.path.as_str()]
            .into_iter()
            .chain(container.process.args.iter().map(String::as_str))
            .collect();
        let note = Note {
            created_by: words.join(" "),
            author: request.author.clone(),
            comment: request.comment.clone(),
        };
        self.publish(
            draft,
            (!built.is_empty).then_some(built),
            note,
            &lease,
            (reference, None),
        )
    }

    /// Where a container's changes are, and what in there, relative to that, was only made for mounts.
    pub(crate) fn changed(
        &self,
        container: &Container,
    ) -> Result<(PathBuf, impl Fn(&[u8]) -> bool + use<>)> {
        let upper = self.store.container_dir(&container.id)?.join("upper");
        let layers = self.layers(container)?.into_iter().map(|l| l.path);
        let below = RootfsView::new(None, layers.collect());
        let looked_at = upper.clone();
        let skip = move |path: &[u8]| made_for_mounts(&looked_at, &below, path);
        Ok((upper, skip))
    }

    /// The image that a container was made of, as far as it is still there.
    fn draft_of(&self, container: &Container, chain: &[Digest]) -> Result<Draft> {
        let known = match self.image(&container.image_id) {
            Ok(image) => image.raw_config().as_object().cloned(),
            Err(Error::NoSuchImage { .. }) => None,
            Err(e) => return Err(e),
        };
        let mut layers = match self.find_image(&container.image_id) {
            Ok(image) => image.record.layers,
            Err(_) => Vec::new(),
        };
        if layers.is_empty() {
            for chain_id in chain {
                let built = self.store.built_layer(chain_id)?;
                let missing = || rctr_store::Error::NoSuchLayer {
                    chain_id: chain_id.clone(),
                };
                layers.push(plain(built.ok_or_else(missing)?));
            }
        }
        let document = known.unwrap_or_else(|| blank(&container.platform));
        Ok(Draft { document, layers })
    }

    /// Makes an image of one layer from an archive, plain or packed; the image's id. `config` is how it is to be run.
    ///
    /// # Errors
    /// [`ImageError::BadTag`], [`ImageError::Platform`], [`Error::Store`] for what is wrong with the archive.
    pub fn import_image(
        &self,
        archive: impl Read + Send,
        request: &ImportRequest,
        config: Value,
    ) -> Result<String> {
        let reference = request.reference.as_deref().map(whole_name).transpose()?;
        let platform = match &request.platform {
            Some(text) => parse_platform(text)?,
            None => Platform::host(),
        };
        let lease = self.store.lease([])?;
        let step = self.store.begin_build_step(None)?;
        step.fill_with(archive)?;
        let built = step.commit(CommitOptions {
            lease: Some(&lease),
            ..CommitOptions::default()
        })?;
        let mut document = blank(&platform.to_string());
        document.insert("config".into(), config);
        let draft = Draft {
            document,
            layers: Vec::new(),
        };
        let note = Note {
            created_by: String::new(),
            author: String::new(),
            comment: request.comment.clone(),
        };
        // Also one of nothing is a layer: an image has one.
        let event = Some(ImageEvent::Import);
        self.publish(
            draft,
            Some(built),
            note,
            &lease,
            (reference.as_deref(), event),
        )
    }

    /// Writes configuration and manifest and records the image, and what has happened to it; its id.
    fn publish(
        &self,
        draft: Draft,
        layer: Option<rctr_store::BuiltLayer>,
        note: Note,
        lease: &Lease,
        (reference, event): (Option<&str>, Option<ImageEvent>),
    ) -> Result<String> {
        let Draft {
            mut document,
            mut layers,
        } = draft;
        let created = time::now();
        let mut entry = Map::from_iter([("created".to_owned(), Value::from(created.as_str()))]);
        for (name, value) in [
            ("author", note.author),
            ("created_by", note.created_by),
            ("comment", note.comment),
        ] {
            if !value.is_empty() {
                entry.insert(name.to_owned(), value.into());
            }
        }
        if layer.is_none() {
            entry.insert("empty_layer".to_owned(), true.into());
        }
        layers.extend(layer.map(plain));
        match document.get_mut("history").and_then(Value::as_array_mut) {
            Some(history) => history.push(Value::Object(entry)),
            None => drop(document.insert("history".into(), json!([entry]))),
        }
        document.insert("created".into(), created.into());
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_ref()).collect();
        document.insert(
            "rootfs".into(),
            json!({"type": "layers", "diff_ids": diff_ids}),
        );
        let config = Value::Object(document).to_string().into_bytes();
        let id = sha256(&config);
        let described = layers.iter().map(|layer| {
            let kind = MediaType::from(layer.media_type.as_str());
            Descriptor::new(kind, layer.size, layer.blob.clone())
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest,
            "config": Descriptor::new(MediaType::ImageConfig, config.len() as u64, id.clone()),
            "layers": described.collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        let record = ImageRecord {
            id: id.clone(),
            manifest: sha256(&manifest),
            media_type: MediaType::ImageManifest.to_string(),
            layers,
            other_blobs: Vec::new(),
        };
        lease.extend([&record.id, &record.manifest])?;
        self.store.put_blob(&record.id, &config)?;
        self.store.put_blob(&record.manifest, &manifest)?;
        self.store.flush_build()?;
        let labels = events::labels_of(&self.store, &id);
        self.store.write(|tx| {
            tx.put_image(&record, reference, None)?;
            if let Some(name) = reference.map(familiar_name) {
                events::image(tx, ImageEvent::Tag, id.as_ref(), &name, &labels)?;
            }
            match event {
                Some(event) => events::image(tx, event, id.as_ref(), id.as_ref(), &labels),
                None => Ok(()),
            }
        })?;
        Ok(id.to_string())
    }
}

/// A container that is frozen as long as this lives; one that was already stays so.
struct Frozen<'a> {
    engine: &'a Engine,
    id: Option<&'a str>,
}

impl<'a> Frozen<'a> {
    fn new(engine: &'a Engine, id: &'a str) -> Result<Self> {
        let id = match engine.pause(id) {
            Ok(()) => Some(id),
            // It has ended or was frozen meanwhile.
            Err(
                Error::NotRunning { .. } | Error::Restarting { .. } | Error::AlreadyPaused { .. },
            ) => None,
            Err(e) => return Err(e),
        };
        Ok(Frozen { engine, id })
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id
            && let Err(e) = self.engine.unpause(id)
        {
            tracing::warn!(container = id, error = %e, "still paused");
        }
    }
}

/// What a container runs, as a configuration for others: what belongs to this one alone is left out.
fn run_config(container: &Container) -> Map<String, Value> {
    let process = &container.process;
    let set = |names: &[String]| -> Value {
        let names = names.iter().map(|name| (name.clone(), json!({})));
        Value::Object(names.collect())
    };
    let texts: BTreeMap<&str, &str> = BTreeMap::from([
        ("User", process.user.as_str()),
        ("WorkingDir", process.working_dir.trim_end_matches('/')),
        ("StopSignal", stop_signal(container)),
    ]);
    let mut config = Map::new();
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        config.insert(name.to_owned(), text.into());
    }
    // A name alone takes a variable away, which an image cannot.
    let env: Vec<&String> = process
        .env
        .iter()
        .filter(|pair| pair.contains('='))
        .collect();
    let mut ports = process.exposed_ports.clone();
    ports.extend(container.options.publish.iter().flat_map(|port| {
        let (first, last) = port.container_ports;
        let protocol = port.protocol.as_str();
        (first..=last).map(move |port| format!("{port}/{protocol}"))
    }));
    let mut volumes = process.volumes.clone();
    let anonymous = container
        .mounts
        .iter()
        .filter(|mount| mount.anonymous && !mount.spec.by_mount_flag);
    volumes.extend(anonymous.map(|mount| mount.spec.target.clone()));
    for (name, value) in [
        ("Env", (!env.is_empty()).then(|| json!(env))),
        (
            "Entrypoint",
            process.entrypoint.as_ref().map(|words| json!(words)),
        ),
        ("Cmd", process.cmd.as_ref().map(|words| json!(words))),
        ("ExposedPorts", (!ports.is_empty()).then(|| set(&ports))),
        ("Volumes", (!volumes.is_empty()).then(|| set(&volumes))),
        (
            "Labels",
            (!process.labels.is_empty()).then(|| json!(process.labels)),
        ),
        ("Healthcheck", process.healthcheck.clone()),
    ] {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    }
    config
}

/// Only one that somebody asked for.
fn stop_signal(container: &Container) -> &str {
    match container.process.stop_signal.as_str() {
        "SIGTERM" => "",
        signal => signal,
    }
}

/// A layer that was made here, not packed.
fn plain(built: rctr_store::BuiltLayer) -> ImageLayer {
    ImageLayer {
        blob: built.diff_id.clone(),
        size: built.archive_size,
        media_type: Compression::None.media_type().to_owned(),
        diff_id: built.diff_id,
        chain_id: built.chain_id,
    }
}

/// A configuration of nothing, for a platform: `os/arch[/variant]`.
fn blank(platform: &str) -> Map<String, Value> {
    let mut words = platform.splitn(3, '/');
    let mut next = || words.next().unwrap_or_default().to_owned();
    let (os, architecture, variant) = (next(), next(), next());
    let mut document = Map::new();
    document.insert("architecture".into(), architecture.into());
    if !variant.is_empty() {
        document.insert("variant".into(), variant.into());
    }
    document.insert("os".into(), os.into());
    document
}

/// The whole name for a tag; a digest is none.
fn whole_name(name: &str) -> Result<String> {
    let reference = parse_reference(name).map_err(|e| ImageError::BadTag {
        name: name.into(),
        reason: e.to_string(),
    })?;
    match reference.digest() {
        Some(_) => Err(ImageError::TagWithDigest.into()),
        None => Ok(reference.whole()),
    }
}
