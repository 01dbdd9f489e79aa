//! Beside podman: both publish ports on one machine, and neither's comings and goings disturb the other.

use std::fs;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit};
use rctr_tests::{Env, Machine, healthz, registry, wait_for};

/// A podman with directories and a configuration of its own.
struct Podman<'a>(&'a Env);

impl<'a> Podman<'a> {
    fn new(env: &'a Env) -> Self {
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

    fn run(&self, words: &[&str]) -> String {
        let dir = |name: &str| self.0.path(&format!("podman-{name}"));
        let done = Command::new("podman")
            .env("CONTAINERS_CONF", self.0.path("containers.conf"))
            .env("CONTAINERS_REGISTRIES_CONF", self.0.path("registries.conf"))
            .args(["--storage-driver", "overlay"])
            .arg("--root")
            .arg(dir("root"))
            .arg("--runroot")
            .arg(dir("run"))
            .arg("--tmpdir")
            .arg(dir("tmp"))
            .args(words)
            .output()
            .expect("podman runs");
        assert!(done.status.success(), "podman {words:?}: {done:?}");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        self.run(&["rm", "--all", "--force", "--time", "0"]);
        self.run(&["rmi", "--all", "--force"]);
        let root = self.0.path("podman-root");
        // podman keeps its store mounted on itself.
        let _ = nix::mount::umount2(&root.join("overlay"), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn podman_and_rctr_share_a_host() {
    if Command::new("podman").arg("--version").output().is_err() {
        eprintln!("skipped: podman is not installed");
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "--quiet", "healthz"]).ok();
    let podman = Podman::new(&env);
    let image = "docker.io/library/healthz";
    podman.run(&["pull", "--quiet", image]);
    let machine = Machine::new(&env);
    let answers = |port: u16| {
        let address = format!("{}:{port}", Machine::ADDRESS);
        wait_for(&format!("port {port} from outside"), || {
            machine.outside(|| healthz(&address)).is_some()
        });
        wait_for(&format!("port {port} from the machine"), || {
            machine.inside(|| healthz(&address)).is_some()
        });
    };
    let theirs = machine.inside(|| podman.run(&["run", "-d", "-p", "8081:80", image]));
    let ours = machine.inside(|| env.run_detached(["-p", "8082:80", "healthz"]));
    answers(8081);
    answers(8082);
    machine.inside(|| env.rctr(["rm", "--force", &ours])).ok();
    answers(8081);
    machine.inside(|| env.run_detached(["-p", "8082:80", "healthz"]));
    machine.inside(|| podman.run(&["rm", "--force", "--time", "0", &theirs]));
    answers(8082);
    machine
        .inside(|| env.rctr(["run", "--rm", "-p", "8081:80", "healthz", "true"]))
        .ok();
}
