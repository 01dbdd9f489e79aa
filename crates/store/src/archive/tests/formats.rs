//! Archives of directories made by hand.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, makedev, mknodat, utimensat};
use tempfile::TempDir;

use super::*;
use crate::ArchiveProblem;
use crate::archive::error::Reason;
use crate::archive::{HashSink, Lowers, Settle};
use crate::sha256;

fn node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn settled(dir: &Path, clamp_mtime: Option<i64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let settle = Settle {
        lowers: &Lowers::new(Vec::new()),
        clamp_mtime,
    };
    let root = open_dir(dir).unwrap();
    archive(
        root.as_fd(),
        false,
        Some(settle),
        &mut WriteSink(&mut bytes),
    )
    .unwrap();
    bytes
}

/// A directory with something of every kind.
fn everything() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("bin")).unwrap();
    std::fs::write(at("bin/ping"), vec![b'p'; 700]).unwrap();
    std::fs::set_permissions(at("bin/ping"), PermissionsExt::from_mode(0o4755)).unwrap();
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    set_xattr(&at("bin/ping"), "security.capability", capability);
    set_xattr(&at("bin/ping"), "user.note", b"a\nb");
    set_xattr(&at("bin/ping"), "trusted.overlay.origin", b"x");
    std::fs::hard_link(at("bin/ping"), at("bin/pong")).unwrap();
    std::fs::hard_link(at("bin/ping"), at("a-ping")).unwrap();
    symlink("../etc", at("bin/etc")).unwrap();
    chown(at("bin"), Some(3_000_000_000), Some(70_000)).unwrap();
    node(&at("null"), FileType::CharacterDevice, makedev(1, 3));
    node(&at("disk"), FileType::BlockDevice, makedev(300, 70_000));
    node(&at("pipe"), FileType::Fifo, 0);
    node(&at("socket"), FileType::Socket, 0);
    std::fs::create_dir(at(&"d".repeat(150))).unwrap();
    std::fs::write(at(&format!("{}/ä", "d".repeat(150))), "").unwrap();
    std::fs::File::create(at("sparse"))
        .unwrap()
        .set_len(3 << 20)
        .unwrap();
    set_time(&at("disk"), -5, 250);
    set_time(&at("pipe"), 1 << 33, 0);
    dir
}

#[test]
fn members_are_sorted_and_links_lead_to_the_first() {
    let dir = everything();
    let bytes = settled(dir.path(), None);
    let long = "d".repeat(150);
    assert_eq!(
        members(&bytes),
        [
            "a-ping",
            "bin/",
            "bin/etc -> ../etc",
            "bin/ping = a-ping",
            "bin/pong = a-ping",
            &format!("{long}/"),
            &format!("{long}/ä"),
            "disk",
            "null",
            "pipe",
            "sparse",
        ]
    );
    assert!(!dir.path().join("socket").exists(), "no archive holds it");
    assert_eq!(bytes[bytes.len() - 1024..], [0; 1024]);
}

#[test]
fn unpacking_gives_the_tree_and_its_archive_again() {
    let dir = everything();
    let archived = settled(dir.path(), None);
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy");
    let unpacked = unpack(&archived, &copy, &[]);
    assert_eq!(unpacked.size, 700 + (3 << 20));
    let (mut ours, mut theirs) = (look(dir.path()), look(&copy));
    ours.remove(Path::new(""));
    theirs.remove(Path::new(""));
    assert_eq!(ours, theirs);
    assert_eq!(ours[Path::new("disk")].mtime, -5);
    assert_eq!(ours[Path::new("pipe")].mtime, 1 << 33);
    assert_eq!(ours[Path::new("a-ping")].xattrs.len(), 2);
    assert_eq!(bytes(&copy, false), archived);
    assert_eq!(bytes(dir.path(), false), archived, "settled means settled");
}

