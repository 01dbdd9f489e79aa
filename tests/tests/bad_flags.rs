//! Flag values that make no sense: status 125, one line that names the value, nothing made.

use rctr_tests::Env;

/// Arguments of `run`, and a word of the line that refuses them.
const REFUSED: &[(&[&str], &str)] = &[
    (&["-m", "x"], "invalid size: 'x'"),
    (&["-m", "1k"], "Minimum memory limit"),
    (&["-m", "-5"], "-5"),
    (&["-m", "16m", "--memory-swap", "8m"], "memory"),
    (&["--memory-swap", "x"], "x"),
    (&["-p", "x"], "invalid containerPort: x"),
    (&["-p", "99999:80"], "invalid hostPort: 99999"),
    (&["-p", "0"], "0"),
    (&["-p", "80:80:80:80"], "80:80:80:80"),
    (&["-p", "8080-8081:80-85"], "8080-8081"),
    (&["-p", "80/icmp"], "icmp"),
    (&["-p", "1.2.3:80:80"], "1.2.3"),
    (&["-p", "90-80"], "90-80"),
    (&["--publish", ":"], ":"),
    (&["-v", "x"], "must be absolute"),
    (&["-v", "a:b:c:d"], "a:b:c:d"),
    (&["-v", ":/x"], "empty section"),
    (&["-v", "/a:rel"], "'rel'"),
    (&["-v", "/a:/b:nosuchmode"], "nosuchmode"),
    (&["-v", "/tmp:/"], "destination can't be '/'"),
    (&["-v", "v/../x:/b"], "v/../x"),
    (&["-v", "/tmp:/x", "-v", "/var:/x"], "/x"),
    (&["--cpus", "x"], "x"),
    (&["--cpus", "-1"], "Range of CPUs"),
    (&["--cpus", "100000"], "Range of CPUs"),
    (&["--cpuset-cpus", "9999"], "9999"),
    (&["--cpuset-cpus", "x"], "x"),
    (&["--cpu-shares", "x"], "x"),
    (&["--pids-limit", "x"], "x"),
    (&["--ulimit", "x"], "x"),
    (&["--ulimit", "nosuch=1"], "nosuch"),
    (&["--ulimit", "nofile=5:2"], "soft limit"),
    (&["--ulimit", "nofile=a"], "nofile=a"),
    (&["--add-host", "x"], "bad format for add-host"),
    (&["--add-host", "a:nota.n.ip"], "nota.n.ip"),
    (&["--dns", "x"], "invalid IP address: x"),
    (&["-e", "=x"], "=x"),
    (&["--env-file", "/nosuch/file"], "/nosuch/file"),
    (&["--label", "=x"], "=x"),
    (&["--shm-size", "x"], "x"),
    (&["--sysctl", "x"], "x"),
    (&["--sysctl", "kernel.panic=1"], "kernel.panic"),
    (&["--tmpfs", "rel"], "'rel'"),
    (&["--tmpfs", "/x:badopt"], "badopt"),
    (&["--stop-signal", "FOO"], "FOO"),
    (&["--stop-timeout", "x"], "x"),
    (&["--cap-add", "FOO"], "FOO"),
    (&["--cap-drop", "FOO"], "FOO"),
    (&["--security-opt", "foo"], "foo"),
    (&["--security-opt", "seccomp=/nosuch/file"], "/nosuch/file"),
    (&["--platform", "x/y/z/w"], "x/y/z/w"),
    (&["--pull", "x"], "'x'"),
    (&["--name", "/"], "Invalid container name"),
    (&["--name", "a b"], "Invalid container name"),
    (&["--name", "-x"], "Invalid container name"),
    (&["--network", "container:"], "container:"),
    (&["--network", "nosuchnet"], "nosuchnet"),
    (&["--network", "container:nosuch"], "nosuch"),
    (
        &["--network", "container:x", "-p", "80:80"],
        "conflicting options",
    ),
    (
        &["--network", "container:x", "--hostname", "h"],
        "conflicting options",
    ),
    (&["--cidfile", "/nosuch/dir/file"], "/nosuch/dir/file"),
    (&["-u", "nosuchuser"], "nosuchuser"),
    (&["-u", "0:nosuchgroup"], "nosuchgroup"),
    (&["-u", "4294967296"], "4294967296"),
    (&["-w", "rel"], "rel"),
    (&["-d", "--rm", "--restart", "always"], "--restart"),
    (&["--gpus", "all"], "nvidia.com/gpu=all"),
    (&["--gpus", "many"], "--gpus"),
    (&["--link", "other"], "--link"),
    (&["--no-such-flag"], "--no-such-flag"),
    (&["-Z"], "Z"),
];

