//! What hinders `cp`.

use std::path::PathBuf;

/// What hinders `cp`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// `cp` of something that a container does not have.
    #[error("Could not find the file {path} in container {container}")]
    NoSuchPath {
        /// The path.
        path: String,
        /// The container as named.
        container: String,
    },
    /// `cp` of a directory onto a file.
    #[error("cannot copy directory")]
    CannotCopyDirectory,
    /// `cp` of a file into a directory that is not there.
    #[error("no such directory")]
    NoSuchDirectory,
    /// `cp` into something that is no directory.
    #[error("not a directory")]
    NotADirectory,
    /// `cp` of an archive onto something that is no directory.
    #[error("destination \"{container}:{path}\" must be a directory")]
    CopyArchiveOntoFile {
        /// The container as named.
        container: String,
        /// The path in it.
        path: String,
    },
    /// `cp` onto a device.
    #[error(
        "destination \"{container}:{path}\" must be a directory or a regular file: got a device"
    )]
    CopyOntoSpecial {
        /// The container as named.
        container: String,
        /// The path in it.
        path: String,
    },
    /// A file is to be written in a directory that is not there.
    #[error("invalid output path: directory {dir:?} does not exist")]
    OutputDirectoryMissing {
        /// The directory.
        dir: PathBuf,
    },
    /// A file is to be written where a device is.
    #[error("invalid output path: {path:?} must be a directory or a regular file: got a device")]
    OutputSpecial {
        /// The path.
        path: PathBuf,
    },
    /// A destination on the host, or a source whose link is to be followed, that is a link to a link and so on.
    #[error("too many symlinks in {path}")]
    TooManyLinks {
        /// The path.
        path: String,
    },
    /// `cp` into the root of a container that is read-only.
    #[error("container rootfs is marked read-only")]
    ReadOnlyRootfs,
    /// `cp` into a mount that is read-only.
    #[error("mounted volume is marked read-only")]
    ReadOnlyVolume,
}
