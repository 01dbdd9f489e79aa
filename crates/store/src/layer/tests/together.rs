//! Several threads and processes after one layer.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::{Packed, archive, tmp};
use crate::tests::store;
use crate::{Error, LayerBlob, LayerSpec, Store};

#[test]
fn the_second_of_two_threads_waits_and_has_nothing_to_do() {
    let (_dir, store) = store();
    let packed = Packed::gzip(&archive(&[("a", 300_000)]));
    let mut ingest = store.begin_layer(packed.spec.clone()).unwrap().unwrap();
    std::thread::scope(|scope| {
        let (started, begun) = channel();
        let (root, spec) = (store.root(), packed.spec.clone());
        let other = scope.spawn(move || {
            let store = Store::open(root).unwrap();
            started.send(()).unwrap();
            store.begin_layer(spec).unwrap().is_none()
        });
        begun.recv().unwrap();
        ingest.write(&packed.data).unwrap();
        ingest.commit(None).unwrap();
        assert!(other.join().unwrap());
    });
    assert!(tmp(&store).is_empty());
}

#[test]
fn a_layer_begun_before_it_is_known_gives_way_to_one_that_is_there() {
    let (_dir, store) = store();
    let tar = archive(&[("a", 300_000)]);
    let (packed, other) = (Packed::gzip(&tar), Packed::new(&tar, None, "zstd"));
    assert_eq!(packed.spec.chain_id, other.spec.chain_id);
    let early = |packed: &Packed| {
        store
            .begin_layer_early(LayerBlob::from(&packed.spec))
            .unwrap()
    };
    let mut first = early(&packed).unwrap();
    assert!(early(&packed).is_none(), "somebody fetches it");
    first.write(&packed.data).unwrap();
    let unnamed = early(&other).unwrap();
    assert!(matches!(
        unnamed.commit(None),
        Err(Error::IngestFailed { .. })
    ));
    let mut second = early(&other).unwrap();
    second.write(&other.data).unwrap();
    for (mut ingest, packed) in [(first, &packed), (second, &other)] {
        ingest.name(packed.spec.clone());
        ingest.commit(None).unwrap();
    }
    assert!(
        store.has_blob(&packed.spec.blob).unwrap() && store.has_blob(&other.spec.blob).unwrap()
    );
    assert!(early(&packed).is_none() && early(&other).is_none());
    let there = store.layer_paths(&[packed.spec.chain_id]).unwrap();
    let there = std::fs::metadata(there[0].join("a")).unwrap();
    assert_eq!(there.len(), 300_000);
    assert!(tmp(&store).is_empty(), "{:?}", tmp(&store));
}

#[test]
fn an_early_try_that_was_killed_is_gone_on_with() {
    let (_dir, store) = store();
    let packed = Packed::gzip(&archive(&[("a", 300_000)]));
    let blob = LayerBlob::from(&packed.spec);
    let mut ingest = store.begin_layer_early(blob.clone()).unwrap().unwrap();
    ingest.write(&packed.data[..100_000]).unwrap();
    let early = |name: &String| name.starts_with("early-");
    let early = tmp(&store).into_iter().find(early).unwrap();
    drop(ingest);
    std::fs::create_dir_all(store.tmp_dir().join(early).join("tree/bin")).unwrap();
    assert!(store.begin_layer_early(blob).unwrap().is_none());
    let mut ingest = store.begin_layer(packed.spec.clone()).unwrap().unwrap();
    assert_eq!(ingest.offset(), 100_000);
    ingest.write(&packed.data[100_000..]).unwrap();
    ingest.commit(None).unwrap();
    assert!(tmp(&store).is_empty(), "{:?}", tmp(&store));
}

#[test]
fn bytes_of_another_layer_are_not_taken_for_it() {
    let (_dir, store) = store();
    let (packed, other) = (
        Packed::gzip(&archive(&[("a", 10)])),
        Packed::gzip(&archive(&[("b", 10)])),
    );
    let begin = || {
        let blob = LayerBlob::from(&packed.spec);
        store.begin_layer_early(blob).unwrap().unwrap()
    };
    let mut wrong = begin();
    wrong.write(&packed.data).unwrap();
    wrong.name(LayerSpec {
        diff_id: other.spec.diff_id.clone(),
        chain_id: other.spec.chain_id.clone(),
        ..packed.spec.clone()
    });
    let error = wrong.commit(None).unwrap_err();
    assert!(matches!(error, Error::DiffIdMismatch { .. }), "{error:?}");
    assert!(tmp(&store).is_empty());
    drop(begin());
    assert!(tmp(&store).is_empty(), "{:?}", tmp(&store));
}

