//! Images, garbage collection and leases.

use super::*;

#[test]
fn names_move_between_images() {
    let (_dir, store) = store();
    let first = image(&store, "nginx", &["a", "b"]);
    let latest = "docker.io/library/nginx:latest";
    let found = store.find_image(latest).unwrap().unwrap();
    assert_eq!(found.record, first);
    assert_eq!(found.size, 2000);
    let both = format!("docker.io/library/nginx:latest@{}", first.manifest);
    assert_eq!(
        store.find_image(&both).unwrap().unwrap().record.id,
        first.id
    );

    let second = image(&store, "httpd", &["a", "c"]);
    store.tag_image(&second.id, latest).unwrap();
    assert_eq!(
        store.find_image(latest).unwrap().unwrap().record.id,
        second.id
    );
    let first_now = store.image(&first.id).unwrap().unwrap();
    assert!(first_now.tags.is_empty());
    assert_eq!(first_now.repo_digests.len(), 1);
    assert_eq!(store.images().unwrap().len(), 2);
    assert_eq!(store.images().unwrap()[0].tags.len(), 2);
    assert_eq!(store.untag(latest).unwrap(), Some(second.id.clone()));
    assert_eq!(store.untag(latest).unwrap(), None);

    let prefix = &first.id.digest()[..12];
    assert!(
        matches!(store.find_image_by_id_prefix(prefix).unwrap(), IdMatch::One(i) if i.record == first)
    );
    for none in ["", "sha256:", "xyz", "[ab]*", "0000000000000"] {
        assert_eq!(
            store.find_image_by_id_prefix(none).unwrap(),
            IdMatch::None,
            "{none}"
        );
    }
    let mut absent = first.clone();
    absent.layers[0].chain_id = sha256(b"absent");
    assert!(matches!(
        store.put_image(&absent, None, None),
        Err(Error::NoSuchLayer { .. })
    ));
    assert!(matches!(
        store.tag_image(&sha256(b"x"), "t"),
        Err(Error::NoSuchImage { .. })
    ));

    let usage = store.disk_usage().unwrap();
    assert_eq!(usage.layers, 3000);
    assert!(
        usage
            .images
            .iter()
            .all(|i| (i.size, i.shared, i.containers) == (2000, 1000, 0))
    );
    assert!(usage.blobs > 3 * 1536);
}

#[test]
fn an_ambiguous_prefix_names_its_images() {
    let (_dir, store) = store();
    let mut by_digit: BTreeMap<char, u32> = BTreeMap::new();
    // Seventeen ids: two begin with the same digit.
    for i in 0..17 {
        let id = image(&store, &format!("i{i}"), &[]).id;
        *by_digit
            .entry(id.digest().chars().next().unwrap())
            .or_default() += 1;
    }
    let (digit, count) = by_digit.into_iter().max_by_key(|(_, n)| *n).unwrap();
    match store
        .find_image_by_id_prefix(&format!("sha256:{digit}"))
        .unwrap()
    {
        IdMatch::Ambiguous(ids) => assert_eq!(ids.len(), count as usize),
        other => panic!("{other:?}"),
    }
}

#[test]
fn deleting_an_image_takes_only_what_is_its_own() {
    let (_dir, store) = store();
    let first = image(&store, "nginx", &["a", "b"]);
    let second = image(&store, "httpd", &["a", "c"]);
    let container = NewContainer {
        image: Some(&first.id),
        layer: first.layers.last().map(|l| &l.chain_id),
        ..new("abc", "web")
    };
    store.insert_container(container, &0).unwrap();
    match store.delete_image(&first.id, false, |_| Ok(())) {
        Err(Error::ImageInUse { container, .. }) => assert_eq!(container, "abc"),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        store.image(&first.id).unwrap().unwrap().tags.len(),
        1,
        "nothing happened"
    );

    let deleted = store.delete_image(&first.id, true, |_| Ok(())).unwrap();
    assert_eq!(deleted.untagged.len(), 2);
    assert_eq!(
        deleted.deleted,
        std::slice::from_ref(&first.id),
        "the layers are the container's now"
    );
    assert!(!store.has_blob(&first.manifest).unwrap());
    assert!(store.layer_paths(&first.chain_ids()).is_ok());
    assert_eq!(store.gc().unwrap().layers, []);
    store.remove_container("abc").unwrap();
    let report = store.gc().unwrap();
    assert_eq!(report.layers, [first.layers[1].chain_id.clone()]);
    assert!(store.layer_paths(&second.chain_ids()).is_ok());

    let deleted = store.delete_image(&second.id, false, |_| Ok(())).unwrap();
    let chain = second.chain_ids();
    assert_eq!(
        deleted.deleted,
        [second.id.clone(), chain[1].clone(), chain[0].clone()]
    );
    assert!(matches!(
        store.delete_image(&second.id, true, |_| Ok(())),
        Err(Error::NoSuchImage { .. })
    ));
    assert!(fs::list(&store.blobs_dir()).unwrap().is_empty());
    assert_eq!(fs::list(&store.layers_dir()).unwrap(), ["link"]);
    assert!(fs::list(&store.links_dir()).unwrap().is_empty());
    assert!(fs::list(&store.tmp_dir()).unwrap().is_empty());
}

