//! `--runtime`: containers that another OCI runtime makes, with all else as ever.

use std::path::PathBuf;

use rctr_cri::api;
use rctr_tests::cri::{Cri, refused, shell};
use rctr_tests::{Env, Terminal, installed, oci_binary, wait_for};
use tonic::Code;

/// The runtimes there are here.
fn runtimes() -> Vec<(&'static str, PathBuf)> {
    let mut all = vec![("own", oci_binary())];
    for name in ["runc", "crun"] {
        if installed(name) {
            let path = ["/usr/sbin", "/usr/bin"].map(|dir| PathBuf::from(dir).join(name));
            let path = path.into_iter().find(|path| path.is_file());
            all.push((name, path.expect("it is installed")));
        }
    }
    all
}

fn env() -> Env {
    let table =
        |(name, path): &(&str, PathBuf)| format!("[runtimes.other-{name}]\npath = {path:?}\n");
    let tables: String = runtimes().iter().map(table).collect();
    Env::builder().config(&tables).build()
}

#[test]
fn containers_are_the_same_whoever_makes_them() {
    let env = env();
    env.rctr(["pull", "-q", "busybox"]).ok();
    for (name, _) in runtimes() {
        let flag = format!("--runtime=other-{name}");
        let once = |words: &[&str]| env.rctr([&["run", "--rm", &flag], words].concat());
        once(&["busybox", "sh", "-c", "echo out; echo err >&2; exit 9"])
            .exits(9)
            .stdout_is("out")
            .stderr_has("err");
        once(&["busybox", "nosuch"]).exits(127);
        once(&[
            "--user",
            "5:6",
            "--workdir",
            "/new/dir",
            "-e",
            "A=b",
            "busybox",
            "sh",
            "-c",
            "id -u; id -g; pwd; echo $A",
        ])
        .ok()
        .stdout_is("5\n6\n/new/dir\nb");
        once(&[
            "--read-only",
            "--tmpfs",
            "/t",
            "-v",
            "named:/v",
            "busybox",
            "sh",
            "-c",
            "touch /t/x /v/x && touch /x",
        ])
        .exits(1)
        .stderr_has("Read-only file system");
        once(&[
            "--network",
            "none",
            "--hostname",
            "box",
            "busybox",
            "hostname",
        ])
        .ok()
        .stdout_is("box");
        once(&[
            "busybox",
            "grep",
            "-E",
            "Seccomp:|CapBnd",
            "/proc/self/status",
        ])
        .ok()
        .stdout_has("00000000a80425fb")
        .stdout_has("2");
        // The address is the bridge's.
        once(&["busybox", "ip", "-4", "addr", "show", "eth0"])
            .ok()
            .stdout_has("inet ");

        let script = "echo started; trap 'echo term; exit 4' TERM; while true; do sleep 0.05; done";
        let id = env.run_detached([
            &flag,
            "-m",
            "64m",
            "--pids-limit",
            "50",
            "busybox",
            "sh",
            "-c",
            script,
        ]);
        env.wait_log(&id, "started");
        env.rctr(["exec", &id, "sh", "-c", "echo in; exit 6"])
            .exits(6)
            .stdout_is("in");
        env.rctr(["exec", "-u", "7", &id, "id", "-u"])
            .ok()
            .stdout_is("7");
        env.rctr(["exec", &id, "nosuch"]).exits(127);
        let mut terminal = Terminal::start(env.command(["exec", "-it", &id, "sh"]), 30, 90);
        terminal.type_in("stty size; exit 5\n");
        terminal.wait_shown("30 90");
        assert_eq!(terminal.finish(), 5, "{name}");
        let seen = env.inspect(&id);
        assert_eq!(seen["HostConfig"]["Runtime"], format!("other-{name}"));
        env.rctr(["pause", &id]).ok();
        env.rctr(["unpause", &id]).ok();
        env.rctr(["stats", "--no-stream", &id])
            .ok()
            .stdout_has("64MiB");
        env.rctr(["stop", "-t", "9", &id]).ok();
        let state = env.inspect(&id)["State"].clone();
        assert_eq!(state["ExitCode"], 4, "{name}: {state}");
        env.rctr(["logs", &id]).ok().stdout_is("started\nterm");
        env.rctr(["start", &id]).ok();
        env.rctr(["kill", &id]).ok();
        wait_for("the end", || env.inspect(&id)["State"]["ExitCode"] == 137);
        env.rctr(["rm", &id]).ok();

        let terminal = [
            "run",
            "--rm",
            "-it",
            &flag,
            "busybox",
            "sh",
            "-c",
            "tty; stty size; exit 3",
        ];
        let terminal = Terminal::start(env.command(terminal), 31, 91);
        terminal.wait_shown("/dev/pts/0");
        assert_eq!(terminal.finish(), 3, "{name}");
        once(&[
            "-m",
            "20m",
            "busybox",
            "sh",
            "-c",
            "x=a; while true; do x=$x$x; done",
        ])
        .exits(137);
    }
    env.rctr(["volume", "rm", "named"]).ok();
}

