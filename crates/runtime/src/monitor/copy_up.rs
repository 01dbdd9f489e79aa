//! Filling new volumes with what the image has where they are mounted, as Docker does.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Stat, Timespec, Timestamps,
    Uid, XattrFlags, chownat, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens,
    mkdirat, mknodat, openat, openat2, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::user::UserNamespace;
use crate::error::StartError;
use crate::spec::CopyUp;

/// Attributes that are overlay's own business, and the SELinux label, which what is new gets from the directory it is in.
const OWN_XATTRS: [&str; 3] = ["trusted.overlay.", "user.overlay.", "security.selinux"];

/// Copies the directory `target` of the root filesystem into the volume, with owners, modes, times, links and
/// extended attributes, if the volume is empty. Of a container in a user namespace it gets the owners that are seen
/// inside, as it is shown there.
///
/// # Errors
/// [`StartError::Rootfs`] naming the volume.
pub(super) fn copy_up(
    root: BorrowedFd<'_>,
    request: &CopyUp,
    user: Option<&UserNamespace>,
) -> Result<(), StartError> {
    let owner = |stat: &Stat| match user {
        None => owner(stat),
        Some(user) => {
            let (uid, gid) = user.inside(stat.st_uid, stat.st_gid);
            (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        }
    };
    fill(root, &request.target, &request.volume, &owner).map_err(|e| StartError::Rootfs {
        step: format!(
            "copy {} into the volume {}",
            request.target.display(),
            request.volume.display()
        ),
        reason: e.to_string(),
    })
}

/// Whose a copy is to be.
type Owner<'a> = &'a dyn Fn(&Stat) -> (Option<Uid>, Option<Gid>);

fn fill(root: BorrowedFd<'_>, target: &Path, volume: &Path, owner: Owner<'_>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let source = match openat2(root, target, flags, Mode::empty(), within) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let volume = rustix::fs::open(volume, flags | OFlags::NOFOLLOW, Mode::empty())?;
    if !is_empty(&volume)? {
        return Ok(());
    }
    copy_tree(&source, &volume, owner)
}

/// Copies what is in one directory to another, with the first's own attributes.
pub(super) fn copy_content(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let open = |dir| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(dir, ".", flags, Mode::empty())
    };
    copy_tree(&open(source)?, &open(target)?, &owner)
}

fn is_empty(dir: &OwnedFd) -> io::Result<bool> {
    for entry in Dir::read_from(dir)? {
        if !is_dot(entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// The content first, then the directory's own attributes: copying into it changes its times.
fn copy_tree(source: &OwnedFd, target: &OwnedFd, owner: Owner<'_>) -> io::Result<()> {
    for entry in Dir::read_from(source)? {
        let entry = entry?;
        if !is_dot(entry.file_name()) {
            copy_entry(source, target, entry.file_name(), owner)?;
        }
    }
    copy_attributes(source, target, owner)
}

fn copy_entry(source: &OwnedFd, target: &OwnedFd, name: &CStr, owner: Owner<'_>) -> io::Result<()> {
    let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match kind {
        FileType::Directory => {
            mkdirat(target, name, Mode::RWXU)?;
            let flags = read | OFlags::DIRECTORY;
            let from = openat(source, name, flags, Mode::empty())?;
            let to = openat(target, name, flags, Mode::empty())?;
            copy_tree(&from, &to, owner)
        }
        FileType::RegularFile => {
            let mut from = std::fs::File::from(openat(source, name, read, Mode::empty())?);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mut to = std::fs::File::from(openat(target, name, flags, Mode::RUSR | Mode::WUSR)?);
            io::copy(&mut from, &mut to)?;
            copy_attributes(&from.into(), &to.into(), owner)
        }
        FileType::Symlink => {
            symlinkat(&readlinkat(source, name, Vec::new())?, target, name)?;
            own(target, name, &stat, owner)
        }
        _ => {
            mknodat(target, name, kind, permissions(&stat), stat.st_rdev)?;
            own(target, name, &stat, owner)
        }
    }
}

/// Owner and times of something that cannot be opened for it.
fn own(dir: &OwnedFd, name: &CStr, stat: &Stat, owner: Owner<'_>) -> io::Result<()> {
    let (uid, gid) = owner(stat);
    chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(
        dir,
        name,
        &times(stat),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// The owner first: changing it clears the set-user-id bit and file capabilities.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd, owner: Owner<'_>) -> io::Result<()> {
    let stat = fstat(from)?;
    let (uid, gid) = owner(&stat);
    fchown(to, uid, gid)?;
    fchmod(to, permissions(&stat))?;
    copy_xattrs(from, to)?;
    Ok(futimens(to, &times(&stat))?)
}

fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut names = vec![0_u8; 65536];
    let length = match flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    for name in names[..length]
        .split(|&byte| byte == 0)
        .filter(|n| !n.is_empty())
    {
        let name = String::from_utf8_lossy(name);
        if OWN_XATTRS.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let mut buffer = [MaybeUninit::<u8>::uninit(); 65536];
        let (value, _) = fgetxattr(from, &*name, &mut buffer)?;
        match fsetxattr(to, &*name, value, XattrFlags::empty()) {
            // Not every filesystem has every kind.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )
}

fn permissions(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode as RawMode & 0o7777)
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn an_empty_volume_gets_the_images_content_once() {
        let dir = tempfile::tempdir().unwrap();
        let (root, volume) = (dir.path().join("root"), dir.path().join("volume"));
        let data = root.join("var/data");
        fs::create_dir_all(data.join("sub")).unwrap();
        fs::create_dir(&volume).unwrap();
        fs::write(data.join("sub/file"), "content").unwrap();
        fs::set_permissions(data.join("sub/file"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("/absolute", data.join("link")).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o1777)).unwrap();
        std::os::unix::fs::chown(&data, Some(12), Some(34)).unwrap();

        let request = CopyUp {
            target: "/var/data".into(),
            volume: volume.clone(),
        };
        let root_fd = fs::File::open(&root).unwrap();
        copy_up(root_fd.as_fd(), &request, None).unwrap();
        let top = fs::metadata(&volume).unwrap();
        assert_eq!(
            (top.uid(), top.gid(), top.mode() & 0o7777),
            (12, 34, 0o1777)
        );
        assert_eq!(fs::read(volume.join("sub/file")).unwrap(), b"content");
        assert_eq!(
            fs::metadata(volume.join("sub/file")).unwrap().mode() & 0o7777,
            0o4755
        );
        assert_eq!(
            fs::read_link(volume.join("link")).unwrap(),
            Path::new("/absolute")
        );

        fs::remove_file(volume.join("link")).unwrap();
        copy_up(root_fd.as_fd(), &request, None).unwrap();
        assert!(
            !volume.join("link").is_symlink(),
            "a volume with content was filled again"
        );
    }

    #[test]
    fn a_link_in_the_image_leads_nowhere_outside_it() {
        let dir = tempfile::tempdir().unwrap();
        let (root, volume) = (dir.path().join("root"), dir.path().join("volume"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir(&volume).unwrap();
        symlink("/etc", root.join("data")).unwrap();
        let request = CopyUp {
            target: "/data".into(),
            volume: volume.clone(),
        };
        copy_up(fs::File::open(&root).unwrap().as_fd(), &request, None).unwrap();
        assert_eq!(fs::read_dir(&volume).unwrap().count(), 0);
    }
}
