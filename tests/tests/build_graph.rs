//! The graph of a `build`: what is done again and what the cache keeps, what is done side by side, and a build's end
//! before its time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use rctr_tests::{Env, entries, wait_for};

#[test]
fn the_cache_looks_at_content() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM busybox\nRUN echo before\nCOPY f /f\nRUN cat /f > /g\n",
        ),
        ("f", "one"),
    ]);
    env.build(&["-t", "c"], &dir).ok();
    let steps = |changed: &dyn Fn()| {
        changed();
        env.build(&["-t", "c"], &dir).ok().cached()
    };
    let file = dir.file("f");
    let all = ["RUN echo before", "COPY f /f", "RUN cat /f > /g"];
    // Written again with the same bytes.
    assert_eq!(steps(&|| fs::write(&file, "one").expect("written")), all);
    // A byte changed, with size and time as they were.
    let times = fs::metadata(&file)
        .expect("metadata")
        .modified()
        .expect("a time");
    let change = || {
        fs::write(&file, "two").expect("written");
        let open = fs::File::options().write(true).open(&file).expect("open");
        open.set_modified(times).expect("a time");
    };
    assert_eq!(steps(&change), ["RUN echo before"]);
    env.run_alone(&["c", "cat", "/g"]).ok().stdout_is("two");
    let mode = || fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("mode");
    assert_eq!(steps(&mode), ["RUN echo before"]);
    let line = || {
        let text = "FROM busybox\nRUN echo before\nLABEL new=label\nCOPY f /f\nRUN cat /f > /h\n";
        dir.write("Dockerfile", text);
    };
    assert_eq!(steps(&line), ["RUN echo before", "COPY f /f"]);
    let all_anew = env.build(&["--no-cache"], &dir);
    assert!(all_anew.ok().cached().is_empty());
}

#[test]
fn a_killed_build_leaves_nothing_running() {
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let env = Env::new();
        let dir = env.dockerfile("FROM busybox\nRUN echo begun; exec sleep 4321\n");
        env.rctr(["pull", "-q", "busybox"]).ok();
        let running = env.spawn(["build", "-t", "never", dir.path()]);
        wait_for("the step", || !entries(&env.state()).is_empty());
        running.signal(signal);
        let output = running.finish();
        if signal == Signal::SIGINT {
            output.exits(130);
            assert_eq!(entries(&env.root().join("tmp")), Vec::<String>::new());
        }
        wait_for("the end of its container", || {
            env.rctr(["internal", "gc"]).ok();
            entries(&env.state())
                .iter()
                .all(|name| name.starts_with('.'))
        });
        assert_eq!(entries(&env.root().join("tmp")), Vec::<String>::new());
        env.rctr(["inspect", "never"]).exits(1);
    }
}

#[test]
fn linked_copies_move_to_another_base() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM busybox\nARG V\nRUN echo $V > /v\nCOPY --link f /x/\nCOPY --from=busybox --link /bin/busybox /y\n",
        ),
        ("f", "file"),
    ]);
    env.build(&["--build-arg", "V=1", "-t", "l"], &dir).ok();
    let output = env.build(&["--build-arg", "V=2", "-t", "l"], &dir);
    assert_eq!(output.ok().cached().len(), 2);
    env.run_alone(&["l", "cat", "/v", "/x/f"])
        .ok()
        .stdout_is("2\nfile");
}

#[test]
fn concurrent_builds_make_a_step_once() {
    let env = Env::new();
    let text = "FROM busybox\nRUN --mount=type=cache,target=/cache echo made >> /cache/log; sleep 1; wc -l < /cache/log > /count\nCMD cat /count\n";
    let dir = env.dockerfile(text);
    env.rctr(["pull", "-q", "busybox"]).ok();
    let names = ["one", "two", "three"];
    let running = names.map(|name| env.spawn(["build", "-t", name, dir.path()]));
    for build in running {
        build.finish().ok();
    }
    for name in names {
        env.run_alone(&[name]).ok().stdout_is("1");
    }
}

