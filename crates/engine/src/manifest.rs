//! Manifest lists that a person puts together from images in registries (`docker manifest`).
//!
//! A list under way is a file of its own below the store's root, until it is pushed.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageManifest, MediaType};
use rctr_registry_client::{Client, familiar_name, parse_reference};
use rctr_store::sha256;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::copy::RegistryBlobs;
use crate::push::is_index;
use crate::{Engine, Error, ImageError, NewFile, Result};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What is said about a member's platform in place of what its configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Operating system.
    pub os: Option<String>,
    /// Architecture, in Go's words.
    pub arch: Option<String>,
    /// Version of the architecture.
    pub variant: Option<String>,
    /// Version of the operating system.
    pub os_version: Option<String>,
    /// Features the operating system must have; added to those there are.
    pub os_features: Vec<String>,
}

/// A manifest or list, with where it comes from.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// Canonical name, with the digest if it was found in a list.
    pub reference: String,
    /// Its descriptor, with the platform if that is known.
    pub descriptor: Value,
    /// The document itself.
    pub document: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct List {
    name: String,
    members: Vec<Member>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Member {
    /// Canonical name that it was added by.
    name: String,
    digest: String,
    media_type: String,
    /// As the registry served it.
    manifest: String,
    platform: Map<String, Value>,
}

impl Member {
    fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type,
            "size": self.manifest.len(),
            "digest": self.digest,
            "platform": self.platform,
        })
    }
}

impl List {
    /// An OCI index unless a member is of Docker's kind, which not all registries take in one.
    fn document(&self) -> Value {
        let docker = self
            .members
            .iter()
            .any(|member| member.media_type == DOCKER_MANIFEST);
        let entries: Vec<Value> = self.members.iter().map(Member::descriptor).collect();
        json!({
            "schemaVersion": 2,
            "mediaType": if docker { DOCKER_LIST } else { OCI_INDEX },
            "manifests": entries,
        })
    }

    fn bytes(&self) -> Vec<u8> {
        // Indented as Docker's: the digest is over these bytes.
        serde_json::to_vec_pretty(&self.document()).unwrap_or_default()
    }
}

impl Engine {
    /// Begins a list of images, or adds to it with `amend`; its canonical name.
    ///
    /// # Errors
    /// [`ImageError::ManifestListExists`], [`ImageError::MemberIsList`], and what the registries say.
    pub async fn manifest_create(
        &self,
        list: &str,
        members: &[String],
        amend: bool,
        insecure: bool,
    ) -> Result<String> {
        let name = parse_reference(list)?.whole();
        // Known before anything is fetched, and again once nobody else can change it.
        self.list_to_extend(&name, amend)?;
        let mut fetched = Vec::new();
        for member in members {
            let reference = parse_reference(member)?;
            fetched.push(self.fetch_member(&reference, insecure).await?);
        }
        let _lock = self.lock_lists()?;
        let mut list = self.list_to_extend(&name, amend)?;
        for member in fetched {
            list.members.retain(|other| other.name != member.name);
            list.members.push(member);
        }
        self.write_list(&list)?;
        Ok(name)
    }

    /// Says something about a member's platform.
    ///
    /// # Errors
    /// [`ImageError::NoSuchManifestList`], [`ImageError::NoSuchMember`].
    pub fn manifest_annotate(&self, list: &str, member: &str, say: &Annotations) -> Result<()> {
        let wanted = parse_reference(member)?.whole();
        let name = parse_reference(list)?.whole();
        let _lock = self.lock_lists()?;
        let mut list = self.read_list(&name)?;
        let found = list.members.iter_mut().find(|member| member.name == wanted);
        let Some(found) = found else {
            return Err(ImageError::NoSuchMember {
                member: wanted,
                list: list.name,
            }
            .into());
        };
        for (key, value) in [
            ("os", &say.os),
            ("architecture", &say.arch),
            ("variant", &say.variant),
            ("os.version", &say.os_version),
        ] {
            if let Some(value) = value {
                found.platform.insert(key.to_owned(), json!(value));
            }
        }
        if !say.os_features.is_empty() {
            let features = found
                .platform
                .entry("os.features")
                .or_insert_with(|| json!([]));
            if let Value::Array(features) = features {
                for feature in &say.os_features {
                    if !features.iter().any(|known| known == feature) {
                        features.push(json!(feature));
                    }
                }
            }
        }
        self.write_list(&list)
    }

