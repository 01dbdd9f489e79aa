//! The same files upon another base.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::BufReader;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use oci_spec::image::Digest;
use rustix::fs::{AtFlags, FileType, Mode, linkat, mkdirat, mknodat, statat};
use rustix::io::Errno;

use super::{BuildStep, BuiltLayer, CommitOptions};
use crate::archive::{WriteSink, archive, is_opaque};
use crate::digest::chain_id;
use crate::error::At;
use crate::fs::{for_each_entry, open_subdir};
use crate::records::BuiltRow;
use crate::store::Store;
use crate::untar::{copy_attributes, set_opaque, untar};
use crate::{Error, Result, fs};

impl Store {
    /// The layer that the content of another makes upon `parent`. Files are shared with that one by hard links.
    ///
    /// Times stay as they are, whatever `options` says of them.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], [`Error::DiskFull`], [`Error::Io`], [`Error::Database`].
    pub fn relink_layer(
        &self,
        layer: &Digest,
        parent: Option<&Digest>,
        options: CommitOptions<'_>,
    ) -> Result<BuiltLayer> {
        let row = self
            .read(|tx| tx.built(layer))?
            .ok_or_else(|| Error::NoSuchLayer {
                chain_id: layer.clone(),
            })?;
        let built = BuiltLayer {
            chain_id: chain_id(parent, &row.layer.diff_id),
            ..row.layer.clone()
        };
        self.require_space()?;
        let from = self.open_layer(layer)?;
        let mut step = BuildStep::begin(self, parent)?;
        if !self.has_layer(&built.chain_id)? {
            let linked = link_tree(&from, &fs::open_dir(step.upper())?);
            if linked == Err(Errno::MLINK) {
                // A file with all the names it can have.
                drop(step);
                step = BuildStep::begin(self, parent)?;
                copy(&from, &row, &step)?;
            } else {
                linked.at("link a layer's files in", step.upper())?;
            }
            if row.root_listed == Some(true) {
                copy_attributes(&from, &fs::open_dir(step.upper())?)
                    .at("set the attributes of", step.upper())?;
            } else {
                step.inherit_root()?;
            }
        }
        let row = BuiltRow {
            layer: built.clone(),
            parent: parent.cloned(),
            ..row
        };
        step.publish(&row, &options)?;
        Ok(built)
    }
}

/// A directory, its copy, and what is to be done in it.
struct Level {
    from: OwnedFd,
    to: OwnedFd,
    subdirs: Vec<CString>,
}

impl Level {
    /// Links all but directories.
    fn new(from: OwnedFd, to: OwnedFd) -> rustix::io::Result<Self> {
        let mut subdirs = Vec::new();
        for_each_entry(&from, |entry| {
            if entry.is_dir {
                subdirs.push(entry.name);
                return Ok(());
            }
            let name = &entry.name;
            match linkat(&from, name, &to, name, AtFlags::empty()) {
                // Overlayfs makes all whiteouts links to one: that one has many names soon.
                Err(Errno::MLINK) if is_whiteout(&from, name)? => {
                    mknodat(&to, name, FileType::CharacterDevice, Mode::empty(), 0)
                }
                other => other,
            }
        })?;
        Ok(Level { from, to, subdirs })
    }
}

/// `to` is empty. The attributes of the two roots are left alone.
fn link_tree(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let top = Level::new(open_subdir(from, ".")?, open_subdir(to, ".")?)?;
    let mut levels = vec![top];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.subdirs.pop() {
            mkdirat(&level.to, &name, Mode::from_raw_mode(0o700))?;
            let (from, to) = (
                open_subdir(&level.from, &name)?,
                open_subdir(&level.to, &name)?,
            );
            levels.push(Level::new(from, to)?);
            continue;
        }
        let done = levels.pop();
        if let Some(Level { from, to, .. }) = done.filter(|_| !levels.is_empty()) {
            if is_opaque(&from)? {
                set_opaque(&to)?;
            }
            copy_attributes(&from, &to)?;
        }
    }
    Ok(())
}

fn is_whiteout(dir: &OwnedFd, name: &CStr) -> rustix::io::Result<bool> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    Ok(device && stat.st_rdev == 0)
}

/// Copies by way of the archive, which keeps everything.
fn copy(from: &OwnedFd, row: &BuiltRow, step: &BuildStep) -> Result<()> {
    let path = step.upper();
    let to = fs::open_dir(path)?;
    let (reader, writer) = std::io::pipe().at("make a pipe for", path)?;
    let (archived, unpacked) = thread::scope(|scope| {
        // A thread of its own, for it changes its umask.
        let untar = scope.spawn(|| untar(BufReader::new(File::from(OwnedFd::from(reader))), to));
        let listed = row.root_listed == Some(true);
        let mut sink = WriteSink(writer);
        let archived = archive(from.as_fd(), listed, None, &mut sink);
        drop(sink);
        let unpacked = untar
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (archived, unpacked)
    });
    unpacked.map_err(|e| e.of_layer(&row.layer.diff_id))?;
    archived.map_err(|e| e.beneath(path))?;
    Ok(())
}
