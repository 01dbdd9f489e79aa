//! The files of an image, without the image.

use std::fs;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rctr_engine::NewFile;
use rctr_store::{TreeToArchive, write_tree_archives};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{getegid, geteuid};

use super::Image;
use super::image::to_json;
use crate::attest::{self, Facts};
use crate::build::View;
use crate::files::{self, CopyRequest, SelectOptions, Source, Tree};
use crate::output::{Destination, FilesOutput};
use crate::solve::{Solved, Solver};
use crate::{BuildError, Result, time};

const BUFFER: usize = 256 << 10;

/// The files for one platform.
struct Files {
    /// The directory they are to be in.
    directory: Option<String>,
    root: OwnedFd,
    /// What is said of them.
    attested: Vec<(String, Vec<u8>)>,
}

impl Files {
    fn of(
        solver: &Solver<'_>,
        facts: &Facts<'_>,
        images: &[Image<'_>],
        wanted: &FilesOutput,
    ) -> Result<Vec<Files>> {
        let apart = wanted.by_platform.unwrap_or(images.len() > 1);
        let mut all = Vec::new();
        for image in images {
            let directory = image.platform.to_string().replace('/', "_");
            let root = mounted(solver, image.solved)?;
            let mut attested = Vec::new();
            if solver.options.attestations.any() {
                let root = || mounted(solver, image.solved);
                let subjects = attest::files(root()?.as_fd())?;
                for predicate in attest::predicates(solver, facts, &[], root)? {
                    let name = match predicate.file.split_once('.') {
                        // Several are in one directory.
                        Some((stem, rest)) if !apart && images.len() > 1 => {
                            format!("{stem}.{directory}.{rest}")
                        }
                        _ => predicate.file.to_owned(),
                    };
                    let name = format!("{}{name}", wanted.attestation_prefix);
                    attested.push((name, to_json(&predicate.statement(&subjects))));
                }
            }
            all.push(Files {
                directory: apart.then_some(directory),
                root,
                attested,
            });
        }
        Ok(all)
    }
}

/// Writes them as a tar archive.
pub(super) fn to_tar(
    view: &mut View<'_>,
    solver: &Solver<'_>,
    facts: &Facts<'_>,
    images: &[Image<'_>],
    (to, wanted): (&Destination, &FilesOutput),
) -> Result<()> {
    view.line("exporting to client tarball", |status| {
        let all = Files::of(solver, facts, images, wanted)?;
        let time = solver.options.epoch.unwrap_or_else(time::now);
        match to {
            Destination::Stream(file) => {
                write(&all, time, &**file).map_err(|e| at("write", "standard output", e))?
            }
            Destination::Directory(path) | Destination::File(path) => {
                let new = NewFile::create(path)?;
                write(&all, time, new.file()).map_err(|e| at("write", path, e))?;
                new.commit()?;
            }
        }
        status("sending tarball", 0);
        Ok(())
    })
}

fn write(all: &[Files], time: i64, to: impl Write) -> Result<(), Why> {
    let mut out = BufWriter::with_capacity(BUFFER, to);
    let trees = all.iter().map(|files| TreeToArchive {
        directory: files.directory.as_deref(),
        root: files.root.as_fd(),
        files: &files.attested,
        time,
    });
    write_tree_archives(&trees.collect::<Vec<_>>(), &mut out)?;
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
    facts: &Facts<'_>,
    images: &[Image<'_>],
    (directory, wanted): (&Path, &FilesOutput),
) -> Result<()> {
    view.line("exporting to client directory", |status| {
        for files in Files::of(solver, facts, images, wanted)? {
            let directory = match &files.directory {
                Some(name) => directory.join(name),
                None => directory.to_owned(),
            };
            copy(&files, &directory)?;
            let what = files.directory.unwrap_or_default();
            status(format!("copying files {what}").trim_end(), 0);
        }
        Ok(())
    })
}

fn copy(from: &Files, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(BuildError::io("create", directory))?;
    let to = open(directory)?;
    let root = from.root.try_clone();
    let root = root.map_err(BuildError::io("open", directory))?;
    let selection = Tree::rootfs(root).select(&["/"], &SelectOptions::default())?;
    let sources = [Source::Selection(selection)];
    let request = CopyRequest {
        destination_is_dir: true,
        chown: Some((geteuid().as_raw(), getegid().as_raw())),
        ..CopyRequest::new(&sources, "/")
    };
    files::copy(to.as_fd(), &request)?;
    for (name, content) in &from.attested {
        let path = directory.join(name);
        let written = fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .and_then(|mut file| file.write_all(content));
        written.map_err(BuildError::io("write", &path))?;
    }
    Ok(())
}

/// The image's root directory, mounted where nobody else sees it.
pub(super) fn mounted(solver: &Solver<'_>, solved: &Solved) -> Result<OwnedFd> {
    match solver.runner.mount(&solved.chain_ids(), None)? {
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
