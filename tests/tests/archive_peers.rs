//! Archives of images between rctr and docker, podman and buildah, both ways: what one saves, the others run.

use std::fs;
use std::process::Command;

use rctr_tests::{Daemon, Docker, Env, Podman, installed, said, text};

/// An archive of an image that was built here, and prints a word.
fn shipped(env: &Env) -> String {
    env.build_image(
        "localhost/app:1",
        "FROM busybox\nRUN echo shipped > /word && ln /word /link\nCMD [\"cat\", \"/link\"]\n",
    );
    let archive = text(&env.path("app.tar"));
    env.rctr(["save", "-o", &archive, "localhost/app:1"]).ok();
    archive
}

/// Another rctr loads this archive, and runs the image `name` that is in it.
fn load_elsewhere(archive: &str, name: &str) -> Env {
    let other = Env::new();
    other
        .rctr(["load", "-i", archive])
        .ok()
        .stdout_has(&format!("Loaded image: {name}"));
    other.run_alone(&[name]).ok().stdout_is("shipped");
    other
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
    let other = load_elsewhere(&back, "theirs:2");
    assert_eq!(other.inspect("theirs:2")["Id"], id.as_str());
}

#[test]
fn podman_and_rctr_run_what_the_other_has_saved() {
    if !installed("podman") {
        return;
    }
    let env = Env::new();
    let archive = shipped(&env);
    let podman = Podman::new(&env);
    assert_eq!(
        podman.run(&["load", "-q", "-i", &archive]),
        "Loaded image: localhost/app:1"
    );
    let word = podman.run(&["run", "--rm", "--network", "none", "localhost/app:1"]);
    assert_eq!(word, "shipped");
    for format in ["docker-archive", "oci-archive"] {
        let back = text(&env.path(format));
        podman.run(&[
            "save",
            "-q",
            "--format",
            format,
            "-o",
            &back,
            "localhost/app:1",
        ]);
        load_elsewhere(&back, "localhost/app:1");
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
        said(
            Command::new("buildah")
                .args(["--storage-driver", "vfs", "--root"])
                .arg(env.path("buildah-root"))
                .arg("--runroot")
                .arg(env.path("buildah-run"))
                .args(words),
        )
    };
    buildah(&["pull", "-q", &format!("docker-archive:{archive}")]);
    let dir = env.dockerfile("FROM localhost/app:1\nCOPY Dockerfile /\n");
    buildah(&[
        "bud",
        "-q",
        "--isolation",
        "chroot",
        "-t",
        "theirs:1",
        dir.path(),
    ]);
    for place in ["docker-archive", "oci-archive"] {
        let back = text(&env.path(place));
        buildah(&[
            "push",
            "-q",
            "theirs:1",
            &format!("{place}:{back}:theirs:1"),
        ]);
        load_elsewhere(&back, "theirs:1");
    }
}

/// A containerd of the test's own; nobody else's is asked.
struct Containerd {
    socket: String,
    _daemon: Daemon,
}

impl Containerd {
    fn start(env: &Env) -> Self {
        let dir = |name: &str| env.path(&format!("containerd-{name}"));
        let socket = text(&dir("socket"));
        let configuration = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n[grpc]\naddress = \"{socket}\"\n",
            text(&dir("root")),
            text(&dir("state")),
        );
        fs::write(dir("config"), configuration).expect("a file");
        let mut command = Command::new("containerd");
        command.arg("-c").arg(dir("config"));
        let daemon = Daemon::start(&mut command, &dir("log"), || {
            let version = Command::new("ctr")
                .args(["-a", &socket, "version"])
                .output();
            version.is_ok_and(|out| out.status.success())
        });
        Self {
            socket,
            _daemon: daemon,
        }
    }

    fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new("ctr");
        said(command.args(["-a", &self.socket]).args(words))
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
    load_elsewhere(&back, "localhost/app:1");
}
