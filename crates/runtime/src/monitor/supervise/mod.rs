//! The monitor's life beside its container: one loop over the container's streams, the clients' connections
//! and the deaths of children, until the container has ended and everybody knows.

mod ends;
mod forward;
mod group;
mod health;
mod requests;
mod teller;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;

pub(super) use self::forward::Forward;
pub(super) use self::health::Checker;
use self::health::milliseconds_until;
use self::teller::Teller;
use super::forward::Forwarding;
use super::input::Input;
use super::memory;
use super::peer::{Peer, Role};
use super::pinned;
use super::process::reset_signals;
use super::rootfs::return_to;
use super::runtime::ContainerRuntime;
use super::start::set_nonblocking;
use super::user::UserNamespace;
use crate::cgroup::{Cgroup, OomWatch};
use crate::error::StartError;
use crate::logs::{LogWriter, Stream};
use crate::protocol::{FrameType, Reply, parse};
use crate::spec::AttachOptions;
use crate::state::ExitStatus;

/// Output is passed on in pieces of at most this.
const CHUNK: usize = 16 * 1024;
/// A container and its clients this long quiet, in milliseconds, will need the monitor little.
const SETTLING_MS: libc::c_int = 300;

/// A running container and what the monitor holds of it.
pub(super) struct Container {
    pub pid: i32,
    pub started_at: SystemTime,
    pub started: Instant,
    pub own_pid_namespace: bool,
    pub state_dir: PathBuf,
    pub stdin_once: bool,
    pub terminal: bool,
    pub exit_command: Vec<String>,
    pub tethered: bool,
    pub runtime: Box<dyn ContainerRuntime>,
    pub listener: UnixListener,
    pub outputs: Vec<Output>,
    pub input: Option<Input>,
    /// The container's side of its terminal, which it may close for a while.
    pub terminal_peer: Option<OwnedFd>,
    pub log: Option<LogWriter>,
    pub forward: Option<Forward>,
    pub oom: OomWatch,
    pub cgroup: Cgroup,
    pub host_mounts: OwnedFd,
    pub inherited: Vec<OwnedFd>,
    /// The ports of an ordinary user's container.
    pub forwarding: Option<Forwarding>,
    pub user: Option<UserNamespace>,
    /// Where the mounts of all pods are.
    pub pods: Option<PathBuf>,
    pub health: Option<Checker>,
    /// What is run when it runs out of memory.
    pub oom_command: Vec<String>,
}

impl Container {
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }
}

/// A stream of the container's that the monitor reads.
pub(super) struct Output {
    fd: OwnedFd,
    stream: Stream,
}

impl Output {
    pub(super) fn new(fd: OwnedFd, stream: Stream) -> Result<Self, StartError> {
        set_nonblocking(&fd)?;
        Ok(Self { fd, stream })
    }
}

/// Serves a running container until its end. `launched` is the answer to the launcher, which may stay on as a client.
pub(super) fn run(
    container: Container,
    launcher: UnixStream,
    launched: &Reply,
    attach: Option<AttachOptions>,
) {
    let mut supervisor = Supervisor {
        signals: child_signals(),
        container,
        peers: Vec::new(),
        executed: Vec::new(),
        ended: None,
        teller: Teller::default(),
        log_error: None,
        settled: false,
        handed_over: false,
        idle: false,
    };
    let role = attach.map_or(Role::Talking, Role::Attached);
    let mut first = Peer::new(launcher, role);
    first.reply(launched);
    if attach.is_some() {
        supervisor.peers.push(first);
    } else {
        drop(first);
    }
    supervisor.serve();
}

/// SIGCHLD as something to poll. Blocked only now: what libcontainer started before must not inherit it.
fn child_signals() -> Option<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), None).ok()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok()
}

struct Supervisor {
    container: Container,
    signals: Option<SignalFd>,
    peers: Vec<Peer>,
    /// Processes beside the first, and what to run when they end unseen.
    executed: Vec<(i32, Vec<String>)>,
    /// Set once the container has ended.
    ended: Option<ExitStatus>,
    teller: Teller,
    log_error: Option<String>,
    /// A client has settled the end.
    settled: bool,
    /// The end has been settled by a client, or handed to the exit command.
    handed_over: bool,
    /// It has been quiet for a while since a client came, and memory has been given back.
    idle: bool,
}

/// What a polled descriptor belongs to.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Memory,
    Output(Stream),
    Input,
    Probe,
    Forward,
    Peer(usize),
}

