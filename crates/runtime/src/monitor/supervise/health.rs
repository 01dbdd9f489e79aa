//! Looking after the container's health: a command is executed in it from time to time.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use rustix::io::Errno;

use super::super::runtime::ProcessStdio;
use super::{CHUNK, Supervisor, group};
use crate::health::{Health, HealthCheck, Probe, ProbeOutput, not_executed};

/// A health check and how far it has come.
pub(crate) struct Checker {
    check: HealthCheck,
    health: Health,
    started: Instant,
    /// When the next probe is due.
    next: Instant,
    running: Option<Running>,
}

/// A probe at work.
struct Running {
    pid: i32,
    /// Its standard output and error; none once they are closed.
    pipe: Option<OwnedFd>,
    output: ProbeOutput,
    start: SystemTime,
    /// Whether failures did not count when it began.
    early: bool,
    deadline: Instant,
    late: bool,
}

impl Checker {
    /// For a container that starts now.
    pub(crate) fn new(check: HealthCheck) -> Self {
        let now = Instant::now();
        let mut checker = Self {
            check,
            health: Health::default(),
            started: now,
            next: now,
            running: None,
        };
        checker.schedule();
        checker
    }

    fn schedule(&mut self) {
        let interval = match self.is_early() {
            true if self.health.status == Default::default() => self.check.start_interval,
            _ => self.check.interval,
        };
        self.next = Instant::now() + interval;
    }

    fn is_early(&self) -> bool {
        self.started.elapsed() < self.check.start_period
    }

    /// When something is to be done, if nothing happens before.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.running {
            None => Some(self.next),
            Some(probe) => (!probe.late).then_some(probe.deadline),
        }
    }

    /// What to poll for output.
    pub(super) fn pipe(&self) -> Option<RawFd> {
        let pipe = self.running.as_ref()?.pipe.as_ref()?;
        Some(pipe.as_raw_fd())
    }

    /// Reads all output there is.
    pub(super) fn read(&mut self) {
        if let Some(probe) = &mut self.running {
            probe.read();
        }
    }

    /// Takes the end of a process of that pid; the result if that is the probe.
    fn ended(&mut self, pid: i32, code: i32) -> Option<(Probe, bool)> {
        let mut probe = self.running.take_if(|probe| probe.pid == pid)?;
        probe.read();
        let result = match probe.late {
            true => probe.output.timed_out(probe.start, self.check.timeout),
            false => probe.output.ended(probe.start, code),
        };
        Some((result, probe.early))
    }
}

impl Running {
    fn read(&mut self) {
        let mut buffer = [0u8; CHUNK];
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut buffer) {
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => self.pipe = None,
                Ok(count) => self.output.push(&buffer[..count]),
            }
        }
    }
}

impl Supervisor {
    /// Starts the probe that is due, or ends the one that takes too long.
    pub(super) fn look_after_health(&mut self) {
        let now = Instant::now();
        let Some(checker) = &mut self.container.health else {
            return;
        };
        // A probe must not be forgotten because those before it are still to be told.
        if self.ended.is_some()
            || self.teller.is_behind()
            || checker.due().is_none_or(|due| due > now)
        {
            return;
        }
        // What is frozen cannot be executed, and not be blamed for being late.
        let frozen = self.container.cgroup.is_frozen();
        match &mut checker.running {
            Some(probe) if frozen => probe.deadline = now + checker.check.timeout,
            Some(probe) => {
                probe.late = true;
                // If they cannot be listed the probe itself is dead nevertheless.
                if group::kill(probe.pid, &self.container.cgroup).is_err() {
                    group::send(probe.pid, libc::SIGKILL);
                }
            }
            None if frozen => checker.schedule(),
            None => self.start_probe(),
        }
    }

    fn start_probe(&mut self) {
        // What it takes is given back afterwards.
        self.idle = false;
        let Some(checker) = &self.container.health else {
            return;
        };
        let (start, early) = (SystemTime::now(), checker.is_early());
        match self.execute_probe() {
            Ok((pid, pipe)) => {
                if let Some(checker) = &mut self.container.health {
                    checker.running = Some(Running {
                        pid,
                        pipe: Some(pipe),
                        output: ProbeOutput::default(),
                        start,
                        early,
                        deadline: Instant::now() + checker.check.timeout,
                        late: false,
                    });
                }
            }
            Err(why) => self.take_in(not_executed(start, why), None, early),
        }
    }

    fn execute_probe(&mut self) -> Result<(i32, OwnedFd), String> {
        let Some(checker) = &self.container.health else {
            return Err(String::new());
        };
        let no_pipe = |e: io::Error| format!("make a pipe: {e}");
        let (reader, stdout) = pipe2(OFlag::O_CLOEXEC).map_err(|e| no_pipe(e.into()))?;
        let stderr = stdout.try_clone().map_err(no_pipe)?;
        rustix::io::ioctl_fionbio(&reader, true).map_err(|e| no_pipe(e.into()))?;
        let stdio = ProcessStdio::Files {
            stdin: None,
            stdout,
            stderr,
        };
        if let Some(user) = &self.container.user {
            stdio.own(user);
        }
        let runtime = &mut self.container.runtime;
        match runtime.exec(&checker.check.process, stdio) {
            Ok(process) => Ok((process.pid, reader)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether this was the end of a probe.
    pub(super) fn probe_ended(&mut self, pid: i32, code: i32) -> bool {
        let checker = self.container.health.as_mut();
        match checker.and_then(|checker| checker.ended(pid, code)) {
            Some((result, early)) => {
                self.idle = false;
                self.take_in(result, Some(code), early);
                true
            }
            None => false,
        }
    }

    /// Takes in the result of a probe and its process's exit code, if there was one.
    fn take_in(&mut self, result: Probe, code: Option<i32>, early: bool) {
        // The end has killed the probe, and says nothing of the container's health. The state directory may be that of the
        // next run by now.
        if self.ended.is_some() {
            return;
        }
        let Some(checker) = &mut self.container.health else {
            return;
        };
        let changed = checker.health.record(result, checker.check.retries, early);
        checker.schedule();
        // Nobody to tell of a failure here; the next result is written too.
        let _ = checker.health.save(&self.container.state_dir);
        let mut command = checker.check.command.clone();
        if !command.is_empty() {
            command.push(self.container.pid.to_string());
            command.push(code.map_or_else(|| "none".to_owned(), |code| code.to_string()));
            command.extend(changed.then(|| checker.health.status.as_str().to_owned()));
        }
        self.teller.tell(command, &self.container.host_mounts);
    }
}

/// A time to wait for `poll`, in milliseconds, never too short.
pub(super) fn milliseconds_until(due: Instant) -> libc::c_int {
    let left = due.saturating_duration_since(Instant::now());
    match left {
        Duration::ZERO => 0,
        left => libc::c_int::try_from(left.as_millis() + 1).unwrap_or(libc::c_int::MAX),
    }
}
