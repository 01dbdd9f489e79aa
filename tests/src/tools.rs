use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::wait_for;

/// A path as a word of a command.
pub fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A JSON document.
///
/// # Panics
/// When it is none.
pub fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(bytes)))
}

/// Whether there is such a program; says so when there is not.
pub fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Runs a command to its end, with nothing on its standard input: what it prints.
///
/// # Panics
/// When it fails.
pub fn run(command: &mut Command) -> Vec<u8> {
    let out = command.stdin(Stdio::null()).output();
    let out = out.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?}: {out:?}");
    out.stdout
}

/// Runs `PROGRAM ARGUMENTS…` to its end: what it prints.
///
/// # Panics
/// When it fails.
pub fn tool(program: &str, arguments: &[&str]) -> Vec<u8> {
    run(Command::new(program).args(arguments))
}

/// What `skopeo inspect` says of an image, at `docker://…`, `oci:…` or another of its places.
///
/// # Panics
/// When it is not there.
pub fn skopeo_inspect(place: &str) -> Value {
    parsed(&skopeo(&["inspect"], place))
}

/// A manifest or index as it is at one of skopeo's places.
///
/// # Panics
/// When it is not there.
pub fn skopeo_raw(place: &str) -> Vec<u8> {
    skopeo(&["inspect", "--raw"], place)
}

fn skopeo(words: &[&str], place: &str) -> Vec<u8> {
    let plain: &[&str] = match place.starts_with("docker://") {
        true => &["--tls-verify=false"],
        false => &[],
    };
    tool("skopeo", &[words, plain, &[place]].concat())
}

/// A daemon of a peer; told to end, and waited for, when dropped.
pub struct Daemon(Child);

impl Daemon {
    /// Starts it with its output in the file `log`, and waits until it is `ready`.
    ///
    /// # Panics
    /// When it does not start, or is not ready in time.
    pub fn start(command: &mut Command, log: &Path, ready: impl FnMut() -> bool) -> Self {
        let log = File::create(log).expect("a file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let daemon = Self(child);
        wait_for(&format!("{command:?}"), ready);
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}
