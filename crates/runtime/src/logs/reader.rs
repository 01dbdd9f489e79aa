//! Reading a log, from its end or its beginning, while it grows and is rotated.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::{Stream, parse_time, rotated};
use crate::error::{Error, Result};

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Only this many lines from the end (of those that exist when the reader is opened).
    pub tail: Option<usize>,
    /// Nothing from before this time.
    pub since: Option<SystemTime>,
    /// Nothing from after this time.
    pub until: Option<SystemTime>,
    /// Leave out standard output.
    pub no_stdout: bool,
    /// Leave out standard error.
    pub no_stderr: bool,
}

impl LogOptions {
    fn wants(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => !self.no_stdout,
            Stream::Stderr => !self.no_stderr,
        }
    }
}

/// A line of output, or a piece of a very long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When it was written.
    pub time: SystemTime,
    /// Where it came from.
    pub stream: Stream,
    /// The text, with its newline if the line ends here.
    pub text: Vec<u8>,
    /// It goes on with the line the stream's entry before this one began: no time stamp belongs in between.
    pub continues: bool,
}

/// Bytes read from a file at once.
const CHUNK: usize = 128 * 1024;

/// A follower looks for newer files each time it has read so much: one that is behind keeps them open, so that
/// rotation takes none away from it unread.
const LOOK_EVERY: usize = 1 << 20;

/// Reads a log and its rotated files in order.
pub struct LogReader {
    path: PathBuf,
    options: LogOptions,
    current: Option<BufReader<File>>,
    waiting: VecDeque<File>,
    record: Vec<u8>,
    clock: Clock,
    unfinished: [bool; 2],
    watch: Option<Inotify>,
    since_look: usize,
    /// An entry from after `until` was met.
    over: bool,
}

/// The time of the record before: those of one write have the same.
#[derive(Default)]
struct Clock {
    text: Vec<u8>,
    time: Option<SystemTime>,
}

impl Clock {
    fn read(&mut self, text: &[u8]) -> Option<SystemTime> {
        if self.time.is_none() || self.text != text {
            self.time = parse_time(std::str::from_utf8(text).ok()?);
            self.text.clear();
            self.text.extend_from_slice(text);
        }
        self.time
    }
}

impl LogReader {
    /// Opens a log. With `follow`, [`as_fd`](Self::watch_fd) tells when there may be more. A log that
    /// does not exist (yet) is empty.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::System`].
    pub fn open(path: &Path, options: LogOptions, follow: bool) -> Result<Self> {
        // The watch comes first: what is written after the files are read must not be missed.
        let watch = match follow {
            true => Some(watch(path)?),
            false => None,
        };
        let mut files = open_all(path).map_err(|e| Error::file("open", path, e))?;
        if let Some(lines) = options.tail {
            skip_to_tail(&mut files, lines, &options).map_err(|e| Error::file("read", path, e))?;
        }
        let mut waiting: VecDeque<File> = files.into();
        Ok(Self {
            path: path.to_owned(),
            options,
            current: waiting.pop_front().map(buffered),
            waiting,
            record: Vec::new(),
            clock: Clock::default(),
            unfinished: [false; 2],
            watch,
            since_look: 0,
            over: false,
        })
    }

    /// Whether there will never be another entry, because `until` is passed.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The next entry; `None` at the present end, or once `until` is passed.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>> {
        loop {
            if self.over
                || !self
                    .next_record()
                    .map_err(|e| Error::file("read", &self.path, e))?
            {
                return Ok(None);
            }
            let mut record = std::mem::replace(&mut self.record, Vec::with_capacity(256));
            // Whatever is not a record was not written by a monitor, or was cut by a crash: not worth losing the rest for.
            let Some(parsed) = Record::parse(&record) else {
                continue;
            };
            let Some(time) = self.clock.read(parsed.time) else {
                continue;
            };
            if self.options.until.is_some_and(|until| time > until) {
                self.over = true;
                return Ok(None);
            }
            let (stream, ends_line, text) = (parsed.stream, parsed.ends_line, parsed.text);
            let continues = std::mem::replace(&mut self.unfinished[stream as usize], !ends_line);
            let too_early = self.options.since.is_some_and(|since| time < since);
            if too_early || !self.options.wants(stream) {
                continue;
            }
            record.drain(..text);
            if ends_line {
                record.push(b'\n');
            }
            return Ok(Some(LogEntry {
                time,
                stream,
                text: record,
                continues,
            }));
        }
    }

    /// Readable when the log may have grown; then call [`clear_watch`](Self::clear_watch) and read on.
    /// `None` unless the reader was opened to follow.
    pub fn watch_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(|w| w.as_fd())
    }

    /// Forgets what [`watch_fd`](Self::watch_fd) has told so far.
    pub fn clear_watch(&self) {
        if let Some(watch) = &self.watch {
            while watch.read_events().is_ok_and(|events| !events.is_empty()) {}
        }
    }

    /// Reads one whole record into `self.record`, moving on through rotated files; false at the end.
    fn next_record(&mut self) -> io::Result<bool> {
        loop {
            if self.watch.is_some() && self.since_look >= LOOK_EVERY {
                self.look_for_files()?;
            }
            let Some(file) = &mut self.current else {
                return match self.following_file()? {
                    Some(next) => {
                        self.current = Some(buffered(next));
                        continue;
                    }
                    None => Ok(false),
                };
            };
            // A record that is only half written stays in the buffer until the rest has come.
            self.since_look += file.read_until(b'\n', &mut self.record)?;
            if self.record.last() == Some(&b'\n') {
                self.record.pop();
                return Ok(true);
            }
            match self.following_file()? {
                Some(next) => {
                    // It was rotated away meanwhile; records written just before that come first.
                    if let Some(file) = &mut self.current {
                        file.read_until(b'\n', &mut self.record)?;
                        if self.record.last() == Some(&b'\n') {
                            self.record.pop();
                            return Ok(true);
                        }
                    }
                    self.record.clear();
                    self.current = Some(buffered(next));
                }
                None => return Ok(false),
            }
        }
    }

    /// The file to read after the current one, if the current one has been completed.
    fn following_file(&mut self) -> io::Result<Option<File>> {
        if self.waiting.is_empty() {
            self.look_for_files()?;
        }
        Ok(self.waiting.pop_front())
    }

    /// Opens the files that have come after the last one known.
    fn look_for_files(&mut self) -> io::Result<()> {
        self.since_look = 0;
        let files = open_all(&self.path)?;
        let last = self.waiting.back();
        let mut known = 0;
        if let Some(last) = last.or(self.current.as_ref().map(BufReader::get_ref)) {
            let last = identity(last)?;
            for (index, file) in files.iter().enumerate() {
                if identity(file)? == last {
                    known = index + 1;
                }
            }
        }
        // Where the last one known was rotated away altogether, the oldest that is left is next.
        self.waiting.extend(files.into_iter().skip(known));
        Ok(())
    }
}

