use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use oci_spec::image::Digest;

use super::{BuildStep, CommitOptions};
use crate::tests::store;
use crate::{BuiltLayer, Error, NewCacheEntry, Store, chain_id, fs, sha256};

fn commit(step: BuildStep) -> BuiltLayer {
    step.commit(CommitOptions::default()).unwrap()
}

fn tmp(store: &Store) -> Vec<String> {
    fs::list(&store.tmp_dir()).unwrap()
}

fn diff(store: &Store, chain_id: &Digest) -> PathBuf {
    store.layer_dir(chain_id).unwrap().join("diff")
}

#[test]
fn an_empty_step_is_the_empty_archive() {
    let (_dir, store) = store();
    let step = store.begin_build_step(None).unwrap();
    assert!(step.upper().is_dir() && step.work().is_dir());
    let first = commit(step);
    assert!(first.is_empty);
    assert_eq!(
        first.diff_id,
        sha256(&[0; 1024]),
        "the digest every builder gives it"
    );
    assert_eq!(first.chain_id, first.diff_id);
    assert_eq!((first.archive_size, first.size), (1024, 0));

    let second = commit(store.begin_build_step(Some(&first.chain_id)).unwrap());
    assert_eq!(
        second.chain_id,
        chain_id(Some(&first.chain_id), &first.diff_id)
    );
    let paths = store
        .layer_paths(&[first.chain_id.clone(), second.chain_id.clone()])
        .unwrap();
    assert_eq!(paths.len(), 1, "one is as good as two that change nothing");
    assert!(paths[0].is_dir());
    assert_eq!(store.built_layer(&second.chain_id).unwrap(), Some(second));
    assert!(tmp(&store).is_empty(), "{:?}", tmp(&store));
}

#[test]
fn a_dropped_step_leaves_nothing_and_a_killed_one_is_collected() {
    let (_dir, store) = store();
    let step = store.begin_build_step(None).unwrap();
    std::fs::create_dir_all(step.upper().join("a/b")).unwrap();
    assert!(store.gc().unwrap().leftovers.is_empty(), "it is locked");
    assert!(step.upper().is_dir());
    drop(step);
    assert!(tmp(&store).is_empty());

    std::fs::create_dir_all(store.tmp_dir().join("build-killed/upper/x")).unwrap();
    assert_eq!(store.gc().unwrap().leftovers, ["tmp/build-killed"]);
}

#[test]
fn the_root_looks_like_the_one_below() {
    let (_dir, store) = store();
    let step = store.begin_build_step(None).unwrap();
    std::fs::set_permissions(step.upper(), std::fs::Permissions::from_mode(0o1751)).unwrap();
    std::os::unix::fs::chown(step.upper(), Some(5), Some(6)).unwrap();
    let below = commit(step);
    assert!(!below.is_empty, "it tells of the root");

    let step = store.begin_build_step(Some(&below.chain_id)).unwrap();
    let stat = std::fs::metadata(step.upper()).unwrap();
    assert_eq!(
        (stat.mode() & 0o7777, stat.uid(), stat.gid()),
        (0o1751, 5, 6)
    );
    std::fs::write(step.upper().join("f"), "").unwrap();
    std::fs::remove_file(step.upper().join("f")).unwrap();
    let above = commit(step);
    assert!(above.is_empty, "the root's time alone is no change");
    let time = |layer: &BuiltLayer| {
        let stat = std::fs::metadata(diff(&store, &layer.chain_id)).unwrap();
        (stat.mtime(), stat.mtime_nsec())
    };
    assert_eq!(time(&above), time(&below));
}

#[test]
fn the_same_layer_twice_is_one() {
    let (_dir, store) = store();
    let make = || {
        let step = store.begin_build_step(None).unwrap();
        std::fs::write(step.upper().join("f"), "same").unwrap();
        commit_at(step, 1000)
    };
    let (first, second) = (make(), make());
    assert_eq!(first, second);
    assert_eq!(first.size, 4);
    assert!(tmp(&store).is_empty());
    assert_eq!(
        std::fs::metadata(diff(&store, &first.chain_id).join("f"))
            .unwrap()
            .mtime(),
        1000
    );

    // Its directory lost: made again.
    std::fs::remove_dir_all(store.layer_dir(&first.chain_id).unwrap()).unwrap();
    assert_eq!(store.built_layer(&first.chain_id).unwrap(), None);
    assert_eq!(make(), first);
    assert!(diff(&store, &first.chain_id).join("f").exists());
}

