//! `system check`: nothing to find where all is well, each kind of damage found, told and mended.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::Env;

#[test]
fn a_system_in_use_has_nothing_wrong() {
    let env = Env::new();
    env.rctr(["system", "check"]).ok().stdout_is("");
    env.run_detached([
        "--name",
        "web",
        "-v",
        "/data",
        "-p",
        "127.0.0.1::80",
        "busybox",
        "sleep",
        "600",
    ]);
    env.rctr(["create", "--name", "made", "busybox"]).ok();
    env.rctr(["run", "busybox", "true"]).ok();
    env.build_image("a", "FROM busybox\nRUN echo > /a\n");
    env.rctr(["system", "check"]).ok().stdout_is("");
    env.rctr(["system", "check", "--repair"]).ok().stdout_is("");
    env.rctr(["exec", "web", "true"]).ok();
}

#[test]
fn files_without_records_go() {
    let env = Env::new();
    env.rctr(["pull", "busybox"]).ok();
    let id = "0".repeat(64);
    for path in [
        format!("containers/{id}"),
        format!("volumes/{id}"),
        "layers/ab".into(),
        "tmp/half".into(),
    ] {
        std::fs::create_dir(env.root().join(path)).expect("a new directory");
    }
    std::fs::create_dir(env.state().join(&id)).expect("a new directory");
    let check = env.rctr(["system", "check"]);
    check.exits(1);
    assert_eq!(check.lines().len(), 5);
    check
        .stdout_has("no record leads to it")
        .stdout_has("of a container without a record");
    env.rctr(["system", "check", "--repair"])
        .ok()
        .stdout_has("Repaired: 5");
    env.rctr(["system", "check"]).ok().stdout_is("");
    assert!(!env.state().join(&id).exists());
}

#[test]
fn a_step_of_a_build_is_nothing_wrong() {
    let env = Env::new();
    env.rctr(["pull", "busybox"]).ok();
    let context = env.path("context");
    std::fs::create_dir(&context).expect("a new directory");
    std::fs::write(context.join("Dockerfile"), "FROM busybox\nRUN sleep 1000\n").expect("a file");
    let mut command = env.command(["build".as_ref(), context.as_os_str()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut build = command.spawn().expect("a build");
    let steps = || {
        std::fs::read_dir(env.state())
            .into_iter()
            .flatten()
            .flatten()
    };
    let runs = |entry: std::fs::DirEntry| entry.path().join("state.json").exists();
    rctr_tests::wait_for("the step", || steps().any(runs));
    env.rctr(["system", "check"]).ok().stdout_is("");
    env.rctr(["system", "check", "--repair"]).ok().stdout_is("");
    // Nor do those who sweep take it for a leftover.
    env.rctr(["run", "--rm", "busybox", "true"]).ok();
    assert!(steps().any(runs), "the step was taken away");
    assert_eq!(build.try_wait().expect("a status"), None);
    build.kill().expect("it runs");
    build.wait().expect("an end");
    rctr_tests::wait_for("the step to end with it", || !steps().any(runs));
    env.rctr(["container", "prune", "-f"]).ok();
    env.rctr(["system", "check"]).ok().stdout_is("");
}

#[test]
fn records_without_files_are_mended() {
    let env = Env::new();
    let id = env
        .rctr([
            "create",
            "--name",
            "web",
            "-v",
            "data:/data",
            "busybox",
            "true",
        ])
        .ok()
        .stdout();
    std::fs::remove_dir_all(env.root().join("containers").join(&id)).expect("there");
    std::fs::remove_dir_all(env.root().join("volumes/data")).expect("there");
    let check = env.rctr(["system", "check"]);
    check.exits(1).stdout_is(&format!(
        "container {id}: no directory\nvolume data: no directory"
    ));
    env.rctr(["system", "check", "-r"])
        .ok()
        .stdout_has("Repaired: 2");
    env.rctr(["start", "-a", "web"]).ok();
    env.rctr(["rm", "web"]).ok();

    // A layer is forgotten, and its image says what to do.
    let layers = env.root().join("layers");
    let layer = std::fs::read_dir(&layers)
        .expect("there")
        .flatten()
        .find(|e| e.file_name() != "link");
    std::fs::remove_dir_all(layer.expect("a layer").path()).expect("there");
    env.rctr(["system", "check"])
        .exits(1)
        .stdout_has("no directory");
    env.rctr(["system", "check", "--repair"])
        .exits(1)
        .stdout_has("pull it again");
    env.rctr(["pull", "busybox"]).ok();
    env.rctr(["system", "check"]).ok();
    env.rctr(["run", "--rm", "busybox", "true"]).ok();
}

#[test]
fn an_end_that_nobody_noticed_is_written_down() {
    let env = Env::new();
    let id = env.run_detached(["--name", "web", "busybox", "sleep", "600"]);
    let pid: i32 = env
        .rctr(["inspect", "-f", "{{.State.Pid}}", "web"])
        .ok()
        .stdout()
        .parse()
        .expect("a pid");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let monitor = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .expect("a parent");
    let monitor: i32 = monitor.trim().parse().expect("a pid");
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("it lives");
    rctr_tests::wait_for("the container to end", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
    env.rctr(["system", "check"])
        .exits(1)
        .stdout_has(&format!("container {id}: has ended"));
    env.rctr(["system", "check", "--repair"]).ok();
    env.wait_status("web", "exited");
}