fn buffered(file: File) -> BufReader<File> {
    BufReader::with_capacity(CHUNK, file)
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

fn watch(path: &Path) -> Result<Inotify> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let make = || -> nix::Result<Inotify> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // The directory sees writes to the log, and its rotation.
        let events =
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        inotify.add_watch(directory, events)?;
        Ok(inotify)
    };
    make().map_err(|e| Error::file("watch", directory, e))
}

/// The log's files, oldest first.
fn open_all(path: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut last = None;
    for n in 0.. {
        match File::open(rotated(path, n)) {
            Ok(file) => {
                // One that was renamed between two of these calls is met twice.
                let identity = Some(identity(&file)?);
                if last != identity {
                    files.push(file);
                }
                last = identity;
            }
            // Between two renames of a rotation the log itself is missing for a moment.
            Err(e) if e.kind() == io::ErrorKind::NotFound && n > 0 => break,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    files.reverse();
    Ok(files)
}

/// Drops files and seeks so that only the last `lines` lines remain.
fn skip_to_tail(files: &mut Vec<File>, lines: usize, options: &LogOptions) -> io::Result<()> {
    let mut seen = 0;
    for index in (0..files.len()).rev() {
        let mut records = BackwardRecords::new(&files[index])?;
        let mut previous_end = records.position;
        while let Some(record) = records.previous()? {
            let Some(parsed) = Record::parse(&record) else {
                continue;
            };
            // The log's very last record ends a line, whatever it says.
            let ends_line = parsed.ends_line || (seen == 0 && index + 1 == files.len());
            if ends_line && options.wants(parsed.stream) {
                if seen == lines {
                    files[index].seek(SeekFrom::Start(previous_end))?;
                    files.drain(..index);
                    return Ok(());
                }
                seen += 1;
            }
            previous_end = records.position;
        }
    }
    Ok(())
}

/// A file's lines from the last to the first.
struct BackwardRecords<'a> {
    file: &'a File,
    /// Bytes of the file before the buffer.
    before: u64,
    buffer: Vec<u8>,
    /// Where the record given last begins.
    position: u64,
}

impl<'a> BackwardRecords<'a> {
    const CHUNK: u64 = 64 * 1024;

    fn new(file: &'a File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            before: length,
            buffer: Vec::new(),
            position: length,
        })
    }

    /// The record before, without its newline.
    fn previous(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let without_newline = self.buffer.len().saturating_sub(1);
            let start = match self.buffer[..without_newline]
                .iter()
                .rposition(|&b| b == b'\n')
            {
                Some(newline) => newline + 1,
                None if self.before == 0 && self.buffer.is_empty() => return Ok(None),
                None if self.before == 0 => 0,
                None => {
                    self.fetch()?;
                    continue;
                }
            };
            let mut record = self.buffer.split_off(start);
            self.position = self.before + start as u64;
            if record.last() == Some(&b'\n') {
                record.pop();
            }
            return Ok(Some(record));
        }
    }

    fn fetch(&mut self) -> io::Result<()> {
        let size = self.before.min(Self::CHUNK);
        self.before -= size;
        let mut chunk = vec![0; size as usize];
        self.file.read_exact_at(&mut chunk, self.before)?;
        chunk.append(&mut self.buffer);
        self.buffer = chunk;
        Ok(())
    }
}

struct Record<'a> {
    /// As it is spelt.
    time: &'a [u8],
    stream: Stream,
    ends_line: bool,
    /// Where the text begins.
    text: usize,
}

impl<'a> Record<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |&b| b == b' ');
        let time = fields.next()?;
        let stream = match fields.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        // Tags may follow the flag, separated by colons.
        let ends_line = match fields.next()?.first()? {
            b'F' => true,
            b'P' => false,
            _ => return None,
        };
        Some(Self {
            time,
            stream,
            ends_line,
            text: line.len() - fields.next()?.len(),
        })
    }
}
