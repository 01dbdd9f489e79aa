mod archive;
mod escape;
mod formats;
mod whiteout;

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use tempfile::TempDir;

use super::{Unpacked, UntarError, untar};
use crate::MemberProblem;
use crate::fs::open_dir;
use archive::Archive;

/// Unpacks in a directory beside which nothing may appear.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("layer")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        Place { dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("layer").join(name)
    }

    fn unpack(&self, archive: Archive) -> Result<Unpacked, UntarError> {
        let root = open_dir(&self.path("")).unwrap();
        // Tiny reads find every mistake at the edges of buffers.
        let data = archive.finish();
        let reader = std::io::BufReader::with_capacity(700, &data[..]);
        // A thread of its own, as the umask is changed.
        let result = std::thread::scope(|s| s.spawn(|| untar(reader, root)).join().unwrap());
        let outside = std::fs::read_dir(self.dir.path().join("outside")).unwrap();
        assert_eq!(outside.count(), 1, "something was written outside");
        let secret = std::fs::metadata(self.dir.path().join("outside/secret")).unwrap();
        assert_eq!((secret.nlink(), secret.len()), (1, 6));
        assert_eq!(std::fs::read_dir(self.dir.path()).unwrap().count(), 2);
        result
    }

    fn refused(archive: Archive) -> MemberProblem {
        match Place::new().unpack(archive) {
            Err(UntarError::Member { problem, .. }) => problem,
            other => panic!("expected a refused member, got {other:?}"),
        }
    }

    fn stat(&self, name: &str) -> std::fs::Metadata {
        std::fs::symlink_metadata(self.path(name)).unwrap()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn is_whiteout(&self, name: &str) -> bool {
        let stat = self.stat(name);
        stat.file_type().is_char_device() && stat.rdev() == 0
    }

    fn is_opaque(&self, name: &str) -> bool {
        xattr(&self.path(name), "trusted.overlay.opaque") == Some(b"y".to_vec())
    }
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = openat(rustix::fs::CWD, path, flags, Mode::empty()).unwrap();
    let mut value = vec![0; 4096];
    let length = rustix::fs::fgetxattr(&fd, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn keeps_everything_a_file_has() {
    let place = Place::new();
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let unpacked = place
        .unpack(
            Archive::new()
                .dir("etc/")
                .file("etc/passwd", b"root")
                .with(|m| {
                    m.mode(0o640)
                        .owner(70_000, 3_000_000_000)
                        .time(1_000_000_007)
                })
                .file("bin", b"suid")
                .with(|m| m.mode(0o6755).owner(1, 2))
                .file("sticky", b"")
                .with(|m| m.mode(0o1777))
                .pax(&[
                    ("SCHILY.xattr.security.capability", capability),
                    ("SCHILY.xattr.user.note", b"a\nb"),
                    ("mtime", b"1350244992.023960108"),
                ])
                .file("ping", b"x")
                .with(|m| m.owner(5, 5))
                .symlink("link", "../../outside/secret")
                .with(|m| m.owner(9, 9).time(77))
                .hard_link("etc/shadow", "etc/passwd")
                .node("null", b'3', 1, 3)
                .with(|m| m.mode(0o666).owner(3, 4))
                .node("disk", b'4', 300, 70_000)
                .node("pipe", b'6', 0, 0)
                .with(|m| m.time(55))
                .node("terminal", b'3', 5, 0)
                .with(|m| m.mode(0o6755).owner(5, 5))
                .symlink("odd", "outside")
                .with(|m| m.mode(0o6777).owner(5, 5)),
        )
        .unwrap();

    let passwd = place.stat("etc/passwd");
    assert_eq!(passwd.mode() & 0o7777, 0o640);
    assert_eq!((passwd.uid(), passwd.gid()), (70_000, 3_000_000_000));
    assert_eq!(passwd.mtime(), 1_000_000_007);
    assert_eq!(passwd.ino(), place.stat("etc/shadow").ino());
    assert_eq!(place.stat("bin").mode() & 0o7777, 0o6755);
    assert_eq!(place.stat("sticky").mode() & 0o7777, 0o1777);

    let ping = place.path("ping");
    assert_eq!(xattr(&ping, "security.capability").unwrap(), capability);
    assert_eq!(xattr(&ping, "user.note").unwrap(), b"a\nb");
    let stat = place.stat("ping");
    assert_eq!(
        (stat.mtime(), stat.mtime_nsec()),
        (1_350_244_992, 23_960_108)
    );

    let link = place.stat("link");
    assert_eq!((link.uid(), link.mtime()), (9, 77));
    assert_eq!(
        std::fs::read_link(place.path("link")).unwrap(),
        Path::new("../../outside/secret")
    );
    let null = place.stat("null");
    assert_eq!(
        (null.rdev(), null.mode() & 0o7777, null.gid()),
        (rustix::fs::makedev(1, 3), 0o666, 4)
    );
    let disk = place.stat("disk");
    assert!(disk.file_type().is_block_device());
    assert_eq!(disk.rdev(), rustix::fs::makedev(300, 70_000));
    assert!(place.stat("pipe").file_type().is_fifo());
    assert_eq!(place.stat("terminal").mode() & 0o7777, 0o6755);
    assert!(place.stat("odd").is_symlink());
    assert_eq!(place.stat("pipe").mtime(), 55);
    assert_eq!(unpacked.size, 4 + 4 + 1);
    assert_eq!(
        unpacked.implied,
        [b"".to_vec()],
        "only the root was not listed"
    );
}

#[test]
fn directories_get_mode_owner_and_time_last() {
    let place = Place::new();
    let unpacked = place
        .unpack(
            Archive::new()
                .dir("./")
                .with(|m| m.mode(0o751).owner(7, 8).time(1234))
                .dir("mail/")
                .with(|m| m.mode(0o2775).owner(0, 8).time(99))
                .file("mail/root", b"")
                .dir("closed")
                .with(|m| m.mode(0))
                .file("closed/in", b"")
                .file("a/b/c", b""),
        )
        .unwrap();
    let root = place.stat("");
    assert_eq!(
        (root.mode() & 0o7777, root.uid(), root.gid(), root.mtime()),
        (0o751, 7, 8, 1234)
    );
    let mail = place.stat("mail");
    assert_eq!(
        (mail.mode() & 0o7777, mail.gid(), mail.mtime()),
        (0o2775, 8, 99)
    );
    assert_eq!(
        place.stat("mail/root").gid(),
        0,
        "not inherited from the setgid directory"
    );
    assert_eq!(place.stat("closed").mode() & 0o7777, 0);
    assert_eq!(place.stat("a").mode() & 0o7777, 0o755);
    assert_eq!(unpacked.implied, [b"a".to_vec(), b"a/b".to_vec()]);
}

#[test]
fn attributes_that_the_archive_has_no_right_to_are_dropped() {
    let place = Place::new();
    let hostile = [
        ("SCHILY.xattr.trusted.overlay.redirect", &b"/etc"[..]),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"u:r:other_t"),
        ("SCHILY.xattr.user.kept", b"1"),
    ];
    place
        .unpack(
            Archive::new()
                .pax(&hostile)
                .dir("d")
                .pax(&hostile)
                .file("f", b""),
        )
        .unwrap();
    for name in ["d", "f"] {
        let path = place.path(name);
        assert_eq!(xattr(&path, "trusted.overlay.redirect"), None);
        assert_eq!(xattr(&path, "user.overlay.opaque"), None);
        assert_ne!(
            xattr(&path, "security.selinux"),
            Some(b"u:r:other_t".to_vec())
        );
        assert_eq!(xattr(&path, "user.kept"), Some(b"1".to_vec()));
    }
}

#[test]
fn a_later_member_replaces_an_earlier_one() {
    let place = Place::new();
    place
        .unpack(
            Archive::new()
                .file("f", b"first")
                .file("f", b"second")
                .dir("d")
                .with(|m| m.mode(0o700))
                .file("d/x/y", b"")
                .dir("d")
                .with(|m| m.mode(0o711))
                .dir("tree")
                .file("tree/leaf", b"")
                .file("tree", b"a file now")
                .symlink("l", "d")
                .file("l/through", b"")
                .dir("l")
                .file("l/inside", b"")
                .file("h", b"h")
                .hard_link("h", "h"),
        )
        .unwrap();
    assert_eq!(place.read("f"), b"second");
    assert_eq!(place.stat("d").mode() & 0o7777, 0o711);
    assert!(
        place.path("d/x/y").exists(),
        "a directory listed again keeps what it has"
    );
    assert_eq!(place.read("tree"), b"a file now");
    assert!(place.path("d/through").exists());
    assert!(place.stat("l").is_dir());
    assert!(place.path("l/inside").exists());
    assert!(!place.path("d/inside").exists());
    assert_eq!(place.read("h"), b"h");
}
