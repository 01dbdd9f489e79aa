//! Layers on file systems of their own, and as the kernel's overlay sees them.

use oci_spec::image::Digest;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::{Packed, archive, tmp};
use crate::tests::store;
use crate::{Error, Store, fs, sha256};

/// Runs `work` in a thread with mounts of its own, which are gone with it.
fn with_mounts(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: only the mount namespace and the file-system attributes of this thread change.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).unwrap();
            work();
        });
        thread.join().unwrap();
    });
}

#[test]
fn a_full_disk_is_told_and_only_the_download_stays() {
    let dir = tempfile::tempdir().unwrap();
    with_mounts(|| {
        rustix::mount::mount(
            "tmpfs",
            dir.path(),
            "tmpfs",
            MountFlags::empty(),
            c"size=3m",
        )
        .unwrap();
        let store = Store::open(&dir.path().join("root")).unwrap();
        // Zeros, in pieces too small to be left out, that pack well.
        let files: Vec<(String, usize)> = (0..300).map(|i| (format!("d/f{i}"), 20_000)).collect();
        let mut builder = tar::Builder::new(Vec::new());
        for (name, size) in &files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(*size as u64);
            let content = vec![1; *size];
            builder
                .append_data(&mut header, name, &content[..])
                .unwrap();
        }
        let packed = Packed::gzip(&builder.into_inner().unwrap());
        let error = packed.ingest(&store, None).unwrap_err();
        assert!(error.is_disk_full(), "{error:?}");
        assert!(
            matches!(&error, Error::Member { member, .. } if member.starts_with("d/f")),
            "{error}"
        );
        assert_eq!(tmp(&store).len(), 1, "{:?}", tmp(&store));

        // The download itself does not fit.
        let big = Packed::gzip(&archive(&[("big", 6_000_000)]));
        let error = big.ingest(&store, None).unwrap_err();
        assert!(error.is_disk_full(), "{error:?}");
        store
            .gc_keeping_partials(std::time::Duration::ZERO)
            .unwrap();
        assert!(tmp(&store).is_empty());
        let blob = vec![1; 6_000_000];
        assert!(
            store
                .put_blob(&sha256(&blob), &blob)
                .unwrap_err()
                .is_disk_full()
        );
        assert!(tmp(&store).is_empty());
        Packed::gzip(&archive(&[("small", 100)]))
            .ingest(&store, None)
            .unwrap();
    });
}

#[test]
fn the_kernel_sees_whiteouts_as_meant() {
    let (dir, store) = store();
    let base = Packed::gzip(&archive(&[
        ("gone", 1),
        ("d/old", 1),
        ("e/old", 1),
        ("kept", 1),
    ]));
    base.ingest(&store, None).unwrap();
    let parent = base.spec.chain_id.clone();
    let top = Packed::new(
        &archive(&[
            (".wh.gone", 0),
            ("d/.wh..wh..opq", 0),
            ("d/new", 1),
            (".wh.e", 0),
            ("e/new", 1),
        ]),
        Some(&parent),
        "zstd",
    );
    top.ingest(&store, Some(&parent)).unwrap();
    let chain = [parent.clone(), top.spec.chain_id.clone()];
    let opaque = Packed::new(
        &archive(&[(".wh..wh..opq", 0), ("only", 1)]),
        Some(&chain[1]),
        "gzip",
    );
    opaque.ingest(&store, Some(&chain[1])).unwrap();
    let mount = dir.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let paths = store.layer_paths(&chain).unwrap();
    with_mounts(|| {
        let options = format!("lowerdir={}:{}", paths[0].display(), paths[1].display());
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount(
            "overlay",
            &mount,
            "overlay",
            MountFlags::RDONLY,
            options.as_c_str(),
        )
        .unwrap();
        let list = |name: &str| {
            let mut names = fs::list(&mount.join(name)).unwrap();
            names.sort();
            names
        };
        assert_eq!(list(""), ["d", "e", "kept"]);
        assert_eq!(list("d"), ["new"]);
        assert_eq!(list("e"), ["new"]);
    });
    let all = [chain[0].clone(), chain[1].clone(), opaque.spec.chain_id];
    assert_eq!(
        store.layer_paths(&all).unwrap().len(),
        1,
        "nothing below is seen"
    );
}

#[test]
fn five_hundred_layers_fit_on_a_page() {
    let (_dir, store) = store();
    let mut chain: Vec<Digest> = Vec::new();
    for i in 0..500 {
        let packed = Packed::new(&archive(&[(&format!("f{i}"), 1)]), chain.last(), "gzip");
        packed.ingest(&store, chain.last()).unwrap();
        chain.push(packed.spec.chain_id);
    }
    let paths = store.layer_paths(&chain).unwrap();
    let length: usize = paths.iter().map(|p| p.file_name().unwrap().len() + 1).sum();
    assert!(length < 4096 - 500, "{length}");
    assert!(paths[0].join("f499").exists());
    assert!(paths[499].join("f0").exists());
    // A link lost in a crash is made again.
    std::fs::remove_file(&paths[7]).unwrap();
    assert_eq!(store.layer_paths(&chain).unwrap(), paths);
    assert!(paths[7].join("f492").exists());
}
