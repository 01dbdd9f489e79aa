//! Unpacking files into directories that are in use.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::*;

const INWARD: Unpacking = Unpacking {
    owner: Owner::Archived,
    links: Links::Follow,
};
const OUTWARD: Unpacking = Unpacking {
    owner: Owner::Caller,
    links: Links::Refuse,
};

#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn add(mut self, kind: u8, name: &str, link: &str, data: &str) -> Tar {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(data.len() as u64);
        header.set_mode(0o644 | if kind == b'5' { 0o111 } else { 0 });
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data.as_bytes());
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn unpack(mut self, root: &Path, at: &str, how: Unpacking) -> Result<()> {
        self.0.resize(self.0.len() + 1024, 0);
        let root = Trail::root(fs::File::open(root).unwrap().into());
        let Ok(Found::Directory(into)) = root.find(at, Links::Follow) else {
            panic!("{at} is a directory");
        };
        unpack_files(&self.0[..], &into, how)
    }
}

#[test]
fn owners_modes_and_times_are_as_asked_for() {
    let tar = || {
        Tar::default()
            .add(b'5', "d/", "", "")
            .add(b'0', "d/f", "", "hi")
            .add(b'1', "d/g", "d/f", "")
            .add(b'2', "l", "/d", "")
            .add(b'6', "fifo", "", "")
            .add(b'3', "null", "", "")
    };
    for (how, owner) in [
        (INWARD, (7, 8)),
        (OUTWARD, (0, 0)),
        (
            Unpacking {
                owner: Owner::Fixed(5, 6),
                ..INWARD
            },
            (5, 6),
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        tar().unpack(dir.path(), "/", how).unwrap();
        for name in ["d", "d/f", "d/g", "l", "fifo", "null"] {
            let meta = fs::symlink_metadata(dir.path().join(name)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), owner, "{name}");
            assert_eq!(meta.mtime(), 1_000_000, "{name}");
            let mode = match name {
                "d" => 0o755,
                "l" => 0o777,
                _ => 0o644,
            };
            assert_eq!(meta.mode() & 0o7777, mode, "{name}");
        }
        assert_eq!(fs::read(dir.path().join("d/g")).unwrap(), b"hi");
    }
}

#[test]
fn nothing_leads_out() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("base/real")).unwrap();
    fs::create_dir(dir.path().join("top")).unwrap();
    symlink(outside.path(), dir.path().join("base/out")).unwrap();
    symlink("../../../../../top", dir.path().join("base/up")).unwrap();
    let unpack = |tar: Tar, how| tar.unpack(dir.path(), "base", how);
    let file = |name: &str| Tar::default().add(b'0', name, "", "x");
    let said = |tar: Tar, how| unpack(tar, how).unwrap_err().to_string();
    assert_eq!(
        said(file("../x"), INWARD),
        "\"../x\" is outside of \"/base\""
    );
    assert_eq!(
        said(file("real/../../x"), INWARD),
        "\"real/../../x\" is outside of \"/base\""
    );
    let link = Tar::default().add(b'1', "h", "../../etc/passwd", "");
    assert_eq!(
        said(link, INWARD),
        "invalid hardlink \"h\" -> \"../../etc/passwd\""
    );
    // What would be /tmp/… of the host is looked for in the root.
    let parent = outside.path().strip_prefix("/").unwrap();
    unpack(file("out/x"), INWARD).unwrap_err();
    fs::create_dir_all(dir.path().join(parent)).unwrap();
    unpack(file("out/x"), INWARD).unwrap();
    assert!(dir.path().join(parent).join("x").is_file());
    unpack(file("up/x"), INWARD).unwrap();
    assert!(dir.path().join("top/x").is_file());
    unpack(file("/etc/x"), INWARD).unwrap();
    assert!(dir.path().join("base/etc/x").is_file());
    for name in ["out/x", "up/y"] {
        assert!(
            said(file(name), OUTWARD).starts_with("open /base/"),
            "{name}"
        );
    }
    let planted = Tar::default()
        .add(b'2', "l", "/", "")
        .add(b'0', "l/planted", "", "x");
    assert_eq!(said(planted, OUTWARD), "open /base/l");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(!Path::new("/planted").exists());
}

#[test]
fn files_and_directories_do_not_replace_each_other() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("f"), "long content").unwrap();
    symlink("f", dir.path().join("l")).unwrap();
    let said = |tar: Tar| tar.unpack(dir.path(), "/", INWARD).unwrap_err().to_string();
    assert_eq!(
        said(Tar::default().add(b'0', "d", "", "x")),
        "cannot overwrite directory \"/d\" with non-directory \"/\""
    );
    assert_eq!(
        said(Tar::default().add(b'5', "f/", "", "")),
        "cannot overwrite non-directory \"/f\" with directory \"/\""
    );
    let tar = Tar::default()
        .add(b'0', "f", "", "x")
        .add(b'0', "l", "", "own");
    tar.unpack(dir.path(), "/", INWARD).unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"x");
    assert!(
        !dir.path().join("l").is_symlink(),
        "a link is replaced, not followed"
    );
    Tar::default()
        .add(b'0', ".wh.f", "", "")
        .unpack(dir.path(), "/", INWARD)
        .unwrap();
    assert!(dir.path().join("f").exists() && dir.path().join(".wh.f").exists());
}

#[test]
fn archives_may_be_packed_and_must_be_whole() {
    let dir = tempfile::tempdir().unwrap();
    let root = Trail::root(fs::File::open(dir.path()).unwrap().into());
    let mut tar = Tar::default().add(b'0', "f", "", "x").0;
    tar.resize(tar.len() + 1024, 0);
    let packed = zstd::encode_all(&tar[..], 1).unwrap();
    unpack_files(&packed[..], &root, INWARD).unwrap();
    assert!(dir.path().join("f").exists());
    let cut = unpack_files(&tar[..700], &root, INWARD);
    assert!(matches!(
        cut,
        Err(UnpackError::Archive { .. } | UnpackError::Read(_))
    ));
    let none = unpack_files(&b"this is no archive"[..], &root, INWARD);
    assert!(matches!(
        none,
        Err(UnpackError::Archive { .. } | UnpackError::Read(_))
    ));
}
