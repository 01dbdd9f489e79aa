//! Ends: of processes, and of the container.

use std::time::{Duration, Instant, SystemTime};

use super::super::peer::{Peer, Role};
use super::super::process::ended_child;
use super::{Supervisor, run_on_host};
use crate::logs::{LogWriter, Stream};
use crate::protocol::Reply;
use crate::state::{ExitStatus, State};

/// How long what a container's init has left behind may take to die.
const ORPHANS_PATIENCE: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Takes note of every child that has ended: init, exec'd processes, what libcontainer left.
    pub(super) fn reap(&mut self) {
        while let Some((pid, code)) = ended_child() {
            if pid == self.container.pid {
                self.container_ended(code);
                continue;
            }
            if let Some(forward) = &mut self.container.forward
                && forward.has_ended(pid)
            {
                continue;
            }
            if self.teller.has_ended(pid, &self.container.host_mounts) {
                continue;
            }
            let forwarding = self.container.forwarding.as_mut();
            if forwarding.is_some_and(|it| it.has_ended(pid)) || self.probe_ended(pid, code) {
                continue;
            }
            let told = self.executed.iter().position(|(of, _)| *of == pid);
            let command = told.map(|index| {
                let mut command = self.executed.swap_remove(index).1;
                command.push(code.to_string());
                command
            });
            let executed = |peer: &&mut Peer| !peer.gone && peer.role == Role::Exec(pid);
            if let Some(peer) = self.peers.iter_mut().find(executed) {
                peer.reply(&Reply::ExecExit(code));
                peer.role = Role::Talking;
                // It may be gone already, and only the socket does not show it yet.
                peer.end_command = command;
            } else if let Some(command) = command {
                run_on_host(&command, &self.container.host_mounts);
            }
        }
    }

    fn container_ended(&mut self, code: i32) {
        let finished_at = SystemTime::now();
        if !self.container.own_pid_namespace {
            self.end_orphans();
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            while self.read_output(stream) {}
        }
        self.container.outputs.clear();
        self.container.input = None;
        self.container.terminal_peer = None;
        if let Some(Err(error)) = self.container.log.as_mut().map(LogWriter::finish) {
            self.log_error.get_or_insert(error.to_string());
        }
        self.forward_records();
        if let Some(forward) = &mut self.container.forward {
            forward.finish();
        }
        let exit = ExitStatus {
            code,
            oom_killed: self.container.oom.killed(),
            started_at: self.container.started_at,
            finished_at,
            ran: Some(self.container.started.elapsed()),
            error: self.log_error.take(),
        };
        // Before anybody knows: who does may remove the state directory, where it works.
        self.container.runtime.ended();
        // If this fails the container will look like one whose monitor was killed, which is handled.
        let saved = exit.save(&self.container.state_dir).is_ok();
        for peer in &mut self.peers {
            if matches!(peer.role, Role::Attached(_) | Role::Waiting) {
                peer.reply(&Reply::Exit(exit.clone()));
            }
        }
        self.ended = Some(exit);
        // Clients go on while the kernel cleans up; a new start waits until `state.json` is gone.
        self.container.forwarding = None;
        self.container.inherited.clear();
        if self.container.cgroup.remove().is_ok() && saved {
            let _ = State::remove(&self.container.state_dir);
            if self.container.tethered {
                let _ = std::fs::remove_dir_all(&self.container.state_dir);
            }
        }
    }

    /// Without a namespace that ends with its init, what init has started lives on.
    fn end_orphans(&self) {
        let deadline = Instant::now() + ORPHANS_PATIENCE;
        // Anew each time: where processes are killed one by one, one may have been started meanwhile.
        while self.container.cgroup.kill_all().is_ok()
            && self.container.cgroup.has_processes()
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Once the container has ended: leaves the rest to a client that has promised it, or to the exit command.
    pub(super) fn hand_over_end(&mut self) {
        if self.ended.is_none() || self.handed_over || self.peers.iter().any(Peer::will_settle) {
            return;
        }
        self.handed_over = true;
        if !self.settled {
            run_on_host(&self.container.exit_command, &self.container.host_mounts);
        }
    }
}
