mod mounted;
mod together;

use std::io::Write;
use std::path::PathBuf;

use oci_spec::image::Digest;

use super::LayerSpec;
use crate::tests::store;
use crate::{Error, MemberProblem, Store, chain_id, fs, sha256};

/// A packed layer.
struct Packed {
    spec: LayerSpec,
    data: Vec<u8>,
}

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

impl Packed {
    fn new(archive: &[u8], parent: Option<&Digest>, kind: &str) -> Self {
        let data = match kind {
            "gzip" => {
                let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gz.write_all(archive).unwrap();
                gz.finish().unwrap()
            }
            "zstd" => zstd::encode_all(archive, 1).unwrap(),
            _ => archive.to_vec(),
        };
        let diff_id = sha256(archive);
        Packed {
            spec: LayerSpec {
                blob: sha256(&data),
                size: data.len() as u64,
                media_type: GZIP.into(),
                chain_id: chain_id(parent, &diff_id),
                diff_id,
            },
            data,
        }
    }

    fn gzip(archive: &[u8]) -> Self {
        Self::new(archive, None, "gzip")
    }

    fn ingest(&self, store: &Store, parent: Option<&Digest>) -> Result<(), Error> {
        let mut ingest = store.begin_layer(self.spec.clone())?.expect("to be made");
        let from = usize::try_from(ingest.offset()).unwrap();
        for piece in self.data[from..].chunks(10_000) {
            ingest.write(piece)?;
        }
        ingest.commit(parent)
    }
}

