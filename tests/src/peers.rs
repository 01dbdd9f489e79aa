use std::fs;
use std::process::Command;

use nix::mount::{MntFlags, umount2};
use nix::sys::resource::{Resource, getrlimit};

use crate::{Daemon, Env, registry, run, text};

/// Runs a command of a peer: what it prints, without white space around it.
///
/// # Panics
/// When it fails.
pub fn said(command: &mut Command) -> String {
    String::from_utf8_lossy(&run(command)).trim().to_owned()
}

/// A Docker with directories of its own and without any network, so that it leaves the machine's alone.
pub struct Docker {
    address: String,
    _daemon: Daemon,
}

impl Docker {
    /// Starts a daemon that lives in the test's directory.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(env: &Env) -> Self {
        Self::start_with(env, &[])
    }

    /// The same, with more flags for the daemon.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with(env: &Env, flags: &[&str]) -> Self {
        let dir = |name: &str| env.path(&format!("docker-{name}"));
        let address = format!("unix://{}", text(&dir("socket")));
        let mut command = Command::new("dockerd");
        command
            .arg("--data-root")
            .arg(dir("data"))
            .arg("--exec-root")
            .arg(dir("exec"))
            .arg("--pidfile")
            .arg(dir("pid"))
            .args(["--host", &address, "--bridge=none", "--iptables=false"])
            .args(["--ip6tables=false", "--ip-masq=false"])
            .args(flags);
        let daemon = Daemon::start(&mut command, &dir("log"), || {
            let version = Command::new("docker")
                .args(["-H", &address, "version"])
                .output();
            version.is_ok_and(|out| out.status.success())
        });
        Self {
            address,
            _daemon: daemon,
        }
    }

    /// `docker WORDS…`, not run yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", &self.address]).args(words);
        command
    }

    /// `docker WORDS…`, by the builder that the daemon has in itself.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new("docker");
        command.env("DOCKER_BUILDKIT", "0");
        said(command.args(["-H", &self.address]).args(words))
    }
}

/// A podman with directories and a configuration of its own, and the shared registry for Docker Hub.
pub struct Podman<'a>(&'a Env);

impl<'a> Podman<'a> {
    /// Writes its configuration.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn new(env: &'a Env) -> Self {
        let (_, files) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        let (_, processes) = getrlimit(Resource::RLIMIT_NPROC).expect("a limit");
        let pid_max = fs::read_to_string("/proc/sys/kernel/pid_max").expect("a number");
        let processes = processes.min(pid_max.trim().parse().expect("a number"));
        let containers = format!(
            "[containers]\ndefault_ulimits = [\"nofile={files}:{files}\", \"nproc={processes}:{processes}\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nruntime = \"runc\"\nevents_logger = \"file\"\n"
        );
        fs::write(env.path("containers.conf"), containers).expect("a file");
        let host = registry().trim_start_matches("http://");
        let registries = format!(
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"{host}\"\ninsecure = true\n"
        );
        fs::write(env.path("registries.conf"), registries).expect("a file");
        Self(env)
    }

    /// `podman WORDS…`.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> String {
        said(&mut self.command(words))
    }

    /// The same, not run yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let dir = |name: &str| self.0.path(&format!("podman-{name}"));
        let mut command = Command::new("podman");
        command
            .env("CONTAINERS_CONF", self.0.path("containers.conf"))
            .env("CONTAINERS_REGISTRIES_CONF", self.0.path("registries.conf"))
            .args(["--storage-driver", "overlay"])
            .arg("--root")
            .arg(dir("root"))
            .arg("--runroot")
            .arg(dir("run"))
            .arg("--tmpdir")
            .arg(dir("tmp"))
            .args(words);
        command
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        self.run(&["rm", "--all", "--force", "--time", "0"]);
        self.run(&["rmi", "--all", "--force"]);
        // podman keeps its store mounted on itself.
        let _ = umount2(&self.0.path("podman-root/overlay"), MntFlags::MNT_DETACH);
    }
}