#[test]
fn values_without_sense_are_refused_and_nothing_is_made() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let mut wrong = Vec::new();
    for (flags, word) in REFUSED {
        let arguments = ["run", "--rm"]
            .iter()
            .chain(*flags)
            .chain(&["busybox", "true"]);
        let run = env.rctr(arguments);
        let lines: Vec<_> = run.stderr().lines().map(str::to_owned).collect();
        let errors = lines.iter().filter(|line| line.starts_with("rctr: "));
        let named = lines
            .first()
            .is_some_and(|line| line.starts_with("rctr: ") && line.contains(word));
        if run.status() != 125 || errors.count() != 1 || !named || !run.stdout().is_empty() {
            wrong.push(format!("{flags:?}: {} {lines:?}", run.status()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    env.rctr(["ps", "--all", "--quiet"]).ok().stdout_is("");
    env.assert_no_leftovers();
}

#[test]
fn what_dockers_engine_would_find_is_status_1_from_create() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    for (flags, code) in [
        (["--name", "a b"], 1),
        (["--cap-add", "FOO"], 1),
        (["-m", "1k"], 1),
        (["-w", "rel"], 1),
        (["--stop-signal", "FOO"], 1),
        (["-m", "5x"], 125),
        (["-p", "x"], 125),
    ] {
        env.rctr([&["create"], &flags[..], &["busybox"]].concat())
            .exits(code);
        env.rctr([&["run"], &flags[..], &["busybox"]].concat())
            .exits(125);
    }
    env.rctr(["create", "--pull", "never", "nosuch"])
        .refused(1, "nosuch");
    env.rctr(["pull", "--platform", "nosuch", "busybox"])
        .exits(1);
    env.rctr(["inspect", "--type", "nosuch", "busybox"])
        .refused(1, "unknown type: \"nosuch\"");
    env.rctr(["ps", "--all", "--quiet"]).ok().stdout_is("");
}

#[test]
fn a_name_is_one_containers_and_the_message_names_it() {
    let env = Env::new();
    let id = env
        .rctr(["create", "--name", "taken", "busybox"])
        .ok()
        .stdout();
    env.rctr(["run", "--rm", "--name", "taken", "busybox", "true"])
        .refused(125, "/taken")
        .stderr_has(&id)
        .stderr_has("rctr rm taken");
    env.rctr(["create", "--name", "taken", "busybox"])
        .refused(1, "/taken");
    env.rctr(["rm", "taken"]).ok();
    env.rctr([
        "run",
        "--rm",
        "--name",
        "taken",
        "--network",
        "none",
        "busybox",
        "true",
    ])
    .ok();
}

#[test]
fn a_wrong_number_of_arguments_is_status_1() {
    let env = Env::new();
    for arguments in [
        &["run"][..],
        &["create"],
        &["pull"],
        &["rm"],
        &["rmi"],
        &["logs"],
        &["exec", "x"],
        &["ps", "x"],
    ] {
        let out = env.rctr(arguments);
        out.exits(1).stderr_has("argument").stderr_has("See 'rctr");
    }
    env.rctr(["nosuchcommand"])
        .exits(1)
        .stderr_has("nosuchcommand");
    env.rctr(["pull", "--nosuch", "x"])
        .exits(125)
        .stderr_has("--nosuch");
}

#[test]
fn references_that_are_none_are_refused() {
    let env = Env::new();
    for name in [
        "",
        "UPPER",
        "a:b:c",
        "a b",
        "-x",
        "a//b",
        "a@sha256:12",
        "a:tag with space",
        "/x",
        "x/",
    ] {
        let run = env.rctr(["run", "--rm", "--", name, "true"]);
        assert!(
            run.status() == 125
                && run
                    .stderr()
                    .lines()
                    .filter(|l| l.starts_with("rctr: "))
                    .count()
                    == 1,
            "{name:?}: {run:?}"
        );
    }
    env.rctr(["run", "--rm", "UPPER", "true"])
        .refused(125, "must be lowercase");
}
