//! What clients ask of the monitor of a running container.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::super::adapt::LentOomScore;
use super::super::peer::Role;
use super::super::runtime::ProcessStdio;
use super::{Supervisor, group};
use crate::client::set_window_size;
use crate::error::Error;
use crate::logs::LogWriter;
use crate::protocol::{ExecSpec, Reply, Request};
use crate::signal::note_reason;
use crate::spec::WindowSize;

impl Supervisor {
    pub(super) fn request(&mut self, index: usize, request: Request) {
        let reply = match (request, &self.ended) {
            (Request::Settled, _) => {
                let peer = &mut self.peers[index];
                if peer.end_command.take().is_none() {
                    peer.settled = true;
                    self.settled = true;
                }
                return;
            }
            (Request::Wait, None) => {
                self.peers[index].role = Role::Waiting;
                return;
            }
            (Request::Wait, Some(exit)) => Reply::Exit(exit.clone()),
            (Request::Attach(options), None) => {
                self.peers[index].role = Role::Attached(options);
                Reply::Done
            }
            (_, Some(_)) => Reply::Refused("the container has ended".to_owned()),
            (Request::Signal(signal), None) => {
                let pid = match self.peers[index].role {
                    Role::Exec(pid) => pid,
                    _ => self.container.pid,
                };
                send_signal(pid, signal)
            }
            (Request::SignalFor { signal, reason }, None) => {
                match note_reason(&self.container.state_dir, &reason) {
                    Ok(()) => send_signal(self.container.pid, signal),
                    Err(error) => Reply::Refused(error.to_string()),
                }
            }
            (Request::KillAll, None) => match self.peers[index].role {
                Role::Exec(pid) => answer(group::kill(pid, &self.container.cgroup)),
                _ => Reply::Refused("nothing was executed on this connection".to_owned()),
            },
            (Request::ReopenLog, None) => answer(
                self.container
                    .log
                    .as_mut()
                    .map_or(Ok(()), LogWriter::reopen),
            ),
            (Request::Resize(size), None) => self.resize(size),
            (Request::Exec(spec), None) => return self.exec(index, &spec),
        };
        self.peers[index].reply(&reply);
    }

    fn resize(&mut self, size: WindowSize) -> Reply {
        let terminal = self
            .container
            .input
            .as_ref()
            .filter(|_| self.container.terminal);
        match terminal.map(|input| set_window_size(input.as_fd(), size)) {
            Some(Ok(())) => Reply::Done,
            Some(Err(error)) => Reply::Refused(error.to_string()),
            None => Reply::Refused("the container has no terminal".to_owned()),
        }
    }

    fn exec(&mut self, index: usize, spec: &ExecSpec) {
        // Whoever gave up meanwhile has told his user that it was not executed.
        if self.peers[index].has_left() {
            self.peers[index].gone = true;
            return;
        }
        // A process that joins a frozen cgroup stops, and we would wait for it for ever.
        if self.container.cgroup.is_frozen() {
            let reason = "the container is paused; unpause it first".to_owned();
            return self.peers[index].reply(&Reply::Refused(reason));
        }
        let fds = self.peers[index].take_fds();
        let stdio = match (spec.tty, <[OwnedFd; 3]>::try_from(fds)) {
            (Some(size), _) => ProcessStdio::Terminal(size),
            (None, Ok([stdin, stdout, stderr])) => ProcessStdio::Files {
                stdin: Some(stdin),
                stdout,
                stderr,
            },
            (None, Err(_)) => {
                let reason = "exec without a terminal needs three descriptors".to_owned();
                return self.peers[index].reply(&Reply::Refused(reason));
            }
        };
        if let Some(user) = &self.container.user {
            stdio.own(user);
        }
        // One that the host does not allow was told of when the container started.
        let (score, _) = LentOomScore::of(&spec.process);
        let executed = self.container.runtime.exec(&spec.process, stdio);
        drop(score);
        match executed {
            Ok(process) => {
                if !spec.end_command.is_empty() {
                    let command = spec.end_command.clone();
                    self.executed.push((process.pid, command));
                }
                let peer = &mut self.peers[index];
                peer.role = Role::Exec(process.pid);
                peer.reply_with_fd(&Reply::ExecStarted { pid: process.pid }, process.pty);
            }
            Err(error) => self.peers[index].reply(&Reply::StartFailed {
                error,
                warnings: Vec::new(),
            }),
        }
    }
}

fn answer(result: Result<(), Error>) -> Reply {
    match result {
        Ok(()) => Reply::Done,
        Err(error) => Reply::Refused(error.to_string()),
    }
}

fn send_signal(pid: i32, signal: i32) -> Reply {
    // SAFETY: kill takes integers. The process is our child and not yet reaped, so the pid is its own.
    match unsafe { libc::kill(pid, signal) } {
        0 => Reply::Done,
        _ => Reply::Refused(format!("signal {signal}: {}", io::Error::last_os_error())),
    }
}
