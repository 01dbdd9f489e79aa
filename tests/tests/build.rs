//! `build`: from a Dockerfile to an image that runs; what is wrong with one is said with its place.

use std::fs;

use rctr_tests::Env;

#[test]
fn a_dockerfile_becomes_an_image_that_runs() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM busybox\nARG WHO=world\nENV GREETING=hello A=$WHO\nRUN echo $GREETING $WHO > /greeting\n\
             COPY app.txt /srv/\nWORKDIR /srv\nLABEL k=v\nEXPOSE 80 53/udp\nUSER 24\nSTOPSIGNAL SIGINT\nCMD [\"cat\", \"/greeting\", \"app.txt\"]\n",
        ),
        ("app.txt", "app\n"),
    ]);
    env.build(&["-t", "hello"], &dir)
        .ok()
        .stderr_has("[2/4] RUN echo hello world > /greeting");
    env.run_alone(&["hello"]).ok().stdout_is("hello world\napp");
    let image = env.inspect("hello");
    assert_eq!(image["Config"]["Env"][1], "GREETING=hello");
    assert_eq!(image["Config"]["Env"][2], "A=world");
    assert_eq!(image["Config"]["WorkingDir"], "/srv");
    assert_eq!(image["Config"]["User"], "24");
    assert_eq!(image["Config"]["Labels"]["k"], "v");
    assert!(image["Config"]["ExposedPorts"]["53/udp"].is_object());

    let again = env.build(&["-t", "again"], &dir);
    assert_eq!(again.ok().cached().len(), 3);
    assert_eq!(env.inspect("again")["Id"], image["Id"]);
    env.build(&["-q", "--build-arg", "WHO=you", "-t", "you"], &dir)
        .ok()
        .stdout_has("sha256:");
    env.run_alone(&["you", "cat", "/greeting"])
        .ok()
        .stdout_is("hello you");
}

#[test]
fn only_what_the_target_needs_is_built() {
    let env = Env::new();
    let dir = env.dockerfile(
        "FROM busybox AS base\nRUN echo base > /base\nFROM base AS unused\nRUN exit 1\nFROM base as one   \nRUN echo one > /one\n\
         FROM scratch\nCOPY --from=one /base /one /bin/busybox /\nENTRYPOINT [\"/busybox\", \"cat\"]\nCMD [\"/base\", \"/one\"]\n",
    );
    env.build(&["-t", "small"], &dir).ok();
    env.run_alone(&["small"]).ok().stdout_is("base\none");
    env.build(&["--target", "unused"], &dir)
        .exits(1)
        .stderr_has("exit code: 1")
        .stderr_has(">>> RUN exit 1");
    env.build(&["--target", "nosuch"], &dir)
        .exits(1)
        .stderr_has("base, unused, one");
}

#[test]
fn mounts_of_run_leave_nothing_in_the_layer() {
    let env = Env::new();
    let dir = env.context(&[
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
    ]);
    let secret = env.path("token");
    fs::write(&secret, "s3cret").expect("a secret");
    let source = format!("id=token,src={}", secret.display());
    for (count, more) in [(1, &[][..]), (2, &["--no-cache"])] {
        let flags = [&["--secret", &source, "-t", "m"], more].concat();
        env.build(&flags, &dir).ok();
        env.run_alone(&["m"])
            .ok()
            .stdout_is(&format!("{count}\nfile\nmore"));
    }
    let missing = "FROM busybox\nRUN --mount=type=secret,id=token,required true\n";
    dir.write("Dockerfile", missing);
    env.build(&[], &dir)
        .exits(1)
        .stderr_has("secret token: not found");
}

#[test]
fn heredocs_are_scripts_and_files() {
    let env = Env::new();
    let dir = env.dockerfile(
        "FROM busybox\nENV NAME=rctr\nRUN <<EOF\nset -e\necho multi > /a\nEOF\nRUN cat <<A > /b && cat <<'B' > /c\nhello $NAME\nA\nraw $NAME\nB\n\
         RUN <<EOF\n#!/bin/sh\necho script > /d\nEOF\nCOPY <<one <<\"two\" /e/\n$NAME\none\n$NAME\ntwo\nCMD cat /a /b /c /d /e/one /e/two\n",
    );
    env.build(&["-t", "h"], &dir).ok();
    env.run_alone(&["h"])
        .ok()
        .stdout_is("multi\nhello rctr\nraw $NAME\nscript\nrctr\n$NAME");
}

#[test]
fn words_are_split_where_docker_splits_them() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM busybox\nARG D=/x\\ y\nENV SPACED=\"a b\"\nCOPY [\"a b\", \"/c\"]\nCOPY $SPACED /d\nVOLUME [\"/v w\"]\n\
             HEALTHCHECK --interval=1m30s --retries=3 CMD true\nCMD [\"cat\", \"/c\", \"/d\"]\n",
        ),
        ("a b", "spaced\n"),
    ]);
    env.build(&["-t", "w"], &dir).ok();
    env.run_alone(&["w"]).ok().stdout_is("spaced\nspaced");
    let config = env.inspect("w")["Config"].take();
    assert!(config["Volumes"]["/v w"].is_object(), "{config}");
    assert_eq!(config["Healthcheck"]["Interval"], 90_000_000_000_u64);
    assert_eq!(config["Healthcheck"]["Retries"], 3);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let env = Env::new();
    let fails = |text: &str, says: &[&str]| {
        let dir = env.context(&[
            ("Dockerfile", text),
            ("present", ""),
            ("secret.key", ""),
            (".dockerignore", "*.key\n"),
        ]);
        let output = env.build(&["-t", "never"], &dir);
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
    env.rctr(["build", "--nosuch", "."]).exits(125);
    env.rctr(["build", "/no/such/place"])
        .exits(1)
        .stderr_has("/no/such/place");
    // What is missing at run time is no matter of the build.
    let late = env.dockerfile("FROM busybox\nCMD [\"nosuchfile\"]\n");
    env.build(&["-t", "late"], &late).ok();
    env.run_alone(&["late"]).exits(127);
}
