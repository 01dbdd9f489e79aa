//! A cgroup's directory with those below it, all of which may go at any moment.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The processes in it and below it.
pub(super) fn collect_processes(directory: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let list = match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(list) => list,
        // A v2 cgroup in threaded mode, or one that has just been removed, perhaps between being opened and read.
        Err(e) if is_gone(&e) || e.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e),
    };
    pids.extend(list.lines().filter_map(|line| line.parse::<i32>().ok()));
    for child in subdirectories(directory)? {
        collect_processes(&child, pids)?;
    }
    Ok(())
}

fn subdirectories(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = match entry {
            Err(e) if is_gone(&e) => break,
            other => other?,
        };
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes it and those below it; fine if it is gone.
pub(super) fn remove_tree(directory: &Path) -> io::Result<()> {
    // The usual case first: nothing below it.
    match fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    for child in subdirectories(directory)? {
        remove_tree(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Whether an error on a cgroup's file says that the cgroup has been removed.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}