impl Supervisor {
    fn serve(&mut self) {
        // It may have ended before we began to look.
        self.reap();
        loop {
            self.dismiss_gone_peers();
            self.hand_over_end();
            if let Some(forward) = &mut self.container.forward {
                forward.look_after(&self.container.host_mounts);
            }
            if self.is_finished() {
                return;
            }
            self.look_after_health();
            let ready = self.poll();
            // Deaths last: output written before comes first.
            for &(source, events) in ready.iter().rev() {
                self.handle(source, events);
            }
        }
    }

    fn is_finished(&mut self) -> bool {
        let forwarded = self.container.forward.as_mut().is_none_or(Forward::is_done);
        forwarded && self.handed_over && self.peers.iter().all(|peer| !peer.wants_write())
    }

    /// Waits until something happens; gives what, with the events.
    fn poll(&mut self) -> Vec<(Source, libc::c_short)> {
        let mut sources = Vec::new();
        let mut fds = Vec::new();
        let mut add = |source, fd: RawFd, events| {
            sources.push(source);
            fds.push(libc::pollfd {
                fd,
                events,
                revents: 0,
            });
        };
        if let Some(signals) = &self.signals {
            add(Source::Signals, signals.as_raw_fd(), libc::POLLIN);
        }
        add(
            Source::Listener,
            self.container.listener.as_raw_fd(),
            libc::POLLIN,
        );
        if let Some((fd, events)) = self.container.oom.fd() {
            add(Source::Memory, fd.as_raw_fd(), events);
        }
        let forward = self.container.forward.as_ref();
        if let Some(pipe) = forward.and_then(Forward::wants_write) {
            add(Source::Forward, pipe, libc::POLLOUT);
        }
        if !self.peers.iter().any(Peer::is_behind) && !forward.is_some_and(Forward::is_full) {
            // What is ready is handled from the end: standard output before standard error.
            for output in self.container.outputs.iter().rev() {
                add(
                    Source::Output(output.stream),
                    output.fd.as_raw_fd(),
                    libc::POLLIN,
                );
            }
        }
        let checker = self.container.health.as_ref();
        if let Some(pipe) = checker.and_then(Checker::pipe) {
            add(Source::Probe, pipe, libc::POLLIN);
        }
        let mut input_full = false;
        if let Some(input) = &self.container.input {
            input_full = input.is_full();
            if input.wants_write() {
                add(Source::Input, input.as_fd().as_raw_fd(), libc::POLLOUT);
            }
        }
        for (index, peer) in self.peers.iter().enumerate() {
            let mut events = 0;
            if !(peer.feeds_stdin() && input_full) {
                events |= libc::POLLIN;
            }
            if peer.wants_write() {
                events |= libc::POLLOUT;
            }
            add(Source::Peer(index), peer.as_fd().as_raw_fd(), events);
        }
        let settling = (!self.idle).then_some(SETTLING_MS);
        let due = checker.filter(|_| self.ended.is_none());
        let due = due.filter(|_| !self.teller.is_behind());
        let due = due.and_then(Checker::due).map(milliseconds_until);
        let forward = self.container.forward.as_ref().and_then(Forward::due);
        let due = due.into_iter().chain(forward);
        let timeout = settling.into_iter().chain(due).min().unwrap_or(-1);
        // SAFETY: passes a slice with its length.
        let count = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
        if count == 0 && timeout == SETTLING_MS {
            self.idle = true;
            if let Some(directory) = self.container.pods.take() {
                pinned::hide(&directory);
            }
            memory::release();
        }
        let events = fds.iter().map(|fd| fd.revents);
        let ready = sources
            .into_iter()
            .zip(events)
            .filter(|(_, events)| *events != 0);
        ready.collect()
    }

    fn handle(&mut self, source: Source, events: libc::c_short) {
        match source {
            Source::Signals => {
                while let Some(Ok(Some(_))) = self.signals.as_ref().map(SignalFd::read_signal) {}
                self.reap();
            }
            Source::Listener => {
                // What the conversation takes is given back afterwards.
                self.idle = false;
                while let Ok((socket, _)) = self.container.listener.accept() {
                    self.peers.push(Peer::new(socket, Role::Talking));
                }
            }
            Source::Memory => self.out_of_memory(),
            Source::Output(stream) => {
                self.read_output(stream);
            }
            Source::Input => self.with_input(Input::flush),
            Source::Probe => {
                if let Some(checker) = &mut self.container.health {
                    checker.read();
                }
            }
            Source::Forward => {
                if let Some(forward) = &mut self.container.forward {
                    forward.flush();
                }
            }
            Source::Peer(index) => {
                if events & libc::POLLOUT != 0 {
                    self.peers[index].flush();
                }
                if events & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0 {
                    self.peers[index].read();
                    while let Some((kind, payload)) = self.peers[index].next_frame() {
                        self.frame(index, kind, &payload);
                    }
                }
            }
        }
    }

