use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use oci_spec::image::Digest;
use rustix::io::Errno;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, as a verb: "open", "rename".
        action: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// The reason the kernel gave.
        source: io::Error,
    },
    /// The file system, or the user's quota on it, is full.
    #[error("cannot {action} {path}: no space left on the disk that holds it")]
    DiskFull {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// The reason the kernel gave.
        source: io::Error,
    },

    /// The database did not do what was asked.
    #[error("database {path}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// The database file is damaged or no SQLite database at all.
    #[error("database {path} is damaged; move it away to start with an empty store")]
    DatabaseDamaged {
        /// The database file.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// The database belongs to another program.
    #[error("{path} is not a store of rctr")]
    DatabaseForeign {
        /// The database file.
        path: PathBuf,
    },
    /// The database was written by a newer rctr.
    #[error(
        "{path} was written by a newer rctr (schema {found}, this one knows up to {supported})"
    )]
    DatabaseNewer {
        /// The database file.
        path: PathBuf,
        /// The schema version found.
        found: i64,
        /// The newest schema version this crate reads.
        supported: i64,
    },
    /// A document could not be written as, or read from, JSON.
    #[error("record of {what}")]
    Document {
        /// Whose record.
        what: String,
        /// serde's reason.
        source: serde_json::Error,
    },

    /// Only sha256 digests name things in the store.
    #[error("digest {digest}: only sha256 is supported")]
    UnsupportedDigest {
        /// The digest.
        digest: Digest,
    },
    /// There is no such blob.
    #[error("no blob {digest} in the store")]
    NoSuchBlob {
        /// The digest asked for.
        digest: Digest,
    },
    /// A blob on disk no longer matches its name. It has been removed, so that the next pull fetches it again.
    #[error("blob {digest} was damaged on disk and has been removed; pull the image again")]
    BlobDamaged {
        /// The digest it should have.
        digest: Digest,
    },
    /// Content does not have the digest it was announced with.
    #[error("content has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// The announced digest.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// Content is longer than announced.
    #[error("blob {digest} is longer than the {expected} bytes announced")]
    TooLong {
        /// The announced digest.
        digest: Digest,
        /// Announced size in bytes.
        expected: u64,
    },
    /// Content is shorter than announced. What came is kept: a later ingest goes on from there.
    #[error("blob {digest} ended after {actual} of {expected} bytes")]
    Truncated {
        /// The announced digest.
        digest: Digest,
        /// Announced size in bytes.
        expected: u64,
        /// Size in bytes of what came.
        actual: u64,
    },

    /// The layer is packed in a way the store does not read.
    #[error("layer {blob} has the unsupported media type {media_type}")]
    UnsupportedLayer {
        /// The layer's blob.
        blob: Digest,
        /// Its media type.
        media_type: String,
    },
    /// The unpacked layer is not the one the image's configuration names (`rootfs.diff_ids`).
    #[error("layer {blob} unpacks to {actual}, the image's configuration says {expected}")]
    DiffIdMismatch {
        /// The layer's blob.
        blob: Digest,
        /// The diff id of the configuration.
        expected: Box<Digest>,
        /// The digest of the uncompressed content.
        actual: Box<Digest>,
    },
    /// The layer's compression is broken, though its digest is right.
    #[error(
        "layer {blob} of the image is broken: its compressed data cannot be unpacked ({source}); it came as it was pushed, so it must be pushed again, or another tag chosen"
    )]
    Decompress {
        /// The layer's blob.
        blob: Digest,
        /// The decoder's reason.
        source: io::Error,
    },
    /// The layer is not a tar archive, or a damaged one.
    #[error("layer {blob} is not a valid tar archive: {problem}, at byte {offset}")]
    BadArchive {
        /// The layer's blob.
        blob: Digest,
        /// What is wrong.
        problem: &'static str,
        /// Position in the uncompressed stream.
        offset: u64,
    },
    /// A member of the layer is refused.
    #[error("layer {blob}: member {member:?} {problem}")]
    BadMember {
        /// The layer's blob.
        blob: Digest,
        /// The member's name as the archive gives it.
        member: String,
        /// What is wrong.
        problem: MemberProblem,
    },
    /// A member of the layer could not be written.
    #[error("layer {blob}: cannot {action} member {member:?}")]
    Member {
        /// The layer's blob.
        blob: Digest,
        /// What was tried, as a verb.
        action: &'static str,
        /// The member's name as the archive gives it.
        member: String,
        /// The reason the kernel gave.
        source: io::Error,
    },
    /// An ingest that failed before was used again.
    #[error("the ingest of layer {blob} has failed already")]
    IngestFailed {
        /// The layer's blob.
        blob: Digest,
    },
    /// A layer is not in the store.
    #[error("no layer {chain_id} in the store")]
    NoSuchLayer {
        /// The chain id asked for.
        chain_id: Digest,
    },

    /// Files could not be unpacked from an archive.
    #[error(transparent)]
    Unpack(#[from] crate::UnpackError),

    /// A file that a build made cannot be in a layer.
    #[error("{path:?} {problem}")]
    NotArchivable {
        /// The file, relative to the root of the image.
        path: String,
        /// What is wrong.
        problem: ArchiveProblem,
    },
    /// Whoever wanted an archive did not take it.
    #[error("cannot write the archive")]
    WriteArchive {
        /// The writer's reason.
        source: io::Error,
    },
    /// The archive of a layer is not what it was when the layer came into the store: its files were changed on disk, or
    /// another program had packed it and the packed layer is gone.
    #[error("layer {chain_id} cannot be packed again as it was: it gives {actual}, not {expected}")]
    NotReproducible {
        /// The layer.
        chain_id: Digest,
        /// Its diff id.
        expected: Box<Digest>,
        /// The digest of the archive.
        actual: Box<Digest>,
    },

    /// Layers cannot be packed so.
    #[error("layers cannot be packed with {compression}")]
    UnsupportedCompression {
        /// The compression asked for.
        compression: crate::Compression,
    },

    /// There is no such image.
    #[error("no image {image} in the store")]
    NoSuchImage {
        /// The id asked for.
        image: String,
    },
    /// The image is used by a container.
    #[error("image {image} is in use by container {container}")]
    ImageInUse {
        /// The image's id.
        image: Digest,
        /// A container that uses it.
        container: String,
    },

    /// The container name is taken.
    #[error("the container name {name:?} is already in use by container {by}")]
    NameTaken {
        /// The name.
        name: String,
        /// The id of the container that has it.
        by: String,
    },
    /// An id that is not made of lower-case letters and digits.
    #[error("{id:?} is not a valid id")]
    InvalidId {
        /// The id.
        id: String,
    },
    /// There is no such container.
    #[error("no such container: {container}")]
    NoSuchContainer {
        /// The name or id asked for.
        container: String,
    },
    /// More than one container has an id that begins so.
    #[error("more than one container has an id that begins with {prefix}")]
    AmbiguousContainer {
        /// The prefix asked for.
        prefix: String,
        /// The ids that match.
        matches: Vec<String>,
    },
    /// The container's record has been changed by another process since it was read.
    #[error("container {container} has been changed meanwhile")]
    Conflict {
        /// The container's id.
        container: String,
    },

    /// Every address of the range is taken.
    #[error("network {network} has no free address left in {range}")]
    AddressesExhausted {
        /// The network's name.
        network: String,
        /// The range that was searched.
        range: ipnet::IpNet,
    },
    /// The requested address is taken.
    #[error("address {address} on network {network} is already in use by {by}")]
    AddressTaken {
        /// The network's name.
        network: String,
        /// The address.
        address: IpAddr,
        /// The container that has it, or "the network itself" for a reserved one.
        by: String,
    },
    /// The requested address cannot be given to a container of this network.
    #[error("address {address} is not usable in {subnet} of network {network}")]
    AddressUnusable {
        /// The network's name.
        network: String,
        /// The address.
        address: IpAddr,
        /// The network's subnet.
        subnet: ipnet::IpNet,
    },

    /// A volume name with characters that are not allowed.
    #[error("volume name {name:?} is invalid: only [a-zA-Z0-9][a-zA-Z0-9_.-]+ is allowed")]
    InvalidVolumeName {
        /// The name.
        name: String,
    },
    /// There is no such volume.
    #[error("no such volume: {name}")]
    NoSuchVolume {
        /// The name.
        name: String,
    },
    /// The volume is used by containers.
    #[error("volume {name} is in use by {}", by.join(", "))]
    VolumeInUse {
        /// The volume.
        name: String,
        /// The containers that use it.
        by: Vec<String>,
    },
    /// A directory that is to be removed has something mounted in it.
    #[error("cannot remove {path}: something is mounted there")]
    Mounted {
        /// The directory with the mount.
        path: PathBuf,
    },
}

