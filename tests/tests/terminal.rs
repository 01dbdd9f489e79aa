//! `run -it`, `exec -it`, `attach` and `start -ai` on a terminal made by the test.

use rctr_tests::{Env, Proxy, Terminal, Verdict, wait_for};

fn on_terminal(env: &Env, words: &[&str]) -> Terminal {
    Terminal::start(env.command(words), 24, 80)
}

/// With its image already there, so that no progress is shown.
fn prepared() -> Env {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    env
}

#[test]
fn run_it_is_a_usable_shell() {
    let env = prepared();
    let mut shell = on_terminal(
        &env,
        &["run", "--rm", "-it", "-e", "PS1=ready> ", "busybox", "sh"],
    );
    shell.wait_shown("ready> ");
    assert!(shell.is_raw());
    shell.type_in("tty; stty size; echo $TERM $((40 + 2))\n");
    shell.wait_shown("/dev/pts/0\r\n24 80\r\nxterm 42\r\n");
    // Line editing is the shell's, not ours.
    shell.type_in("echo wrongg\x7f\x7f done\n");
    shell.wait_shown("wron done\r\n");
    shell.type_in("exit 3\n");
    assert_eq!(shell.finish(), 3);
}

#[test]
fn a_resize_reaches_the_container() {
    let env = prepared();
    let mut shell = on_terminal(
        &env,
        &["run", "--rm", "-it", "-e", "PS1=> ", "busybox", "sh"],
    );
    shell.wait_shown("> ");
    shell.type_in("trap 'echo size $(stty size)' WINCH; echo set\n");
    shell.wait_shown("set\r\n");
    shell.resize(50, 132);
    // The shell runs its trap when it next looks.
    wait_for("the new size", || {
        let seen = shell.shown().contains("50 132");
        if !seen {
            shell.type_in("stty size\n");
        }
        seen
    });
    shell.type_in("exit\n");
    shell.finish();
}

#[test]
fn ctrl_c_interrupts_the_program_inside() {
    let env = prepared();
    let mut shell = on_terminal(
        &env,
        &["run", "--rm", "-it", "-e", "PS1=ready> ", "busybox", "sh"],
    );
    shell.wait_shown("ready> ");
    shell.type_in("echo sleeping; sleep 1000\n");
    shell.wait_shown("sleeping\r\n");
    wait_for("the prompt again", || {
        let shown = shell.shown();
        let seen = shown
            .rsplit("sleeping\r\n")
            .next()
            .unwrap_or_default()
            .contains("ready> ");
        if !seen {
            shell.type_in("\x03");
        }
        seen
    });
    shell.type_in("echo status $?\n");
    shell.wait_shown("status 130");
    shell.type_in("exit 0\n");
    assert_eq!(shell.finish(), 0);
}

#[test]
fn ctrl_p_ctrl_q_detaches_and_attach_comes_back() {
    let env = prepared();
    let mut shell = on_terminal(
        &env,
        &[
            "run",
            "-it",
            "--name",
            "box",
            "-e",
            "PS1=ready> ",
            "busybox",
            "sh",
        ],
    );
    shell.wait_shown("ready> ");
    shell.type_in("kept=yes\n");
    shell.type_in("\x10\x11");
    assert_eq!(shell.finish(), 0);
    assert_eq!(env.inspect("box")["State"]["Running"], true);
    let mut again = on_terminal(&env, &["attach", "box"]);
    again.type_in("echo kept: $kept\n");
    again.wait_shown("kept: yes");
    again.type_in("exit 5\n");
    assert_eq!(again.finish(), 5);
    let mut restarted = on_terminal(&env, &["start", "-ai", "box"]);
    restarted.wait_shown("ready> ");
    restarted.type_in("exit 6\n");
    assert_eq!(restarted.finish(), 6);
}

#[test]
fn who_attaches_again_sees_the_program_draw_itself() {
    let env = prepared();
    env.run_detached(["-it", "--name", "box", "-e", "PS1=ready> ", "busybox", "sh"]);
    for _ in 0..2 {
        let mut shell = on_terminal(&env, &["attach", "box"]);
        shell.wait_shown("ready> ");
        shell.type_in("\x10\x11");
        assert_eq!(shell.finish(), 1);
    }
}

#[test]
fn other_detach_keys() {
    let env = prepared();
    env.run_detached(["-it", "--name", "box", "-e", "PS1=ready> ", "busybox", "sh"]);
    let mut shell = on_terminal(&env, &["attach", "--detach-keys", "ctrl-x,d", "box"]);
    shell.type_in("echo one\n");
    shell.wait_shown("one\r\n");
    // The first key alone goes to the program once another follows.
    shell.type_in("\x18");
    shell.type_in("d");
    shell.wait_shown("read escape sequence");
    assert_eq!(shell.finish(), 1);
    assert_eq!(env.inspect("box")["State"]["Running"], true);
    env.rctr(["attach", "--detach-keys", "ctrl-nonsense", "box"])
        .stderr_has("ctrl-nonsense");
}

