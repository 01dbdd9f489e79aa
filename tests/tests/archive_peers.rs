//! Archives of images between rctr and docker, podman and buildah, both ways: what one saves, the others run.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, wait_for};

fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(command: &mut Command) -> String {
    let out = command.stdin(Stdio::null()).output().expect("it runs");
    assert!(out.status.success(), "{command:?}: {out:?}");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// An archive of an image that was built here, and prints a word.
fn shipped(env: &Env) -> String {
    let dir = env.path("ctx");
    fs::create_dir(&dir).expect("a directory");
    let file =
        "FROM busybox\nRUN echo shipped > /word && ln /word /link\nCMD [\"cat\", \"/link\"]\n";
    fs::write(dir.join("Dockerfile"), file).expect("a Dockerfile");
    env.rctr(["build", "-q", "-t", "localhost/app:1", &text(&dir)])
        .ok();
    let archive = text(&env.path("app.tar"));
    env.rctr(["save", "-o", &archive, "localhost/app:1"]).ok();
    archive
}

/// A Docker without any network, so that it leaves the machine's alone.
struct Docker<'a> {
    env: &'a Env,
    daemon: Child,
}

impl<'a> Docker<'a> {
    fn start(env: &'a Env) -> Self {
        let dir = |name: &str| env.path(&format!("docker-{name}"));
        let log = File::create(dir("log")).expect("a file");
        let daemon = Command::new("dockerd")
            .arg("--data-root")
            .arg(dir("data"))
            .arg("--exec-root")
            .arg(dir("exec"))
            .arg("--pidfile")
            .arg(dir("pid"))
            .arg("--host")
            .arg(format!("unix://{}", text(&dir("socket"))))
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                "--ip-masq=false",
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("dockerd starts");
        let docker = Docker { env, daemon };
        wait_for("dockerd", || {
            docker
                .command(&["version"])
                .output()
                .is_ok_and(|out| out.status.success())
        });
        docker
    }