/// Why a member of a layer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberProblem {
    /// The name leaves the layer by way of `..`.
    #[error("has a name that leads out of the layer")]
    Escapes,
    /// The link leads out of the layer.
    #[error("is a hard link that leads out of the layer")]
    LinkEscapes,
    /// A hard link to something the layer does not contain.
    #[error("is a hard link to something the layer does not contain")]
    LinkDangling,
    /// The name is too long or too deep.
    #[error("has a name that is too long or too deep")]
    NameTooLong,
    /// The name contains a NUL byte or is empty where it must not be.
    #[error("has an invalid name")]
    InvalidName,
    /// A parent of the name is a file, or symbolic links go in circles.
    #[error("lies beneath something that is not a directory")]
    NotADirectory,
    /// The archive's type flag is unknown.
    #[error("is of an unsupported type")]
    UnsupportedType,
    /// A number is out of range.
    #[error("has a number out of range in its header")]
    BadNumber,
    /// The extended header is malformed.
    #[error("has a malformed extended header")]
    BadExtension,
    /// The map of a sparse file is malformed.
    #[error("has a malformed sparse map")]
    BadSparseMap,
    /// More extended attributes, or larger ones, than a file can have.
    #[error("has too large an extended header")]
    ExtensionTooLarge,
}

/// Why a file cannot be in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveProblem {
    /// In a layer, a name that begins with `.wh.` says that something is gone (OCI image-spec, layer.md, "Whiteouts").
    #[error("cannot be in an image: names that begin with .wh. are reserved")]
    ReservedName,
    /// Directories are nested too deep.
    #[error("cannot be in an image: it is nested too deep")]
    TooDeep,
    /// The file was changed meanwhile.
    #[error("was changed while it was read")]
    Changed,
}

