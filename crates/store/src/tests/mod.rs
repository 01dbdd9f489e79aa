//! What the tests of all modules share, and tests of the records.

mod addresses;
mod images;

use std::collections::BTreeMap;
use std::time::Duration;

use oci_spec::image::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Error, IdMatch, ImageLayer, ImageRecord, LayerSpec, NewContainer, NewVolume, Store, chain_id,
    fs, sha256,
};

/// A new, empty store.
pub(crate) fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("root")).unwrap();
    (dir, store)
}

/// Unpacks a layer with one file of the given size upon another.
fn layer(store: &Store, name: &str, size: usize, parent: Option<&Digest>) -> ImageLayer {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size as u64);
    let content = vec![b'x'; size];
    builder
        .append_data(&mut header, name, &content[..])
        .unwrap();
    let data = builder.into_inner().unwrap();
    let digest = sha256(&data);
    let layer = ImageLayer {
        blob: digest.clone(),
        size: data.len() as u64,
        media_type: "application/vnd.oci.image.layer.v1.tar".into(),
        chain_id: chain_id(parent, &digest),
        diff_id: digest,
    };
    let spec = LayerSpec::from(&layer);
    if let Some(mut ingest) = store.begin_layer(spec).unwrap() {
        let from = usize::try_from(ingest.offset()).unwrap();
        ingest.write(&data[from..]).unwrap();
        ingest.commit(parent).unwrap();
    }
    layer
}

/// An image of layers of 1,000 bytes, base first.
fn image(store: &Store, name: &str, files: &[&str]) -> ImageRecord {
    let mut layers: Vec<ImageLayer> = Vec::new();
    for file in files {
        let parent = layers.last().map(|l| l.chain_id.clone());
        layers.push(layer(store, file, 1000, parent.as_ref()));
    }
    let (config, manifest) = (format!("config {name}"), format!("manifest {name}"));
    let (config, manifest) = (config.as_bytes(), manifest.as_bytes());
    store.put_blob(&sha256(config), config).unwrap();
    store.put_blob(&sha256(manifest), manifest).unwrap();
    let record = ImageRecord {
        id: sha256(config),
        manifest: sha256(manifest),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        layers,
        other_blobs: Vec::new(),
    };
    let tag = format!("docker.io/library/{name}:latest");
    let by_digest = format!("docker.io/library/{name}@{}", record.manifest);
    store
        .put_image(&record, Some(&tag), Some(&by_digest))
        .unwrap();
    record
}

fn new<'a>(id: &'a str, name: &'a str) -> NewContainer<'a> {
    NewContainer {
        id,
        name,
        image: None,
        layer: None,
    }
}

#[test]
fn only_a_store_is_opened() {
    let (dir, store) = store();
    let root = store.root().to_owned();
    drop(store);
    Store::open(&root).unwrap();

    let bad = dir.path().join("bad");
    std::fs::create_dir(&bad).unwrap();
    std::fs::write(
        bad.join("store.db"),
        "not a database, but long enough ".repeat(100),
    )
    .unwrap();
    assert!(matches!(
        Store::open(&bad),
        Err(Error::DatabaseDamaged { .. })
    ));
    std::fs::remove_file(bad.join("store.db")).unwrap();
    let other = rusqlite::Connection::open(bad.join("store.db")).unwrap();
    other.execute_batch("CREATE TABLE notes (text)").unwrap();
    drop(other);
    assert!(matches!(
        Store::open(&bad),
        Err(Error::DatabaseForeign { .. })
    ));

    let db = rusqlite::Connection::open(root.join("store.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    match Store::open(&root) {
        Err(Error::DatabaseNewer { found: 99, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        Store::open(std::path::Path::new("/proc/none")),
        Err(Error::Io { .. })
    ));
}

#[test]
fn many_may_create_and_write_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::thread::scope(|scope| {
        for i in 0..8 {
            let root = &root;
            scope.spawn(move || {
                for j in 0..20 {
                    let store = Store::open(root).unwrap();
                    let id = format!("{i}x{j}");
                    store.insert_container(new(&id, &id), &json!({})).unwrap();
                }
            });
        }
    });
    let store = Store::open(&root).unwrap();
    assert_eq!(store.containers::<Value>().unwrap().len(), 160);
}

#[test]
fn a_long_log_is_folded_in_at_the_end() {
    let (_dir, store) = store();
    let root = store.root().to_owned();
    let text = "x".repeat(100_000);
    for i in 0..30 {
        let id = format!("{i}");
        store.insert_container(new(&id, &id), &json!(text)).unwrap();
    }
    let wal = || std::fs::metadata(root.join("store.db-wal")).unwrap().len();
    assert!(wal() > 1 << 20);
    drop(store);
    assert_eq!(wal(), 0);
    let store = Store::open(&root).unwrap();
    assert_eq!(store.containers::<String>().unwrap().len(), 30);
}

#[test]
fn containers_are_found_by_id_name_and_prefix() {
    let (_dir, store) = store();
    for (id, name) in [
        ("aaa1", "one"),
        ("aaa2", "two"),
        ("bbb1", "aaa1x"),
        ("ccc1", "aaa"),
    ] {
        store
            .insert_container(new(id, name), &json!({"name": name}))
            .unwrap();
    }
    match store.insert_container(new("ddd1", "one"), &json!({})) {
        Err(Error::NameTaken { name, by }) => assert_eq!((&*name, &*by), ("one", "aaa1")),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        store.insert_container(new("../x", "x"), &json!({})),
        Err(Error::InvalidId { .. })
    ));
    let find = |reference: &str| store.resolve_container(reference);
    assert_eq!(find("aaa1").unwrap(), "aaa1", "an id goes before a name");
    assert_eq!(find("aaa").unwrap(), "ccc1", "a name goes before a prefix");
    assert_eq!(find("/two").unwrap(), "aaa2");
    assert_eq!(find("b").unwrap(), "bbb1");
    assert!(matches!(find("z"), Err(Error::NoSuchContainer { .. })));
    assert!(matches!(find("*"), Err(Error::NoSuchContainer { .. })));
    assert!(matches!(find(""), Err(Error::NoSuchContainer { .. })));
    match find("aa") {
        Err(Error::AmbiguousContainer { matches, .. }) => assert_eq!(matches, ["aaa1", "aaa2"]),
        other => panic!("{other:?}"),
    }
    let taken = store.rename_container("aaa1", "two");
    assert!(matches!(taken, Err(Error::NameTaken { .. })));
    store.rename_container("aaa1", "uno").unwrap();
    assert_eq!(find("uno").unwrap(), "aaa1");
    let newest = &store.containers::<Value>().unwrap()[0];
    assert_eq!((&*newest.id, &newest.doc["name"]), ("ccc1", &json!("aaa")));
    assert!(store.remove_container("aaa1").unwrap());
    assert!(!store.remove_container("aaa1").unwrap());
    assert!(matches!(
        store.rename_container("aaa1", "x"),
        Err(Error::NoSuchContainer { .. })
    ));
}

