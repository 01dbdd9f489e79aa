//! Processes that are started in a container that runs.

use super::*;

#[test]
fn a_process_is_executed_as_it_is_asked_for() {
    let bundle = running(&["sleep", "1000"]);
    let exec = |options: &[&str], words: &[&str]| {
        bundle.oci(&[&["exec"], options, &["one"], words].concat())
    };
    exec(&["-g", "77", "-g", "88"], &["id"])
        .ok()
        .stdout_has("groups=77,88");
    let status = [
        "grep",
        "-E",
        "^(CapEff|CapInh|CapAmb|NoNewPrivs)",
        "/proc/self/status",
    ];
    let plain = exec(&[], &status).ok().stdout();
    // As the specification of the container has it: audit-write, kill and net-bind-service.
    assert!(plain.contains("CapEff:\t0000000020000420"), "{plain}");
    let more = exec(&["--cap", "CAP_NET_RAW", "--no-new-privs"], &status);
    more.ok().stdout_has("CapEff:\t0000000020002420");
    more.stdout_has("CapInh:\t0000000000000000");
    more.stdout_has("CapAmb:\t0000000000000000");
    more.stdout_has("NoNewPrivs:\t1");
    let own = json!({
        "args": ["sh", "-c", "id; pwd; echo $A; ulimit -n"], "cwd": "/bin", "env": ["A=own", "PATH=/bin"],
        "user": {"uid": 3, "gid": 4, "additionalGids": [5]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}],
    });
    fs::write(bundle.path("process.json"), own.to_string()).expect("a file");
    exec(&["--process", "process.json"], &[])
        .ok()
        .stdout_is("uid=3 gid=4 groups=5\n/bin\nown\n99");
    exec(&["--process-label", "x"], &["true"])
        .exits(255)
        .stderr_has("SELinux");
    exec(&["--cwd", "/nosuch"], &["true"])
        .exits(255)
        .stderr_has("no such file or directory");
    exec(&[], &[]).exits(255);
    // The kernel would take it for "no other than now", root.
    for user in ["4294967295", "0:4294967295"] {
        exec(&["--user", user], &["id"])
            .exits(255)
            .stderr_has("4294967295");
    }
    exec(&["-e", "NAME"], &["true"])
        .exits(255)
        .stderr_has("NAME=VALUE");
    exec(&["--cgroup", "nosuch"], &["true"])
        .exits(255)
        .stderr_has("nosuch");
    exec(&[], &["/bin"])
        .exits(255)
        .stderr_has("permission denied");

    // In a frozen container it waits for the thaw.
    bundle.oci(&["pause", "one"]).ok();
    let words = ["exec", "--ignore-paused", "one", "echo", "thawed"];
    let waiting = Running::start(bundle.command(&words), Some(b""));
    bundle.oci(&["resume", "one"]).ok();
    wait_for("it to end", || {
        // It may have come after the thaw, or before.
        bundle.status("one") == "running"
    });
    waiting.finish().ok().stdout_is("thawed");
}

#[test]
fn what_cannot_be_told_of_does_not_run() {
    let mut bundle = running(&["sleep", "1000"]);
    elsewhere(&mut bundle);
    let processes = || bundle.oci(&["ps", "-f", "json", "one"]).ok().json();
    for option in ["--pid-file", "--pidfd-socket"] {
        bundle
            .oci(&[
                "exec",
                "--detach",
                option,
                "/nosuch/place",
                "one",
                "sleep",
                "1000",
            ])
            .exits(255)
            .stderr_has("/nosuch/place");
        wait_for("it to end", || {
            processes().as_array().map(Vec::len) == Some(1)
        });
        bundle
            .oci(&["create", option, "/nosuch/place", "two"])
            .exits(1)
            .stderr_has("/nosuch/place");
        bundle.oci(&["state", "two"]).exits(1);
    }
    // A link in the place of the file that becomes the pid file leads nowhere.
    let precious = bundle.path("precious");
    fs::write(&precious, "content").expect("a file");
    symlink(&precious, bundle.path(".second")).expect("a link");
    let words = [
        "exec",
        "--detach",
        "--pid-file",
        "second",
        "one",
        "sleep",
        "1000",
    ];
    quietly(bundle.command(&words));
    assert_eq!(fs::read_to_string(&precious).expect("a file"), "content");
    let pid = fs::read_to_string(bundle.path("second")).expect("a pid file");
    assert!(Path::new("/proc").join(pid).exists());
}

#[test]
fn a_fifo_for_the_list_of_users_holds_nobody_up() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    fs::create_dir(bundle.path("rootfs/etc")).expect("a directory");
    let fifo = bundle.path("rootfs/etc/passwd");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("a fifo");
    bundle.config["process"]["env"] = json!(["PATH=/bin"]);
    quietly(bundle.command(&["run", "--detach", "one"]));
    bundle
        .oci(&["exec", "one", "sh", "-c", "echo $HOME"])
        .ok()
        .stdout_is("/");
}

