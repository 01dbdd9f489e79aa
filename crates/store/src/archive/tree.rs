//! Archives of trees that are no layers.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use super::error::{ArchiveError, Reason};
use super::header::{Header, kind, pad};
use super::output::Sink;
use super::walk::{Skip, Walk};

/// An archive of several trees, none of which is a layer.
pub(crate) struct TreeArchive<'a>(Walk<'a>);

impl<'a> TreeArchive<'a> {
    pub fn new(sink: &'a mut dyn Sink) -> Self {
        let mut walk = Walk::new(sink, None);
        walk.is_layer = false;
        TreeArchive(walk)
    }

    /// Adds what is called `name` in a directory, with all that is in it but what `skip` says of paths in the archive,
    /// under another name.
    pub fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        called: &[u8],
        skip: &'a Skip<'a>,
    ) -> Result<(), ArchiveError> {
        let walk = &mut self.0;
        walk.skip = Some(skip);
        walk.links.clear();
        walk.path = called.to_vec();
        walk.one(dir, name).map_err(|reason| ArchiveError {
            path: self.0.path.clone(),
            reason,
        })
    }

    /// Adds a tree, beneath a directory unless that has no name. The time is the directory's.
    pub fn tree(
        &mut self,
        directory: &str,
        root: BorrowedFd<'_>,
        time: i64,
    ) -> Result<(), ArchiveError> {
        let walk = &mut self.0;
        // Numbers of files mean something only within a tree.
        walk.links.clear();
        walk.path = directory.as_bytes().to_vec();
        let mut add = || {
            if !directory.is_empty() {
                let name = [directory.as_bytes(), b"/"].concat();
                walk.member(Header {
                    name: &name,
                    kind: kind::DIRECTORY,
                    mode: 0o755,
                    mtime: time,
                    ..Header::default()
                })?;
            }
            walk.run(root, false)
        };
        add().map_err(|reason| ArchiveError {
            path: self.0.path.clone(),
            reason,
        })
    }

    /// Adds a file in the directory of the last tree.
    pub fn file(&mut self, name: &str, content: &[u8], time: i64) -> Result<(), ArchiveError> {
        let walk = &mut self.0;
        let slash: &[u8] = if walk.path.is_empty() { b"" } else { b"/" };
        let name = [&walk.path, slash, name.as_bytes()].concat();
        let size = content.len() as u64;
        let header = Header {
            name: &name,
            kind: kind::FILE,
            mode: 0o600,
            size,
            mtime: time,
            ..Header::default()
        };
        let added = walk.output.append(|to| {
            header.write(to);
            to.extend_from_slice(content);
            pad(to, size);
        });
        added.map_err(|e| ArchiveError {
            path: name.clone(),
            reason: Reason::Sink(e),
        })
    }

    /// Ends the archive.
    pub fn finish(self) -> Result<(), ArchiveError> {
        let finished = self.0.output.finish();
        finished.map(drop).map_err(|e| ArchiveError {
            path: Vec::new(),
            reason: Reason::Sink(e),
        })
    }
}