/// An archive of the given files. The content is noise, so that compression does not shrink it.
fn archive(files: &[(&str, usize)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, size) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(*size as u64);
        let mut state = 88_172_645_463_325_252u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .take(*size)
        .collect();
        builder.append_data(&mut header, name, &noise[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn diff(store: &Store, chain_id: &Digest) -> PathBuf {
    store.layer_dir(chain_id).unwrap().join("diff")
}

fn tmp(store: &Store) -> Vec<String> {
    fs::list(&store.tmp_dir()).unwrap()
}

#[test]
fn every_packing_gives_the_same_layer() {
    let plain = archive(&[("etc/hosts", 100), ("big", 1_000_000)]);
    for kind in ["gzip", "zstd", "plain"] {
        let (_dir, store) = store();
        let packed = Packed::new(&plain, None, kind);
        assert!(!store.has_layer(&packed.spec.chain_id).unwrap());
        packed.ingest(&store, None).unwrap();
        assert!(store.has_layer(&packed.spec.chain_id).unwrap());
        assert!(store.has_blob(&packed.spec.blob).unwrap());
        assert_eq!(
            store.read_blob(&packed.spec.blob).unwrap().unwrap(),
            packed.data
        );
        assert!(tmp(&store).is_empty(), "{:?}", tmp(&store));
        assert!(store.begin_layer(packed.spec.clone()).unwrap().is_none());
        let paths = store
            .layer_paths(std::slice::from_ref(&packed.spec.chain_id))
            .unwrap();
        assert_eq!(
            std::fs::metadata(paths[0].join("big")).unwrap().len(),
            1_000_000
        );
        assert_eq!(paths[0].file_name().unwrap(), "1");
    }
}

#[test]
fn what_came_is_kept_for_the_next_try() {
    let (_dir, store) = store();
    let packed = Packed::gzip(&archive(&[("a", 300_000)]));
    let half = packed.data.len() / 2;
    let mut ingest = store.begin_layer(packed.spec.clone()).unwrap().unwrap();
    ingest.write(&packed.data[..half]).unwrap();
    assert!(matches!(ingest.commit(None), Err(Error::Truncated { .. })));
    assert_eq!(tmp(&store).len(), 1, "only the partial download stays");
    assert_eq!(store.disk_usage().unwrap().unfinished, half as u64);

    let mut ingest = store.begin_layer(packed.spec.clone()).unwrap().unwrap();
    assert_eq!(ingest.offset(), half as u64);
    // A server that knows no ranges.
    ingest.reset().unwrap();
    assert_eq!(ingest.offset(), 0);
    ingest.write(&packed.data[..half]).unwrap();
    drop(ingest);
    packed.ingest(&store, None).unwrap();
    assert!(tmp(&store).is_empty());
    drop(store.begin_layer(packed.spec.clone()).unwrap());
}

#[test]
fn a_blob_that_others_have_stays_whatever_an_image_says_of_it() {
    let (_dir, store) = store();
    let packed = Packed::gzip(&archive(&[("a", 300_000)]));
    packed.ingest(&store, None).unwrap();
    let config = br#"{"architecture":"amd64"}"#;
    store.put_blob(&sha256(config), config).unwrap();
    let begin = |spec: &LayerSpec| {
        let other = sha256(b"another layer");
        store.begin_layer(LayerSpec {
            chain_id: chain_id(None, &other),
            diff_id: other,
            ..spec.clone()
        })
    };
    let no_layer = LayerSpec {
        blob: sha256(config),
        size: config.len() as u64,
        ..packed.spec.clone()
    };
    for spec in [&packed.spec, &no_layer] {
        let error = begin(spec).unwrap().unwrap().commit(None).unwrap_err();
        match spec.blob == packed.spec.blob {
            true => assert!(matches!(error, Error::DiffIdMismatch { .. }), "{error}"),
            false => assert!(matches!(error, Error::BadArchive { .. }), "{error}"),
        }
    }
    let sized = |size| LayerSpec {
        size,
        ..packed.spec.clone()
    };
    let size = packed.spec.size;
    let error = begin(&sized(size - 1)).unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
    let error = begin(&sized(size + 1)).unwrap_err();
    assert!(
        matches!(error, Error::Truncated { actual, .. } if actual == size),
        "{error}"
    );
    for blob in [&packed.spec.blob, &no_layer.blob] {
        assert!(store.read_blob(blob).unwrap().is_some());
    }
    assert!(tmp(&store).is_empty(), "{:?}", tmp(&store));
}

#[test]
fn an_ingest_without_a_byte_leaves_nothing() {
    let (_dir, store) = store();
    let packed = Packed::gzip(&archive(&[("a", 10)]));
    drop(store.begin_layer(packed.spec).unwrap().unwrap());
    assert!(tmp(&store).is_empty());
}

#[test]
fn damage_is_told_from_a_bad_layer() {
    let (_dir, store) = store();
    let good = Packed::gzip(&archive(&[("a", 300_000)]));

    // Damaged on its way: the decompressor fails, but the digest is what is wrong.
    let mut damaged = Packed::gzip(&archive(&[("a", 300_000)]));
    damaged.data[150_000..150_100].fill(0);
    let error = damaged.ingest(&store, None).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
    assert!(tmp(&store).is_empty(), "damaged bytes are not kept");

    let mut ingest = store.begin_layer(good.spec.clone()).unwrap().unwrap();
    ingest.write(&good.data).unwrap();
    assert!(matches!(ingest.write(b"x"), Err(Error::TooLong { .. })));
    assert!(matches!(
        ingest.write(b"x"),
        Err(Error::IngestFailed { .. })
    ));
    drop(ingest);

    let mut wrong = Packed::gzip(&archive(&[("a", 300_000)]));
    wrong.spec.diff_id = sha256(b"other");
    wrong.spec.chain_id = wrong.spec.diff_id.clone();
    let error = wrong.ingest(&store, None).unwrap_err();
    assert!(matches!(error, Error::DiffIdMismatch { .. }), "{error:?}");
    // The right layer under a wrong name.
    let mut wrong = Packed::gzip(&archive(&[("a", 300_000)]));
    wrong.spec.chain_id = sha256(b"other");
    let error = wrong.ingest(&store, None).unwrap_err();
    assert!(matches!(error, Error::DiffIdMismatch { .. }), "{error:?}");

    let cut = Packed::new(&good.data[..200_000], None, "plain");
    let error = cut.ingest(&store, None).unwrap_err();
    assert!(matches!(error, Error::Decompress { .. }), "{error:?}");
    let noise = Packed::new(&[7; 2000], None, "plain");
    let error = noise.ingest(&store, None).unwrap_err();
    assert!(matches!(error, Error::BadArchive { .. }), "{error:?}");
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    header.as_old_mut().name[..5].copy_from_slice(b"../up");
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    // What follows is downloaded to the end all the same, to see whether the blob is what it should be.
    let mut escaping = builder.into_inner().unwrap();
    escaping.resize(escaping.len() + 3_000_000, 0);
    let error = Packed::gzip(&escaping).ingest(&store, None).unwrap_err();
    match &error {
        Error::BadMember {
            member, problem, ..
        } => {
            assert_eq!(
                (member.as_str(), *problem),
                ("../up", MemberProblem::Escapes)
            );
        }
        other => panic!("{other:?}"),
    }

    let mut odd = Packed::gzip(&archive(&[("a", 10)]));
    odd.spec.media_type += "+encrypted";
    assert!(matches!(
        store.begin_layer(odd.spec),
        Err(Error::UnsupportedLayer { .. })
    ));
    assert!(tmp(&store).is_empty(), "{:?}", tmp(&store));
    assert!(fs::list(&store.blobs_dir()).unwrap().is_empty());
    assert_eq!(fs::list(&store.layers_dir()).unwrap(), ["link"]);
    good.ingest(&store, None).unwrap();
}

#[test]
fn a_damaged_blob_is_fetched_again() {
    let (_dir, store) = store();
    let packed = Packed::gzip(&archive(&[("a", 300_000)]));
    let path = store.blob_path(&packed.spec.blob).unwrap();
    let mut bad = packed.data.clone();
    bad[1000] ^= 1;
    std::fs::write(&path, bad).unwrap();
    let ingest = store.begin_layer(packed.spec.clone()).unwrap().unwrap();
    assert_eq!(ingest.offset(), packed.spec.size);
    assert!(matches!(
        ingest.commit(None),
        Err(Error::DigestMismatch { .. })
    ));
    packed.ingest(&store, None).unwrap();
    assert_eq!(
        store.read_blob(&packed.spec.blob).unwrap().unwrap(),
        packed.data
    );
}

#[test]
fn one_blob_in_two_chains_is_fetched_once() {
    let (_dir, store) = store();
    let base = Packed::gzip(&archive(&[("a", 1000)]));
    base.ingest(&store, None).unwrap();
    let again = Packed::new(&archive(&[("a", 1000)]), Some(&base.spec.chain_id), "gzip");
    assert_eq!(again.spec.blob, base.spec.blob);
    let ingest = store.begin_layer(again.spec.clone()).unwrap().unwrap();
    assert_eq!(ingest.offset(), again.spec.size, "nothing is missing");
    ingest.commit(Some(&base.spec.chain_id)).unwrap();
    let paths = store
        .layer_paths(&[base.spec.chain_id.clone(), again.spec.chain_id.clone()])
        .unwrap();
    assert_eq!(
        std::fs::canonicalize(&paths[0]).unwrap(),
        diff(&store, &again.spec.chain_id),
        "top first"
    );
    assert!(matches!(
        store.layer_paths(&[sha256(b"none")]),
        Err(Error::NoSuchLayer { .. })
    ));
}

#[test]
fn implied_directories_take_after_the_layers_below() {
    use std::os::unix::fs::MetadataExt;
    let (_dir, store) = store();
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, uid) in [("./", 0o750, 3), ("tmp/", 0o1777, 4), ("var/", 0o711, 0)] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(uid);
        header.set_mtime(1000);
        header.set_size(0);
        builder.append_data(&mut header, name, &b""[..]).unwrap();
    }
    let base = Packed::gzip(&builder.into_inner().unwrap());
    base.ingest(&store, None).unwrap();
    let parent = &base.spec.chain_id;
    let middle = Packed::new(&archive(&[("x", 1)]), Some(parent), "gzip");
    let orphan = middle.ingest(&store, Some(&sha256(b"x"))).unwrap_err();
    assert!(matches!(orphan, Error::DiffIdMismatch { .. }), "{orphan:?}");
    middle.ingest(&store, Some(parent)).unwrap();
    let parent = &middle.spec.chain_id;
    let top = Packed::new(&archive(&[("tmp/a/b", 1)]), Some(parent), "gzip");
    top.ingest(&store, Some(parent)).unwrap();
    let stat = |name: &str| {
        let stat = std::fs::metadata(diff(&store, &top.spec.chain_id).join(name)).unwrap();
        (stat.mode() & 0o7777, stat.uid(), stat.mtime() == 1000)
    };
    assert_eq!(stat(""), (0o750, 3, true));
    assert_eq!(stat("tmp"), (0o1777, 4, true));
    assert_eq!(stat("tmp/a"), (0o755, 0, false));

    let dir = store
        .create_container_dir("abc", Some(&top.spec.chain_id))
        .unwrap();
    let upper = std::fs::metadata(dir.join("upper")).unwrap();
    assert_eq!((upper.mode() & 0o7777, upper.uid()), (0o750, 3));
}