    /// Does something with the input that tells whether it goes on.
    fn with_input(&mut self, action: impl FnOnce(&mut Input) -> bool) {
        if let Some(input) = &mut self.container.input
            && !action(input)
        {
            self.container.input = None;
        }
    }

    /// Reads once; false when there is nothing (more) now.
    fn read_output(&mut self, stream: Stream) -> bool {
        let mut buffer = [0u8; CHUNK];
        let outputs = &mut self.container.outputs;
        let Some(index) = outputs.iter().position(|o| o.stream == stream) else {
            return false;
        };
        let output = &outputs[index];
        match rustix::io::read(&output.fd, &mut buffer) {
            Err(Errno::AGAIN) => false,
            Err(Errno::INTR) => true,
            // A terminal does not end before the container, see `terminal_peer`.
            Ok(0) | Err(_) => {
                outputs.remove(index);
                false
            }
            Ok(count) => {
                self.pass_on(stream, &buffer[..count]);
                true
            }
        }
    }

    fn pass_on(&mut self, stream: Stream, bytes: &[u8]) {
        if let Some(log) = &mut self.container.log
            && let Err(error) = log.write(stream, bytes)
        {
            self.log_error.get_or_insert(error.to_string());
        }
        self.forward_records();
        for peer in &mut self.peers {
            let Role::Attached(options) = peer.role else {
                continue;
            };
            match stream {
                Stream::Stdout if options.stdout => peer.output(FrameType::Stdout, bytes),
                Stream::Stderr if options.stderr => peer.output(FrameType::Stderr, bytes),
                _ => {}
            }
        }
    }

    fn forward_records(&mut self) {
        if let (Some(forward), Some(log)) = (&mut self.container.forward, &mut self.container.log) {
            forward.push(log.take_copied());
        }
    }

    fn frame(&mut self, index: usize, kind: FrameType, payload: &[u8]) {
        let peer = &mut self.peers[index];
        match kind {
            FrameType::Request => match parse(payload) {
                Ok(request) => self.request(index, request),
                Err(_) => peer.gone = true,
            },
            FrameType::Stdin if !peer.feeds_stdin() => {}
            FrameType::Stdin if payload.is_empty() => self.client_input_ended(),
            FrameType::Stdin => self.with_input(|input| input.push(payload)),
            _ => peer.gone = true,
        }
    }

    /// An attached client's standard input is at its end, or the client is.
    fn client_input_ended(&mut self) {
        if self.container.stdin_once {
            self.with_input(Input::end);
        }
    }

    fn out_of_memory(&mut self) {
        if self.container.oom.look() && self.ended.is_none() {
            self.idle = false;
            let mut command = self.container.oom_command.clone();
            if !command.is_empty() {
                command.push(self.container.pid.to_string());
            }
            self.teller.tell(command, &self.container.host_mounts);
        }
    }

    fn dismiss_gone_peers(&mut self) {
        let had_input = self
            .peers
            .iter()
            .any(|peer| peer.gone && peer.feeds_stdin());
        let attached = |peers: &[Peer]| peers.iter().any(|p| matches!(p.role, Role::Attached(_)));
        let was_attached = attached(&self.peers);
        for peer in self.peers.extract_if(.., |peer| peer.gone) {
            if let Some(command) = peer.end_command {
                run_on_host(&command, &self.container.host_mounts);
            }
        }
        if self.container.tethered && self.ended.is_none() && was_attached && !attached(&self.peers)
        {
            // It may be ending by itself in this moment.
            let _ = self.container.cgroup.kill_all();
        }
        if had_input {
            self.client_input_ended();
        }
    }
}

/// Starts a command of the engine's in the host's mount namespace; its pid. If it cannot be started, the next rctr
/// command that looks at the container sees what there is to see.
fn run_on_host(command: &[String], host_mounts: &OwnedFd) -> Option<i32> {
    let started = host_command(command, host_mounts).and_then(|mut command| command.spawn());
    Some(started.ok()?.id() as i32)
}

/// A command of the engine's, to be started in the host's mount namespace.
fn host_command(command: &[String], host_mounts: &OwnedFd) -> io::Result<Command> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let host_mounts = host_mounts.try_clone()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PATH", crate::defaults::PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: only system calls on integers between fork and exec.
    unsafe {
        command.pre_exec(move || {
            reset_signals();
            libc::setsid();
            crate::rootless::pass_on();
            return_to(&host_mounts)
        });
    }
    Ok(command)
}
