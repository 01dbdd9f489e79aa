use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;

use super::*;
use crate::tests::store;
use crate::{BuiltLayer, CommitOptions, GcReport, LayerSpec, chain_id, sha256};

/// Bytes that compress somewhat.
fn content(size: usize) -> Vec<u8> {
    let mut state = 1u64;
    std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 60) as u8 + b'a'
    })
    .take(size)
    .collect()
}

fn built(store: &Store, size: usize) -> BuiltLayer {
    let step = store.begin_build_step(None).unwrap();
    std::fs::create_dir(step.upper().join("d")).unwrap();
    std::fs::write(step.upper().join("d/f"), content(size)).unwrap();
    step.commit(CommitOptions {
        clamp_mtime: Some(0),
        ..CommitOptions::default()
    })
    .unwrap()
}

/// A layer as a registry serves it.
fn pulled(store: &Store, blob: &[u8], archive: &[u8], media_type: &str) -> LayerSpec {
    let diff_id = sha256(archive);
    let spec = LayerSpec {
        blob: sha256(blob),
        size: blob.len() as u64,
        media_type: media_type.into(),
        chain_id: chain_id(None, &diff_id),
        diff_id,
    };
    let mut ingest = store.begin_layer(spec.clone()).unwrap().unwrap();
    ingest.write(blob).unwrap();
    ingest.commit(None).unwrap();
    spec
}

fn archive_of(store: &Store, chain_id: &Digest) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.write_layer_archive(chain_id, &mut bytes).unwrap();
    bytes
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(data).unwrap();
    gz.finish().unwrap()
}

fn blob(store: &Store, packed: &PackedLayer) -> Vec<u8> {
    let data = store.read_blob(&packed.digest).unwrap().unwrap();
    assert_eq!(data.len() as u64, packed.size);
    data
}

#[test]
fn every_form_unpacks_to_the_archive() {
    // Of one block, of one block exactly, of several; and the smallest there is.
    for size in [0, 100, (512 << 10) - 2560, 3_000_000, 9_000_000] {
        let (_dir, store) = store();
        let layer = built(&store, size);
        let archive = archive_of(&store, &layer.chain_id);
        for level in [0, 1, 6, 9] {
            let packed = store
                .pack_layer(&layer.chain_id, Compression::Gzip(level))
                .unwrap();
            assert!(packed.media_type.ends_with(".tar+gzip"));
            let mut plain = Vec::new();
            // One member, so that readers that know no more than one see all of it.
            GzDecoder::new(&blob(&store, &packed)[..])
                .read_to_end(&mut plain)
                .unwrap();
            assert!(plain == archive, "gzip {level} of {size}");
        }
        let packed = store
            .pack_layer(&layer.chain_id, Compression::Zstd(3))
            .unwrap();
        assert!(packed.media_type.ends_with(".tar+zstd"));
        assert!(zstd::decode_all(&blob(&store, &packed)[..]).unwrap() == archive);
        let packed = store
            .pack_layer(&layer.chain_id, Compression::None)
            .unwrap();
        assert!(blob(&store, &packed) == archive);
        assert_eq!(packed.digest, layer.diff_id);
    }
}

#[test]
fn the_same_layer_gives_the_same_blob_in_every_store() {
    let pack = || {
        let (_dir, store) = store();
        let layer = built(&store, 5_000_000);
        [Compression::DEFAULT_GZIP, Compression::DEFAULT_ZSTD]
            .map(|how| store.pack_layer(&layer.chain_id, how).unwrap())
    };
    assert_eq!(pack(), pack());
}

#[test]
fn other_programs_read_it() {
    let (_dir, store) = store();
    let layer = built(&store, 2_000_000);
    let packed = store
        .pack_layer(&layer.chain_id, Compression::DEFAULT_GZIP)
        .unwrap();
    let path = store.blob_path(&packed.digest).unwrap();
    let output = Command::new("gzip")
        .args(["-dc", "--"])
        .arg(path)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(sha256(&output.stdout), layer.diff_id);
}

