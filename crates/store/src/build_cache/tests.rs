use super::*;
use crate::tests::store;
use crate::{CommitOptions, ImageLayer, ImageRecord, NewCacheEntry, sha256};

/// A chain of layers of the given sizes, each remembered under a name; its chain ids.
fn build(store: &Store, steps: &[(&str, usize)]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::new();
    for (key, size) in steps {
        let step = store.begin_build_step(chain.last()).unwrap();
        std::fs::write(step.upper().join(key), vec![b'x'; *size]).unwrap();
        let options = CommitOptions {
            clamp_mtime: Some(0),
            cache: Some(NewCacheEntry {
                key,
                kind: "exec",
                description: &format!("RUN make {key}"),
            }),
            ..CommitOptions::default()
        };
        chain.push(step.commit(options).unwrap().chain_id);
    }
    chain
}

/// An image of built layers.
fn image(store: &Store, chain: &[Digest]) -> Digest {
    let name = format!("{chain:?}");
    let id = sha256(name.as_bytes());
    store.put_blob(&id, name.as_bytes()).unwrap();
    let layers = chain
        .iter()
        .map(|chain_id| {
            let layer = store.built_layer(chain_id).unwrap().unwrap();
            ImageLayer {
                blob: layer.diff_id.clone(),
                size: layer.archive_size,
                media_type: "application/vnd.oci.image.layer.v1.tar".into(),
                diff_id: layer.diff_id,
                chain_id: layer.chain_id,
            }
        })
        .collect();
    let record = ImageRecord {
        manifest: id.clone(),
        id: id.clone(),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        layers,
        other_blobs: Vec::new(),
    };
    store.put_image(&record, Some("t:latest"), None).unwrap();
    id
}

fn used(store: &Store, key: &str, when: i64) {
    let db = rusqlite::Connection::open(store.root().join("store.db")).unwrap();
    db.execute("UPDATE build_cache SET used = ? WHERE key = ?", (when, key))
        .unwrap();
}

fn keys(usages: &[CacheUsage]) -> Vec<&str> {
    usages.iter().map(|u| u.entry.key.as_str()).collect()
}

#[test]
fn layers_of_the_cache_outlive_images_and_collections() {
    let (_dir, store) = store();
    let chain = build(&store, &[("a", 10), ("b", 20)]);
    let id = image(&store, &chain);
    let report = store.cache_list().unwrap();
    assert_eq!(
        (report.size, report.reclaimable),
        (0, 0),
        "the image has them"
    );
    assert!(report.entries.iter().all(|u| u.shared && !u.in_use));

    assert_eq!(
        store.delete_image(&id, false, |_| Ok(())).unwrap().deleted,
        [id]
    );
    assert!(store.gc().unwrap().layers.is_empty());
    let report = store.cache_list().unwrap();
    assert_eq!((report.size, report.reclaimable), (30, 30));
    let usage = store.disk_usage().unwrap();
    assert_eq!((usage.layers, usage.build_cache.size), (0, 30));
    assert_eq!(usage.build_cache.entries, 2);
    assert!(store.cache_find("b").unwrap().is_some());

    let pruned = store.cache_prune(&CacheFilter::default()).unwrap();
    assert_eq!(keys(&pruned.entries), ["b", "a"], "the last step first");
    assert_eq!(pruned.bytes, 30);
    assert!(!store.has_layer(&chain[0]).unwrap());
    assert_eq!(store.cache_find("a").unwrap(), None);
    assert_eq!(store.cache_list().unwrap(), CacheReport::default());
    assert_eq!(store.gc().unwrap(), crate::GcReport::default());
}

#[test]
fn shared_layers_are_counted_once() {
    let (_dir, store) = store();
    let base = build(&store, &[("base", 100)]);
    let other = build(&store, &[("base", 100), ("top", 7)]);
    assert_eq!(base[0], other[0]);
    let again = NewCacheEntry {
        key: "base-too",
        kind: "exec",
        description: "RUN another way to the same",
    };
    store.cache_put(&again, &base[0]).unwrap();
    assert_eq!(store.cache_list().unwrap().size, 107);
    let only = |id: &str| CacheFilter {
        ids: vec![id.into()],
        ..CacheFilter::default()
    };
    assert_eq!(store.cache_prune(&only("base")).unwrap().entries.len(), 2);
    let report = store.cache_list().unwrap();
    assert_eq!(report.size, 107, "what is below a remembered layer stays");
    assert_eq!(report.entries[0].parent, Some(base[0].clone()));
    let pruned = store.cache_prune(&only(other[1].digest())).unwrap();
    assert_eq!((keys(&pruned.entries), pruned.bytes), (vec!["top"], 107));
}