    /// A list under way, a member of one, or what a registry has; the list itself, then what is in it if `verbose`.
    ///
    /// # Errors
    /// [`ImageError::NoSuchManifestList`], [`ImageError::NoSuchMember`], and what the registry says.
    pub async fn manifest_inspect(
        &self,
        list: Option<&str>,
        name: &str,
        insecure: bool,
        verbose: bool,
    ) -> Result<Vec<Inspected>> {
        let reference = parse_reference(name)?;
        if let Some(list) = list {
            let list = self.read_list(&parse_reference(list)?.whole())?;
            let wanted = reference.whole();
            let member = list.members.iter().find(|member| member.name == wanted);
            let member = member.ok_or_else(|| ImageError::NoSuchMember {
                member: wanted.clone(),
                list: list.name.clone(),
            })?;
            return Ok(vec![shown(
                member.name.clone(),
                member.descriptor(),
                &member.manifest,
            )?]);
        }
        if let Ok(list) = self.read_list(&reference.whole()) {
            let text = String::from_utf8_lossy(&list.bytes()).into_owned();
            let whole = shown(list.name.clone(), Value::Null, &text)?;
            let members = list.members.iter().filter(|_| verbose);
            let members = members.map(|m| shown(m.name.clone(), m.descriptor(), &m.manifest));
            return std::iter::once(Ok(whole)).chain(members).collect();
        }
        let client = self.client(&reference, insecure)?;
        let (descriptor, bytes) = client.fetch_manifest(&reference).await?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut found = vec![shown(reference.whole(), json!(descriptor), &text)?];
        if !verbose {
            return Ok(found);
        }
        if !is_index(descriptor.media_type()) {
            let platform = self.platform_of(&client, &reference, &bytes).await?;
            found[0].descriptor["platform"] = Value::Object(platform);
            return Ok(found);
        }
        let entries = found[0].document["manifests"].as_array().cloned();
        for entry in entries.unwrap_or_default() {
            let descriptor: Descriptor = serde_json::from_value(entry.clone())
                .map_err(|e| malformed(&reference.whole(), &e))?;
            let bytes = client.fetch_document(&reference, &descriptor).await?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let name = format!("{}@{}", reference.whole(), descriptor.digest());
            found.push(shown(name, entry, &text)?);
        }
        Ok(found)
    }

    /// Pushes a list: its members to the list's repository where they are not there yet, then the list. `report` hears
    /// the name and digest of each member that had to be pushed. The list's digest.
    ///
    /// # Errors
    /// [`ImageError::NoSuchManifestList`], and what the registries say.
    pub async fn manifest_push(
        &self,
        list: &str,
        purge: bool,
        insecure: bool,
        report: &(dyn Fn(&str, &str) + Sync),
    ) -> Result<String> {
        let reference = parse_reference(list)?;
        let list = self.read_list(&reference.whole())?;
        let client = Arc::new(self.client(&reference, insecure)?);
        let sources: Vec<Reference> = list
            .members
            .iter()
            .map(|member| parse_reference(&member.name))
            .collect::<Result<_, _>>()?;
        for (member, source) in list.members.iter().zip(&sources) {
            let pusher = client.pusher(&reference, [source])?;
            let descriptor = descriptor_of(member)?;
            if pusher.has_manifest(descriptor.digest()).await? {
                continue;
            }
            let manifest: ImageManifest =
                serde_json::from_str(&member.manifest).map_err(|e| malformed(&member.name, &e))?;
            let from = Arc::new(self.client(source, insecure)?);
            let blobs = RegistryBlobs(from, source.clone());
            for blob in manifest.layers().iter().chain([manifest.config()]) {
                pusher.blob(blob, &blobs, &|_| ()).await?;
            }
            let bytes = member.manifest.as_bytes();
            pusher.manifest(&member.digest, &descriptor, bytes).await?;
            let repository = format!("{}/{}", reference.registry(), reference.repository());
            report(&format!("{repository}@{}", member.digest), &member.digest);
        }
        let (bytes, document) = (list.bytes(), list.document());
        let media_type = MediaType::from(document["mediaType"].as_str().unwrap_or(OCI_INDEX));
        let descriptor = Descriptor::new(media_type, bytes.len() as u64, sha256(&bytes));
        let pusher = client.pusher(&reference, [])?;
        let tag = reference.tag().unwrap_or("latest");
        pusher.manifest(tag, &descriptor, &bytes).await?;
        if purge {
            self.manifest_remove(&list.name)?;
        }
        Ok(descriptor.digest().to_string())
    }