#[test]
fn what_was_packed_is_found_again_until_it_is_damaged() {
    let (_dir, store) = store();
    let layer = built(&store, 100_000);
    let how = Compression::Gzip(6);
    let first = store.pack_layer(&layer.chain_id, how).unwrap();
    let path = store.blob_path(&first.digest).unwrap();
    let time = |path: &PathBuf| std::fs::metadata(path).unwrap().modified().unwrap();
    let packed_at = time(&path);
    assert_eq!(store.pack_layer(&layer.chain_id, how).unwrap(), first);
    assert_eq!(time(&path), packed_at, "not packed again");
    std::fs::write(&path, "cut").unwrap();
    assert_eq!(store.pack_layer(&layer.chain_id, how).unwrap(), first);
    blob(&store, &first);
    assert!(fs::list(&store.tmp_dir()).unwrap().is_empty());
}

#[test]
fn two_at_once_share_the_work() {
    let (_dir, store) = store();
    let layer = built(&store, 3_000_000);
    let pack = || {
        let store = Store::open(store.root()).unwrap();
        store
            .pack_layer(&layer.chain_id, Compression::Gzip(9))
            .unwrap()
    };
    let (one, two) = std::thread::scope(|s| {
        let one = s.spawn(pack);
        (pack(), one.join().unwrap())
    });
    assert_eq!(one, two);
    blob(&store, &one);
    assert!(fs::list(&store.tmp_dir()).unwrap().is_empty());
}

#[test]
fn what_a_registry_served_is_taken_as_it_is() {
    let (_dir, store) = store();
    let layer = built(&store, 10_000);
    let archive = archive_of(&store, &layer.chain_id);
    let (_other, other) = crate::tests::store();
    let served = gzip(&archive);
    let spec = pulled(&other, &served, &archive, Compression::Gzip(1).media_type());
    let packed = other
        .pack_layer(&spec.chain_id, Compression::Gzip(9))
        .unwrap();
    assert_eq!(packed.digest, spec.blob);
    assert_eq!(archive_of(&other, &spec.chain_id), archive);
    let packed = other
        .pack_layer(&spec.chain_id, Compression::Zstd(3))
        .unwrap();
    assert_eq!(
        packed,
        store
            .pack_layer(&layer.chain_id, Compression::Zstd(3))
            .unwrap(),
        "made of the blob or of the tree, it is the same"
    );

    // As an earlier rctr recorded it.
    let db = rusqlite::Connection::open(other.root().join("store.db")).unwrap();
    db.execute("UPDATE layers SET archive_size = NULL", [])
        .unwrap();
    assert_eq!(archive_of(&other, &spec.chain_id), archive);

    // The blob gone: the layer was built by a store, so that it can be archived again.
    other.remove_blob(&spec.blob).unwrap();
    assert_eq!(archive_of(&other, &spec.chain_id), archive);
    assert_eq!(
        other.built_layer(&spec.chain_id).unwrap().unwrap(),
        store.built_layer(&layer.chain_id).unwrap().unwrap(),
        "size of the archive included"
    );
}

#[test]
fn a_layer_that_changed_is_not_packed() {
    let (_dir, store) = store();
    let layer = built(&store, 100);
    let file = store.layer_dir(&layer.chain_id).unwrap().join("diff/d/f");
    std::fs::write(&file, "changed").unwrap();
    let error = store.pack_layer(&layer.chain_id, Compression::Gzip(6));
    assert!(
        matches!(&error, Err(Error::NotReproducible { chain_id, .. }) if *chain_id == layer.chain_id),
        "{error:?}"
    );
    assert!(fs::list(&store.tmp_dir()).unwrap().is_empty());
    assert!(fs::list(&store.blobs_dir()).unwrap().is_empty());
    assert!(matches!(
        store.pack_layer(&sha256(b"missing"), Compression::None),
        Err(Error::NoSuchLayer { .. })
    ));
    for bad in [Compression::Gzip(10), Compression::Zstd(0)] {
        assert!(matches!(
            store.pack_layer(&layer.chain_id, bad),
            Err(Error::UnsupportedCompression { .. })
        ));
    }
}