#[test]
fn every_command_with_a_terminal_has_its_own_detach_keys() {
    let env = prepared();
    let keys = ["--detach-keys", "a,b"];
    let shell = |words: &[&str], code: i32| {
        let mut shell = on_terminal(&env, words);
        shell.wait_shown("ready> ");
        // The usual keys are the program's now.
        shell.type_in("\x10\x11\x15echo $((6 * 7)) here\n");
        shell.wait_shown("42 here\r\n");
        shell.type_in("ab");
        assert_eq!(shell.finish(), code, "{words:?}");
    };
    let rest = ["-it", "-e", "PS1=ready> ", "--name", "box", "busybox", "sh"];
    shell(&[&["run"], &keys[..], &rest].concat(), 0);
    assert_eq!(env.inspect("box")["State"]["Running"], true);
    let exec = ["-it", "-e", "PS1=ready> ", "box", "sh"];
    shell(&[&["exec"], &keys[..], &exec].concat(), 1);
    env.rctr(["stop", "-t", "0", "box"]).ok();
    shell(&[&["start", "-ai"], &keys[..], &["box"]].concat(), 0);
    assert_eq!(env.inspect("box")["State"]["Running"], true);
    for words in [&["run"][..], &["exec"], &["start", "-a"]] {
        let words = [words, &["--detach-keys", "ctrl-nonsense", "box"]].concat();
        let more = if words[0] == "exec" {
            &["true"][..]
        } else {
            &[]
        };
        env.rctr([&words, more].concat())
            .stderr_has("ctrl-nonsense");
    }
}

#[test]
fn exec_it_is_a_usable_shell() {
    let env = prepared();
    env.run_detached(["--name", "box", "busybox", "sleep", "1000"]);
    let mut shell = on_terminal(&env, &["exec", "-it", "-e", "PS1=ready> ", "box", "sh"]);
    shell.wait_shown("ready> ");
    shell.type_in("stty size; tty; echo $TERM\n");
    shell.wait_shown("24 80\r\n/dev/pts/0\r\nxterm");
    shell.resize(30, 100);
    wait_for("the new size", || {
        let seen = shell.shown().contains("30 100");
        if !seen {
            shell.type_in("stty size\n");
        }
        seen
    });
    shell.type_in("exit 4\n");
    assert_eq!(shell.finish(), 4);
    let mut left = on_terminal(&env, &["exec", "-it", "-e", "PS1=ready> ", "box", "sh"]);
    left.wait_shown("ready> ");
    left.type_in("\x10\x11");
    left.finish();
    assert_eq!(env.inspect("box")["State"]["Running"], true);
}

#[test]
fn t_without_a_terminal_is_refused_for_input_only() {
    let env = prepared();
    env.rctr(["run", "--rm", "-it", "busybox", "true"])
        .exits(1)
        .stderr_has("the input device is not a TTY");
    let out = env.rctr([
        "run",
        "--rm",
        "-t",
        "busybox",
        "sh",
        "-c",
        "tty; echo $TERM",
    ]);
    assert_eq!(out.ok().stdout_bytes(), b"/dev/pts/0\r\nxterm\r\n");
}

#[test]
fn without_t_the_terminal_stays_as_it_is() {
    let env = prepared();
    let mut cat = on_terminal(&env, &["run", "--rm", "-i", "busybox", "cat"]);
    cat.type_in("one line\n");
    cat.wait_shown("one line\r\none line\r\n");
    assert!(!cat.is_raw());
    cat.type_in("\x04");
    assert_eq!(cat.finish(), 0);
}

#[test]
fn a_failed_start_leaves_the_terminal_usable() {
    let env = prepared();
    let shell = on_terminal(&env, &["run", "--rm", "-it", "busybox", "/no/such"]);
    shell.wait_shown("/no/such");
    assert_eq!(shell.finish(), 127);
}

#[test]
fn a_pull_shows_a_bar_for_each_layer() {
    let proxy = Proxy::start(|request| match request.is_blob() {
        true => Verdict::Slow(2_000_000),
        false => Verdict::Forward,
    });
    let env = Env::builder().mirror(&proxy.url()).build();
    let mut command = env.command(["pull", "healthz"]);
    command.env("TERM", "xterm");
    let pull = Terminal::start(command, 24, 120);
    pull.wait_shown("Downloading [");
    pull.wait_shown("MB");
    pull.wait_shown("Status: Downloaded newer image for healthz:latest");
    let shown = pull.shown();
    assert_eq!(pull.finish(), 0);
    let words: Vec<_> = shown.split_whitespace().collect();
    let layers: std::collections::HashSet<_> = words
        .windows(3)
        .filter(|words| words[1..] == ["Pull", "complete"])
        .map(|words| &words[0][words[0].len() - "0123456789ab:".len()..])
        .collect();
    assert_eq!(layers.len(), 2, "{shown:?}");
}

#[test]
fn a_terminal_that_its_container_closes_for_a_while_is_heard_again() {
    let env = prepared();
    let script = "exec 0<&- 1>&- 2>&-; while true; do sleep 1; done";
    env.run_detached([
        "-t",
        "--name",
        "quiet",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let pid = env.rctr(["inspect", "--format", "{{.State.Pid}}", "quiet"]);
    let streams = format!("/proc/{}/fd", pid.ok().stdout());
    wait_for("it to close its streams", || {
        !rctr_tests::entries(streams.as_ref())
            .iter()
            .any(|fd| fd == "1")
    });
    // As an init does that has something to say: much more than the terminal keeps for nobody.
    let say = "for i in $(seq 2000); do echo again $i; done > /dev/console";
    env.rctr(["exec", "quiet", "sh", "-c", say]).ok();
    env.wait_log("quiet", "again 2000");
    env.rctr(["rm", "-f", "quiet"]).ok();
}