    fn command(&self, words: &[&str]) -> Command {
        let socket = format!("unix://{}", text(&self.env.path("docker-socket")));
        let mut command = Command::new("docker");
        command.args(["-H", &socket]).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> String {
        run(&mut self.command(words))
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        let pid = i32::try_from(self.daemon.id()).expect("a pid");
        // Gone already is as good.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}

#[test]
fn docker_and_rctr_run_what_the_other_has_saved() {
    if !installed("dockerd") || !installed("docker") {
        return;
    }
    let env = Env::new();
    let archive = shipped(&env);
    let docker = Docker::start(&env);
    assert_eq!(
        docker.run(&["load", "-i", &archive]),
        "Loaded image: localhost/app:1"
    );
    let word = docker.run(&["run", "--rm", "--network", "none", "localhost/app:1"]);
    assert_eq!(word, "shipped");
    let id = docker.run(&["image", "inspect", "-f", "{{.Id}}", "localhost/app:1"]);
    assert_eq!(env.inspect("localhost/app:1")["Id"], id.as_str());

    let back = text(&env.path("back.tar"));
    docker.run(&["tag", "localhost/app:1", "theirs:2"]);
    docker.run(&["save", "-o", &back, "theirs:2", "localhost/app:1"]);
    let other = Env::new();
    other
        .rctr(["load", "-i", &back])
        .ok()
        .stdout_has("Loaded image: theirs:2");
    other.run_alone(&["theirs:2"]).ok().stdout_is("shipped");
    assert_eq!(other.inspect("theirs:2")["Id"], id.as_str());
}

#[test]
fn podman_and_rctr_run_what_the_other_has_saved() {
    if !installed("podman") {
        return;
    }
    let env = Env::new();
    let archive = shipped(&env);
    let (_, files) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let configuration = format!(
        "[containers]\ndefault_ulimits = [\"nofile={files}:{files}\"]\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n"
    );
    fs::write(env.path("containers.conf"), configuration).expect("a file");
    let podman = |words: &[&str]| {
        let dir = |name: &str| env.path(&format!("podman-{name}"));
        run(Command::new("podman")
            .env("CONTAINERS_CONF", env.path("containers.conf"))
            .args(["--storage-driver", "vfs", "--root"])
            .arg(dir("root"))
            .arg("--runroot")
            .arg(dir("run"))
            .arg("--tmpdir")
            .arg(dir("tmp"))
            .args(words))
    };
    assert_eq!(
        podman(&["load", "-q", "-i", &archive]),
        "Loaded image: localhost/app:1"
    );
    for format in ["docker-archive", "oci-archive"] {
        let back = text(&env.path(format));
        podman(&[
            "save",
            "-q",
            "--format",
            format,
            "-o",
            &back,
            "localhost/app:1",
        ]);
        let other = Env::new();
        other
            .rctr(["load", "-i", &back])
            .ok()
            .stdout_is("Loaded image: localhost/app:1");
        other
            .run_alone(&["localhost/app:1"])
            .ok()
            .stdout_is("shipped");
    }
}

#[test]
fn what_buildah_builds_upon_ours_runs() {
    if !installed("buildah") {
        return;
    }
    let env = Env::new();
    let archive = shipped(&env);
    let buildah = |words: &[&str]| {
        run(Command::new("buildah")
            .args(["--storage-driver", "vfs", "--root"])
            .arg(env.path("buildah-root"))
            .arg("--runroot")
            .arg(env.path("buildah-run"))
            .args(words))
    };
    buildah(&["pull", "-q", &format!("docker-archive:{archive}")]);
    let dir = env.path("theirs");
    fs::create_dir(&dir).expect("a directory");
    fs::write(
        dir.join("Dockerfile"),
        "FROM localhost/app:1\nCOPY Dockerfile /\n",
    )
    .expect("a file");
    buildah(&[
        "bud",
        "-q",
        "--isolation",
        "chroot",
        "-t",
        "theirs:1",
        &text(&dir),
    ]);
    for place in ["docker-archive", "oci-archive"] {
        let back = text(&env.path(place));
        buildah(&[
            "push",
            "-q",
            "theirs:1",
            &format!("{place}:{back}:theirs:1"),
        ]);
        let other = Env::new();
        other
            .rctr(["load", "-i", &back])
            .ok()
            .stdout_has("theirs:1");
        other.run_alone(&["theirs:1"]).ok().stdout_is("shipped");
    }
}

/// A containerd of the test's own; nobody else's is asked.
struct Containerd<'a> {
    env: &'a Env,
    daemon: Child,
}

impl<'a> Containerd<'a> {
    fn start(env: &'a Env) -> Self {
        let dir = |name: &str| text(&env.path(&format!("containerd-{name}")));
        let configuration = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n[grpc]\naddress = \"{}\"\n",
            dir("root"),
            dir("state"),
            dir("socket")
        );
        fs::write(dir("config"), configuration).expect("a file");
        let log = File::create(dir("log")).expect("a file");
        let daemon = Command::new("containerd")
            .args(["-c", &dir("config")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("containerd starts");
        let containerd = Containerd { env, daemon };
        wait_for("containerd", || {
            let version = containerd.command(&["version"]).output();
            version.is_ok_and(|out| out.status.success())
        });
        containerd
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        let socket = text(&self.env.path("containerd-socket"));
        command.args(["-a", &socket]).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> String {
        run(&mut self.command(words))
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let pid = i32::try_from(self.daemon.id()).expect("a pid");
        // Gone already is as good.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}

#[test]
fn containerd_and_rctr_run_what_the_other_has_saved() {
    if !installed("containerd") || !installed("ctr") {
        return;
    }
    let env = Env::new();
    let archive = shipped(&env);
    let containerd = Containerd::start(&env);
    containerd.run(&["image", "import", "--snapshotter", "native", &archive]);
    let word = containerd.run(&[
        "run",
        "--rm",
        "--snapshotter",
        "native",
        "localhost/app:1",
        "one",
    ]);
    assert_eq!(word, "shipped");
    let back = text(&env.path("back.tar"));
    containerd.run(&["image", "export", &back, "localhost/app:1"]);
    let other = Env::new();
    other
        .rctr(["load", "-i", &back])
        .ok()
        .stdout_is("Loaded image: localhost/app:1");
    other
        .run_alone(&["localhost/app:1"])
        .ok()
        .stdout_is("shipped");
}