#[test]
fn a_writer_that_fails_is_told() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (_dir, store) = store();
    let layer = built(&store, 3_000_000);
    assert!(matches!(
        store.write_layer_archive(&layer.chain_id, &mut Full),
        Err(Error::WriteArchive { .. })
    ));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let codec = codec::Codec::new(Compression::Gzip(1)).unwrap();
    let row = store.layer_row(&layer.chain_id).unwrap();
    let error = blocks::pack_archive(codec, &full, Path::new("/dev/full"), |sink| {
        store.send_archive(&row, sink)
    });
    assert!(error.unwrap_err().is_disk_full());
}

#[test]
fn packed_layers_go_with_the_last_layer_of_their_content() {
    let (_dir, store) = store();
    let layer = built(&store, 1000);
    let base = store.begin_build_step(None).unwrap();
    std::fs::write(base.upper().join("base"), "").unwrap();
    let base = base.commit(CommitOptions::default()).unwrap();
    let linked = store
        .relink_layer(
            &layer.chain_id,
            Some(&base.chain_id),
            CommitOptions::default(),
        )
        .unwrap();
    let how = Compression::Gzip(6);
    let packed = store.pack_layer(&layer.chain_id, how).unwrap();
    let lease = store.lease([&linked.chain_id]).unwrap();
    assert_eq!(store.gc().unwrap().layers, [layer.chain_id]);
    assert_eq!(store.pack_layer(&linked.chain_id, how).unwrap(), packed);
    assert!(store.has_blob(&packed.digest).unwrap());
    drop(lease);
    let report = store.gc().unwrap();
    assert_eq!(report.layers.len(), 2);
    assert_eq!(report.blobs, [packed.digest]);
    assert!(store.read(|tx| tx.packed_layers()).unwrap().is_empty());
    assert_eq!(store.gc().unwrap(), GcReport::default());
}

/// A layer with all that an archive can hold.
fn varied(store: &Store) -> BuiltLayer {
    let step = store.begin_build_step(None).unwrap();
    let at = |name: &str| step.upper().join(name);
    std::fs::create_dir(at("d")).unwrap();
    std::fs::write(at("d/large"), content(5_000_000)).unwrap();
    std::fs::write(at("d/small"), "small").unwrap();
    std::fs::write(at("empty"), "").unwrap();
    std::fs::write(at("stargz.index.json"), "of an earlier packing").unwrap();
    std::fs::write(at("z"), "last").unwrap();
    std::os::unix::fs::symlink("d/small", at("link")).unwrap();
    std::fs::hard_link(at("z"), at("zz")).unwrap();
    step.commit(CommitOptions {
        clamp_mtime: Some(1_000_000_000),
        ..CommitOptions::default()
    })
    .unwrap()
}

