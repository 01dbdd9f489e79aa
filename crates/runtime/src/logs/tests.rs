use super::*;
use crate::spec::LogConfig;
use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

fn config(dir: &tempfile::TempDir, max_size: u64, max_file: u32) -> LogConfig {
    LogConfig {
        path: dir.path().join("log"),
        max_size,
        max_file,
    }
}

fn read(path: &Path, options: LogOptions) -> Vec<LogEntry> {
    let mut reader = LogReader::open(path, options, false).unwrap();
    std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
}

fn text(entries: &[LogEntry]) -> String {
    let bytes: Vec<u8> = entries.iter().flat_map(|e| e.text.clone()).collect();
    String::from_utf8(bytes).unwrap()
}

fn tail(path: &Path, lines: usize) -> String {
    let options = LogOptions {
        tail: Some(lines),
        ..LogOptions::default()
    };
    text(&read(path, options))
}

#[test]
fn lines_are_records_and_long_ones_several() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, 0, 1);
    let path = config.path.clone();
    let mut log = LogWriter::open(config).unwrap();
    log.write(Stream::Stdout, b"one\ntw").unwrap();
    log.write(Stream::Stderr, b"err\n").unwrap();
    log.write(Stream::Stdout, b"o\n\n").unwrap();
    let long = "x".repeat(100_000);
    log.write(Stream::Stdout, long.as_bytes()).unwrap();
    log.write(Stream::Stdout, b"\nend").unwrap();
    log.finish().unwrap();

    let raw = fs::read_to_string(&path).unwrap();
    let longest = raw.lines().map(|line| line.len()).max().unwrap();
    assert!(longest < MAX_RECORD + 64, "{longest}");
    assert!(
        raw.lines().nth(1).unwrap().ends_with(" stderr F err"),
        "{raw}"
    );

    let entries = read(&path, LogOptions::default());
    let expected = format!("one\nerr\ntwo\n\n{long}\nend");
    assert_eq!(text(&entries), expected);
    // One time stamp for the long line.
    let beginnings = entries.iter().filter(|e| !e.continues).count();
    assert_eq!(beginnings, 6);

    let only_errors = LogOptions {
        no_stdout: true,
        ..LogOptions::default()
    };
    assert_eq!(text(&read(&path, only_errors)), "err\n");
}

#[test]
fn a_line_of_exactly_the_limit_is_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, 0, 1);
    let path = config.path.clone();
    let mut log = LogWriter::open(config).unwrap();
    let line = "y".repeat(MAX_RECORD) + "\n";
    log.write(Stream::Stdout, line.as_bytes()).unwrap();
    assert_eq!(text(&read(&path, LogOptions::default())), line);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn the_tail_counts_lines_not_records() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, 0, 1);
    let path = config.path.clone();
    let mut log = LogWriter::open(config).unwrap();
    for n in 0..5000 {
        log.write(Stream::Stdout, format!("line {n}\n").as_bytes())
            .unwrap();
    }
    let long = "z".repeat(100_000) + "\n";
    log.write(Stream::Stdout, long.as_bytes()).unwrap();
    log.write(Stream::Stdout, b"last\n").unwrap();
    assert_eq!(tail(&path, 0), "");
    assert_eq!(tail(&path, 1), "last\n");
    assert_eq!(tail(&path, 3), format!("line 4999\n{long}last\n"));
    assert_eq!(tail(&path, 5002).lines().count(), 5002);
    assert_eq!(tail(&path, 100_000).lines().count(), 5002);

    log.write(Stream::Stdout, b"unfinished").unwrap();
    log.finish().unwrap();
    assert_eq!(tail(&path, 1), "unfinished");
    assert_eq!(tail(&path, 2), "last\nunfinished");
}

