//! The process: one thread, one epoll, everything else is state.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Source;
use super::control::{self, Request};
use super::forward::Pending;
use super::resolvers::HostResolvers;
use super::sockets::{self, Listening};
use super::zone::Tables;
use crate::{Error, Result};

mod connections;
mod queries;

use connections::Connection;

const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";
/// A datagram cannot be longer.
const BUFFER: usize = 65535;
/// How long a server without containers waits for the next one.
const LINGER: Duration = Duration::from_millis(100);

/// Serves until no container needs it any more. `ready` is called once commands can talk to it on `socket`, and
/// whenever it becomes readable `guard` is asked for another descriptor to watch.
///
/// # Errors
/// [`Error::Dns`] if it cannot start; afterwards it goes on whatever happens.
pub fn serve(
    socket: &Path,
    source: &mut dyn Source,
    ready: impl FnOnce(),
    guard: &mut dyn FnMut() -> Option<OwnedFd>,
) -> Result<()> {
    let failed = |e: io::Error| Error::Dns {
        reason: format!("{}: {e}", socket.display()),
    };
    allow_many_descriptors();
    let listener = control::bind(socket).map_err(failed)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|e| failed(e.into()))?;
    let mut server = Server {
        epoll,
        path: socket.to_owned(),
        slots: HashMap::new(),
        by_id: HashMap::new(),
        deadlines: BTreeSet::new(),
        next: 0,
        tables: Tables::default(),
        resolvers: HostResolvers::new(HOST_RESOLV_CONF.into()),
        buffer: vec![0; BUFFER].into_boxed_slice(),
        pending: 0,
        idle_since: Instant::now(),
        source,
    };
    server.add(Slot::Control(listener)).map_err(failed)?;
    server.reload();
    ready();
    if let Some(watched) = guard() {
        server.add(Slot::Guard(watched)).map_err(failed)?;
    }
    server.run(guard)
}

/// A container takes four, a query on its way one.
fn allow_many_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    // With fewer it serves fewer.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// What stands behind a number that epoll knows.
enum Slot {
    Control(UnixListener),
    Guard(OwnedFd),
    Container(Box<Container>),
    /// The end of the container of this number.
    Life(u64, OwnedFd),
    Tcp(u64, std::net::TcpListener),
    Connection(Box<Connection>),
    Pending(Box<Pending>),
}

impl AsFd for Slot {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Slot::Control(listener) => listener.as_fd(),
            Slot::Guard(fd) | Slot::Life(_, fd) => fd.as_fd(),
            Slot::Container(container) => container.udp.as_fd(),
            Slot::Tcp(_, listener) => listener.as_fd(),
            Slot::Connection(connection) => connection.stream.as_fd(),
            Slot::Pending(pending) => pending.socket(),
        }
    }
}

/// A container that may ask.
struct Container {
    id: String,
    netns: OwnedFd,
    udp: std::net::UdpSocket,
    /// The numbers of what goes with it.
    parts: Vec<u64>,
    connections: usize,
    /// Queries of its that others are to answer.
    pending: usize,
}

struct Server<'a> {
    epoll: Epoll,
    path: PathBuf,
    slots: HashMap<u64, Slot>,
    by_id: HashMap<String, u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    next: u64,
    tables: Tables,
    resolvers: HostResolvers,
    buffer: Box<[u8]>,
    pending: usize,
    idle_since: Instant,
    source: &'a mut dyn Source,
}

