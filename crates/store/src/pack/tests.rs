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
    let error = blocks::pack(codec, &full, Path::new("/dev/full"), |sink| {
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
