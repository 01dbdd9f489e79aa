use std::io;
use std::path::Path;

use oci_spec::image::Digest;

use crate::{Error, MemberProblem, UnpackError};

/// An error of unpacking, before it is known which layer it was.
#[derive(Debug)]
pub(crate) enum UntarError {
    /// The source of the archive failed.
    Read(io::Error),
    /// The archive is malformed.
    Archive { problem: &'static str, offset: u64 },
    /// A member is refused.
    Member {
        member: Vec<u8>,
        problem: MemberProblem,
    },
    /// A member could not be written.
    Write {
        member: Vec<u8>,
        action: &'static str,
        source: io::Error,
    },
}

impl UntarError {
    /// Whether the archive is to blame, and trying again is useless.
    pub fn is_content(&self) -> bool {
        matches!(self, UntarError::Archive { .. } | UntarError::Member { .. })
    }

    /// Says which directory it was that files were copied to.
    pub fn of_unpacking(self, dir: &Path) -> UnpackError {
        let text = |member: Vec<u8>| String::from_utf8_lossy(&member).into_owned();
        match self {
            UntarError::Read(source) => UnpackError::Read(source),
            UntarError::Archive { problem, offset } => UnpackError::Archive { problem, offset },
            UntarError::Member { member, problem } => UnpackError::Member {
                member: text(member),
                problem,
            },
            UntarError::Write {
                member,
                action,
                source,
            } => UnpackError::System {
                action,
                path: dir.join(text(member)),
                source,
            },
        }
    }

    /// Says whose layer it was.
    pub fn of_layer(self, blob: &Digest) -> Error {
        let blob = blob.clone();
        let text = |member: Vec<u8>| String::from_utf8_lossy(&member).into_owned();
        match self {
            UntarError::Read(source) => Error::Decompress { blob, source },
            UntarError::Archive { problem, offset } => Error::BadArchive {
                blob,
                problem,
                offset,
            },
            UntarError::Member { member, problem } => Error::BadMember {
                blob,
                member: text(member),
                problem,
            },
            UntarError::Write {
                member,
                action,
                source,
            } => Error::Member {
                blob,
                action,
                member: text(member),
                source,
            },
        }
    }
}