impl Error {
    /// Whether the disk (or quota) being full is the reason.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Error::DiskFull { .. } => true,
            Error::Member { source, .. } | Error::WriteArchive { source } => is_full(source),
            _ => false,
        }
    }

    pub(crate) fn database(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                Error::DatabaseDamaged { path, source }
            }
            Some(rusqlite::ErrorCode::DiskFull) => full(path),
            // SQLite has no word of its own for a shared-memory file that cannot grow.
            Some(rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::CannotOpen)
                if has_no_room(&path) =>
            {
                full(path)
            }
            _ => Error::Database { path, source },
        }
    }
}

fn full(path: PathBuf) -> Error {
    Error::DiskFull {
        action: "write",
        path,
        source: Errno::NOSPC.into(),
    }
}

/// Whether the file system cannot hold the database's smallest helper file, or no further file at all.
fn has_no_room(path: &Path) -> bool {
    const SMALLEST: u64 = 32 << 10;
    let dir = path.parent().unwrap_or(path);
    rustix::fs::statvfs(dir).is_ok_and(|stat| {
        stat.f_bavail.saturating_mul(stat.f_frsize) < SMALLEST
            || (stat.f_files > 0 && stat.f_favail == 0)
    })
}

fn is_full(e: &io::Error) -> bool {
    e.raw_os_error()
        .is_some_and(|code| [Errno::NOSPC, Errno::DQUOT].contains(&Errno::from_raw_os_error(code)))
}

/// Turns the error of a system call into [`Error`], naming the call and the file.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| {
            let (source, path) = (e.into(), path.as_ref().to_owned());
            if is_full(&source) {
                Error::DiskFull {
                    action,
                    path,
                    source,
                }
            } else {
                Error::Io {
                    action,
                    path,
                    source,
                }
            }
        })
    }
}