fn commit_at(step: BuildStep, latest: i64) -> BuiltLayer {
    step.commit(CommitOptions {
        clamp_mtime: Some(latest),
        ..CommitOptions::default()
    })
    .unwrap()
}

#[test]
fn a_missing_parent_is_told() {
    let (_dir, store) = store();
    let missing = sha256(b"missing");
    assert!(matches!(
        store.begin_build_step(Some(&missing)),
        Err(Error::NoSuchLayer { .. })
    ));
    assert!(tmp(&store).is_empty());
}

#[test]
fn layers_are_lost_with_the_boot_unless_flushed() {
    let (_dir, store) = store();
    let entry = NewCacheEntry {
        key: "k",
        kind: "exec",
        description: "RUN true",
    };
    let layer = store
        .begin_build_step(None)
        .unwrap()
        .commit(CommitOptions {
            cache: Some(entry),
            ..CommitOptions::default()
        })
        .unwrap();
    assert!(store.has_layer(&layer.chain_id).unwrap());
    assert_eq!(
        store.cache_find("k").unwrap().unwrap().chain_id,
        layer.chain_id
    );
    let other_boot = |store: &Store| {
        let db = rusqlite::Connection::open(store.root().join("store.db")).unwrap();
        db.execute(
            "UPDATE layers SET unsynced = 'earlier' WHERE unsynced IS NOT NULL",
            [],
        )
        .unwrap()
    };
    store.flush_build().unwrap();
    assert_eq!(other_boot(&store), 0, "flushed");
    assert!(store.has_layer(&layer.chain_id).unwrap());

    let step = store.begin_build_step(Some(&layer.chain_id)).unwrap();
    std::fs::write(step.upper().join("f"), "x").unwrap();
    let above = step
        .commit(CommitOptions {
            cache: Some(NewCacheEntry { key: "l", ..entry }),
            ..CommitOptions::default()
        })
        .unwrap();
    assert_eq!(other_boot(&store), 1);
    assert!(!store.has_layer(&above.chain_id).unwrap());
    assert_eq!(store.built_layer(&above.chain_id).unwrap(), None);
    assert_eq!(store.cache_find("l").unwrap(), None);
    assert!(matches!(
        store.layer_paths(&[layer.chain_id.clone(), above.chain_id.clone()]),
        Err(Error::NoSuchLayer { .. })
    ));
}