#[test]
fn an_ingest_that_is_cancelled_keeps_its_bytes_and_no_files() {
    let (_dir, store) = store();
    let packed = Packed::gzip(&archive(&[("a", 3_000_000)]));
    let mut ingest = store.begin_layer(packed.spec.clone()).unwrap().unwrap();
    let (last, others) = packed.data.split_last().unwrap();
    ingest.write(others).unwrap();
    // In the middle of the archive; the unpacker cannot come to its end.
    let began = Instant::now();
    while !unpacks(&store) {
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::yield_now();
    }
    ingest.canceller()();
    let ended = match ingest.write(&[*last]) {
        Ok(()) => ingest.commit(None),
        Err(e) => {
            drop(ingest);
            Err(e)
        }
    };
    assert!(matches!(ended, Err(Error::Io { .. })), "{ended:?}");
    let left = tmp(&store);
    assert!(
        matches!(&left[..], [name] if name.starts_with("partial-")),
        "{left:?}"
    );
    let again = store.begin_layer(packed.spec.clone()).unwrap().unwrap();
    assert_eq!(again.offset(), packed.spec.size);
    again.commit(None).unwrap();
    assert!(tmp(&store).is_empty());
}

/// A file of the archive is in the making.
fn unpacks(store: &Store) -> bool {
    let below = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let trees = below(&store.tmp_dir()).into_iter();
    let mut files = trees
        .flat_map(|dir| below(&dir))
        .flat_map(|tree| below(&tree));
    files.any(|path| path.ends_with("a"))
}

/// Runs one test of this file as another process, which does what `RCTR_STORE_TEST` says.
fn child(test: &str, root: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("layer::tests::together::{test}"),
            "--nocapture",
        ])
        .env("RCTR_STORE_TEST", root)
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_for_line(child: &mut Child, wanted: &str) {
    use std::io::BufRead;
    let mut lines = std::io::BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().ends_with(wanted)),
        "the child never said {wanted:?}"
    );
}

#[test]
fn a_killed_process_leaves_its_bytes_and_its_lock() {
    let packed = Packed::gzip(&archive(&[("a/b/c", 300_000), ("d", 300_000)]));
    let half = packed.data.len() / 2;
    if let Some(root) = std::env::var_os("RCTR_STORE_TEST") {
        let store = Store::open(Path::new(&root)).unwrap();
        let _lease = store.lease([&packed.spec.blob]).unwrap();
        let mut ingest = store.begin_layer(packed.spec).unwrap().unwrap();
        ingest.write(&packed.data[..half]).unwrap();
        println!("\nready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        unreachable!("killed before");
    }
    let (_dir, store) = store();
    let mut other = child(
        "a_killed_process_leaves_its_bytes_and_its_lock",
        store.root(),
    );
    wait_for_line(&mut other, "ready");
    let report = store
        .gc_keeping_partials(std::time::Duration::ZERO)
        .unwrap();
    assert_eq!(
        report,
        crate::GcReport::default(),
        "what it holds is not touched"
    );
    assert_eq!(tmp(&store).len(), 2);
    other.kill().unwrap();
    other.wait().unwrap();

    let report = store.gc().unwrap();
    assert_eq!(report.leftovers.len(), 1, "{report:?}");
    assert!(report.leftovers[0].starts_with("tmp/unpack-"));
    let ingest = store.begin_layer(packed.spec.clone()).unwrap().unwrap();
    assert_eq!(ingest.offset(), half as u64);
    drop(ingest);
    packed.ingest(&store, None).unwrap();
    assert!(tmp(&store).is_empty());
}

#[test]
fn of_four_processes_one_unpacks() {
    let packed = Packed::gzip(&archive(&[("a", 3_000_000)]));
    if let Some(root) = std::env::var_os("RCTR_STORE_TEST") {
        let store = Store::open(Path::new(&root)).unwrap();
        match store.begin_layer(packed.spec).unwrap() {
            None => println!("\nfound"),
            Some(mut ingest) => {
                assert_eq!(ingest.offset(), 0);
                for piece in packed.data.chunks(50_000) {
                    ingest.write(piece).unwrap();
                }
                ingest.commit(None).unwrap();
                println!("\nunpacked");
            }
        }
        return;
    }
    let (_dir, store) = store();
    let root = store.root().to_owned();
    let children: Vec<Child> = (0..4)
        .map(|_| child("of_four_processes_one_unpacks", &root))
        .collect();
    let mut said = String::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        said += &String::from_utf8(output.stdout).unwrap();
    }
    let count = |word| said.lines().filter(|line| line.ends_with(word)).count();
    assert_eq!((count("unpacked"), count("found")), (1, 3), "{said}");
    assert!(store.has_layer(&packed.spec.chain_id).unwrap());
    assert!(tmp(&store).is_empty());
}
