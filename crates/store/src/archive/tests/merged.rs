//! Uppers that overlayfs made.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::tests::store;
use crate::{BuiltLayer, CommitOptions, Store};

/// A layer of what `change` does to the merged tree.
pub(super) fn step(
    store: &Store,
    below: &[&BuiltLayer],
    change: impl FnOnce(&Path),
) -> (BuiltLayer, BTreeMap<PathBuf, Seen>) {
    let step = store
        .begin_build_step(below.last().map(|l| &l.chain_id))
        .unwrap();
    let seen = {
        let overlay = Overlay::mount(&paths(store, below), Some((step.upper(), step.work())));
        change(&overlay.path().join(""));
        look(&overlay.path())
    };
    (step.commit(CommitOptions::default()).unwrap(), seen)
}

/// The directories of layers, base first, as an overlay wants them.
pub(super) fn paths(store: &Store, layers: &[&BuiltLayer]) -> Vec<PathBuf> {
    let ids: Vec<_> = layers.iter().map(|l| l.chain_id.clone()).collect();
    let mut paths = store.layer_paths(&ids).unwrap();
    if paths.is_empty() {
        // An overlay wants at least one.
        let empty = store.root().join("empty");
        std::fs::create_dir_all(&empty).unwrap();
        paths.push(empty);
    }
    paths
}

pub(super) fn merged(store: &Store, layers: &[&BuiltLayer]) -> BTreeMap<PathBuf, Seen> {
    view(store, &paths(store, layers))
}

/// What directories, top first, show together.
pub(super) fn view(store: &Store, lowers: &[PathBuf]) -> BTreeMap<PathBuf, Seen> {
    // With one directory only, overlayfs wants an upper one, too.
    let empty = store.root().join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    look(&Overlay::mount(&[lowers, &[empty]].concat(), None).path())
}

pub(super) fn content(store: &Store, layer: &BuiltLayer) -> Vec<u8> {
    let mut bytes = Vec::new();
    store
        .write_layer_archive(&layer.chain_id, &mut bytes)
        .unwrap();
    assert_eq!(crate::sha256(&bytes), layer.diff_id);
    assert_eq!(bytes.len() as u64, layer.archive_size);
    bytes
}

#[test]
fn deletions_and_replacements() {
    let (_dir, store) = store();
    let (base, _) = step(&store, &[], |root| {
        for dir in ["keep", "gone/deep", "again/old", "file-to-be"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        for file in ["keep/a", "keep/b", "again/old/x", "dir-to-be", "gone/f"] {
            std::fs::write(root.join(file), file).unwrap();
        }
    });
    let (top, seen) = step(&store, &[&base], |root| {
        std::fs::remove_file(root.join("keep/a")).unwrap();
        std::fs::remove_dir_all(root.join("gone")).unwrap();
        std::fs::remove_dir_all(root.join("again")).unwrap();
        std::fs::create_dir(root.join("again")).unwrap();
        std::fs::create_dir(root.join("again/old")).unwrap();
        std::fs::remove_file(root.join("dir-to-be")).unwrap();
        std::fs::create_dir(root.join("dir-to-be")).unwrap();
        std::fs::write(root.join("dir-to-be/f"), "").unwrap();
        std::fs::remove_dir(root.join("file-to-be")).unwrap();
        std::fs::write(root.join("file-to-be"), "").unwrap();
        std::fs::create_dir_all(root.join("new/sub")).unwrap();
        std::fs::remove_file(root.join("keep/b")).unwrap();
        for socket in ["keep/b", "new/socket"] {
            drop(std::os::unix::net::UnixListener::bind(root.join(socket)).unwrap());
        }
    });
    assert_eq!(
        members(&content(&store, &top)),
        [
            "again/",
            "again/.wh..wh..opq",
            "again/old/",
            "dir-to-be/",
            "dir-to-be/f",
            "file-to-be",
            ".wh.gone",
            "keep/",
            "keep/.wh.a",
            "keep/.wh.b",
            "new/",
            "new/sub/",
        ],
        "opaque only where something would show through"
    );
    assert_eq!(merged(&store, &[&base, &top]), seen);
    let (third, _) = step(&store, &[&base, &top], |root| {
        std::fs::remove_dir_all(root.join("dir-to-be")).unwrap();
        std::fs::create_dir(root.join("dir-to-be")).unwrap();
        std::fs::create_dir(root.join("gone")).unwrap();
    });
    assert_eq!(
        members(&content(&store, &third)),
        ["dir-to-be/", "dir-to-be/.wh..wh..opq", "gone/"],
        "what is below is looked for through whiteouts and opaque directories"
    );
}

#[test]
fn the_same_content_made_differently_is_the_same_layer() {
    let (_dir, store) = store();
    let (base, _) = step(&store, &[], |root| {
        std::fs::create_dir(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/motd"), "hello").unwrap();
    });
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let stamp = |root: &Path, name: &str| {
        let file = std::fs::File::open(root.join(name)).unwrap();
        file.set_modified(time).unwrap();
    };
    let (one, _) = step(&store, &[&base], |root| {
        std::fs::create_dir(root.join("new")).unwrap();
        std::fs::write(root.join("new/f"), "x").unwrap();
        stamp(root, "new/f");
        stamp(root, "new");
    });
    let (two, _) = step(&store, &[&base], |root| {
        // A directory made on its own, then filled, with detours; overlayfs marks these differently.
        std::fs::create_dir(root.join("tmp")).unwrap();
        std::fs::write(root.join("tmp/f"), "x").unwrap();
        std::fs::create_dir(root.join("new")).unwrap();
        std::fs::rename(root.join("tmp/f"), root.join("new/f")).unwrap();
        std::fs::remove_dir(root.join("tmp")).unwrap();
        stamp(root, "new/f");
        stamp(root, "new");
    });
    assert_eq!(one, two);
}

#[test]
fn copied_up_files_keep_what_they_have() {
    let (_dir, store) = store();
    let (base, _) = step(&store, &[], |root| {
        std::fs::write(root.join("tool"), "tool").unwrap();
        set_xattr(&root.join("tool"), "user.k", b"v");
        std::fs::hard_link(root.join("tool"), root.join("alias")).unwrap();
        symlink("tool", root.join("link")).unwrap();
    });
    let (top, seen) = step(&store, &[&base], |root| {
        let mode = std::fs::Permissions::from_mode(0o4711);
        std::fs::set_permissions(root.join("tool"), mode).unwrap();
        std::os::unix::fs::lchown(root.join("link"), Some(1), Some(2)).unwrap();
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o1777)).unwrap();
        set_xattr(root, "user.root", b"r");
    });
    assert_eq!(
        members(&content(&store, &top)),
        ["./", "link -> tool", "tool"]
    );
    assert_eq!(merged(&store, &[&base, &top]), seen);
    assert_eq!(seen[Path::new("")].mode, 0o041_777);
    assert_eq!(seen[Path::new("tool")].xattrs.len(), 1);
}
