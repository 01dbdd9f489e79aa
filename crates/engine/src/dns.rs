//! Names of containers on users' networks: what the DNS server knows, and how there comes to be one.
//!
//! There is at most one server for a root and state directory. Whoever starts a container on a user's network hands it
//! the container's network namespace, and starts a server first if there is none. It ends by itself after the last such
//! container. Beside it runs a guard: each of the two watches the other, and whichever is left starts the other anew. If
//! both are killed at once, the next command that looks at a running container notices.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rctr_network::dns::{self, Absent, Host, Place, Source, Zone};

use crate::config::Config;
use crate::model::{Container, EndpointState};
use crate::{Engine, Error, Result, endpoint};

/// How often a command tries to find or start a server.
const ATTEMPTS: usize = 5;
/// How long another server that is just starting may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a server must have lived to be started again at once.
const SOUND: Duration = Duration::from_secs(1);

impl Engine {
    fn dns_socket(&self) -> PathBuf {
        self.config.state.join("dns.sock")
    }

    /// Has the server listen in the namespace of a container that is about to start. The container's monitor must hold
    /// what this gives: when it is closed, the server lets go.
    pub(crate) fn serve_names(&self, id: &str, netns: &OwnedFd) -> Result<OwnedFd> {
        let (life, held) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
            .map_err(|errno| Error::file("make a pipe for", &self.dns_socket())(errno.into()))?;
        self.attach_names(id, netns, &life)?;
        Ok(held)
    }

    /// The same for a container that runs already.
    pub(crate) fn serve_names_of_running(
        &self,
        container: &Container,
        netns: &OwnedFd,
    ) -> Result<()> {
        let life = pidfd(container.state.pid)?;
        self.attach_names(&container.id, netns, &life)
    }

    fn attach_names(&self, id: &str, netns: &OwnedFd, life: &OwnedFd) -> Result<()> {
        let socket = self.dns_socket();
        for _ in 0..ATTEMPTS {
            match dns::attach(&socket, id, netns.as_fd(), life.as_fd())? {
                Ok(()) => return Ok(()),
                Err(Absent) => self.start_dns()?,
            }
        }
        Err(rctr_network::Error::Dns {
            reason: "it ends as soon as it is started".into(),
        }
        .into())
    }

    /// Tells the server that containers or their networks have changed. One that is not there reads it when it starts.
    pub(crate) fn names_changed(&self) -> Result<()> {
        match dns::notify(&self.dns_socket())? {
            Ok(()) | Err(Absent) => Ok(()),
        }
    }

    /// The same for what must not fail for it: a container has ended, or is called otherwise.
    pub(crate) fn tell_names(&self, container: &Container) {
        if container.has_names()
            && let Err(error) = self.names_changed()
        {
            tracing::warn!(%error, "others may see a container that is not there");
        }
    }

    /// Starts a server if there are containers that need one and there is none: both it and its guard were killed.
    pub(crate) fn mend_dns(&self, seen: &[Container]) -> Result<()> {
        let needs = |c: &&Container| c.state.status.is_live() && c.state.pid != 0 && c.has_names();
        if seen.iter().any(|c| needs(&c)) && !self.has_dns()? {
            self.start_dns()?;
        }
        Ok(())
    }

    /// Whether there is a server or one that starts; costs one system call where there never was one.
    fn has_dns(&self) -> Result<bool> {
        Ok(self.dns_lock()?.is_none())
    }

    /// The server's lock, if nobody has it.
    fn dns_lock(&self) -> Result<Option<Flock<std::fs::File>>> {
        let path = self.config.state.join("dns.lock");
        std::fs::create_dir_all(&self.config.state)
            .map_err(Error::file("create", &self.config.state))?;
        let file = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EAGAIN)) => Ok(None),
            Err((_, errno)) => Err(Error::file("lock", &path)(errno.into())),
        }
    }

    /// Starts a server and waits until it can be talked to.
    fn start_dns(&self) -> Result<()> {
        let mut command = self.dns_command(&[]);
        command.stdout(Stdio::piped());
        let mut child = command.spawn().map_err(Error::file("start", exe()))?;
        // It says that it is ready, or ends.
        let mut said = String::new();
        if let Some(mut out) = child.stdout.take() {
            out.read_to_string(&mut said)
                .map_err(Error::file("hear from", exe()))?;
        }
        match said.as_str() {
            "" => Ok(()),
            reason => Err(rctr_network::Error::Dns {
                reason: reason.trim().to_owned(),
            }
            .into()),
        }
    }

    /// `rctr internal dns …` on the same root, in a session of its own, with nothing of the caller's.
    fn dns_command(&self, words: &[&str]) -> Command {
        let config: &Config = &self.config;
        let mut command = Command::new(exe());
        command.arg0("rctr");
        command.arg("--root").arg(&config.root);
        command.arg("--state").arg(&config.state);
        if config.file.exists() {
            command.arg("--config").arg(&config.file);
        }
        command.args(["internal", "dns"]).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).current_dir("/").env_clear();
        // SAFETY: setsid is a system call on nothing but the new process.
        unsafe {
            command.pre_exec(|| {
                let _ = nix::unistd::setsid();
                Ok(())
            });
        }
        command
    }

    /// The server itself: serves until the last container has gone. `ready` is called once commands can talk to it, or
    /// to another one that was quicker.
    ///
    /// # Errors
    /// [`rctr_network::Error::Dns`] if it cannot start.
    pub fn serve_dns(&self, ready: impl FnOnce()) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let socket = self.dns_socket();
        let _lock = loop {
            if let Some(lock) = self.dns_lock()? {
                break lock;
            }
            // Another one serves, or is about to.
            if Instant::now() > until || matches!(dns::notify(&socket), Ok(Ok(()))) {
                ready();
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        leave_cgroup();
        let mut source = Records { engine: self };
        let mut guard = Guard {
            engine: self,
            child: None,
            started: Instant::now(),
        };
        rctr_network::dns::serve(&socket, &mut source, ready, &mut || guard.start())?;
        Ok(())
    }

    /// The guard: waits for the end of the server `pid` and starts another one if it was killed.
    ///
    /// # Errors
    /// The process cannot be watched.
    pub fn guard_dns(&self, pid: i32) -> Result<()> {
        leave_cgroup();
        if let Ok(server) = pidfd(pid) {
            rctr_runtime::release_memory();
            wait_for(&server)?;
        }
        // A server that ends on its own takes its socket away.
        if self.dns_socket().exists() {
            self.start_dns()?;
        }
        Ok(())
    }

    /// All running containers on users' networks, as the server wants to know them.
    fn zone(&self) -> Result<Zone> {
        let records = self.records()?.into_iter();
        let live = records.filter(|c| c.state.status.is_live() && c.has_names());
        Ok(Zone {
            hosts: live.map(|container| host(&container)).collect(),
        })
    }
}

