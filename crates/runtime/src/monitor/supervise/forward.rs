//! The program that passes a container's output on to another place: fed through a pipe, so that no network ever holds
//! up the monitor itself.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use rustix::io::Errno;

use super::host_command;
use crate::logs::format_time;

/// How many bytes wait for the program before the container does.
const ENOUGH: usize = 256 * 1024;
/// How long a program that has ended is left alone.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the container waits for a program that reads nothing.
const STALL: Duration = Duration::from_secs(30);
/// How long it may take to read the last of a container's output.
const LAST: Duration = Duration::from_secs(10);

/// The program, and what it has not read yet.
pub(in super::super) struct Forward {
    spec: crate::spec::LogDriver,
    /// Kept, so that what is in the pipe outlives a program that is killed.
    reader: Option<OwnedFd>,
    writer: Option<OwnedFd>,
    pid: Option<i32>,
    start_at: Option<Instant>,
    queue: VecDeque<Vec<u8>>,
    queued: usize,
    /// Bytes of the first in the queue that are in the pipe already.
    sent: usize,
    /// When the program read something last, or had nothing to read.
    progress: Instant,
    /// Lines dropped and not told of yet.
    dropped: usize,
    give_up_at: Option<Instant>,
}

impl Forward {
    pub(in super::super) fn new(spec: crate::spec::LogDriver) -> io::Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        rustix::io::ioctl_fionbio(&writer, true)?;
        Ok(Self {
            spec,
            reader: Some(reader),
            writer: Some(writer),
            pid: None,
            start_at: Some(Instant::now()),
            queue: VecDeque::new(),
            queued: 0,
            sent: 0,
            progress: Instant::now(),
            dropped: 0,
            give_up_at: None,
        })
    }

    /// Whether the container must wait.
    pub(super) fn is_full(&self) -> bool {
        self.spec.buffer.is_none() && self.queued >= ENOUGH && !self.is_stuck()
    }

    fn is_stuck(&self) -> bool {
        self.progress.elapsed() >= STALL
    }

    /// The pipe, if something is to be written to it.
    pub(super) fn wants_write(&self) -> Option<RawFd> {
        let writer = self.writer.as_ref()?;
        (!self.queue.is_empty()).then(|| writer.as_raw_fd())
    }

    /// Takes records; where the container does not wait, or has waited long enough, the oldest of too many are dropped.
    pub(super) fn push(&mut self, records: Vec<u8>) {
        if records.is_empty() {
            return;
        }
        if self.queue.is_empty() {
            self.progress = Instant::now();
        }
        self.queued += records.len();
        self.queue.push_back(records);
        self.flush();
        let limit = match self.spec.buffer {
            Some(limit) => limit,
            None if self.is_stuck() => ENOUGH as u64,
            None => return,
        };
        // Of the first a part may be gone already, and the rest must follow it.
        let first = usize::from(self.sent > 0);
        while self.queued as u64 > limit && self.queue.len() > first + 1 {
            if let Some(oldest) = self.queue.remove(first) {
                self.queued -= oldest.len();
                self.dropped += oldest.iter().filter(|byte| **byte == b'\n').count();
            }
        }
    }

    /// Writes what the pipe takes.
    pub(super) fn flush(&mut self) {
        while let (Some(writer), Some(first)) = (&self.writer, self.queue.front()) {
            match rustix::io::write(writer, &first[self.sent..]) {
                Ok(count) => {
                    self.sent += count;
                    self.progress = Instant::now();
                }
                Err(Errno::INTR) => continue,
                Err(_) => return,
            }
            if self.sent == first.len() {
                self.queued -= first.len();
                self.sent = 0;
                self.queue.pop_front();
                self.tell_dropped();
            }
        }
    }

    fn tell_dropped(&mut self) {
        let count = std::mem::take(&mut self.dropped);
        if count > 0 {
            let now = format_time(SystemTime::now());
            let words = "lines were dropped here, because the receiver of this log was too slow";
            let record = format!("{now} stderr F rctr: {count} {words}\n").into_bytes();
            self.queued += record.len();
            // The rest of one that has gone in part must follow it.
            self.queue.insert(usize::from(self.sent > 0), record);
        }
    }

    /// When [`look_after`](Self::look_after) has something to do, in milliseconds.
    pub(super) fn due(&self) -> Option<i32> {
        let stuck_at = self.is_full().then(|| self.progress + STALL);
        let due = [self.start_at, self.give_up_at, stuck_at];
        let due = due.into_iter().flatten().min()?;
        let left = due.saturating_duration_since(Instant::now());
        // Not a moment too early.
        Some(i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX))
    }

    /// Starts the program, if it is time to.
    pub(super) fn look_after(&mut self, host_mounts: &OwnedFd) {
        let now = Instant::now();
        if self.start_at.is_some_and(|at| at <= now) && self.reader.is_some() {
            self.start_at = None;
            self.pid = self.start(host_mounts).ok();
            if self.pid.is_none() {
                self.start_at = Some(now + AGAIN);
            }
        }
    }

    /// Whether that was the program; then it is started again after a while, if there is still something for it.
    pub(super) fn has_ended(&mut self, pid: i32) -> bool {
        if self.pid != Some(pid) {
            return false;
        }
        self.pid = None;
        self.start_at = Some(Instant::now() + AGAIN);
        true
    }

    /// There will be no more.
    pub(super) fn finish(&mut self) {
        self.tell_dropped();
        self.flush();
        self.give_up_at = Some(Instant::now() + LAST);
    }

    /// Whether the program has all there is to have, or will not take it. Then its input ends.
    pub(super) fn is_done(&mut self) -> bool {
        let Some(give_up_at) = self.give_up_at else {
            return false;
        };
        let late = give_up_at <= Instant::now();
        let told = self.writer.is_none();
        // One that has just ended may have left something in the pipe.
        if told || late || self.queue.is_empty() && self.pid.is_some() {
            self.reader = None;
            self.writer = None;
            return true;
        }
        false
    }

    fn start(&self, host_mounts: &OwnedFd) -> io::Result<i32> {
        let Some(reader) = &self.reader else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let configuration = in_memory(&self.spec.configuration)?;
        let number = configuration.as_raw_fd();
        let mut command = host_command(&self.spec.command, host_mounts)?;
        command.arg(number.to_string()).stdin(reader.try_clone()?);
        // SAFETY: a system call on integers between fork and exec.
        unsafe {
            command.pre_exec(move || match libc::fcntl(number, libc::F_SETFD, 0) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        Ok(command.spawn()?.id() as i32)
    }
}

fn in_memory(text: &str) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("log-driver", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(text.as_bytes())?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(buffer: Option<u64>) -> Forward {
        let spec = crate::spec::LogDriver {
            command: Vec::new(),
            configuration: String::new(),
            buffer,
        };
        Forward::new(spec).unwrap()
    }

    fn read(forward: &Forward) -> String {
        let mut buffer = vec![0; 1 << 20];
        let count = rustix::io::read(forward.reader.as_ref().unwrap(), &mut buffer[..]).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[test]
    fn a_slow_reader_holds_up_the_container() {
        let mut forward = forward(None);
        let record = [vec![b'x'; 9_999], vec![b'\n']].concat();
        let mut pushed = 0;
        while !forward.is_full() {
            forward.push(record.clone());
            pushed += record.len();
        }
        assert!(pushed >= ENOUGH);
        let mut seen = read(&forward).len();
        while forward.wants_write().is_some() {
            forward.flush();
            seen += read(&forward).len();
        }
        assert_eq!(seen, pushed);
        assert!(!forward.is_full());
    }

    #[test]
    fn without_waiting_the_oldest_are_dropped_and_counted() {
        let mut forward = forward(Some(1000));
        while forward.wants_write().is_none() {
            forward.push(vec![b'\n'; 4096]);
        }
        for n in 0..100 {
            forward.push(format!("{n:099}\n").into_bytes());
        }
        assert!(!forward.is_full() && forward.queued <= 1000 + 4096);
        let mut text = read(&forward);
        while forward.wants_write().is_some() {
            forward.flush();
            text += &read(&forward);
        }
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        assert!(lines.iter().any(|l| l.contains("lines were dropped here")));
        assert!(lines.last().unwrap().ends_with("99"), "{lines:?}");
        assert!(lines.len() < 20);
    }

    #[test]
    fn a_program_that_has_all_and_ends_is_not_waited_for() {
        let mut forward = forward(None);
        forward.pid = Some(7);
        forward.push(b"last\n".to_vec());
        assert!(!forward.is_done(), "there may be more");
        forward.finish();
        assert!(forward.is_done());
        assert!(forward.has_ended(7));
        assert!(forward.is_done());
    }

    #[test]
    fn the_end_comes_while_a_record_has_gone_in_part() {
        let mut forward = forward(Some(1000));
        // More than the pipe holds.
        for _ in 0..20 {
            forward.push(vec![b'x'; 5000]);
        }
        assert!(forward.sent > 0);
        for _ in 0..10 {
            forward.push(b"one more of many lines that are dropped\n".repeat(20));
        }
        assert!(forward.dropped > 0);
        forward.finish();
        let mut text = read(&forward);
        while forward.wants_write().is_some() {
            forward.flush();
            text += &read(&forward);
        }
        assert!(text.contains("lines were dropped here"), "{text}");
    }
}