#[test]
fn no_change_of_a_container_is_lost() {
    let (_dir, store) = store();
    store.insert_container(new("abc", "n"), &0).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = Store::open(store.root()).unwrap();
                for _ in 0..25 {
                    store
                        .update_container("abc", |n: &mut i32| {
                            *n += 1;
                            Ok::<_, Error>(())
                        })
                        .unwrap();
                }
            });
        }
    });
    let container = store.container::<i32>("abc").unwrap().unwrap();
    assert_eq!((container.doc, container.version), (100, 101));
    assert_eq!(store.replace_container("abc", 101, &7).unwrap(), 102);
    let versions = store.container_versions().unwrap();
    assert_eq!(versions, [("abc".to_owned(), 102)]);
    assert_eq!(store.containers_with::<i32>("7").unwrap()[0].id, "abc");
    assert!(store.containers_with::<i32>("8").unwrap().is_empty());
    assert!(matches!(
        store.replace_container("abc", 101, &8),
        Err(Error::Conflict { .. })
    ));
    assert!(matches!(
        store.replace_container("no", 1, &8),
        Err(Error::NoSuchContainer { .. })
    ));
    // An error of the closure leaves everything as it was.
    let failed: Result<(), Error> = store.write(|tx| {
        tx.insert_container(new("def", "m"), &0)?;
        tx.insert_container(new("ghi", "n"), &0)
    });
    assert!(matches!(failed, Err(Error::NameTaken { .. })));
    assert!(store.container::<i32>("def").unwrap().is_none());
    assert!(matches!(
        store.container::<String>("abc"),
        Err(Error::Document { .. })
    ));
}

#[test]
fn volumes_outlive_containers_but_not_their_removal() {
    let (_dir, store) = store();
    let labels = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let wanted = NewVolume {
        name: "data",
        labels: labels.clone(),
        ..NewVolume::default()
    };
    let (volume, made) = store.ensure_volume(&wanted).unwrap();
    assert!(made && volume.path.is_dir() && volume.labels == labels);
    std::fs::write(volume.path.join("file"), "12345").unwrap();
    let (again, made) = store
        .ensure_volume(&NewVolume {
            name: "data",
            ..NewVolume::default()
        })
        .unwrap();
    assert!(!made);
    assert_eq!(again, volume);
    for bad in ["", "x", "../x", "a/b", ".a", "a b", "ä1"] {
        let volume = NewVolume {
            name: bad,
            ..NewVolume::default()
        };
        assert!(
            matches!(
                store.ensure_volume(&volume),
                Err(Error::InvalidVolumeName { .. })
            ),
            "{bad}"
        );
    }

    store
        .write(|tx| {
            tx.insert_container(new("abc", "c"), &0)?;
            tx.use_volume("data", "abc")
        })
        .unwrap();
    let missing = store.write(|tx| tx.use_volume("none", "abc"));
    assert!(matches!(missing, Err(Error::NoSuchVolume { .. })));
    match store.remove_volume("data", |_| Ok(())) {
        Err(Error::VolumeInUse { by, .. }) => assert_eq!(by, ["abc"]),
        other => panic!("{other:?}"),
    }
    let usage = store.disk_usage().unwrap();
    assert_eq!((usage.volumes[0].size, usage.volumes[0].containers), (5, 1));
    store.remove_container("abc").unwrap();
    assert!(volume.path.join("file").exists());
    assert_eq!(store.volumes().unwrap(), std::slice::from_ref(&volume));
    store.remove_volume("data", |_| Ok(())).unwrap();
    assert!(!store.volumes_dir().join("data").exists());
    assert!(matches!(
        store.remove_volume("data", |_| Ok(())),
        Err(Error::NoSuchVolume { .. })
    ));
    assert!(fs::list(&store.tmp_dir()).unwrap().is_empty());
}

