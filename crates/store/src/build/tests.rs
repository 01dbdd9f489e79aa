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
    assert_eq!(paths.len(), 2);
    assert!(paths.iter().all(|p| p.is_dir()));
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
