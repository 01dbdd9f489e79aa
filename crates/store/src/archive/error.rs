use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::error::At;
use crate::{ArchiveProblem, Error};

/// Why a tree cannot be archived, before it is known where the tree is.
#[derive(Debug)]
pub(crate) struct ArchiveError {
    /// Relative to the tree's root.
    pub path: Vec<u8>,
    pub reason: Reason,
}

#[derive(Debug)]
pub(crate) enum Reason {
    /// A system call, as a verb, failed.
    System(&'static str, Errno),
    /// A layer cannot hold it.
    Problem(ArchiveProblem),
    /// The archive could not be handed on.
    Sink(io::Error),
}

impl ArchiveError {
    /// Says where the tree is.
    pub fn beneath(self, root: &Path) -> Error {
        use std::os::unix::ffi::OsStrExt;
        let path = root.join(std::ffi::OsStr::from_bytes(&self.path));
        match self.reason {
            Reason::System(action, errno) => match Err::<(), _>(errno).at(action, path) {
                Err(e) => e,
                Ok(()) => unreachable!("made from an error"),
            },
            Reason::Problem(problem) => Error::NotArchivable {
                path: String::from_utf8_lossy(&self.path).into_owned(),
                problem,
            },
            Reason::Sink(source) => Error::WriteArchive { source },
        }
    }
}
