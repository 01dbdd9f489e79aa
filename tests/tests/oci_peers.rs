//! podman, docker and containerd with `rctr-oci` as their runtime: what they do with runc, they do with it.

use std::fs;
use std::process::Command;

use rctr_tests::{
    Daemon, Docker, Env, Output, Podman, Running, Terminal, installed, oci_binary, said, text,
    wait_for,
};

/// Says when it runs, and on SIGTERM, which ends it with 4.
const SERVICE: &str =
    "echo started; trap 'echo term; exit 4' TERM; while true; do sleep 0.05; done";

fn output(command: Command) -> Output {
    Running::start(command, None).finish()
}

#[test]
fn podman_runs_on_it() {
    if !installed("podman") {
        return;
    }
    let env = Env::new();
    let podman = Podman::new(&env);
    let runtime = text(&oci_binary());
    let words = |words: &[&str]| podman.command(&[&["--runtime", &runtime], words].concat());
    let run = |list: &[&str]| said(&mut words(list));
    let image = "docker.io/library/busybox";
    run(&["pull", "--quiet", image]);
    let once = ["run", "--rm", "--network", "none", image];
    let alone = |list: &[&str]| output(words(&[&once, list].concat()));
    alone(&["sh", "-c", "echo out; exit 9"])
        .exits(9)
        .stdout_is("out");
    alone(&["nosuch"]).exits(127);
    alone(&["/etc"]).exits(126);
    let terminal = [
        "run",
        "--rm",
        "-it",
        "--network",
        "none",
        image,
        "sh",
        "-c",
        "tty; exit 3",
    ];
    let terminal = Terminal::start(words(&terminal), 24, 80);
    terminal.wait_shown("/dev/pts/0");
    assert_eq!(terminal.finish(), 3);

    let detached = [
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "none",
        "--memory",
        "64m",
        "--pids-limit",
        "50",
        "--tmpfs",
        "/t",
        "--health-cmd",
        "test -d /t",
        "--health-interval",
        "disable",
        image,
        "sh",
        "-c",
        SERVICE,
    ];
    run(&detached);
    wait_for("output", || run(&["logs", "one"]) == "started");
    let exec = |list: &[&str]| output(words(&[&["exec"], list].concat()));
    exec(&["one", "sh", "-c", "echo in; exit 6"])
        .exits(6)
        .stdout_is("in");
    exec(&["one", "nosuch"]).exits(127);
    exec(&["one", "/etc"]).exits(126);
    exec(&[
        "-u",
        "1000:1000",
        "-w",
        "/bin",
        "-e",
        "A=b",
        "one",
        "sh",
        "-c",
        "id; pwd; echo $A",
    ])
    .ok()
    .stdout_is("uid=1000 gid=1000\n/bin\nb");
    let mut in_terminal = Terminal::start(words(&["exec", "-it", "one", "sh"]), 24, 80);
    in_terminal.type_in("echo $((6*7)); exit 5\n");
    in_terminal.wait_shown("42");
    assert_eq!(in_terminal.finish(), 5);
    run(&["healthcheck", "run", "one"]);
    run(&["pause", "one"]);
    let status = || run(&["inspect", "--format", "{{.State.Status}}", "one"]);
    assert_eq!(status(), "paused");
    run(&["unpause", "one"]);
    assert!(run(&["top", "one"]).contains("sh -c"));
    run(&["stop", "--time", "9", "one"]);
    let ended = [
        "inspect",
        "--format",
        "{{.State.Status}} {{.State.ExitCode}}",
        "one",
    ];
    assert_eq!(run(&ended), "exited 4");
    assert_eq!(run(&["logs", "one"]), "started\nterm");
    run(&["start", "one"]);
    run(&["kill", "--signal", "KILL", "one"]);
    assert_eq!(run(&["wait", "one"]), "137");
    run(&["rm", "one"]);

    let guarded = [
        "run",
        "--rm",
        "--network",
        "none",
        "--user",
        "5",
        "--cap-drop",
        "all",
        "--read-only",
        "--security-opt",
        "no-new-privileges",
        image,
        "sh",
        "-c",
        "grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; touch /x",
    ];
    let guarded = output(words(&guarded));
    guarded.exits(1).stdout_has("CapBnd:\t0000000000000000");
    guarded
        .stdout_has("NoNewPrivs:\t1")
        .stdout_has("Seccomp:\t2");
    guarded.stderr_has("Read-only file system");
    let mapped = [
        "run",
        "--rm",
        "--network",
        "none",
        "--uidmap",
        "0:100000:65536",
        "--gidmap",
        "0:100000:65536",
        image,
        "cat",
        "/proc/self/uid_map",
    ];
    assert!(run(&mapped).ends_with("100000      65536"));
}