#[test]
fn a_monitor_that_is_killed_leaves_nothing_of_another_runtime_s() {
    let env = env();
    env.rctr(["pull", "-q", "busybox"]).ok();
    for (name, _) in runtimes() {
        let flag = format!("--runtime=other-{name}");
        let id = env.run_detached([&flag, "busybox", "sleep", "1000"]);
        let monitor = env.monitor_of(&id).expect("a monitor");
        let monitor = nix::unistd::Pid::from_raw(monitor);
        nix::sys::signal::kill(monitor, nix::sys::signal::Signal::SIGKILL).expect("it is there");
        env.wait_status(&id, "exited");
        env.rctr(["rm", &id]).ok();
        wait_for("its processes' end", || env.processes_of(&id).is_empty());
    }
}

#[test]
fn a_runtime_must_be_known_and_be_there() {
    let env = Env::builder()
        .config("[runtimes.gone]\npath = \"/nosuch/runtime\"\n")
        .build();
    env.rctr(["pull", "-q", "busybox"]).ok();
    env.rctr(["run", "--rm", "--runtime", "who", "busybox", "true"])
        .exits(125)
        .stderr_has("unknown or invalid runtime name: who");
    env.rctr(["run", "--rm", "--runtime", "gone", "busybox", "true"])
        .exits(125)
        .stderr_has("runtime /nosuch/runtime");
    // What Docker calls its own is ours.
    env.rctr([
        "run",
        "--rm",
        "--runtime",
        "runc",
        "busybox",
        "echo",
        "ours",
    ])
    .ok()
    .stdout_is("ours");
    env.rctr(["info"])
        .ok()
        .stdout_has("Runtimes: gone io.containerd.runc.v2 rctr runc");
    env.rctr(["info", "-f", "{{json .Runtimes.gone}}"])
        .ok()
        .stdout_is(r#"{"path":"/nosuch/runtime"}"#);
}

#[test]
fn a_pod_s_handler_decides_who_makes_its_containers() {
    let table =
        |(name, path): &(&str, PathBuf)| format!("[cri.handlers.{name}]\npath = {path:?}\n");
    let tables: String = runtimes().iter().map(table).collect();
    let cri = Cri::with_config(&format!(
        "{tables}[cri.handlers.gone]\npath = \"/nosuch/runtime\"\n"
    ));
    cri.pull("busybox");
    let status = cri
        .runtime(async |c| c.status(api::StatusRequest::default()).await)
        .expect("Status");
    let others = status
        .runtime_handlers
        .iter()
        .filter(|h| !h.name.is_empty());
    let others: Vec<_> = others
        .map(|h| (h.name.as_str(), h.features.unwrap_or_default()))
        .collect();
    let mut names: Vec<_> = runtimes().iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let none = api::RuntimeHandlerFeatures::default();
    // What they can do is not known, and one that is not there is not offered.
    assert_eq!(
        others,
        names.iter().map(|name| (*name, none)).collect::<Vec<_>>()
    );
    refused(
        cri.try_run_pod(&cri.pod_config("gone"), "gone"),
        Code::FailedPrecondition,
    );
    for name in names {
        let config = cri.pod_config(name);
        let pod = cri.try_run_pod(&config, name).expect(name);
        assert_eq!(cri.pod_status(&pod).runtime_handler, name);
        let script = "trap 'exit 4' TERM; hostname; while true; do sleep 0.05; done";
        let container = cri.run(&pod, &config, shell("one", script));
        assert!(
            cri.sh(&container, "cat /proc/1/cmdline").contains("trap"),
            "{name}"
        );
        assert_eq!(
            cri.sh(&container, "hostname").trim(),
            config.hostname,
            "{name}"
        );
        cri.stop(&container, 9);
        assert_eq!(cri.wait_exit(&container).exit_code, 4, "{name}");
        cri.remove_pod(&pod);
    }
}