/// What one container is called, and whom it asks.
fn host(container: &Container) -> Host {
    let way_out = container.way_out().map(|state| &state.network);
    let mut states: Vec<&EndpointState> = container.networks.iter().collect();
    states.sort_by_key(|state| Some(&state.network) != way_out);
    let custom = states
        .iter()
        .filter(|s| s.network != endpoint::DEFAULT_NETWORK);
    Host {
        id: container.id.clone(),
        places: custom.map(|state| place(container, state)).collect(),
        forwards: states.iter().any(|state| state.leads_out),
        servers: container.options.dns.clone(),
    }
}

fn place(container: &Container, state: &EndpointState) -> Place {
    let addresses = [Some(state.address), state.v6.map(|(ip, ..)| ip)];
    Place {
        network: state.network_id(),
        network_name: state.network.clone(),
        names: container.dns_names(&state.network_id()),
        addresses: addresses.into_iter().flatten().collect::<Vec<IpAddr>>(),
    }
}

impl Container {
    /// What it is called on a network that a user made: its name, its aliases, its short id, its host name.
    pub fn dns_names(&self, network_id: &str) -> Vec<String> {
        let connections = self.connections();
        let mut names = vec![self.name.clone()];
        let here = connections.iter().filter(|c| c.network_id == network_id);
        names.extend(here.flat_map(|c| c.request.aliases.clone()));
        names.push(self.id.chars().take(12).collect());
        names.extend(self.options.hostname.clone());
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }
}

/// The store, opened anew for every look: an idle server keeps nothing open.
struct Records<'a> {
    engine: &'a Engine,
}

impl Source for Records<'_> {
    fn load(&mut self) -> std::result::Result<Zone, Box<dyn std::error::Error>> {
        let zone = self.engine.zone()?;
        // An idle server needs little of the program, and nothing of what reads the store.
        rctr_runtime::release_memory();
        Ok(zone)
    }

    fn open(&mut self, id: &str) -> Option<(OwnedFd, OwnedFd)> {
        let status = rctr_runtime::status(&self.engine.state_dir(id)).ok()?;
        let rctr_runtime::Status::Running { pid, .. } = status else {
            return None;
        };
        let life = pidfd(pid).ok()?;
        Some((endpoint::open_netns(pid).ok()??, life))
    }
}

/// The process that watches the server.
struct Guard<'a> {
    engine: &'a Engine,
    child: Option<Child>,
    started: Instant,
}

impl Guard<'_> {
    /// Starts one, in place of one that has ended; something that is readable at its end.
    fn start(&mut self) -> Option<OwnedFd> {
        if let Some(mut ended) = self.child.take() {
            let _ = ended.wait();
            // Something makes it end: better none than thousands.
            if self.started.elapsed() < SOUND {
                return None;
            }
        }
        self.started = Instant::now();
        let pid = std::process::id().to_string();
        let mut command = self.engine.dns_command(&["--guard", &pid]);
        let child = command.spawn().ok()?;
        let watched = pidfd(i32::try_from(child.id()).ok()?).ok();
        self.child = Some(child);
        watched
    }
}

fn exe() -> &'static std::path::Path {
    // Also after an upgrade has replaced the file.
    std::path::Path::new("/proc/self/exe")
}

fn pidfd(pid: i32) -> Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid);
    let failed = |e: rustix::io::Errno| Error::file("watch", "/proc".as_ref())(e.into());
    let pid = pid.ok_or_else(|| failed(rustix::io::Errno::SRCH))?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).map_err(failed)
}

fn wait_for(pidfd: &OwnedFd) -> Result<()> {
    loop {
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Error::file("watch", "/proc".as_ref())(errno.into())),
        }
    }
}

/// Out of the cgroup of whoever happened to start the first container: when that is a service, systemd would end the
/// server with it. Where this is not possible nothing is lost.
fn leave_cgroup() {
    for root in ["", "/unified", "/systemd"] {
        let path = format!("/sys/fs/cgroup{root}/cgroup.procs");
        let moved = std::fs::File::options()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(b"0"));
        if let Err(error) = moved {
            tracing::debug!(%error, "it stays in its cgroup");
        }
    }
}