fn gunzip(data: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(data)
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

#[test]
fn each_file_of_an_estargz_layer_can_be_had_by_itself() {
    let (_dir, store) = store();
    let layer = varied(&store);
    let packed = store
        .pack_layer(&layer.chain_id, Compression::DEFAULT_ESTARGZ)
        .unwrap();
    let blob = blob(&store, &packed);
    let archive = gunzip(&blob);
    let estargz = packed.estargz.clone().unwrap();
    assert_eq!(sha256(&archive), packed.diff_id);
    assert_eq!(archive.len() as u64, estargz.archive_size);

    let names: Vec<String> = tar::Archive::new(&archive[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    let own = ".no.prefetch.landmark";
    let expected = [
        own,
        "d/",
        "d/large",
        "d/small",
        "empty",
        "link",
        "z",
        "zz",
        "stargz.index.json",
    ];
    assert_eq!(names, expected);

    let mut toc = Vec::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        toc.clear();
        entry.unwrap().read_to_end(&mut toc).unwrap();
    }
    assert_eq!(sha256(&toc), estargz.toc);
    let toc: serde_json::Value = serde_json::from_slice(&toc).unwrap();
    let mut large = Vec::new();
    for entry in toc["entries"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let Some(offset) = entry["offset"].as_u64() else {
            assert!(entry["size"].is_null(), "{entry}");
            continue;
        };
        let mut chunk = Vec::new();
        // One member, and nothing else in it.
        GzDecoder::new(&blob[offset as usize..])
            .read_to_end(&mut chunk)
            .unwrap();
        assert_eq!(entry["chunkDigest"], sha256(&chunk).to_string(), "{entry}");
        match name {
            "d/large" => {
                assert_eq!(
                    entry["chunkOffset"].as_u64().unwrap_or(0),
                    large.len() as u64
                );
                large.extend(chunk);
            }
            "d/small" => {
                assert_eq!(chunk, b"small");
                assert_eq!(entry["modtime"], "2001-09-09T01:46:40Z");
            }
            _ => {}
        }
    }
    assert!(large == content(5_000_000));

    // Found again, also by what is in the blob alone; and where it was pulled it need not be packed again.
    let again = store.pack_layer(&layer.chain_id, Compression::DEFAULT_ESTARGZ);
    assert_eq!(again.unwrap(), packed);
    let (_other, other) = crate::tests::store();
    let spec = pulled(&other, &blob, &archive, &packed.media_type);
    let found = other.pack_layer(&spec.chain_id, Compression::DEFAULT_ESTARGZ);
    assert_eq!(found.unwrap(), packed);
    let gzip = store
        .pack_layer(&layer.chain_id, Compression::DEFAULT_GZIP)
        .unwrap();
    assert_eq!(
        store.estargz_of(&layer.chain_id, &gzip.digest).unwrap(),
        None
    );
    assert_eq!(gzip.diff_id, layer.diff_id);
}

#[test]
fn an_empty_layer_has_a_table_of_contents_too() {
    let (_dir, store) = store();
    let step = store.begin_build_step(None).unwrap();
    let layer = step.commit(CommitOptions::default()).unwrap();
    let packed = store
        .pack_layer(&layer.chain_id, Compression::Estargz(9))
        .unwrap();
    let archive = gunzip(&blob(&store, &packed));
    assert_eq!(sha256(&archive), packed.diff_id);
    assert_eq!(
        tar::Archive::new(&archive[..]).entries().unwrap().count(),
        2
    );
}

#[test]
fn archives_of_several_trees() {
    let dir = tempfile::tempdir().unwrap();
    for tree in ["a", "b"] {
        std::fs::create_dir_all(dir.path().join(tree).join("d")).unwrap();
        std::fs::write(dir.path().join(tree).join("d/f"), tree).unwrap();
        std::fs::hard_link(
            dir.path().join(tree).join("d/f"),
            dir.path().join(tree).join("g"),
        )
        .unwrap();
    }
    let open = |tree: &str| File::open(dir.path().join(tree)).unwrap();
    let (a, b) = (open("a"), open("b"));
    let files = [("said.json".to_owned(), b"{}".to_vec())];
    let tree = |directory, root| TreeToArchive {
        directory: Some(directory),
        root,
        files: &files,
        time: 7,
    };
    let mut archive = Vec::new();
    write_tree_archives(
        &[tree("linux_a", a.as_fd()), tree("linux_b", b.as_fd())],
        &mut archive,
    )
    .unwrap();
    let mut found = Vec::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let entry = entry.unwrap();
        let text = |path: std::borrow::Cow<'_, Path>| path.display().to_string();
        found.push((
            text(entry.path().unwrap()),
            entry.link_name().unwrap().map(text),
        ));
    }
    let expected = ["linux_a", "linux_b"].map(|dir| {
        [
            (format!("{dir}/"), None),
            (format!("{dir}/d/"), None),
            (format!("{dir}/d/f"), None),
            (format!("{dir}/g"), Some(format!("{dir}/d/f"))),
            (format!("{dir}/said.json"), None),
        ]
    });
    assert_eq!(found, expected.concat());
}
