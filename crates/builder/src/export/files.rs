//! The files of an image, without the image.

use std::fs;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rctr_engine::NewFile;
use rctr_store::write_tree_archive;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{getegid, geteuid};

use crate::build::View;
use crate::files::{self, CopyRequest, SelectOptions, Source, Tree};
use crate::output::Destination;
use crate::solve::{Solved, Solver};
use crate::{BuildError, Result};

const BUFFER: usize = 256 << 10;

/// Writes them as a tar archive.
pub(super) fn to_tar(
    view: &mut View<'_>,
    solver: &Solver<'_>,
    solved: &Solved,
    to: &Destination,
) -> Result<()> {
    view.line("exporting to client tarball", |status| {
        let root = mounted(solver, solved)?;
        match to {
            Destination::Stream(file) => {
                write(root.as_fd(), &**file).map_err(|e| at("write", "standard output", e))?
            }
            Destination::Directory(path) | Destination::File(path) => {
                let new = NewFile::create(path)?;
                write(root.as_fd(), new.file()).map_err(|e| at("write", path, e))?;
                new.commit()?;
            }
        }
        status("sending tarball", 0);
        Ok(())
    })
}

fn write(root: std::os::fd::BorrowedFd<'_>, to: impl Write) -> Result<(), Why> {
    let mut out = BufWriter::with_capacity(BUFFER, to);
    write_tree_archive(root, &mut out)?;
    Ok(out.flush()?)
}

/// Why an archive cannot be written.
enum Why {
    Store(rctr_store::Error),
    Io(std::io::Error),
}

impl From<rctr_store::Error> for Why {
    fn from(error: rctr_store::Error) -> Why {
        Why::Store(error)
    }
}

impl From<std::io::Error> for Why {
    fn from(error: std::io::Error) -> Why {
        Why::Io(error)
    }
}

fn at(action: &'static str, path: impl AsRef<Path>, why: Why) -> BuildError {
    match why {
        Why::Store(error) => error.into(),
        Why::Io(error) => BuildError::io(action, path.as_ref())(error),
    }
}

/// Copies them into a directory.
pub(super) fn to_directory(
    view: &mut View<'_>,
    solver: &Solver<'_>,
    solved: &Solved,
    directory: &Path,
) -> Result<()> {
    view.line("exporting to client directory", |status| {
        let root = mounted(solver, solved)?;
        fs::create_dir_all(directory).map_err(BuildError::io("create", directory))?;
        let to = open(directory)?;
        let selection = Tree::rootfs(root).select(&["/"], &SelectOptions::default())?;
        let request = CopyRequest {
            sources: &[Source::Selection(selection)],
            destination: "/",
            destination_is_dir: true,
            chown: Some((geteuid().as_raw(), getegid().as_raw())),
            chmod: None,
            unpack: false,
            timestamp: None,
        };
        files::copy(to.as_fd(), &request)?;
        status("copying files", 0);
        Ok(())
    })
}

/// The image's root directory, mounted where nobody else sees it.
pub(super) fn mounted(solver: &Solver<'_>, solved: &Solved) -> Result<OwnedFd> {
    match solver.runner.mount(&solved.chain_ids())? {
        Some(root) => Ok(root),
        None => {
            let empty = solver.scratch.join("empty");
            fs::create_dir_all(&empty).map_err(BuildError::io("create", &empty))?;
            open(&empty)
        }
    }
}

fn open(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, directory, flags, Mode::empty());
    opened.map_err(|e| BuildError::io("open", directory)(e.into()))
}
