//! `build`: from a Dockerfile to an image that runs, with what the cache keeps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use rctr_tests::{Env, Output, entries, wait_for};

/// A context with these files in it.
fn context(env: &Env, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = env.path(name);
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
        fs::write(path, text).expect("a file");
    }
    dir
}

/// Builds `name` from the context in `dir`.
fn build(env: &Env, name: &str, dir: &Path) -> Output {
    let output = env.rctr(["build", "-t", name, &dir.to_string_lossy()]);
    output.ok();
    output
}

/// The steps that came from the cache, by their instruction.
fn cached(output: &Output) -> Vec<String> {
    let text = output.stderr();
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for pair in lines.windows(2) {
        if pair[1].ends_with(" CACHED")
            && let Some((_, step)) = pair[0].split_once("] ")
            && !step.starts_with("FROM")
        {
            found.push(step.to_owned());
        }
    }
    found
}

#[test]
fn a_dockerfile_becomes_an_image_that_runs() {
    let env = Env::new();
    let dir = context(
        &env,
        "ctx",
        &[
            (
                "Dockerfile",
                "FROM busybox\nARG WHO=world\nENV GREETING=hello A=$WHO\nRUN echo $GREETING $WHO > /greeting\n\
                 COPY app.txt /srv/\nWORKDIR /srv\nLABEL k=v\nEXPOSE 80 53/udp\nUSER 24\nSTOPSIGNAL SIGINT\nCMD [\"cat\", \"/greeting\", \"app.txt\"]\n",
            ),
            ("app.txt", "app\n"),
        ],
    );
    let first = build(&env, "hello", &dir);
    first.stderr_has("[2/4] RUN echo hello world > /greeting");
    env.run_alone(&["hello"]).ok().stdout_is("hello world\napp");
    let image = env.inspect("hello");
    assert_eq!(image["Config"]["Env"][1], "GREETING=hello");
    assert_eq!(image["Config"]["Env"][2], "A=world");
    assert_eq!(image["Config"]["WorkingDir"], "/srv");
    assert_eq!(image["Config"]["User"], "24");
    assert_eq!(image["Config"]["Labels"]["k"], "v");
    assert!(image["Config"]["ExposedPorts"]["53/udp"].is_object());

    let second = build(&env, "again", &dir);
    assert_eq!(cached(&second).len(), 3);
    assert_eq!(env.inspect("again")["Id"], image["Id"]);
    env.rctr([
        "build",
        "-q",
        "--build-arg",
        "WHO=you",
        "-t",
        "you",
        &dir.to_string_lossy(),
    ])
    .ok()
    .stdout_has("sha256:");
    env.run_alone(&["you", "cat", "/greeting"])
        .ok()
        .stdout_is("hello you");
}

#[test]
fn the_cache_looks_at_content() {
    let env = Env::new();
    let dir = context(
        &env,
        "ctx",
        &[
            (
                "Dockerfile",
                "FROM busybox\nRUN echo before\nCOPY f /f\nRUN cat /f > /g\n",
            ),
            ("f", "one"),
        ],
    );
    build(&env, "c", &dir);
    let steps = |changed: &dyn Fn()| {
        changed();
        cached(&build(&env, "c", &dir))
    };
    let file = dir.join("f");
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
        fs::write(dir.join("Dockerfile"), text).expect("written");
    };
    assert_eq!(steps(&line), ["RUN echo before", "COPY f /f"]);
    let output = env.rctr(["build", "--no-cache", &dir.to_string_lossy()]);
    assert!(cached(output.ok()).is_empty());
}

#[test]
fn only_what_the_target_needs_is_built() {
    let env = Env::new();
    let dir = context(
        &env,
        "ctx",
        &[(
            "Dockerfile",
            "FROM busybox AS base\nRUN echo base > /base\nFROM base AS unused\nRUN exit 1\nFROM base as one   \nRUN echo one > /one\n\
             FROM scratch\nCOPY --from=one /base /one /bin/busybox /\nENTRYPOINT [\"/busybox\", \"cat\"]\nCMD [\"/base\", \"/one\"]\n",
        )],
    );
    build(&env, "small", &dir);
    env.run_alone(&["small"]).ok().stdout_is("base\none");
    let path = dir.to_string_lossy().into_owned();
    env.rctr(["build", "--target", "unused", &path])
        .exits(1)
        .stderr_has("exit code: 1")
        .stderr_has(">>> RUN exit 1");
    env.rctr(["build", "--target", "nosuch", &path])
        .exits(1)
        .stderr_has("base, unused, one");
}