#[test]
fn files_are_rotated_and_read_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, 4096, 3);
    let path = config.path.clone();
    let mut log = LogWriter::open(config.clone()).unwrap();
    for n in 0..1000 {
        log.write(Stream::Stdout, format!("{n:08}\n").as_bytes())
            .unwrap();
    }
    let files: Vec<u64> = (0..4)
        .filter_map(|n| fs::metadata(rotated(&path, n)).ok())
        .map(|m| m.len())
        .collect();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|&size| size <= 4096), "{files:?}");

    let all = text(&read(&path, LogOptions::default()));
    let numbers: Vec<u32> = all.lines().map(|l| l.parse().unwrap()).collect();
    let first = numbers[0];
    assert!(first > 0, "nothing was dropped");
    assert_eq!(numbers, (first..1000).collect::<Vec<_>>());
    // Across the border between two files.
    assert_eq!(tail(&path, 150).lines().next(), Some("00000850"));

    // A new writer goes on where the last one stopped.
    drop(log);
    let mut log = LogWriter::open(config).unwrap();
    log.write(Stream::Stdout, b"more\n").unwrap();
    assert!(text(&read(&path, LogOptions::default())).ends_with("00000999\nmore\n"));
}

#[test]
fn a_single_file_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, 1000, 1);
    let path = config.path.clone();
    let mut log = LogWriter::open(config).unwrap();
    for n in 0..100 {
        log.write(Stream::Stdout, format!("{n}\n").as_bytes())
            .unwrap();
    }
    assert!(fs::metadata(&path).unwrap().len() <= 1000);
    assert!(!rotated(&path, 1).exists());
    assert!(tail(&path, 1) == "99\n");
}

#[test]
fn following_sees_every_line_across_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, 2048, 4);
    let path = config.path.clone();
    let mut reader = LogReader::open(&path, LogOptions::default(), true).unwrap();
    assert_eq!(reader.next_entry().unwrap(), None);
    let mut log = LogWriter::open(config).unwrap();
    let mut seen = Vec::new();
    for n in 0..500 {
        log.write(Stream::Stdout, format!("{n}\n").as_bytes())
            .unwrap();
        if n % 7 == 0 {
            wait(&reader);
            while let Some(entry) = reader.next_entry().unwrap() {
                seen.push(entry);
            }
        }
    }
    while let Some(entry) = reader.next_entry().unwrap() {
        seen.push(entry);
    }
    let expected: String = (0..500).map(|n| format!("{n}\n")).collect();
    assert_eq!(text(&seen), expected);
}

#[test]
fn a_follower_that_is_behind_loses_nothing_to_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, 2_000_000, 2);
    let mut reader = LogReader::open(&config.path, LogOptions::default(), true).unwrap();
    let mut log = LogWriter::open(config).unwrap();
    let line = |n: usize| format!("{n:099}\n").into_bytes();
    let mut read = 0;
    let mut check = |entry: LogEntry| {
        assert_eq!(entry.text, line(read));
        read += 1;
    };
    for step in 0..50 {
        let lines: Vec<u8> = (0..4_000).flat_map(|n| line(step * 4_000 + n)).collect();
        log.write(Stream::Stdout, &lines).unwrap();
        // Half as fast as it grows.
        (0..2_000).for_each(|_| check(reader.next_entry().unwrap().unwrap()));
    }
    while let Some(entry) = reader.next_entry().unwrap() {
        check(entry);
    }
    assert_eq!(read, 200_000);
}

fn wait(reader: &LogReader) {
    let fd = reader.watch_fd().unwrap();
    let mut fds = [nix::poll::PollFd::new(
        fd.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    assert_eq!(nix::poll::poll(&mut fds, 5000u16).unwrap(), 1, "not woken");
    reader.clear_watch();
}

#[test]
fn a_record_that_is_still_being_written_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, "2026-01-01T00:00:00Z stdout F hal").unwrap();
    let mut reader = LogReader::open(&path, LogOptions::default(), true).unwrap();
    assert_eq!(reader.next_entry().unwrap(), None);
    use std::io::Write;
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"f\n").unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().text, b"half\n");
}

#[test]
fn times_bound_what_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let lines: String = (0..10)
        .map(|n| format!("2026-01-01T00:00:0{n}.5Z stdout F {n}\n"))
        .collect();
    fs::write(&path, format!("not a record\n{lines}")).unwrap();
    let at = |seconds: u64| -> SystemTime {
        parse_time("2026-01-01T00:00:00Z").unwrap() + Duration::from_secs(seconds)
    };
    let between = LogOptions {
        since: Some(at(3)),
        until: Some(at(6)),
        ..LogOptions::default()
    };
    assert_eq!(text(&read(&path, between)), "3\n4\n5\n");
    assert_eq!(
        text(&read(&dir.path().join("none"), LogOptions::default())),
        ""
    );
}
