//! The way from a user's network namespace to the outside: pasta, or slirp4netns where only that is installed.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use rustix::fs::FlockOperation;

use super::error::RootlessError;
use super::record::{Helper, MAKING, Record};
use super::{Result, Session, lock, place};
use crate::state::ProcessId;

/// Where pasta answers questions for names, with what the host's name server says.
const PASTA_NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
/// Where slirp4netns does (slirp4netns(1)).
const SLIRP_NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 3));

/// The way outside.
pub struct Outside {
    /// The name server that the user's containers can reach; none if there is no way outside.
    pub name_server: Option<IpAddr>,
    /// One line each, for the user.
    pub warnings: Vec<String>,
}

/// Connects the user's network namespace to the outside, if it is not.
///
/// # Errors
/// [`RootlessError::NoNetworkProgram`], [`RootlessError::NoTunnel`], [`RootlessError::File`]. That the host itself has
/// no way outside, or that the program fails, is only a warning: containers still reach each other.
pub fn connect(session: &Session) -> Result<Outside> {
    let state = &session.state;
    let _making = lock(&state.join(MAKING), FlockOperation::LockExclusive)?;
    let lost = || RootlessError::Namespace {
        step: "find the keeper's",
        source: io::ErrorKind::NotFound.into(),
    };
    let mut record = Record::of_living(state)?.ok_or_else(lost)?;
    if let Some(helper) = record.helper.as_ref().filter(|h| h.process.is_alive()) {
        return Ok(Outside {
            name_server: Some(helper.name_server),
            warnings: Vec::new(),
        });
    }
    check_tunnel()?;
    let started = match (find("pasta"), find("slirp4netns")) {
        (Some(pasta), _) => start_pasta(&pasta, session),
        (None, Some(slirp)) => start_slirp(&slirp, session),
        (None, None) => return Err(RootlessError::NoNetworkProgram),
    };
    Ok(match started {
        Ok(helper) => {
            let name_server = Some(helper.name_server);
            record.helper = Some(helper);
            record.save(state)?;
            Outside {
                name_server,
                warnings: Vec::new(),
            }
        }
        Err(reason) => Outside {
            name_server: None,
            warnings: vec![format!("containers have no way to the network: {reason}")],
        },
    })
}

/// The name server that the user's containers can reach, if there is a way outside.
pub fn name_server(session: &Session) -> Option<IpAddr> {
    let record = Record::of_living(&session.state).ok()??;
    record.helper.map(|helper| helper.name_server)
}

/// A program, as a shell would find it, and where system programs are that a user's PATH may not name.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    std::env::split_paths(&path)
        .chain(usual.iter().map(PathBuf::from))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok())
}

fn check_tunnel() -> Result<()> {
    let opened = File::options().read(true).write(true).open("/dev/net/tun");
    opened
        .map(drop)
        .map_err(|source| RootlessError::NoTunnel { source })
}

/// pasta shows the host's own addresses inside, and goes to the background once it works.
fn start_pasta(program: &Path, session: &Session) -> Result<Helper, String> {
    // It has dropped what it takes to open a namespace by its process when it comes to it; and the mount is this
    // process's alone.
    let namespace = show_namespace(session).map_err(|e| format!("pasta: {e}"))?;
    let pid_file = session.state.join(".pasta.pid");
    let _ = std::fs::remove_file(&pid_file);
    let name_server = PASTA_NAME_SERVER.to_string();
    let mut command = Command::new(program);
    command
        .args(["--config-net", "--quiet", "--no-map-gw"])
        .args(["--dns-forward", &name_server])
        // Nothing of the host's loopback inside, nor the other way.
        .args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"])
        .arg("--pid")
        .arg(&pid_file)
        .arg("--netns-only")
        .arg("--netns")
        .arg(&namespace);
    detach(&mut command);
    let output = command.stderr(Stdio::piped()).output();
    let output = output.map_err(|e| format!("{}: {e}", program.display()))?;
    if !output.status.success() {
        return Err(format!("pasta: {}", last_words(&output.stderr)));
    }
    let pid = std::fs::read_to_string(&pid_file).map_err(|e| format!("pasta: {e}"))?;
    let _ = std::fs::remove_file(&pid_file);
    helper(pid.trim().parse().unwrap_or(0), PASTA_NAME_SERVER)
}

/// Mounts the network namespace on a file, in the mount namespace of this process.
fn show_namespace(session: &Session) -> io::Result<PathBuf> {
    let path = session.state.join(".network");
    File::create(&path)?;
    let source = format!("/proc/self/fd/{}", session.network().as_raw_fd());
    let none = None::<&str>;
    mount(Some(source.as_str()), &path, none, MsFlags::MS_BIND, none)?;
    Ok(path)
}

/// slirp4netns has a small network of its own inside, 10.0.2.0/24, and stays in the foreground.
fn start_slirp(program: &Path, session: &Session) -> Result<Helper, String> {
    let failed = |e: io::Error| format!("slirp4netns: {e}");
    let namespace = show_namespace(session).map_err(failed)?;
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let mut command = Command::new(program);
    command
        .args(["--configure", "--mtu=65520", "--disable-host-loopback"])
        .args(["--enable-ipv6", "--ready-fd=3", "--netns-type=path"])
        .arg(&namespace)
        .arg("tap0");
    detach(&mut command);
    give(&mut command, writer);
    let child = command.stderr(Stdio::null()).spawn().map_err(failed)?;
    drop(command);
    let mut ready = [0];
    match File::from(reader).read(&mut ready) {
        Ok(1) => helper(child.id() as i32, SLIRP_NAME_SERVER),
        _ => Err("slirp4netns ended without a word".to_owned()),
    }
}

/// The child's descriptor 3.
fn give(command: &mut Command, fd: OwnedFd) {
    // SAFETY: a system call on integers.
    unsafe { command.pre_exec(move || place(fd.as_fd(), 3)) };
}

/// Away from the terminal of whoever came first.
fn detach(command: &mut Command) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .current_dir("/");
    // SAFETY: a system call without arguments.
    unsafe { command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?)) };
}

fn helper(pid: i32, name_server: IpAddr) -> Result<Helper, String> {
    let process = ProcessId::of(pid).map_err(|e| format!("it has ended: {e}"))?;
    Ok(Helper {
        process,
        name_server,
    })
}

fn last_words(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let said = text.lines().map(str::trim);
    let mut said = said.filter(|line| !line.is_empty() && !line.contains("to syslog"));
    said.next_back()
        .unwrap_or("it failed without a word")
        .to_owned()
}