#[test]
fn mounts_of_run_leave_nothing_in_the_layer() {
    let env = Env::new();
    let dir = context(
        &env,
        "ctx",
        &[
            (
                "Dockerfile",
                "FROM busybox AS other\nRUN mkdir /out && echo out > /out/file\nFROM busybox\n\
                 RUN --mount=type=secret,id=token,target=/run/secrets/token --mount=type=secret,id=token,env=TOKEN \\\n  cat /run/secrets/token && test \"$TOKEN\" = s3cret\n\
                 RUN --mount=type=cache,target=/cache,id=c date +%s%N >> /cache/log; wc -l < /cache/log > /count\n\
                 RUN --mount=type=bind,target=/src --mount=type=tmpfs,target=/tmp/t cat /src/visible && ! cat /src/hidden && touch /tmp/t/x\n\
                 RUN --mount=type=bind,from=other,source=/out,target=/o,rw echo more > /o/more && ls /o > /listed\n\
                 CMD [\"sh\", \"-c\", \"cat /count /listed; find /run /src /cache /o /tmp/t 2>/dev/null; true\"]\n",
            ),
            (".dockerignore", "hidden\n"),
            ("visible", "seen\n"),
            ("hidden", "unseen\n"),
        ],
    );
    let secret = env.path("token");
    fs::write(&secret, "s3cret").expect("a secret");
    let source = format!("id=token,src={}", secret.display());
    let path = dir.to_string_lossy().into_owned();
    for count in 1..3 {
        let mut words = vec!["build", "--secret", &source, "-t", "m", &path];
        if count == 2 {
            words.push("--no-cache");
        }
        env.rctr(words).ok();
        env.run_alone(&["m"])
            .ok()
            .stdout_is(&format!("{count}\nfile\nmore"));
    }
    let missing = "FROM busybox\nRUN --mount=type=secret,id=token,required true\n";
    fs::write(dir.join("Dockerfile"), missing).expect("written");
    env.rctr(["build", &path])
        .exits(1)
        .stderr_has("secret token: not found");
}

#[test]
fn heredocs_are_scripts_and_files() {
    let env = Env::new();
    let dir = context(
        &env,
        "ctx",
        &[(
            "Dockerfile",
            "FROM busybox\nENV NAME=rctr\nRUN <<EOF\nset -e\necho multi > /a\nEOF\nRUN cat <<A > /b && cat <<'B' > /c\nhello $NAME\nA\nraw $NAME\nB\n\
             RUN <<EOF\n#!/bin/sh\necho script > /d\nEOF\nCOPY <<one <<\"two\" /e/\n$NAME\none\n$NAME\ntwo\nCMD cat /a /b /c /d /e/one /e/two\n",
        )],
    );
    build(&env, "h", &dir);
    env.run_alone(&["h"])
        .ok()
        .stdout_is("multi\nhello rctr\nraw $NAME\nscript\nrctr\n$NAME");
}

#[test]
fn words_are_split_where_docker_splits_them() {
    let env = Env::new();
    let dir = context(
        &env,
        "ctx",
        &[
            (
                "Dockerfile",
                "FROM busybox\nARG D=/x\\ y\nENV SPACED=\"a b\"\nCOPY [\"a b\", \"/c\"]\nCOPY $SPACED /d\nVOLUME [\"/v w\"]\n\
                 HEALTHCHECK --interval=1m30s --retries=3 CMD true\nCMD [\"cat\", \"/c\", \"/d\"]\n",
            ),
            ("a b", "spaced\n"),
        ],
    );
    build(&env, "w", &dir);
    env.run_alone(&["w"]).ok().stdout_is("spaced\nspaced");
    let config = env.inspect("w")["Config"].take();
    assert!(config["Volumes"]["/v w"].is_object(), "{config}");
    assert_eq!(config["Healthcheck"]["Interval"], 90_000_000_000_u64);
    assert_eq!(config["Healthcheck"]["Retries"], 3);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let env = Env::new();
    let path = env.path("ctx").to_string_lossy().into_owned();
    let fails = |text: &str, says: &[&str]| {
        context(
            &env,
            "ctx",
            &[
                ("Dockerfile", text),
                ("present", ""),
                ("secret.key", ""),
                (".dockerignore", "*.key\n"),
            ],
        );
        let output = env.rctr(["build", "-t", "never", &path]);
        output.exits(1);
        for word in says {
            output.stderr_has(word);
        }
    };
    fails(
        "FROM busybox\nCOPPY a b\n",
        &["line 2", "unknown instruction: COPPY", "did you mean COPY?"],
    );
    fails(
        "FROM busybox\nRUN --mont=x true\n",
        &["line 2", "unknown flag: --mont"],
    );
    fails(
        "FROM busybox\nCOPY presant /\n",
        &["Dockerfile:2", "\"/presant\": not found", "present"],
    );
    fails(
        "FROM busybox\nCOPY secret.key /\n",
        &["\"/secret.key\": not found", ".dockerignore"],
    );
    fails(
        "FROM nosuch:1\n",
        &["Dockerfile:1", "docker.io/library/nosuch:1", "not found"],
    );
    fails(
        "FROM busybox AS a\nCOPY --from=b x y\nFROM busybox AS b\nCOPY --from=a x y\n",
        &["circular dependency"],
    );
    fails(
        "FROM busybox\nRUN echo last words; exit 7\n",
        &[
            "last words",
            "exit code: 7",
            ">>> RUN echo last words; exit 7",
        ],
    );
    fails(
        "FROM busybox\nRUN [\"nosuch\"]\n",
        &["\"nosuch\": executable file not found in $PATH"],
    );
    fails(
        "FROM busybox\nUSER nobody-here\nRUN true\n",
        &["unable to find user nobody-here"],
    );
    fails("RUN true\n", &["no build stage in current context"]);
    fails("", &["file with no instructions"]);
    env.rctr(["inspect", "never"]).exits(1);
    env.rctr(["build"])
        .exits(1)
        .stderr_has("requires 1 argument");
    env.rctr(["build", "--nosuch", &path]).exits(125);
    env.rctr(["build", "/no/such/place"])
        .exits(1)
        .stderr_has("/no/such/place");
    // What is missing at run time is no matter of the build.
    context(
        &env,
        "ctx",
        &[("Dockerfile", "FROM busybox\nCMD [\"nosuchfile\"]\n")],
    );
    env.rctr(["build", "-t", "late", &path]).ok();
    env.run_alone(&["late"]).exits(127);
}