#[test]
fn collection_spares_what_is_leased_or_used() {
    let (_dir, store) = store();
    let kept = image(&store, "kept", &["a", "b"]);
    let loose = layer(&store, "loose", 5, None);
    let leased = layer(&store, "leased", 5, None);
    let upon = layer(&store, "upon", 5, Some(&leased.chain_id));
    let data = b"leased blob";
    store.put_blob(&sha256(data), data).unwrap();
    let lease = store.lease([&upon.chain_id]).unwrap();
    lease.extend([&sha256(data)]).unwrap();
    // Litter of all kinds.
    std::fs::create_dir_all(store.layers_dir().join("c".repeat(64)).join("diff")).unwrap();
    std::fs::write(store.blobs_dir().join("odd"), "x").unwrap();
    std::fs::write(store.tmp_dir().join("blob-1"), "x").unwrap();
    std::fs::create_dir_all(store.tmp_dir().join("trash-1/deep")).unwrap();
    std::fs::write(store.tmp_dir().join("partial-1"), "x").unwrap();
    std::os::unix::fs::symlink("x", store.links_dir().join("zz")).unwrap();
    let busy = store.create_container_dir("busy", None).unwrap();
    let lock = fs::try_lock_entry(&busy).unwrap();
    let stray = store.create_container_dir("stray", None).unwrap();

    let report = store.gc().unwrap();
    assert_eq!(report.layers, std::slice::from_ref(&loose.chain_id));
    assert_eq!(report.blobs, std::slice::from_ref(&loose.blob));
    assert_eq!(report.leftovers.len(), 5, "{report:?}");
    assert!(report.bytes >= 5 + 1024);
    assert!(
        store.has_layer(&leased.chain_id).unwrap(),
        "below a leased one"
    );
    assert!(
        store.has_blob(&leased.blob).unwrap(),
        "a kept layer can be pushed as it was pulled"
    );
    assert!(store.has_blob(&sha256(data)).unwrap());
    assert!(store.layer_paths(&kept.chain_ids()).is_ok());
    assert_eq!(store.read_blob(&kept.id).unwrap().unwrap(), b"config kept");
    assert!(busy.exists() && !stray.exists(), "somebody removes it");
    assert_eq!(fs::list(&store.tmp_dir()).unwrap(), ["partial-1"]);

    drop((lease, lock));
    let report = store.gc_keeping_partials(Duration::ZERO).unwrap();
    assert_eq!((report.layers.len(), report.blobs.len()), (2, 3));
    assert_eq!(report.leftovers, ["containers/busy", "tmp/partial-1"]);
    assert_eq!(store.gc().unwrap(), crate::GcReport::default());
}

#[test]
fn leases_end_with_their_process() {
    let (_dir, store) = store();
    let data = b"x";
    store.put_blob(&sha256(data), data).unwrap();
    std::mem::forget(store.lease([&sha256(data)]).unwrap());
    assert_eq!(store.gc().unwrap().blobs, []);
    // The same pid, but started at another time.
    let db = rusqlite::Connection::open(store.root().join("store.db")).unwrap();
    db.execute("UPDATE leases SET started = started - 1", [])
        .unwrap();
    assert_eq!(store.gc().unwrap().blobs, [sha256(data)]);
    let left: i64 = db
        .query_row("SELECT count(*) FROM lease_items", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}