#[test]
fn directories_of_containers_come_and_go() {
    let (_dir, store) = store();
    let dir = store.create_container_dir("abc", None).unwrap();
    assert_eq!(store.create_container_dir("abc", None).unwrap(), dir);
    std::fs::write(dir.join("upper/f"), "123").unwrap();
    store.insert_container(new("abc", "c"), &0).unwrap();
    assert_eq!(store.container_size("abc").unwrap(), 3);
    assert_eq!(store.disk_usage().unwrap().containers[0].size, 3);
    store.remove_container_dir("abc").unwrap();
    store.remove_container_dir("abc").unwrap();
    assert!(!dir.exists());
    assert_eq!(store.container_size("abc").unwrap(), 0);
    for bad in ["", "..", "a/b", "A"] {
        assert!(
            matches!(store.container_dir(bad), Err(Error::InvalidId { .. })),
            "{bad}"
        );
    }
}

#[test]
fn a_container_s_volumes_go_with_it_or_with_the_next_collection() {
    let (_dir, store) = store();
    let [own, shared, lost] = ["a", "b", "c"].map(|digit| digit.repeat(64));
    let make = |name: &str| {
        let new = NewVolume {
            name,
            anonymous: true,
            ..NewVolume::default()
        };
        store.ensure_volume(&new).unwrap().0.path
    };
    let paths = [make(&own), make(&shared)];
    for id in ["c1", "c2"] {
        let new = NewContainer {
            id,
            name: id,
            image: None,
            layer: None,
        };
        store.insert_container(new, &json!({})).unwrap();
    }
    store
        .write(|tx| {
            tx.use_volume(&own, "c1")?;
            tx.use_volume(&shared, "c1")?;
            tx.use_volume(&shared, "c2")
        })
        .unwrap();
    store
        .remove_container_and_volumes("c1", &[&own, &shared, &lost], |_, gone| {
            assert_eq!(gone, [own.as_str()]);
            Ok(())
        })
        .unwrap();
    assert!(store.container::<Value>("c1").unwrap().is_none());
    assert_eq!(paths.each_ref().map(|path| path.exists()), [false, true]);
    // As if this process had been killed between record and directory.
    for name in [lost.as_str(), "named", "unused"] {
        std::fs::create_dir_all(store.volumes_dir().join(name).join("_data")).unwrap();
    }
    std::fs::write(store.volumes_dir().join("named/_data/precious"), "x").unwrap();
    let report = store.gc().unwrap();
    let leftovers = [&lost, "unused"].map(|name| format!("volumes/{name}"));
    assert_eq!(report.leftovers, leftovers);
    assert!(!store.volumes_dir().join(&lost).exists());
    assert!(store.volumes_dir().join("named").exists() && paths[1].exists());
}

#[test]
fn every_change_is_another_generation_and_looking_is_none() {
    let (dir, store) = store();
    let other = Store::open(&dir.path().join("root")).unwrap();
    let first = store.generation().unwrap();
    store.containers::<String>().unwrap();
    other.containers::<String>().unwrap();
    assert_eq!(store.generation().unwrap(), first);
    let id = "a".repeat(64);
    store
        .insert_container(new(&id, "own"), &"record".to_owned())
        .unwrap();
    let second = store.generation().unwrap();
    assert_ne!(second, first);
    other.remove_container(&id).unwrap();
    assert_ne!(store.generation().unwrap(), second);
}

#[test]
fn levels_are_kept_as_long_as_their_leases() {
    let (_dir, store) = store();
    let levels = || store.read(|tx| tx.leased_levels()).unwrap();
    let take = |level: &str| {
        let lease = store.lease([]).unwrap();
        store.write(|tx| lease.take_level(tx, level)).unwrap();
        lease
    };
    let one = take("s0:c1,c2");
    let other = take("s0:c3,c4");
    store.write(|tx| tx.drop_dead_leases()).unwrap();
    assert_eq!(levels(), ["s0:c1,c2", "s0:c3,c4"]);
    drop(one);
    assert_eq!(levels(), ["s0:c3,c4"]);
    drop(other);
    assert!(levels().is_empty());
}
