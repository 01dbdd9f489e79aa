//! `--runtime`: containers that another OCI runtime makes, with all else as ever.

use std::io::BufRead;
use std::path::PathBuf;

use rctr_cri::api;
use rctr_tests::cri::{Cri, refused, shell};
use rctr_tests::{Env, Mounted, Terminal, installed, oci_binary, wait_for};
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

#[test]
fn every_kind_of_mount_is_the_same_whoever_makes_the_container() {
    let env = env();
    let host = env.path("host");
    std::fs::create_dir_all(host.join("below")).expect("a directory");
    std::fs::write(host.join("below/file"), "the host's\n").expect("a file");
    let below = Mounted::tmpfs(&host.join("below"), "1m");
    std::fs::write(host.join("below/file"), "the mount's\n").expect("a file");
    let host = host.to_str().expect("text");
    env.sh(&["-v", "sub:/s"], "mkdir /s/part; echo part > /s/part/file")
        .ok();
    for (name, _) in runtimes() {
        let flag = format!("--runtime=other-{name}");
        let sh = |flags: &[&str], script: &str| env.sh(&[&[flag.as_str()], flags].concat(), script);
        let volume = |key: &str| format!("{key}-{name}");
        // What the image has is copied into a new volume, with its owner; not with nocopy.
        let words = |mount: &str| {
            let look = "stat -c '%u:%g' /data; ls /data";
            env.rctr([
                "run", "--rm", &flag, "--mount", mount, "volume", "sh", "-c", look,
            ])
        };
        words(&format!("type=volume,src={},dst=/data", volume("new")))
            .ok()
            .stdout_is("1000:1000\nlink\nseed");
        words(&format!(
            "type=volume,src={},dst=/data,volume-nocopy",
            volume("empty")
        ))
        .ok()
        .stdout_is("0:0");
        sh(
            &[
                "--mount",
                "type=volume,src=sub,dst=/p,volume-subpath=part,readonly",
            ],
            "cat /p/file; touch /p/x",
        )
        .exits(1)
        .stdout_is("part")
        .stderr_has("Read-only file system");
        sh(
            &["-v", &format!("{host}:/h:ro")],
            "cat /h/below/file; touch /h/below/x; touch /h/x",
        )
        .exits(1)
        .stdout_is("the mount's")
        .stderr_has("/h/below/x: Read-only file system")
        .stderr_has("/h/x: Read-only file system");
        sh(
            &[
                "--mount",
                &format!("type=bind,src={host},dst=/h,bind-recursive=disabled"),
            ],
            "ls -A /h/below",
        )
        .ok()
        .stdout_is("file");
        sh(
            &["--mount", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770"],
            "stat -c %a /t; df -k /t | tail -n 1",
        )
        .ok()
        .stdout_has("1770")
        .stdout_has(" 1024 ");
        sh(&["--shm-size", "2m"], "df -k /dev/shm | tail -n 1")
            .ok()
            .stdout_has(" 2048 ");
        sh(
            &["--mount", "type=image,src=volume,dst=/i"],
            "cat /i/data/seed; touch /i/x",
        )
        .exits(1)
        .stdout_is("seed")
        .stderr_has("Read-only file system");
        let from = format!("from-{name}");
        env.rctr(["create", "--name", &from, "-v", "sub:/shared:ro", "busybox"])
            .ok();
        sh(
            &["--volumes-from", &from],
            "cat /shared/part/file; touch /shared/x",
        )
        .exits(1)
        .stdout_is("part")
        .stderr_has("Read-only file system");
        sh(
            &["--device", "/dev/null:/dev/mine"],
            "stat -c %t:%T /dev/mine",
        )
        .ok()
        .stdout_is("1:3");
        // A mount that is made on the host later is seen where that was asked for.
        let watched = env.path(&format!("watched-{name}"));
        std::fs::create_dir_all(watched.join("in")).expect("a directory");
        let shared = Mounted::shared(&watched);
        let bind = format!("{}:/w:rslave", watched.display());
        let id = env.run_detached([&flag, "-v", &bind, "busybox", "sleep", "1000"]);
        let inner = Mounted::tmpfs(&watched.join("in"), "1m");
        std::fs::write(watched.join("in/late"), "").expect("a file");
        let seen = env.rctr(["exec", &id, "ls", "/w/in"]);
        assert_eq!(seen.ok().stdout(), "late", "{name}");
        env.rctr(["rm", "-f", &id, &from]).ok();
        drop((inner, shared));
    }
    drop(below);
    env.rctr(["volume", "prune", "-af"]).ok();
}

#[test]
fn logs_health_and_restarts_are_the_same_whoever_makes_the_container() {
    let env = env();
    env.rctr(["pull", "-q", "busybox"]).ok();
    for (name, _) in runtimes() {
        let flag = format!("--runtime=other-{name}");
        let base = [&flag, "--network", "none"];
        let run = |flags: &[&str], script: &str| {
            env.run_detached([&base, flags, &["busybox", "sh", "-c", script]].concat())
        };
        // Every line, in its stream and in order, in files that are turned over; none where none are kept.
        let flags = ["--log-opt", "max-size=64k", "--log-opt", "max-file=9"];
        let id = run(&flags, "seq 1 3000; echo last >&2; exit 3");
        env.rctr(["wait", &id]).ok().stdout_is("3");
        let all: Vec<String> = (1..=3000).map(|n| n.to_string()).collect();
        env.rctr(["logs", &id])
            .ok()
            .stdout_is(&all.join("\n"))
            .stderr_has("last");
        env.rctr(["rm", &id]).ok();
        let id = run(&["--log-driver", "none"], "echo lost");
        env.rctr(["wait", &id]).ok();
        env.rctr(["logs", &id])
            .exits(1)
            .stderr_has("does not support reading");
        env.rctr(["rm", &id]).ok();
        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = format!(
            "syslog-address=tcp://{}",
            server.local_addr().expect("an address")
        );
        let id = run(
            &["--log-driver", "syslog", "--log-opt", &address],
            "echo to the server",
        );
        // The first connection only asks whether anybody is there.
        let lines = server.incoming().flatten().flat_map(|receiver| {
            let lines = std::io::BufReader::new(receiver).lines();
            lines.map_while(Result::ok)
        });
        let line = lines.take(1).collect::<String>();
        assert!(line.ends_with("to the server"), "{name}: {line}");
        env.rctr(["wait", &id]).ok();
        env.rctr(["rm", &id]).ok();

        let checked = [
            "--health-cmd",
            "test -e /ok",
            "--health-interval",
            "100ms",
            "--health-retries",
            "1",
        ];
        let id = run(&checked, "sleep 1000");
        let is = |health: &str| {
            wait_for(health, || {
                env.inspect(&id)["State"]["Health"]["Status"] == health
            });
        };
        is("unhealthy");
        env.rctr(["exec", &id, "touch", "/ok"]).ok();
        is("healthy");
        env.rctr(["rm", "-f", &id]).ok();

        let id = run(&["--restart", "on-failure:2"], "echo run; exit 5");
        env.wait_status(&id, "exited");
        let seen = env.inspect(&id);
        assert_eq!(
            (&seen["RestartCount"], &seen["State"]["ExitCode"]),
            (&2.into(), &5.into()),
            "{name}"
        );
        env.rctr(["logs", &id]).ok().stdout_is("run\nrun\nrun");
        env.rctr(["rm", &id]).ok();
        let id = run(&["--restart", "always"], "sleep 1000");
        let pid = || {
            env.inspect(&id)["State"]["Pid"]
                .as_i64()
                .unwrap_or_default() as i32
        };
        let first = pid();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(first),
            nix::sys::signal::Signal::SIGKILL,
        )
        .expect("it runs");
        wait_for("another process", || ![0, first].contains(&pid()));
        env.rctr(["exec", &id, "true"]).ok();
        env.rctr(["restart", "-t", "0", &id]).ok();
        env.rctr(["exec", &id, "true"]).ok();
        env.rctr(["stop", "-t", "0", &id]).ok();
        assert_eq!(env.inspect(&id)["State"]["Status"], "exited", "{name}");
        env.rctr(["rm", &id]).ok();
    }
}
