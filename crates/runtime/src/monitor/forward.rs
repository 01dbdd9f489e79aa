//! Published ports of an ordinary user's container. The user's bridges are in a network namespace that no packet of the
//! host's enters: a child of the monitor takes connections on the host's sockets, and makes new ones in that namespace,
//! where the firewall leads them on as it does for the host's own processes. It has one thread, and ends with the monitor.

mod tcp;
mod udp;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use self::tcp::Connections;
use self::udp::Flows;
use super::reset_signals;
use crate::error::StartError;
use crate::spec::{Forward, Transport};

/// A pass over what is idle.
const SWEEP: Duration = Duration::from_secs(15);
const EVENTS: usize = 64;
/// Data is passed on in pieces of at most this.
const CHUNK: usize = 64 * 1024;

/// The child, until it has been reaped; it ends with this.
pub(super) struct Forwarding(Option<Pid>);

impl Forwarding {
    /// Takes note of a child of the monitor's that has ended; whether it was this one.
    pub(super) fn has_ended(&mut self, pid: i32) -> bool {
        self.0.take_if(|own| own.as_raw() == pid).is_some()
    }
}

impl Drop for Forwarding {
    /// Afterwards the ports are free.
    fn drop(&mut self) {
        if let Some(pid) = self
            .0
            .take()
            .filter(|pid| kill(*pid, Signal::SIGKILL).is_ok())
        {
            while waitpid(pid, None) == Err(Errno::EINTR) {}
        }
    }
}

/// Starts forwarding `forwards`, whose sockets are among `inherited`, into a network namespace.
pub(super) fn start(
    forwards: &[Forward],
    inherited: &[OwnedFd],
    namespace: BorrowedFd<'_>,
) -> Result<Forwarding, StartError> {
    let failed = |e: Errno| StartError::Monitor {
        step: "forward ports".to_owned(),
        reason: e.desc().to_owned(),
    };
    // SAFETY: the monitor has one thread.
    match unsafe { fork() }.map_err(failed)? {
        ForkResult::Parent { child } => Ok(Forwarding(Some(child))),
        ForkResult::Child => {
            let code = i32::from(child(forwards, inherited, namespace).is_err());
            // SAFETY: ends the process, without anything of the monitor's.
            unsafe { libc::_exit(code) }
        }
    }
}

fn child(forwards: &[Forward], inherited: &[OwnedFd], namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a system call on integers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    reset_signals();
    nix::unistd::setsid()?;
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let mut listeners = Vec::new();
    for forward in forwards {
        let Some(socket) = inherited.get(forward.socket) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        listeners.push((above(socket, 64 + forwards.len())?, *forward));
    }
    let numbers = 64 + forwards.len()..64 + 2 * forwards.len();
    close_all_but(numbers.start, numbers.end);
    raise_limit();
    Forwarder::new(listeners)?.serve()
}

/// A copy with a number of its own, out of the way of what the monitor has.
fn above(fd: &OwnedFd, number: usize) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, number as i32)?)
}

/// The monitor's descriptors are not ours: a pipe of the container's must end with the monitor's copy.
fn close_all_but(first: usize, end: usize) {
    // SAFETY: takes integers. What is closed is owned by values that are never used or dropped again.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, first as libc::c_uint - 1, 0);
        libc::syscall(libc::SYS_close_range, end as libc::c_uint, u32::MAX, 0);
    }
}

/// As many connections as this user may have descriptors.
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    let _ = setrlimit(Resource::Nofile, limit);
}

/// What an event is about.
#[derive(Clone, Copy)]
enum Source {
    Listener(usize),
    Client(usize),
    Server(usize),
    Flow(usize),
}

impl Source {
    /// As the number that comes back with an event.
    fn number(self) -> u64 {
        let (kind, index) = match self {
            Source::Listener(index) => (0, index),
            Source::Client(index) => (1, index),
            Source::Server(index) => (2, index),
            Source::Flow(index) => (3, index),
        };
        (index as u64) << 2 | kind
    }

    fn of(number: u64) -> Self {
        let index = (number >> 2) as usize;
        match number & 3 {
            0 => Source::Listener(index),
            1 => Source::Client(index),
            2 => Source::Server(index),
            _ => Source::Flow(index),
        }
    }
}

struct Forwarder {
    epoll: Epoll,
    listeners: Vec<(OwnedFd, Forward)>,
    connections: Connections,
    flows: Flows,
    /// Whether connections wait because there was no descriptor for one.
    full: bool,
}

impl Forwarder {
    fn new(listeners: Vec<(OwnedFd, Forward)>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for (index, (socket, forward)) in listeners.iter().enumerate() {
            match forward.transport {
                Transport::Tcp => tcp::listen(socket)?,
                Transport::Udp => udp::prepare(socket)?,
            }
            watch(&epoll, socket, Source::Listener(index), EpollFlags::EPOLLIN)?;
        }
        Ok(Self {
            epoll,
            listeners,
            connections: Connections::default(),
            flows: Flows::default(),
            full: false,
        })
    }

    fn serve(mut self) -> io::Result<()> {
        let mut buffer = vec![0u8; CHUNK];
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let timeout = match self.flows.is_empty() && !self.full {
                true => EpollTimeout::NONE,
                false => EpollTimeout::try_from(SWEEP).unwrap_or(EpollTimeout::NONE),
            };
            let ready = match self.epoll.wait(&mut events, timeout) {
                Err(Errno::EINTR) => 0,
                other => other?,
            };
            for event in &events[..ready] {
                let flags = event.events();
                match Source::of(event.data()) {
                    Source::Listener(index) => self.incoming(index, &mut buffer),
                    Source::Client(index) => {
                        self.connections
                            .ready(&self.epoll, index, true, flags, &mut buffer);
                    }
                    Source::Server(index) => {
                        self.connections
                            .ready(&self.epoll, index, false, flags, &mut buffer);
                    }
                    Source::Flow(index) => self.flows.answer(index, &self.listeners, &mut buffer),
                }
            }
            self.connections.remove_closed();
            self.flows.sweep();
            self.resume();
        }
    }

    fn incoming(&mut self, index: usize, buffer: &mut [u8]) {
        let (socket, forward) = &self.listeners[index];
        match forward.transport {
            Transport::Udp => self
                .flows
                .incoming(&self.epoll, index, socket, forward.to, buffer),
            Transport::Tcp => {
                if !self.connections.accept(&self.epoll, socket, forward.to) {
                    // Not asked again until there is room, or this would be all that is done.
                    self.full = true;
                    let _ = rewatch(
                        &self.epoll,
                        socket,
                        Source::Listener(index),
                        EpollFlags::empty(),
                    );
                }
            }
        }
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.full) {
            for (index, (socket, _)) in self.listeners.iter().enumerate() {
                let source = Source::Listener(index);
                let _ = rewatch(&self.epoll, socket, source, EpollFlags::EPOLLIN);
            }
        }
    }
}

fn watch(epoll: &Epoll, fd: &OwnedFd, source: Source, events: EpollFlags) -> io::Result<()> {
    Ok(epoll.add(fd, EpollEvent::new(events, source.number()))?)
}

fn rewatch(epoll: &Epoll, fd: &OwnedFd, source: Source, events: EpollFlags) -> io::Result<()> {
    Ok(epoll.modify(fd, &mut EpollEvent::new(events, source.number()))?)
}

fn would_block(error: rustix::io::Errno) -> bool {
    matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR)
}

#[cfg(test)]
mod tests;
