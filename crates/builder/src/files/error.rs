use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// Files cannot be selected, hashed, fetched or copied. Paths in messages are those a person wrote or would write:
/// relative to the context or stage, never those of the host's temporary directories.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A source does not exist.
    #[error("\"/{path}\": not found{}", missing_hint(*ignored, nearest.as_deref()))]
    NotFound {
        /// The path as resolved, without a leading slash.
        path: String,
        /// `.dockerignore` hides it.
        ignored: bool,
        /// What is there and has nearly that name.
        nearest: Option<String>,
    },
    /// Symbolic links that lead to links without end.
    #[error("\"/{path}\": too many levels of symbolic links")]
    LinkLoop {
        /// The path.
        path: String,
    },
    /// Something in the middle of a path is no directory.
    #[error("\"/{path}\": not a directory")]
    NotADirectory {
        /// The path of what is none.
        path: String,
    },
    /// More levels than can be walked.
    #[error("\"/{path}\": nested deeper than {limit} directories")]
    TooDeep {
        /// Where it was given up.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// A source changed between being hashed and being copied.
    #[error(
        "\"/{path}\" changed while it was being read: start the build again when it is at rest"
    )]
    Changed {
        /// The path.
        path: String,
    },
    /// More than a file may have for its use.
    #[error("\"/{path}\" is larger than {limit} bytes")]
    TooLarge {
        /// The path.
        path: String,
        /// The limit.
        limit: u64,
    },
    /// Something other than a file, where its content is wanted.
    #[error("\"/{path}\" is not a regular file")]
    NotAFile {
        /// The path.
        path: String,
    },
    /// A directory is to be copied over something that is none.
    #[error("cannot copy to non-directory: /{path}")]
    OntoNonDirectory {
        /// The path in the destination.
        path: String,
    },
    /// A file is to be copied over a directory.
    #[error("cannot replace directory /{path} with a file")]
    OntoDirectory {
        /// The path in the destination.
        path: String,
    },
    /// A pattern of `--exclude` or `--parents` is malformed.
    #[error("{reason}")]
    Pattern {
        /// Which, and what is wrong with it.
        reason: String,
    },
    /// A value of `--chmod` is malformed.
    #[error("invalid chmod parameter: '{value}'. {reason}")]
    Chmod {
        /// As written.
        value: String,
        /// What is expected.
        reason: &'static str,
    },
    /// `--chown` names somebody the root file system does not know.
    #[error("unable to find {what} {name}: no matching entries in {file}")]
    UnknownOwner {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// A number of `--chown`, or in the passwd or group file, is out of range.
    #[error("{value}: uids and gids must be in range 0-2147483647")]
    OwnerRange {
        /// The number.
        value: String,
    },
    /// An archive cannot be unpacked.
    #[error("{archive}: {}: {problem}", member.as_deref().unwrap_or("archive"))]
    Archive {
        /// Which archive.
        archive: String,
        /// Its member, if it is one's fault.
        member: Option<String>,
        /// What is wrong.
        problem: String,
    },
    /// A URL cannot be fetched.
    #[error("failed to load {url}: {problem}")]
    Fetch {
        /// The URL, without credentials.
        url: String,
        /// What happened.
        problem: String,
    },
    /// A download or commit is not what was asked for.
    #[error("{url}: digest mismatch: expected {expected}, got {actual}")]
    Checksum {
        /// The source, without credentials.
        url: String,
        /// What `--checksum` says.
        expected: String,
        /// What came.
        actual: String,
    },
    /// A `--checksum` that cannot be compared with.
    #[error("invalid checksum \"{value}\": {reason}")]
    BadChecksum {
        /// As written.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A git address is malformed.
    #[error("invalid git address \"{address}\": {reason}")]
    GitAddress {
        /// As written, without credentials.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `git` failed.
    #[error("{repository}: failed to {action}: {output}")]
    Git {
        /// The repository, without credentials.
        repository: String,
        /// What was tried.
        action: &'static str,
        /// What git said.
        output: String,
    },
    /// A build context that is neither a directory, an archive, a git repository nor a URL.
    #[error("unable to prepare context: path \"{}\" not found", path.display())]
    NoContext {
        /// As given.
        path: PathBuf,
    },
    /// There is no Dockerfile.
    #[error("failed to read dockerfile: open {}: no such file or directory", path.display())]
    NoDockerfile {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file of this machine, not of a tree, cannot be used.
    #[error("failed to {action} {}", path.display())]
    Host {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel said no.
    #[error("failed to {action} \"/{path}\"")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path in the tree or in the destination.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn missing_hint(ignored: bool, nearest: Option<&str>) -> String {
    match (ignored, nearest) {
        (true, _) => ": excluded by .dockerignore".into(),
        (false, Some(name)) => format!(": did you mean \"/{name}\"?"),
        (false, None) => String::new(),
    }
}

/// How results of this module are spelt.
pub type Result<T, E = FilesError> = std::result::Result<T, E>;

/// Gives a system call's error its action and path.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &[u8]) -> Result<T>;
}

impl<T, E: Into<Failure>> At<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: &[u8]) -> Result<T> {
        self.map_err(|e| FilesError::Io {
            action,
            path: text(path),
            source: e.into().0,
        })
    }
}

/// A system call's error, from whichever library.
pub(crate) struct Failure(io::Error);

impl From<Errno> for Failure {
    fn from(e: Errno) -> Self {
        Failure(e.into())
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure(e)
    }
}

/// A path for a person to read.
pub(crate) fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
