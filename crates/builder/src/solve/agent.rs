//! `RUN --mount=type=ssh`: a socket of the step's own, whose connections go on to the agent.
//!
//! The agent's is not shown itself: OpenSSH's answers to nobody but its user and root, and under SELinux a step may
//! connect only to what is labelled for it.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rctr_runtime::selinux;

/// Listens until it is dropped.
pub(super) struct Agent {
    listener: UnixListener,
    accepting: Option<JoinHandle<()>>,
}

impl Agent {
    /// Listens on `path`, for who may as by mode, user and group. `label` is the SELinux label of the step's process.
    pub(super) fn listen(
        path: &Path,
        (mode, uid, gid): (u32, u32, u32),
        agent: &Path,
        label: Option<&str>,
    ) -> io::Result<Self> {
        let listener = selinux::with_sockets(label, || bind(path))??;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        chown(path, Some(uid), Some(gid))?;
        let (accepting, agent) = (listener.try_clone()?, Arc::from(agent));
        let accepting = thread::Builder::new().spawn(move || accept(&accepting, &agent))?;
        Ok(Agent {
            listener,
            accepting: Some(accepting),
        })
    }
}

/// However long the directory's name is: an address has room for about a hundred bytes.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = File::open(directory)?;
    let through = format!("/proc/self/fd/{}", directory.as_raw_fd());
    UnixListener::bind(Path::new(&through).join(name))
}

fn accept(listener: &UnixListener, agent: &Arc<Path>) {
    while let Ok((step, _)) = listener.accept() {
        let agent = Arc::clone(agent);
        // A connection that cannot be passed on ends; nobody waits for an agent that does not answer.
        let _ = thread::Builder::new().spawn(move || pass_on(&step, &agent));
    }
    // Whoever comes later is refused, and does not wait for nothing.
    let _ = shut(listener);
}

fn shut(listener: &UnixListener) -> rustix::io::Result<()> {
    rustix::net::shutdown(listener, rustix::net::Shutdown::Both)
}

/// Until both have ended it.
fn pass_on(step: &UnixStream, agent: &Path) -> io::Result<()> {
    let agent = &UnixStream::connect(agent)?;
    thread::scope(|scope| {
        scope.spawn(move || copy(step, agent));
        copy(agent, step)
    })
}

fn copy(mut from: &UnixStream, mut to: &UnixStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    to.shutdown(Shutdown::Write)?;
    copied.map(drop)
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = shut(&self.listener);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Says back what it hears, in capitals, and ends when the other end does.
    fn loud(listener: UnixListener, connections: usize) -> JoinHandle<()> {
        thread::spawn(move || {
            for _ in 0..connections {
                let (mut heard, _) = listener.accept().unwrap();
                let mut text = String::new();
                heard.read_to_string(&mut text).unwrap();
                heard.write_all(text.to_uppercase().as_bytes()).unwrap();
            }
        })
    }

    #[test]
    fn what_is_said_to_it_reaches_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        // Longer than an address may be.
        let deep = dir.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let theirs = dir.path().join("agent");
        let answering = loud(UnixListener::bind(&theirs).unwrap(), 2);
        let path = deep.join("socket");
        let owner = fs::metadata(dir.path()).unwrap();
        let (uid, gid) = (owner.uid(), owner.gid());
        let agent = Agent::listen(&path, (0o620, uid, gid), &theirs, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o620);

        let through = File::open(&deep).unwrap();
        let address = format!("/proc/self/fd/{}/socket", through.as_raw_fd());
        let connect = || UnixStream::connect(&address);
        let open = [connect().unwrap(), connect().unwrap()];
        for (mut socket, text) in open.iter().zip(["one", "two"]) {
            socket.write_all(text.as_bytes()).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
        }
        for (mut socket, text) in open.iter().zip(["ONE", "TWO"]) {
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, text);
        }
        answering.join().unwrap();

        // Without an agent the connection ends.
        fs::remove_file(&theirs).unwrap();
        assert_eq!(connect().unwrap().read(&mut [0]).unwrap(), 0);
        drop(agent);
        let refused = connect().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