#[test]
fn docker_runs_on_it() {
    if !installed("dockerd") || !installed("docker") {
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let archive = env.path("busybox.tar");
    env.rctr(["save", "-o", &text(&archive), "busybox"]).ok();
    let flag = format!("--add-runtime=rctr={}", text(&oci_binary()));
    let docker = Docker::start_with(&env, &[&flag]);
    docker.run(&["load", "-q", "-i", &text(&archive)]);
    let once = ["run", "--rm", "--runtime", "rctr", "--network", "none"];
    let alone = |list: &[&str]| output(docker.command(&[&once, list].concat()));
    alone(&["busybox", "sh", "-c", "echo out; exit 9"])
        .exits(9)
        .stdout_is("out");
    alone(&["busybox", "nosuch"])
        .exits(127)
        .stderr_has("executable file not found in $PATH");
    alone(&["busybox", "/etc"]).exits(126);
    alone(&[
        "-m",
        "20m",
        "busybox",
        "sh",
        "-c",
        "x=a; while true; do x=$x$x; done",
    ])
    .exits(137);
    // Its own cgroup can be read, not changed.
    let own = "cat /sys/fs/cgroup/pids.max || cat /sys/fs/cgroup/pids/pids.max; echo 1 > /sys/fs/cgroup/pids/pids.max";
    alone(&["--pids-limit", "33", "busybox", "sh", "-c", own])
        .exits(1)
        .stdout_has("33");
    let init = [
        "--init",
        "--user",
        "5",
        "--cap-drop",
        "all",
        "--read-only",
        "--tmpfs",
        "/t",
        "busybox",
        "sh",
        "-c",
    ];
    alone(&[&init[..], &["touch /t/x && grep CapBnd /proc/self/status"]].concat())
        .ok()
        .stdout_has("0000000000000000");

    let detached = [
        "run",
        "-d",
        "--name",
        "one",
        "--runtime",
        "rctr",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        SERVICE,
    ];
    docker.run(&detached);
    wait_for("output", || docker.run(&["logs", "one"]) == "started");
    output(docker.command(&["exec", "one", "sh", "-c", "echo in; exit 6"]))
        .exits(6)
        .stdout_is("in");
    let seen = docker.run(&[
        "exec",
        "-u",
        "1000",
        "-w",
        "/bin",
        "one",
        "sh",
        "-c",
        "id -u; pwd; echo $HOME",
    ]);
    assert_eq!(seen, "1000\n/bin\n/");
    let mut terminal = Terminal::start(docker.command(&["exec", "-it", "one", "sh"]), 24, 80);
    terminal.type_in("echo $((6*7)); exit 5\n");
    terminal.wait_shown("42");
    assert_eq!(terminal.finish(), 5);
    docker.run(&["pause", "one"]);
    assert!(
        docker
            .run(&["ps", "--format", "{{.Status}}"])
            .ends_with("(Paused)")
    );
    docker.run(&["unpause", "one"]);
    docker.run(&["update", "--pids-limit", "44", "one"]);
    assert!(docker.run(&["top", "one"]).contains("sh -c"));
    docker.run(&["restart", "-t", "9", "one"]);
    docker.run(&["stop", "-t", "9", "one"]);
    let ended = [
        "inspect",
        "--format",
        "{{.State.Status}} {{.State.ExitCode}} {{.HostConfig.Runtime}}",
        "one",
    ];
    assert_eq!(docker.run(&ended), "exited 4 rctr");
    docker.run(&["start", "one"]);
    docker.run(&["kill", "one"]);
    docker.run(&["rm", "-f", "one"]);
}

#[test]
fn containerd_runs_on_it() {
    if !installed("containerd") || !installed("ctr") {
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let archive = env.path("busybox.tar");
    env.rctr(["save", "-o", &text(&archive), "busybox"]).ok();
    let dir = |name: &str| text(&env.path(&format!("containerd-{name}")));
    let socket = dir("socket");
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = {socket:?}\n[ttrpc]\naddress = {:?}\n",
        dir("root"),
        dir("state"),
        dir("ttrpc")
    );
    fs::write(env.path("containerd.toml"), config).expect("a file");
    let mut daemon = Command::new("containerd");
    daemon.arg("--config").arg(env.path("containerd.toml"));
    let ctr = |words: &[&str]| {
        let mut command = Command::new("ctr");
        command
            .args(["--address", &socket, "--namespace", "rctr-test"])
            .args(words);
        command
    };
    let _daemon = Daemon::start(&mut daemon, &env.path("containerd-log"), || {
        ctr(&["version"])
            .output()
            .is_ok_and(|out| out.status.success())
    });
    said(&mut ctr(&["image", "import", &text(&archive)]));
    let image = said(&mut ctr(&["image", "ls", "-q"]));
    let runtime = text(&oci_binary());
    let run = ["run", "--rm", "--runc-binary", &runtime, &image, "once"];
    output(ctr(&[&run[..], &["sh", "-c", "echo out; exit 5"]].concat()))
        .exits(5)
        .stdout_is("out");
    said(&mut ctr(&[
        "run",
        "-d",
        "--runc-binary",
        &runtime,
        &image,
        "one",
        "sleep",
        "1000",
    ]));
    let exec = [
        "task",
        "exec",
        "--exec-id",
        "e",
        "one",
        "sh",
        "-c",
        "echo in; exit 6",
    ];
    output(ctr(&exec)).exits(6).stdout_is("in");
    said(&mut ctr(&["task", "pause", "one"]));
    assert!(said(&mut ctr(&["task", "ls"])).contains("PAUSED"));
    said(&mut ctr(&["task", "resume", "one"]));
    assert!(said(&mut ctr(&["task", "ps", "one"])).contains("PID"));
    said(&mut ctr(&["task", "kill", "-s", "SIGKILL", "one"]));
    wait_for("the end", || {
        said(&mut ctr(&["task", "ls"])).contains("STOPPED")
    });
    output(ctr(&["task", "rm", "one"]))
        .ok()
        .stderr_has("exit code 137");
    said(&mut ctr(&["container", "rm", "one"]));
    said(&mut ctr(&["image", "rm", &image]));
}