#[test]
fn times_are_clamped_to_whole_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("d")).unwrap();
    for name in ["old", "new", "d/in"] {
        std::fs::write(at(name), name).unwrap();
    }
    symlink("x", at("link")).unwrap();
    set_time(&at("old"), 50, 999_999_999);
    set_time(&at("new"), 101, 0);
    settled(dir.path(), Some(100));
    let time = |name: &str| {
        let stat = std::fs::symlink_metadata(at(name)).unwrap();
        (stat.mtime(), stat.mtime_nsec())
    };
    assert_eq!(time("old"), (50, 0));
    for name in ["new", "link", "d", "d/in"] {
        assert_eq!(time(name), (100, 0), "{name}");
    }
}

#[test]
fn a_directory_keeps_its_time_when_a_socket_goes() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    std::fs::create_dir(&run).unwrap();
    node(&run.join("s"), FileType::Socket, 0);
    set_time(&run, 1234, 0);
    assert_eq!(members(&settled(dir.path(), None)), ["run/"]);
    let stat = std::fs::metadata(&run).unwrap();
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (1234, 0));
}

#[test]
fn whiteouts_in_all_their_forms() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    node(&at("gone"), FileType::CharacterDevice, 0);
    std::fs::create_dir(at("marked")).unwrap();
    set_xattr(&at("marked"), "trusted.overlay.opaque", b"x");
    std::fs::write(at("marked/gone"), "").unwrap();
    set_xattr(&at("marked/gone"), "trusted.overlay.whiteout", b"y");
    std::fs::write(at("marked/stays"), "").unwrap();
    std::fs::write(at("unmarked"), "").unwrap();
    set_xattr(&at("unmarked"), "trusted.overlay.whiteout", b"y");

    let archived = settled(dir.path(), None);
    let expected = [
        ".wh.gone",
        "marked/",
        "marked/.wh.gone",
        "marked/stays",
        "unmarked",
    ];
    assert_eq!(members(&archived), expected);
    let stat = std::fs::symlink_metadata(at("marked/gone")).unwrap();
    assert_eq!((stat.rdev(), stat.mode() & 0o170_000), (0, 0o020_000));
    assert_eq!(bytes(dir.path(), false), archived);
    let place = tempfile::tempdir().unwrap();
    unpack(&archived, &place.path().join("l"), &[]);
    assert_eq!(bytes(&place.path().join("l"), false), archived);
}

#[test]
fn names_that_layers_reserve_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("d/.wh.passwd"), "").unwrap();
    let root = open_dir(dir.path()).unwrap();
    let error = archive(root.as_fd(), false, None, &mut HashSink::default()).unwrap_err();
    assert_eq!(error.path, b"d/.wh.passwd");
    assert!(matches!(
        error.reason,
        Reason::Problem(ArchiveProblem::ReservedName)
    ));
}

#[test]
fn depth_is_limited_as_in_unpacking() {
    let dir = tempfile::tempdir().unwrap();
    let mut at = open_dir(dir.path()).unwrap();
    for _ in 0..1030 {
        rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
        at = crate::fs::open_subdir(&at, "d").unwrap();
    }
    drop(at);
    let root = open_dir(dir.path()).unwrap();
    let error = archive(root.as_fd(), false, None, &mut HashSink::default());
    let top = open_dir(dir.path()).unwrap();
    crate::fs::remove_all(&top, b"d", dir.path()).unwrap();
    // Or there are not so many descriptors.
    assert!(matches!(
        error.unwrap_err().reason,
        Reason::Problem(ArchiveProblem::TooDeep) | Reason::System("open", _)
    ));
}

#[test]
fn hashing_beside_the_walk_gives_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for (name, size) in [("a", 0), ("b", 300_000), ("c", 3_000_000), ("d", 5)] {
        let content: Vec<u8> = (0..size).map(|i: u32| (i * 7) as u8).collect();
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    let written = bytes(dir.path(), true);
    assert_eq!(members(&written)[0], "./");
    let mut hash = HashSink::default();
    let root = open_dir(dir.path()).unwrap();
    let archived = archive(root.as_fd(), true, None, &mut hash).unwrap();
    assert_eq!(archived.archive_size, written.len() as u64);
    assert_eq!(archived.size, 3_300_005);
    assert_eq!(hash.finish(), sha256(&written));
}