#[test]
fn a_process_is_executed_in_a_container_that_is_yet_to_be_started() {
    let bundle = Bundle::new(&["sh", "-c", "touch /started; exec sleep 1000"]);
    quietly(bundle.command(&["create", "one"]));
    let look = "test ! -e /started && cat /proc/1/mounts | grep -c '^proc .proc '; readlink /proc/self/exe";
    let seen = bundle.oci(&["exec", "one", "sh", "-c", look]);
    seen.ok().stdout_is("1\n/bin/busybox");
    assert_eq!(bundle.status("one"), "created");
    bundle
        .oci(&["exec", "--cwd", "/nosuch", "one", "true"])
        .exits(255);
    bundle.oci(&["start", "one"]).ok();
    wait_for("it to start", || bundle.path("rootfs/started").exists());
    bundle.oci(&["exec", "one", "sh", "-c", "exit 3"]).exits(3);
    bundle.oci(&["start", "one"]).exits(1);
}

#[test]
fn many_processes_are_executed_at_once() {
    let bundle = running(&["sleep", "1000"]);
    let numbers = || (0..16).map(|n| n.to_string());
    let start = |n: String| {
        let command = bundle.command(&["exec", "one", "echo", &n]);
        (n, Running::start(command, Some(b"")))
    };
    let all: Vec<_> = numbers().map(start).collect();
    for (n, one) in all {
        one.finish().ok().stdout_is(&n);
    }
    // To each its own terminal.
    let start = |n: String| {
        let words = format!("echo this is $(({n} + 1000)); exit {n}");
        let command = bundle.command(&["exec", "-t", "one", "sh", "-c", &words]);
        (n, Terminal::start(command, 24, 80))
    };
    let all: Vec<_> = numbers().map(start).collect();
    for (n, terminal) in all {
        let n: i32 = n.parse().expect("a number");
        terminal.wait_shown(&format!("this is {}", n + 1000));
        assert_eq!(terminal.finish(), n);
    }
    let processes = bundle.oci(&["ps", "-f", "json", "one"]).ok().json();
    assert_eq!(processes.as_array().map(Vec::len), Some(1), "{processes}");
}

#[test]
fn a_process_whose_maker_is_killed_does_not_wait_for_ever() {
    let bundle = running(&["sleep", "1000"]);
    let processes = || bundle.oci(&["ps", "-f", "json", "one"]).ok().json();
    let count = || processes().as_array().map(Vec::len);
    bundle.oci(&["pause", "one"]).ok();
    let mut exec = bundle.command(&["exec", "--ignore-paused", "one", "touch", "/late"]);
    let mut exec = exec.spawn().expect("it is executed");
    wait_for("it to be in the container", || count() == Some(2));
    exec.kill().expect("it can be killed");
    exec.wait().expect("a status");
    bundle.oci(&["resume", "one"]).ok();
    wait_for("its end", || count() == Some(1));
    assert!(!bundle.path("rootfs/late").exists());
}

#[test]
fn what_is_executed_has_its_oom_score_from_the_start() {
    let look = ["cat", "/proc/self/oom_score_adj"];
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.config["process"]["oomScoreAdj"] = 400.into();
    quietly(bundle.command(&["run", "--detach", "one"]));
    // The container's, as with runc, or that of its own description.
    for _ in 0..5 {
        bundle
            .oci(&[&["exec", "one"], &look[..]].concat())
            .ok()
            .stdout_is("400");
    }
    let own = json!({"args": look, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "oomScoreAdj": 500});
    fs::write(bundle.path("process.json"), own.to_string()).expect("a file");
    let words = ["exec", "--process", "process.json", "one"];
    bundle.oci(&words).ok().stdout_is("500");
}

#[test]
fn descriptors_are_kept_for_what_is_executed_if_that_is_asked_for() {
    let bundle = running(&["sleep", "1000"]);
    fs::write(bundle.path("given"), "through 3").expect("a file");
    let exec = |options: &[&str]| {
        let words = [&["exec"], options, &["one", "sh", "-c", "cat <&3"]].concat();
        let shell = by_shell("exec 3<given; exec \"$@\"", &bundle.command(&words));
        Running::start(shell, None).finish()
    };
    exec(&["--preserve-fds", "1"]).ok().stdout_is("through 3");
    exec(&[]).exits(1).stderr_has("Bad file descriptor");
    exec(&["--preserve-fds", "9"])
        .exits(255)
        .stderr_has("is to be preserved and not open");
}