impl Server<'_> {
    fn run(&mut self, guard: &mut dyn FnMut() -> Option<OwnedFd>) -> Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(errno) => {
                    return Err(Error::Dns {
                        reason: format!("wait for queries: {errno}"),
                    });
                }
            };
            for event in &events[..count] {
                self.handle(event.data(), guard);
            }
            self.expire();
            if self.is_over() {
                return Ok(());
            }
        }
    }

    /// Without containers it goes: the socket first, so that nobody comes too late.
    fn is_over(&mut self) -> bool {
        if !self.by_id.is_empty() || self.idle_since.elapsed() < LINGER {
            return false;
        }
        let _ = std::fs::remove_file(&self.path);
        true
    }

    fn timeout(&self) -> EpollTimeout {
        let first = self.deadlines.first().map(|(deadline, _)| *deadline);
        let linger = self.by_id.is_empty().then(|| self.idle_since + LINGER);
        let Some(next) = [first, linger].into_iter().flatten().min() else {
            return EpollTimeout::NONE;
        };
        let left = next.saturating_duration_since(Instant::now());
        // Rounded up: waking too early would only mean to wait again.
        let millis = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
        EpollTimeout::from(millis)
    }

    fn add(&mut self, slot: Slot) -> io::Result<u64> {
        self.next += 1;
        let number = self.next;
        let mut flags = EpollFlags::EPOLLIN;
        if let Slot::Pending(pending) = &slot
            && pending.wants_to_write()
        {
            flags |= EpollFlags::EPOLLOUT;
        }
        self.epoll.add(&slot, EpollEvent::new(flags, number))?;
        let deadline = match &slot {
            Slot::Pending(pending) => Some(pending.deadline),
            Slot::Connection(connection) => Some(connection.deadline),
            _ => None,
        };
        self.deadlines
            .extend(deadline.map(|deadline| (deadline, number)));
        self.slots.insert(number, slot);
        Ok(number)
    }

    /// Takes a slot out for good; closing its descriptor takes it out of epoll, too.
    fn take(&mut self, number: u64) -> Option<Slot> {
        let slot = self.slots.remove(&number)?;
        match &slot {
            Slot::Pending(pending) => {
                self.deadlines.remove(&(pending.deadline, number));
                self.pending -= 1;
                if let Some(Slot::Container(container)) = self.slots.get_mut(&pending.host) {
                    container.pending -= 1;
                }
            }
            Slot::Connection(connection) => {
                self.deadlines.remove(&(connection.deadline, number));
                if let Some(Slot::Container(container)) = self.slots.get_mut(&connection.host) {
                    container.connections -= 1;
                    container.parts.retain(|part| *part != number);
                }
            }
            _ => {}
        }
        Some(slot)
    }

    fn handle(&mut self, number: u64, guard: &mut dyn FnMut() -> Option<OwnedFd>) {
        match self.slots.get(&number) {
            Some(Slot::Control(_)) => self.commands(number),
            Some(Slot::Guard(_)) => {
                self.take(number);
                if let Some(watched) = guard()
                    && let Err(error) = self.add(Slot::Guard(watched))
                {
                    tracing::warn!(%error, "nobody guards the DNS server");
                }
            }
            Some(Slot::Life(host, _)) => {
                let host = *host;
                self.detach(host);
                self.reload();
            }
            Some(Slot::Container(_)) => self.datagrams(number),
            Some(Slot::Tcp(host, _)) => {
                let host = *host;
                self.accept(number, host);
            }
            Some(Slot::Connection(_)) => self.stream(number),
            Some(Slot::Pending(_)) => self.answer(number),
            // It went with another event of the same round.
            None => {}
        }
    }

    fn commands(&mut self, number: u64) {
        loop {
            let accepted = match self.slots.get(&number) {
                Some(Slot::Control(listener)) => listener.accept(),
                _ => return,
            };
            let Ok((stream, _)) = accepted else {
                return;
            };
            let outcome = match control::receive(&stream) {
                Ok(Request::Reload) => {
                    self.reload();
                    Ok(())
                }
                Ok(Request::Attach { id, netns, life }) => {
                    let attached = self.attach(&id, netns, life);
                    self.reload();
                    attached.map_err(|e| e.to_string())
                }
                Err(e) => Err(e.to_string()),
            };
            control::reply(stream, outcome);
        }
    }

    /// Reads everything anew: who is gone is let go, who is new is served.
    fn reload(&mut self) {
        let zone = match self.source.load() {
            Ok(zone) => zone,
            Err(error) => {
                tracing::warn!(%error, "the names of containers are not those of now");
                return;
            }
        };
        self.tables = Tables::new(zone);
        let gone: Vec<u64> = self
            .by_id
            .iter()
            .filter(|(id, _)| self.tables.host(id).is_none())
            .map(|(_, number)| *number)
            .collect();
        for number in gone {
            self.detach(number);
        }
        let new: Vec<String> = self
            .tables
            .ids()
            .filter(|id| !self.by_id.contains_key(*id))
            .cloned()
            .collect();
        for id in new {
            if let Some((netns, life)) = self.source.open(&id)
                && let Err(error) = self.attach(&id, netns, life)
            {
                tracing::warn!(container = id, %error, "it has no names of others");
            }
        }
    }

    fn attach(&mut self, id: &str, netns: OwnedFd, life: OwnedFd) -> Result<()> {
        if let Some(&before) = self.by_id.get(id) {
            self.detach(before);
        }
        let failed = |source| Error::DnsSocket { source };
        let Listening { udp, tcp } = sockets::listen(netns.as_fd())?;
        let container = Container {
            id: id.to_owned(),
            netns,
            udp,
            parts: Vec::new(),
            connections: 0,
            pending: 0,
        };
        let number = self
            .add(Slot::Container(Box::new(container)))
            .map_err(failed)?;
        self.by_id.insert(id.to_owned(), number);
        for part in [Slot::Tcp(number, tcp), Slot::Life(number, life)] {
            match self.add(part) {
                Ok(part) => self.own(number, part),
                Err(e) => {
                    self.detach(number);
                    return Err(failed(e));
                }
            }
        }
        Ok(())
    }

    fn own(&mut self, host: u64, part: u64) {
        if let Some(Slot::Container(container)) = self.slots.get_mut(&host) {
            container.parts.push(part);
        }
    }

    /// Lets go of a container and of its namespace.
    fn detach(&mut self, number: u64) {
        let Some(Slot::Container(container)) = self.take(number) else {
            return;
        };
        for part in &container.parts {
            self.take(*part);
        }
        let asked: Vec<u64> = self
            .slots
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Pending(p) if p.host == number))
            .map(|(number, _)| *number)
            .collect();
        for pending in asked {
            self.take(pending);
        }
        self.by_id.remove(&container.id);
        if self.by_id.is_empty() {
            self.idle_since = Instant::now();
        }
    }

    /// Queries that nobody answered in time go to the next server, idle connections are closed.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(&(deadline, number)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            self.deadlines.remove(&(deadline, number));
            match self.slots.get(&number) {
                Some(Slot::Pending(_)) => self.try_next(number, None),
                _ => drop(self.take(number)),
            }
        }
    }
}