#[test]
fn stages_are_built_side_by_side() {
    let env = Env::new();
    // Each waits until the other has begun: one after the other they would wait for ever.
    let stage = |own: &str, other: &str| {
        format!(
            "FROM busybox AS {own}\nRUN --mount=type=cache,target=/meet touch /meet/{own}; n=0; while ! test -e /meet/{other}; do \
         n=$((n+1)); test $n -lt 300 || exit 9; sleep 0.1; done; touch /{own}\n"
        )
    };
    let text = format!(
        "{}{}FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        stage("a", "b"),
        stage("b", "a")
    );
    let dir = env.dockerfile(&text);
    env.build(&["-t", "both"], &dir).ok();
    env.run_alone(&["both", "ls", "/a", "/b"])
        .ok()
        .stdout_is("/a\n/b");
}

#[test]
fn an_insecure_step_changes_no_other_s_network() {
    let env = Env::new();
    let dir = env.dockerfile(
        "FROM busybox\nRUN --security=insecure ip addr add 192.0.2.1/32 dev lo\nRUN ! ip addr show lo | grep 192.0.2.1\n",
    );
    env.build(&[], &dir)
        .exits(1)
        .stderr_has("security.insecure");
    env.build(&["--allow", "security.insecure"], &dir).ok();
}

#[test]
fn a_damaged_cache_entry_is_a_miss() {
    let env = Env::new();
    let dir = env.dockerfile("FROM busybox\nRUN echo a > /a\nRUN echo b > /b\n");
    env.build(&["-t", "d"], &dir).ok();
    let layers = env.inspect("d")["GraphDriver"]["Data"]["LowerDir"].take();
    let of_a = layers
        .as_str()
        .expect("paths")
        .split(':')
        .next()
        .expect("a path")
        .to_owned();
    fs::remove_dir_all(&of_a).expect("removed");
    let output = env.build(&["-t", "e"], &dir);
    assert!(
        !output.ok().cached().contains(&"RUN echo a > /a".to_owned()),
        "{}",
        output.stderr()
    );
    env.run_alone(&["e", "cat", "/a", "/b"])
        .ok()
        .stdout_is("a\nb");
}

#[test]
fn repositories_are_checked_out_once_a_commit() {
    let env = Env::new();
    let repo = env.path("repo");
    let git = |words: &[&str]| {
        let run = Command::new("git")
            .arg("-C")
            .arg(&repo)
            .args(words)
            .env("HOME", env.home())
            .output()
            .expect("git");
        assert!(
            run.status.success(),
            "git {words:?}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
    };
    fs::create_dir(&repo).expect("a directory");
    git(&["init", "-q", "-b", "main"]);
    let commit = |text: &str| {
        fs::write(repo.join("file"), text).expect("a file");
        git(&["add", "."]);
        git(&[
            "-c",
            "user.email=a@b",
            "-c",
            "user.name=x",
            "commit",
            "-qm",
            text,
        ]);
    };
    commit("one");
    // The dumb protocol of git: plain files over HTTP.
    git(&["update-server-info"]);
    let mut server = Command::new("python3")
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"])
        .current_dir(&repo)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a server");
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(server.stdout.take().expect("its output"));
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("its address");
    let port = line
        .split("port ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("a port");
    let text =
        format!("FROM busybox\nADD http://127.0.0.1:{port}/.git#main /src/\nCMD cat /src/file\n");
    let dir = env.dockerfile(&text);
    let builds = || {
        env.build(&["-t", "g"], &dir).ok();
        assert_eq!(env.build(&["-t", "g"], &dir).ok().cached().len(), 1);
        env.run_alone(&["g"]).ok().stdout()
    };
    let first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&builds));
    commit("two");
    git(&["update-server-info"]);
    let second = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&builds));
    server.kill().expect("the server ends");
    server.wait().expect("the server has ended");
    assert_eq!(
        (first.ok().as_deref(), second.ok().as_deref()),
        (Some("one"), Some("two"))
    );
}
