//! What `build` shows: the plain view, the live one on a terminal, JSON for programs, warnings, and what else it can
//! do with a Dockerfile.

use nix::sys::signal::Signal;
use rctr_tests::{Env, Terminal, parsed};

/// What is printed without times and ids.
fn steady(text: &str) -> String {
    let words = |line: &str| -> String {
        let keep = |word: &&str| {
            let number = word.trim_end_matches('s').parse::<f64>().is_ok();
            !(number && word.contains('.'))
        };
        let line: Vec<&str> = line.split(' ').filter(keep).collect();
        line.join(" ")
    };
    text.lines()
        .map(|line| words(line.split("sha256:").next().unwrap_or_default()) + "\n")
        .collect()
}

#[test]
fn the_plain_view_is_as_people_know_it() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM busybox\nARG WHO=you\nRUN echo hello $WHO\nCOPY f /f\nRUN <<EOF\nset -e\necho script\nEOF\n",
        ),
        ("f", "content\n"),
    ]);
    let output = env.build(&["-t", "shown"], &dir);
    assert_eq!(
        steady(&output.ok().stderr()),
        "#1 [internal] load build definition from Dockerfile\n#1 transferring dockerfile: 88B done\n#1 DONE\n\n\
         #2 [internal] load metadata for docker.io/library/busybox:latest\n#2 DONE\n\n\
         #3 [internal] load .dockerignore\n#3 DONE\n\n\
         #4 [1/4] FROM docker.io/library/busybox:latest@\n#4 CACHED\n\n\
         #5 [2/4] RUN echo hello you\n#5 hello you\n#5 DONE\n\n\
         #6 [internal] load build context\n#6 transferring context: 8B done\n#6 DONE\n\n\
         #7 [3/4] COPY f /f\n#7 DONE\n\n\
         #8 [4/4] RUN <<EOF (set -e...)\n#8 script\n#8 DONE\n\n\
         #9 exporting to image\n#9 exporting layers done\n#9 writing image \n#9 naming to docker.io/library/shown:latest done\n#9 DONE\n"
    );
    env.build(&[], &dir)
        .ok()
        .stderr_has("#8 [4/4] RUN <<EOF (set -e...)\n#8 CACHED\n");
}

#[test]
fn a_failed_step_is_shown_again_with_its_place() {
    let env = Env::new();
    let dir = env.dockerfile("FROM busybox\nRUN echo oops; exit 3\nRUN true\n");
    let output = env.build(&[], &dir);
    output.exits(1);
    let text = steady(&output.stderr());
    let end = "#5 ERROR: process \"/bin/sh -c echo oops; exit 3\" did not complete successfully: exit code: 3\n\
        ------\n > [2/3] RUN echo oops; exit 3:\noops\n------\nDockerfile:2\n--------------------\n   1 |     FROM busybox\n\
        \x20  2 | >>> RUN echo oops; exit 3\n   3 |     RUN true\n--------------------\n\
        rctr: failed to build: failed to solve: process \"/bin/sh -c echo oops; exit 3\" did not complete successfully: exit code: 3\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn a_terminal_shows_all_steps_at_once() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM busybox\nRUN echo working; sleep 2\nCOPY f /f\n",
        ),
        ("f", "content\n"),
    ]);
    let mut command = env.command(["build", dir.path()]);
    command.env("TERM", "xterm").env("NO_COLOR", "1");
    let terminal = Terminal::start(command, 30, 100);
    terminal.wait_shown("[+] Building ");
    terminal.wait_shown(" => [2/3] RUN echo working; sleep 2");
    terminal.wait_shown(" => => # working");
    terminal.resize(30, 60);
    terminal.wait_shown(" => [3/3] COPY f /f");
    terminal.wait_shown(" FINISHED");
    let shown = terminal.shown();
    assert_eq!(terminal.finish(), 0);
    let last = shown.rsplit("[+] Building").next().unwrap_or_default();
    assert!(!last.contains("# working"), "{last:?}");
    assert!(shown.ends_with("\x1b[?25h"), "the cursor is visible");
    assert!(!shown.contains("\x1b[34m"), "NO_COLOR");
    // The drawings after the change fit.
    for line in last.lines() {
        let line = line
            .trim_end_matches("\x1b[K")
            .trim_start_matches("\x1b[J\x1b[?25h");
        assert!(line.chars().count() <= 60, "{line:?}");
    }
}