    /// Forgets a list under way.
    ///
    /// # Errors
    /// [`ImageError::NoSuchManifestList`].
    pub fn manifest_remove(&self, list: &str) -> Result<()> {
        let name = parse_reference(list)?.whole();
        let path = self.list_path(&name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Err(ImageError::NoSuchManifestList { name }.into())
            }
            other => other.map_err(Error::file("remove", &path)),
        }
    }

    async fn fetch_member(&self, reference: &Reference, insecure: bool) -> Result<Member> {
        let name = reference.whole();
        let client = self.client(reference, insecure)?;
        let (descriptor, bytes) = client.fetch_manifest(reference).await?;
        if is_index(descriptor.media_type()) {
            return Err(ImageError::MemberIsList { member: name }.into());
        }
        let platform = self.platform_of(&client, reference, &bytes).await?;
        let manifest = String::from_utf8(bytes).map_err(|e| ImageError::BadImage {
            image: name.clone(),
            reason: e.to_string(),
        })?;
        Ok(Member {
            name,
            digest: descriptor.digest().to_string(),
            media_type: descriptor.media_type().to_string(),
            manifest,
            platform,
        })
    }

    /// What the configuration says the image runs on, as an index has it.
    async fn platform_of(
        &self,
        client: &Client,
        reference: &Reference,
        manifest: &[u8],
    ) -> Result<Map<String, Value>> {
        let name = reference.whole();
        let manifest: ImageManifest =
            serde_json::from_slice(manifest).map_err(|e| malformed(&name, &e))?;
        let config = client.fetch_blob(reference, manifest.config()).await?;
        let config: Value = serde_json::from_slice(&config).map_err(|e| malformed(&name, &e))?;
        let keys = ["architecture", "os", "os.version", "os.features", "variant"];
        let said = keys.iter().filter_map(|key| {
            let value = config.get(*key).filter(|value| !value.is_null());
            Some(((*key).to_owned(), value?.clone()))
        });
        Ok(said.collect())
    }

    fn client(&self, reference: &Reference, insecure: bool) -> Result<Client> {
        let mut hosts = self.config.settings.registry.clone();
        if insecure {
            let host = hosts.entry(reference.registry().to_owned()).or_default();
            host.insecure = true;
        }
        let config_dir = rctr_registry_client::default_docker_config_dir();
        Ok(Client::new(hosts, config_dir)?)
    }

    fn list_path(&self, name: &str) -> PathBuf {
        let file = format!("{}.json", sha256(name.as_bytes()).digest());
        self.config.root.join("manifests").join(file)
    }

    /// Keeps others from changing lists, until it is dropped.
    fn lock_lists(&self) -> Result<File> {
        let dir = self.config.root.join("manifests");
        fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        let lock = File::open(&dir).and_then(|dir| dir.lock().map(|()| dir));
        lock.map_err(Error::file("lock", &dir))
    }

    /// A new list, or with `amend` the one there is.
    fn list_to_extend(&self, name: &str, amend: bool) -> Result<List> {
        match self.read_list(name) {
            Ok(_) if !amend => Err(ImageError::ManifestListExists.into()),
            Err(Error::Image(ImageError::NoSuchManifestList { .. })) => Ok(List {
                name: name.to_owned(),
                members: Vec::new(),
            }),
            other => other,
        }
    }

    fn read_list(&self, name: &str) -> Result<List> {
        let path = self.list_path(name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(ImageError::NoSuchManifestList {
                    name: name.to_owned(),
                }
                .into());
            }
            Err(e) => return Err(Error::file("read", &path)(e)),
        };
        serde_json::from_slice(&text).map_err(|e| Error::BadRecord {
            what: format!("{}: {e}", path.display()),
        })
    }

    fn write_list(&self, list: &List) -> Result<()> {
        let path = self.list_path(&list.name);
        let text = serde_json::to_vec(list).map_err(|e| Error::BadRecord {
            what: format!("{}: {e}", path.display()),
        })?;
        let new = NewFile::create(&path)?;
        let written = new.file().write_all(&text);
        written.map_err(Error::file("write", &path))?;
        new.commit()
    }
}

fn shown(reference: String, descriptor: Value, document: &str) -> Result<Inspected> {
    let document = serde_json::from_str(document).map_err(|e| malformed(&reference, &e))?;
    Ok(Inspected {
        reference,
        descriptor,
        document,
    })
}

fn descriptor_of(member: &Member) -> Result<Descriptor> {
    serde_json::from_value(member.descriptor()).map_err(|e| malformed(&member.name, &e))
}

fn malformed(name: &str, error: &serde_json::Error) -> Error {
    let image = parse_reference(name).map(|reference| familiar_name(&reference));
    ImageError::BadImage {
        image: image.unwrap_or_else(|_| name.to_owned()),
        reason: format!("its manifest is malformed: {error}"),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, media_type: &str) -> Member {
        Member {
            name: name.to_owned(),
            digest: sha256(name.as_bytes()).to_string(),
            media_type: media_type.to_owned(),
            manifest: "{}".to_owned(),
            platform: Map::from_iter([("os".to_owned(), json!("linux"))]),
        }
    }

    #[test]
    fn a_list_is_of_the_kind_of_its_members() {
        let oci = member("a", "application/vnd.oci.image.manifest.v1+json");
        let list = |members| List {
            name: "l".to_owned(),
            members,
        };
        let only_oci = list(vec![oci.clone()]).document();
        assert_eq!(only_oci["mediaType"], OCI_INDEX);
        assert_eq!(only_oci["manifests"][0]["platform"]["os"], "linux");
        let mixed = list(vec![oci, member("b", DOCKER_MANIFEST)]).document();
        assert_eq!(mixed["mediaType"], DOCKER_LIST);
        assert_eq!(mixed["manifests"].as_array().unwrap().len(), 2);
    }
}
