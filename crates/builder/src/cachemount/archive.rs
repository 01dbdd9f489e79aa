//! Cache directories as archives: to look into, to keep, to fill another machine's.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rctr_store::write_tree_archive;

use super::{ID, MODE, directory, find, lock_alone, make_dir};
use crate::files::{FilesError, open_archive, unpack};
use crate::{BuildError, Result};

/// Writes what a cache directory holds as a tar archive. `id` is the mount's, or a key of [`cache_mounts`](super::cache_mounts).
///
/// # Errors
/// [`BuildError::NoCacheMount`], [`BuildError::CacheMountInUse`], [`BuildError::Store`], [`BuildError::Io`].
pub fn export_cache_mount(root: &Path, id: &str, to: &mut dyn Write) -> Result<()> {
    let dir = find(root, id)?;
    let data = dir.join("data");
    if !data.exists() {
        return Err(BuildError::NoCacheMount { id: id.to_owned() });
    }
    let _lock = alone(&dir, id)?;
    let tree = File::open(&data).map_err(BuildError::io("open", &data))?;
    Ok(write_tree_archive(tree.as_fd(), to)?)
}

/// Makes a cache directory hold what a tar archive has, packed or not, and nothing else.
///
/// # Errors
/// [`BuildError::CacheMountInUse`], [`BuildError::Files`] for what is no archive, [`BuildError::Io`]. It then holds
/// what it held before.
pub fn import_cache_mount(root: &Path, id: &str, from: &mut dyn Read) -> Result<()> {
    const NAME: &str = "the archive";
    make_dir(&directory(root))?;
    let dir = find(root, id)?;
    make_dir(&dir)?;
    let _lock = alone(&dir, id)?;
    let (data, fresh, old) = (dir.join("data"), dir.join("new"), dir.join("old"));
    for leftover in [&fresh, &old] {
        remove(leftover)?;
    }
    let known = fs::metadata(&data).ok();
    let made = || {
        let mode = known.as_ref().map_or(MODE, |meta| meta.mode() & 0o7777);
        fs::DirBuilder::new().mode(mode).create(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))?;
        if let Some(meta) = &known {
            chown(&fresh, Some(meta.uid()), Some(meta.gid()))?;
        }
        if known.is_none() {
            fs::write(dir.join(ID), id)?;
        }
        File::open(&fresh)
    };
    let tree = made().map_err(BuildError::io("create", &fresh))?;
    let broken = |problem: String| FilesError::Archive {
        archive: NAME.into(),
        member: None,
        problem,
    };
    let filled = open_archive(from)
        .map_err(|e| broken(e.to_string()))
        .and_then(|archive| {
            archive.ok_or_else(|| broken("it is no tar archive, or one of nothing".into()))
        })
        .and_then(|archive| unpack(archive, tree.into(), None, NAME));
    if let Err(error) = filled {
        remove(&fresh)?;
        return Err(error.into());
    }
    // It is there whole or not at all.
    if known.is_some() {
        fs::rename(&data, &old).map_err(BuildError::io("rename", &data))?;
    }
    fs::rename(&fresh, &data).map_err(BuildError::io("rename", &fresh))?;
    remove(&old)
}

fn alone(dir: &Path, id: &str) -> Result<File> {
    lock_alone(dir)?.ok_or_else(|| BuildError::CacheMountInUse { id: id.to_owned() })
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(BuildError::io("remove", path)(e))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cachemount::cache_mounts;

    #[test]
    fn what_one_machine_has_fills_another_s() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let missing = export_cache_mount(here.path(), "/c", &mut Vec::new());
        assert!(matches!(missing, Err(BuildError::NoCacheMount { .. })));

        let mut first = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        first.append_data(&mut header, "a/b", &b"hi"[..]).unwrap();
        let first = first.into_inner().unwrap();
        import_cache_mount(here.path(), "/c", &mut &first[..]).unwrap();
        let mut out = Vec::new();
        export_cache_mount(here.path(), "/c", &mut out).unwrap();

        // Whatever was there is replaced, but for a bad archive.
        import_cache_mount(there.path(), "/c", &mut &out[..]).unwrap();
        let data = find(there.path(), "/c").unwrap().join("data");
        fs::write(data.join("more"), "x").unwrap();
        let bad = import_cache_mount(there.path(), "/c", &mut &b"no archive at all"[..]);
        assert!(matches!(bad, Err(BuildError::Files { .. })));
        assert!(data.join("more").exists());
        import_cache_mount(there.path(), "/c", &mut &out[..]).unwrap();
        assert!(!data.join("more").exists());
        let meta = fs::metadata(data.join("a/b")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (7, 8, 0o640));
        let listed = cache_mounts(there.path()).unwrap();
        assert_eq!((listed[0].id.as_str(), listed[0].in_use), ("/c", false));

        let _used = lock_alone(&find(there.path(), "/c").unwrap()).unwrap();
        let busy = import_cache_mount(there.path(), "/c", &mut &out[..]);
        assert!(matches!(busy, Err(BuildError::CacheMountInUse { .. })));
    }
}
