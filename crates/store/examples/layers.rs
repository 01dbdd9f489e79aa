//! Measures what a build does to the store: `layers DIR [MEGABYTES]`.
//!
//! Commits empty steps, a step of 10,000 small files, and packs a layer of so many megabytes of DIR's content, for which
//! a copy of some root file system is best.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use rctr_store::{CommitOptions, Compression, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let from = args.next().ok_or("usage: layers DIR [MEGABYTES]")?;
    let limit = args.next().map_or(Ok(500), |n| n.parse::<u64>())? << 20;
    let root = tempfile::tempdir_in(".")?;
    let store = Store::open(&root.path().join("store"))?;
    let commit = |step: rctr_store::BuildStep| step.commit(CommitOptions::default());

    let mut times = Vec::new();
    let mut top = None;
    let cpu = processor();
    for _ in 0..200 {
        let begun = Instant::now();
        let step = store.begin_build_step(top.as_ref())?;
        let middle = Instant::now();
        top = Some(commit(step)?.chain_id);
        times.push((middle - begun, middle.elapsed()));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    println!(
        "empty step: {:?} of processor time, begin {:?}, commit {:?}",
        (processor() - cpu) / 200,
        median(times.iter().map(|t| t.0).collect()),
        median(times.iter().map(|t| t.1).collect())
    );
    flush(&store)?;

    let step = store.begin_build_step(None)?;
    for dir in 0..100 {
        let dir = step.upper().join(dir.to_string());
        std::fs::create_dir(&dir)?;
        for file in 0..100 {
            std::fs::write(dir.join(file.to_string()), vec![file as u8; 4000])?;
        }
    }
    let (begun, cpu) = (Instant::now(), processor());
    let small = commit(step)?;
    println!(
        "10,000 files: commit {:?}, {:?} of processor time",
        begun.elapsed(),
        processor() - cpu
    );
    flush(&store)?;
    let begun = Instant::now();
    store.relink_layer(&small.chain_id, top.as_ref(), CommitOptions::default())?;
    println!("10,000 files: relink {:?}", begun.elapsed());

    let step = store.begin_build_step(None)?;
    copy(Path::new(&from), step.upper(), &mut { limit })?;
    let begun = Instant::now();
    let large = commit(step)?;
    let mib = large.archive_size as f64 / f64::from(1 << 20);
    let speed = |time: Duration| mib / time.as_secs_f64();
    println!(
        "{mib:.0} MiB: commit {:?}, {:.0} MiB/s",
        begun.elapsed(),
        speed(begun.elapsed())
    );
    let begun = Instant::now();
    store.write_layer_archive(&large.chain_id, &mut std::io::sink())?;
    println!("archive again {:?}", begun.elapsed());
    let forms = [1, 2, 3, 4, 5, 6, 9].map(Compression::Gzip);
    let forms = forms
        .into_iter()
        .chain([1, 3, 9].map(Compression::Zstd))
        .chain([Compression::None]);
    for form in forms {
        let (begun, cpu) = (Instant::now(), processor());
        let packed = store.pack_layer(&large.chain_id, form)?;
        let time = begun.elapsed();
        println!(
            "{form}: {time:?}, {:.0} MiB/s of processor time, {:.1} %, peak memory {} kB",
            speed(processor() - cpu),
            packed.size as f64 * 100.0 / large.archive_size as f64,
            peak()
        );
    }
    Ok(())
}

fn flush(store: &Store) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    store.flush_build()?;
    println!("flush {:?}", begun.elapsed());
    Ok(())
}

fn copy(from: &Path, to: &Path, left: &mut u64) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            std::fs::create_dir(&to)?;
            copy(&entry.path(), &to, left)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, to)?;
        } else if kind.is_file() && entry.metadata()?.len() <= *left {
            *left -= std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Time this process has had of all processors.
fn processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Peak of the resident memory.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap_or("?")
        .trim()
        .trim_end_matches(" kB")
        .to_owned()
}