#[test]
fn an_interrupted_view_ends_tidily() {
    let env = Env::new();
    let dir = env.dockerfile("FROM busybox\nRUN echo begun; sleep 1000\n");
    let mut command = env.command(["build", dir.path()]);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::start(command, 30, 100);
    terminal.wait_shown("# begun");
    terminal.type_in("\x03");
    terminal.wait_shown("CANCELED [2/2] RUN echo begun; sleep 1000");
    assert_eq!(terminal.finish(), 128 + Signal::SIGINT as i32);
}

#[test]
fn programs_read_json_and_quiet_is_quiet() {
    let env = Env::new();
    let dir = env.dockerfile("FROM busybox\nRUN echo out; echo err >&2\n");
    let output = env.build(&["--progress", "rawjson"], &dir);
    let (mut names, mut logs) = (Vec::new(), 0);
    for line in output.ok().stderr().lines() {
        let document = parsed(line.as_bytes());
        for vertex in document["vertexes"].as_array().into_iter().flatten() {
            if vertex["completed"].is_string() {
                names.push(vertex["name"].as_str().unwrap_or_default().to_owned());
            }
        }
        logs += document["logs"].as_array().map_or(0, Vec::len);
    }
    assert!(
        names.contains(&"[2/2] RUN echo out; echo err >&2".to_owned()),
        "{names:?}"
    );
    assert!(logs > 0);
    let quiet = env.build(&["-q"], &dir);
    quiet.ok();
    assert_eq!(quiet.stderr(), "");
    assert!(quiet.stdout().starts_with("sha256:"));
    env.build(&["--progress", "tty"], &dir)
        .exits(1)
        .stderr_has("not a terminal");
}

#[test]
fn warnings_are_told_and_can_be_errors() {
    let env = Env::new();
    let dir = env.dockerfile("FROM busybox AS Bad\nRUN true\n");
    env.build(&[], &dir).ok().stderr_has(
        " 1 warning found:\n - StageNameCasing: Stage name 'Bad' should be lowercase (line 1)",
    );
    env.build(&["--check"], &dir)
        .exits(1)
        .stdout_has("Check complete, 1 warning has been found!\n\nWARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\nStage name 'Bad' should be lowercase\nDockerfile:1\n");
    dir.write(
        "Dockerfile",
        "# check=error=true\nFROM busybox AS Bad\nRUN true\n",
    );
    env.build(&[], &dir)
        .exits(1)
        .stderr_has("lint violation found for rules: StageNameCasing");
    dir.write(
        "Dockerfile",
        "# check=skip=StageNameCasing;error=true\nFROM busybox AS Bad\n",
    );
    env.build(&[], &dir).ok();
    env.build(&["--call=check"], &dir)
        .ok()
        .stdout_is("Check complete, no warnings found.");
}

#[test]
fn what_a_build_takes_is_listed() {
    let env = Env::new();
    let dir = env.dockerfile(
        "# base everything needs\nFROM busybox AS base\nFROM base\n# MODE fast or slow\nARG MODE=fast\nRUN --mount=type=secret,id=key,required=true true\n",
    );
    env.build(&["--call", "targets"], &dir)
        .ok()
        .stdout_is("TARGET      DESCRIPTION\nbase        everything needs\n(default)   ");
    env.build(&["--call", "outline", "--build-arg", "MODE=slow"], &dir).ok().stdout_is(
        "BUILD ARG   VALUE     DESCRIPTION\nMODE        slow      fast or slow\n\nSECRET    REQUIRED\nkey       true\n",
    );
}
