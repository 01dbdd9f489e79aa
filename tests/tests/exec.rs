//! `exec`: a second process in a running container.

use std::thread;

use rctr_tests::{Env, Running, wait_for};

fn sleeper(env: &Env, flags: &[&str]) -> String {
    env.run_detached([flags, &["--name", "box", "busybox", "sleep", "1000"]].concat())
}

#[test]
fn output_input_and_exit_codes_are_the_commands() {
    let env = Env::new();
    sleeper(&env, &[]);
    env.rctr(["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 6"])
        .exits(6)
        .stdout_is("out")
        .stderr_has("err");
    env.rctr_with_input(["exec", "-i", "box", "cat"], b"typed\n")
        .ok()
        .stdout_is("typed");
    env.rctr_with_input(["exec", "box", "cat"], b"unseen")
        .ok()
        .stdout_is("");
    env.rctr(["exec", "box", "sh", "-c", "kill -9 $$"])
        .exits(137);
    env.rctr(["exec", "box", "sh", "-c", "kill -40 $$"])
        .exits(168);
    env.rctr(["exec", "box", "/no/such"])
        .refused(127, "/no/such");
    env.rctr(["exec", "box", "nosuch"]).refused(127, "nosuch");
    env.rctr(["exec", "box", "/etc/passwd"])
        .refused(126, "/etc/passwd");
    env.rctr(["exec", "box"]).exits(1).stderr_has("argument");
    env.rctr(["exec", "nosuch", "true"]).refused(1, "nosuch");
    env.rctr(["exec", "--nonsense", "box", "true"])
        .exits(125)
        .stderr_has("--nonsense");
}

#[test]
fn user_directory_and_environment() {
    let env = Env::new();
    sleeper(&env, &["-e", "FROM_RUN=1", "-w", "/tmp"]);
    let script = "id -u; id -g; pwd; echo $FROM_RUN $FROM_EXEC $HOME";
    let exec = |flags: &[&str]| {
        let words = [&["exec"], flags, &["box", "sh", "-c", script]].concat();
        env.rctr(words).ok().lines().join(" ")
    };
    assert_eq!(exec(&[]), "0 0 /tmp 1 /root");
    assert_eq!(
        exec(&["-e", "FROM_EXEC=2", "-w", "/etc"]),
        "0 0 /etc 1 2 /root"
    );
    // A directory that is not there is not made, as run makes it.
    for (dir, message) in [("/nosuch", "no such file"), ("rel", "absolute path")] {
        env.rctr(["exec", "-w", dir, "box", "true"])
            .refused(126, message);
    }
    env.rctr(["exec", "box", "ls", "-d", "/nosuch"]).exits(1);
    assert_eq!(exec(&["-u", "www-data"]), "33 33 /tmp 1 /var/www");
    assert_eq!(exec(&["-u", "1000:7"]), "1000 7 /tmp 1 /");
    env.rctr(["exec", "-u", "nosuch", "box", "true"])
        .exits(126)
        .stderr_has("nosuch");
    let file = env.path("vars");
    std::fs::write(&file, "# no\nFILE=f\nBOTH=file\nQUOTED=\"q\"\n").expect("a file");
    let path = file.to_str().expect("a path in UTF-8");
    let script = "echo $FILE $BOTH $QUOTED";
    let flags = ["exec", "--env-file", path, "-e", "BOTH=flag", "box"];
    env.rctr([&flags[..], &["sh", "-c", script]].concat())
        .ok()
        .stdout_is("f flag \"q\"");
    env.rctr(["exec", "--env-file", "/no/such", "box", "true"])
        .exits(125)
        .stderr_has("/no/such");
    let mut command = env.command(["exec", "-e", "ON_HOST", "box", "sh", "-c", "echo $ON_HOST"]);
    command.env("ON_HOST", "seen");
    Running::start(command, Some(b""))
        .finish()
        .ok()
        .stdout_is("seen");
}