#[test]
fn content_is_linked_upon_another_base() {
    let (_dir, store) = store();
    let step = store.begin_build_step(None).unwrap();
    let at = |name: &str| step.upper().join(name);
    std::fs::create_dir_all(at("opt/app")).unwrap();
    std::fs::write(at("opt/app/bin"), "binary").unwrap();
    std::fs::hard_link(at("opt/app/bin"), at("opt/app/alias")).unwrap();
    std::fs::set_permissions(at("opt"), std::fs::Permissions::from_mode(0o2750)).unwrap();
    std::os::unix::fs::chown(at("opt/app"), Some(7), Some(8)).unwrap();
    let copied = commit_at(step, 5000);

    let step = store.begin_build_step(None).unwrap();
    std::fs::set_permissions(step.upper(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let base = commit(step);
    let lease = store.lease([]).unwrap();
    let options = CommitOptions {
        cache: Some(NewCacheEntry {
            key: "linked",
            kind: "regular",
            description: "COPY --link",
        }),
        lease: Some(&lease),
        ..CommitOptions::default()
    };
    let relink = || store.relink_layer(&copied.chain_id, Some(&base.chain_id), options);
    let linked = relink().unwrap();
    assert_eq!(
        linked,
        BuiltLayer {
            chain_id: chain_id(Some(&base.chain_id), &copied.diff_id),
            ..copied.clone()
        }
    );
    let (from, to) = (
        diff(&store, &copied.chain_id),
        diff(&store, &linked.chain_id),
    );
    let stat = |path: PathBuf| {
        let stat = std::fs::symlink_metadata(path).unwrap();
        (stat.mode(), stat.uid(), stat.gid(), stat.mtime())
    };
    for name in ["opt", "opt/app", "opt/app/bin"] {
        assert_eq!(stat(to.join(name)), stat(from.join(name)), "{name}");
    }
    assert_eq!(
        stat(to.clone()).0,
        0o040_700,
        "the root is that of the base"
    );
    let inode = |path: PathBuf| std::fs::metadata(path).unwrap().ino();
    assert_eq!(
        inode(to.join("opt/app/alias")),
        inode(from.join("opt/app/bin"))
    );
    assert_eq!(
        store.cache_find("linked").unwrap().unwrap().chain_id,
        linked.chain_id
    );
    assert_eq!(relink().unwrap(), linked, "again");
    assert!(tmp(&store).is_empty());
    drop(lease);
    assert_eq!(
        store.gc().unwrap().layers.len(),
        1,
        "the copy is not needed"
    );
    assert_eq!(std::fs::read(to.join("opt/app/bin")).unwrap(), b"binary");
}

#[test]
fn a_file_with_all_the_names_it_can_have_is_copied() {
    let (_dir, store) = store();
    let step = store.begin_build_step(None).unwrap();
    std::fs::write(step.upper().join("f"), "content").unwrap();
    let layer = commit_at(step, 5000);
    let names = store.root().join("names");
    std::fs::create_dir(&names).unwrap();
    let file = diff(&store, &layer.chain_id).join("f");
    // ext4 stops at 65,000, XFS and tmpfs do not within reach.
    let full = (0..66_000).any(|i| std::fs::hard_link(&file, names.join(i.to_string())).is_err());
    let base = commit(store.begin_build_step(None).unwrap());
    let linked = store
        .relink_layer(
            &layer.chain_id,
            Some(&base.chain_id),
            CommitOptions::default(),
        )
        .unwrap();
    let stat = std::fs::metadata(diff(&store, &linked.chain_id).join("f")).unwrap();
    assert_eq!((stat.len(), stat.mtime()), (7, 5000));
    assert_eq!(stat.nlink() == 1, full);
    assert!(tmp(&store).is_empty());
}

#[test]
fn a_pull_leaves_a_layer_that_was_built_meanwhile_in_its_place() {
    let (_dir, store) = store();
    let build = |store: &Store| {
        let step = store.begin_build_step(None).unwrap();
        std::fs::write(step.upper().join("f"), "same").unwrap();
        commit_at(step, 1000)
    };
    let (_other, other) = crate::tests::store();
    let layer = build(&other);
    let mut archive = Vec::new();
    other
        .write_layer_archive(&layer.chain_id, &mut archive)
        .unwrap();
    let spec = crate::LayerSpec {
        blob: layer.diff_id.clone(),
        size: layer.archive_size,
        media_type: "application/vnd.oci.image.layer.v1.tar".into(),
        diff_id: layer.diff_id.clone(),
        chain_id: layer.chain_id.clone(),
    };
    let mut ingest = store.begin_layer(spec).unwrap().unwrap();
    ingest.write(&archive).unwrap();
    assert_eq!(build(&store), layer);
    let inode = || {
        let path = diff(&store, &layer.chain_id).join("f");
        std::fs::metadata(path).unwrap().ino()
    };
    let before = inode();
    ingest.commit(None).unwrap();
    assert_eq!(inode(), before, "it may be mounted");
    assert!(store.has_blob(&layer.diff_id).unwrap());
    assert!(tmp(&store).is_empty());
}

#[test]
fn builds_and_collections_at_once() {
    let (_dir, store) = store();
    let chains: Vec<Vec<BuiltLayer>> = std::thread::scope(|scope| {
        let builders: Vec<_> = (0..4)
            .map(|builder| {
                let root = store.root();
                scope.spawn(move || {
                    // As another process would.
                    let store = Store::open(root).unwrap();
                    let lease = store.lease([]).unwrap();
                    let mut chain: Vec<BuiltLayer> = Vec::new();
                    for number in 0..15 {
                        let parent = chain.last().map(|l| &l.chain_id);
                        let step = store.begin_build_step(parent).unwrap();
                        // Two and two do the same.
                        let content = format!("{} {number}", builder / 2);
                        std::fs::write(step.upper().join("f"), content).unwrap();
                        let options = CommitOptions {
                            clamp_mtime: Some(0),
                            lease: Some(&lease),
                            ..CommitOptions::default()
                        };
                        chain.push(step.commit(options).unwrap());
                    }
                    for layer in &chain {
                        assert!(store.has_layer(&layer.chain_id).unwrap());
                    }
                    // Kept until the others are through with it.
                    (chain, lease)
                })
            })
            .collect();
        while !builders.iter().all(|builder| builder.is_finished()) {
            store.gc().unwrap();
        }
        builders
            .into_iter()
            .map(|builder| builder.join().unwrap().0)
            .collect()
    });
    assert_eq!(chains[0], chains[1]);
    assert_eq!(chains[2], chains[3]);
    assert_eq!(
        store.gc().unwrap().layers.len(),
        30,
        "nobody needs them now"
    );
    assert!(tmp(&store).is_empty());
    assert_eq!(fs::list(&store.layers_dir()).unwrap(), ["link"]);
}