#[test]
fn a_killed_build_leaves_nothing_running() {
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let env = Env::new();
        let dir = context(
            &env,
            "ctx",
            &[(
                "Dockerfile",
                "FROM busybox\nRUN echo begun; exec sleep 4321\n",
            )],
        );
        env.rctr(["pull", "-q", "busybox"]).ok();
        let running = env.spawn(["build", "-t", "never", &dir.to_string_lossy()]);
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
    let dir = context(
        &env,
        "ctx",
        &[
            (
                "Dockerfile",
                "FROM busybox\nARG V\nRUN echo $V > /v\nCOPY --link f /x/\nCOPY --from=busybox --link /bin/busybox /y\n",
            ),
            ("f", "file"),
        ],
    );
    let path = dir.to_string_lossy().into_owned();
    env.rctr(["build", "--build-arg", "V=1", "-t", "l", &path])
        .ok();
    let output = env.rctr(["build", "--build-arg", "V=2", "-t", "l", &path]);
    assert_eq!(cached(output.ok()).len(), 2);
    env.run_alone(&["l", "cat", "/v", "/x/f"])
        .ok()
        .stdout_is("2\nfile");
}

#[test]
fn concurrent_builds_make_a_step_once() {
    let env = Env::new();
    let text = "FROM busybox\nRUN --mount=type=cache,target=/cache echo made >> /cache/log; sleep 1; wc -l < /cache/log > /count\nCMD cat /count\n";
    let dir = context(&env, "ctx", &[("Dockerfile", text)]);
    env.rctr(["pull", "-q", "busybox"]).ok();
    let path = dir.to_string_lossy().into_owned();
    let names = ["one", "two", "three"];
    let running = names.map(|name| env.spawn(["build", "-t", name, &path]));
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
    let dir = context(&env, "ctx", &[("Dockerfile", &text)]);
    build(&env, "both", &dir);
    env.run_alone(&["both", "ls", "/a", "/b"])
        .ok()
        .stdout_is("/a\n/b");
}

#[test]
fn a_damaged_cache_entry_is_a_miss() {
    let env = Env::new();
    let dir = context(
        &env,
        "ctx",
        &[(
            "Dockerfile",
            "FROM busybox\nRUN echo a > /a\nRUN echo b > /b\n",
        )],
    );
    build(&env, "d", &dir);
    let layers = env.inspect("d")["GraphDriver"]["Data"]["LowerDir"].take();
    let of_a = layers
        .as_str()
        .expect("paths")
        .split(':')
        .next()
        .expect("a path")
        .to_owned();
    fs::remove_dir_all(&of_a).expect("removed");
    let output = build(&env, "e", &dir);
    assert!(
        !cached(&output).contains(&"RUN echo a > /a".to_owned()),
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
        let run = std::process::Command::new("git")
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
    let mut server = std::process::Command::new("python3")
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"])
        .current_dir(&repo)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
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
    let dir = context(&env, "ctx", &[("Dockerfile", &text)]);
    let builds = || {
        build(&env, "g", &dir);
        assert_eq!(cached(&build(&env, "g", &dir)).len(), 1);
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