#[test]
fn the_longest_unused_goes_until_enough_is_free() {
    let (_dir, store) = store();
    for (key, when) in [("old", 100), ("middle", 200), ("new", 300)] {
        build(&store, &[(key, 1000)]);
        used(&store, key, when);
    }
    let filter = |keep, since| CacheFilter {
        keep_bytes: Some(keep),
        unused_since: since,
        ..CacheFilter::default()
    };
    let pruned = store.cache_prune(&filter(5000, None)).unwrap();
    assert_eq!(pruned, PrunedCache::default());
    let pruned = store.cache_prune(&filter(2000, None)).unwrap();
    assert_eq!((keys(&pruned.entries), pruned.bytes), (vec!["old"], 1000));
    let pruned = store.cache_prune(&filter(0, Some(250))).unwrap();
    assert_eq!(keys(&pruned.entries), ["middle"]);
    store.cache_touch(["new"]).unwrap();
    let entry = store.cache_find("new").unwrap().unwrap();
    assert!(entry.last_used > 1_000_000 && entry.use_count == 1);
}

#[test]
fn a_step_goes_before_the_one_below_it() {
    let (_dir, store) = store();
    build(&store, &[("first", 1000), ("second", 1000)]);
    // A build that took a while.
    used(&store, "first", 100);
    used(&store, "second", 200);
    let pruned = store.cache_prune(&CacheFilter {
        keep_bytes: Some(1500),
        ..CacheFilter::default()
    });
    let pruned = pruned.unwrap();
    assert_eq!(
        (keys(&pruned.entries), pruned.bytes),
        (vec!["second"], 1000)
    );
}

#[test]
fn filters_combine() {
    let (_dir, store) = store();
    let chain = build(&store, &[("a", 1), ("b", 1)]);
    image(&store, &chain[..1]);
    let prune = |filter: CacheFilter| {
        let pruned = store.cache_prune(&filter).unwrap();
        keys(&pruned.entries).join(" ")
    };
    let none = CacheFilter::default;
    let kinds = vec!["source.local".to_owned()];
    assert_eq!(prune(CacheFilter { kinds, ..none() }), "");
    let description = Some("make c".to_owned());
    assert_eq!(
        prune(CacheFilter {
            description,
            ..none()
        }),
        ""
    );
    let shared = Some(true);
    assert_eq!(
        prune(CacheFilter { shared, ..none() }),
        "",
        "not without all"
    );
    let lease = store.lease([&chain[1]]).unwrap();
    assert!(store.cache_list().unwrap().entries.iter().all(|u| u.in_use));
    assert_eq!(
        prune(CacheFilter {
            all: true,
            ..none()
        }),
        ""
    );
    drop(lease);
    assert_eq!(prune(none()), "b", "the image has the other");
    assert_eq!(
        prune(CacheFilter {
            all: true,
            shared,
            ..none()
        }),
        "a"
    );
    assert!(store.has_layer(&chain[0]).unwrap());
}

#[test]
fn a_damaged_entry_is_a_miss_and_is_forgotten() {
    let (_dir, store) = store();
    let chain = build(&store, &[("a", 1), ("b", 1)]);
    assert_eq!(store.cache_find("b").unwrap().unwrap().chain_id, chain[1]);
    std::fs::remove_dir_all(store.layer_dir(&chain[0]).unwrap()).unwrap();
    assert_eq!(store.cache_find("b").unwrap(), None, "its base is gone");
    assert_eq!(store.cache_find("a").unwrap(), None);
    assert!(store.cache_list().unwrap().entries.is_empty());
    let entry = NewCacheEntry {
        key: "k",
        kind: "exec",
        description: "",
    };
    let missing = sha256(b"missing");
    assert!(matches!(
        store.cache_put(&entry, &missing),
        Err(crate::Error::NoSuchLayer { .. })
    ));
    assert_eq!(
        build(&store, &[("a", 1), ("b", 1)]),
        chain,
        "and is made again"
    );
    assert!(store.cache_find("b").unwrap().is_some());
}
