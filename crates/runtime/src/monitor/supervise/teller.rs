//! Commands by which the engine is told of what has happened: one after the other, so that it is told in order.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::run_on_host;

/// The command that runs, and those that wait.
#[derive(Default)]
pub(super) struct Teller {
    running: Option<i32>,
    waiting: VecDeque<Vec<String>>,
}

impl Teller {
    /// Has the engine told; what waits to be told already is not told twice. An empty command is nobody's.
    pub(super) fn tell(&mut self, command: Vec<String>, host_mounts: &OwnedFd) {
        if command.is_empty() || self.waiting.contains(&command) {
            return;
        }
        self.waiting.push_back(command);
        self.go_on(host_mounts);
    }

    /// Whether that was the command that ran.
    pub(super) fn has_ended(&mut self, pid: i32, host_mounts: &OwnedFd) -> bool {
        let mine = self.running == Some(pid);
        if mine {
            self.running = None;
            self.go_on(host_mounts);
        }
        mine
    }

    /// Whether something waits to be told.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn go_on(&mut self, host_mounts: &OwnedFd) {
        while self.running.is_none() {
            let Some(command) = self.waiting.pop_front() else {
                return;
            };
            self.running = run_on_host(&command, host_mounts);
        }
    }
}