#[test]
fn it_is_in_the_containers_namespaces_and_cgroup() {
    let env = Env::new();
    let id = sleeper(&env, &["--pids-limit", "50"]);
    env.rctr(["exec", "box", "hostname"])
        .ok()
        .stdout_is(&id[..12]);
    env.rctr(["exec", "box", "ps", "-o", "args"])
        .ok()
        .stdout_has("sleep 1000");
    let same = "for n in net mnt pid uts ipc cgroup; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done; \
                diff /proc/1/cgroup /proc/self/cgroup && echo same";
    env.rctr(["exec", "box", "sh", "-c", same])
        .ok()
        .stdout_is("same");
    env.rctr(["exec", "box", "grep", "^Seccomp:", "/proc/self/status"])
        .ok()
        .stdout_is("Seccomp:\t2");
}

#[test]
fn detached_it_goes_on_without_us() {
    let env = Env::new();
    sleeper(&env, &[]);
    env.rctr([
        "exec",
        "-d",
        "box",
        "sh",
        "-c",
        "echo done > /made; sleep 1000",
    ])
    .ok()
    .stdout_is("");
    wait_for("the file", || {
        env.rctr(["exec", "box", "cat", "/made"]).stdout() == "done"
    });
    // As Docker: nobody waits, so it is not the command's exit code.
    env.rctr(["exec", "-d", "box", "/no/such"])
        .refused(1, "/no/such");
    env.rctr(["rm", "-f", "box"]).ok();
    env.assert_no_leftovers();
}

#[test]
fn not_in_a_container_that_does_not_run() {
    let env = Env::new();
    env.rctr(["create", "--name", "still", "busybox"]).ok();
    env.rctr(["exec", "still", "true"])
        .refused(1, "not running");
}

#[test]
fn when_the_container_stops_its_execs_end() {
    let env = Env::new();
    sleeper(&env, &[]);
    let exec = env.spawn(["exec", "box", "sh", "-c", "echo here; sleep 1000"]);
    wait_for("the second process", || {
        env.rctr(["exec", "box", "ps"])
            .stdout()
            .matches("sleep 1000")
            .count()
            >= 2
    });
    env.rctr(["kill", "box"]).ok();
    exec.finish().exits(137).stdout_is("here");
}

#[test]
fn twenty_at_once_each_get_their_own() {
    let env = Env::new();
    sleeper(&env, &[]);
    thread::scope(|scope| {
        for n in 0..20 {
            let env = &env;
            scope.spawn(move || {
                let script = format!("echo {n}; exit {n}");
                env.rctr(["exec", "box", "sh", "-c", &script])
                    .exits(n)
                    .stdout_is(&n.to_string());
            });
        }
    });
    // The shell itself and the container's first process: none of the twenty is left.
    env.rctr(["exec", "box", "sh", "-c", "set -- /proc/[0-9]*; echo $#"])
        .ok()
        .stdout_is("2");
}

#[test]
fn ten_megabytes_go_in_and_come_out_unchanged() {
    let env = Env::new();
    sleeper(&env, &[]);
    let bytes: Vec<u8> = (0..10_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let exec = env.rctr_with_input(["exec", "-i", "box", "cat"], &bytes);
    assert!(exec.ok().stdout_bytes() == bytes);
    let run = env.rctr_with_input(["run", "--rm", "-i", "busybox", "cat"], &bytes);
    assert!(run.ok().stdout_bytes() == bytes);
    // Input that nobody reads holds nothing up.
    env.rctr_with_input(["exec", "-i", "box", "true"], &bytes)
        .ok();
    env.rctr_with_input(["run", "--rm", "-i", "busybox", "true"], &bytes)
        .ok();
}

#[test]
fn an_end_that_comes_before_the_inputs_end_is_the_end() {
    let env = Env::new();
    sleeper(&env, &[]);
    // Their standard input stays open until they are done.
    env.spawn(["exec", "-i", "box", "true"]).finish().ok();
    env.spawn(["run", "--rm", "-i", "busybox", "true"])
        .finish()
        .ok();
}

#[test]
fn a_large_output_comes_whole() {
    let env = Env::new();
    sleeper(&env, &[]);
    let out = env.rctr([
        "exec",
        "box",
        "sh",
        "-c",
        "yes 0123456789abcde | head -c 3200000",
    ]);
    assert_eq!(out.ok().stdout_bytes().len(), 3_200_000);
}
