//! How fast a layer is unpacked, and how long a short command's visit to the store takes.
//!
//! `unpack [ROOT]` makes a layer of 164 MB from /usr (once, in the temporary directory), and a store in ROOT.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rctr_store::{LayerSpec, NewContainer, Store, sha256};

const SIZE: u64 = 164_000_000;
const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args_os().nth(1).map_or_else(
        || std::env::temp_dir().join("rctr-store-example"),
        PathBuf::from,
    );
    let (packed, diff_id) = layer()?;
    let unpacked = {
        let mut plain = flate2::read::GzDecoder::new(&packed[..]);
        std::io::copy(&mut plain, &mut std::io::sink())?
    };
    println!(
        "layer: {} MB packed, {} MB unpacked",
        packed.len() / 1_000_000,
        unpacked / 1_000_000
    );
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        // A store each, removed at the very end: ext4 is slow to make inodes where some were deleted half a minute ago.
        rustix::fs::sync();
        times.push(unpack(&root.join(round.to_string()), &packed, &diff_id)?);
    }
    let middle = median(&mut times);
    println!(
        "ingest and commit: median {middle:?}, {:.0} MB/s unpacked ({times:?})",
        unpacked as f64 / 1e6 / middle.as_secs_f64()
    );
    for pause in [0, 100] {
        let mut times = Vec::new();
        for i in 0..60 {
            std::thread::sleep(Duration::from_millis(pause));
            let id = format!("{pause}x{i}");
            let start = Instant::now();
            let store = Store::open(&root.join("0"))?;
            let new = NewContainer {
                id: &id,
                name: &id,
                image: None,
                layer: None,
            };
            store.insert_container(new, &"x".repeat(6000))?;
            drop(store);
            times.push(start.elapsed());
        }
        let max = times.iter().max().copied().unwrap_or_default();
        println!(
            "open, insert, close, {pause} ms apart: median {:?}, longest {max:?}",
            median(&mut times)
        );
    }
    let store = Store::open(&root.join("0"))?;
    let mut times = Vec::new();
    for i in 0..500 {
        let id = format!("c{i}");
        let start = Instant::now();
        store.create_container_dir(&id, Some(&diff_id))?;
        store.remove_container_dir(&id)?;
        times.push(start.elapsed());
    }
    let mut first = times[..50].to_vec();
    println!(
        "directories of a container, made and removed: median of the first 50 {:?}, of the last {:?}",
        median(&mut first),
        median(&mut times[450..])
    );
    std::fs::remove_dir_all(&root)?;
    Ok(())
}

fn unpack(
    root: &Path,
    packed: &[u8],
    diff_id: &oci_spec::image::Digest,
) -> Result<Duration, Box<dyn Error>> {
    let store = Store::open(root)?;
    let spec = LayerSpec {
        blob: sha256(packed),
        size: packed.len() as u64,
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
        diff_id: diff_id.clone(),
        chain_id: diff_id.clone(),
    };
    let start = Instant::now();
    let mut ingest = store.begin_layer(spec)?.ok_or("it is there already")?;
    for piece in packed.chunks(64 << 10) {
        ingest.write(piece)?;
    }
    let written = start.elapsed();
    ingest.commit(None)?;
    let all = start.elapsed();
    println!("  bytes taken after {written:?}, committed after {all:?}");
    Ok(all)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A packed layer of files of this machine, kept for the next time.
fn layer() -> Result<(Vec<u8>, oci_spec::image::Digest), Box<dyn Error>> {
    let path = std::env::temp_dir().join("rctr-store-example.tar.gz");
    if !path.exists() {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::default(),
        ));
        builder.follow_symlinks(false);
        let mut todo = vec![
            PathBuf::from("/usr/share/doc"),
            PathBuf::from("/usr/lib/x86_64-linux-gnu"),
            PathBuf::from("/usr/share/zoneinfo"),
        ];
        let mut size = 0;
        while let Some(dir) = todo.pop() {
            let mut entries: Vec<_> = std::fs::read_dir(&dir)?.collect::<Result<_, _>>()?;
            entries.sort_by_key(|e| e.file_name());
            for entry in entries {
                let kind = entry.file_type()?;
                let length = entry.metadata()?.len();
                if kind.is_dir() {
                    todo.push(entry.path());
                } else if size + length < SIZE && length < 8_000_000 {
                    let name = entry.path();
                    builder.append_path_with_name(&name, name.strip_prefix("/")?)?;
                    size += length;
                }
            }
        }
        std::fs::File::create(&path)?.write_all(&builder.into_inner()?.finish()?)?;
    }
    let packed = std::fs::read(&path)?;
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut plain)?;
    Ok((packed, sha256(&plain)))
}
