//! `run` and what one does around it.

use rctr_tests::{Env, http_get, wait_for_some};

#[test]
fn a_command_runs_and_its_output_and_status_are_the_commands() {
    let env = Env::new();
    env.rctr(["run", "--rm", "busybox", "echo", "hello"])
        .ok()
        .stdout_is("hello");
    let both = env.rctr([
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ]);
    both.exits(7).stdout_is("out").stderr_has("err");
    env.rctr(["ps", "--all", "--quiet"]).ok().stdout_is("");
}

#[test]
fn standard_input_reaches_the_container_with_i_only() {
    let env = Env::new();
    env.rctr_with_input(["run", "--rm", "-i", "busybox", "cat"], b"some\ntext\n")
        .ok()
        .stdout_is("some\ntext");
    env.rctr_with_input(["run", "--rm", "busybox", "cat"], b"unseen")
        .ok()
        .stdout_is("");
}

#[test]
fn exit_codes_are_dockers() {
    let env = Env::new();
    env.rctr(["run", "--rm", "busybox", "/no/such/program"])
        .refused(127, "/no/such/program");
    env.rctr(["run", "--rm", "busybox", "/etc"])
        .refused(126, "/etc");
    env.rctr(["run", "--rm", "notexec"]).refused(126, "/entry");
    let id = env.run_detached(["busybox", "sleep", "1000"]);
    env.rctr(["kill", &id]).ok();
    env.rctr(["wait", &id]).ok().stdout_is("137");
    env.rctr(["run", "--rm", "--no-such-flag", "busybox"])
        .exits(125)
        .stderr_has("--no-such-flag");
    env.rctr(["run", "--rm", "no-such-image"])
        .refused(125, "no-such-image");
}

#[test]
fn a_published_port_answers_from_the_host() {
    let env = Env::new();
    let id = env.run_detached(["-p", "127.0.0.1::80", "--name", "web", "nginx"]);
    let port = env.rctr([
        "inspect",
        "--format",
        r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#,
        "web",
    ]);
    let port: u16 = port.ok().stdout().parse().expect("a port");
    let page = wait_for_some("nginx to answer", || {
        http_get(("127.0.0.1", port), "/").ok()
    });
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Welcome to nginx!"), "{}", page.body);
    env.wait_log("web", "GET / HTTP/1.1");
    env.rctr(["ps", "--quiet", "--no-trunc"])
        .ok()
        .stdout_is(&id);
    env.rctr(["stop", "web"]).ok().stdout_is("web");
    let state = env.inspect("web")["State"].take();
    assert_eq!(
        (&state["Status"], &state["ExitCode"]),
        (&"exited".into(), &0.into()),
        "{state}"
    );
    env.rctr(["rm", "web"]).ok().stdout_is("web");
    assert!(
        http_get(("127.0.0.1", port), "/").is_err(),
        "the port is closed again"
    );
}

#[test]
fn logs_keep_streams_order_and_tail() {
    let env = Env::new();
    // Between the two streams there is no order; each has its own.
    let script = "echo oops >&2; for n in 1 2 3 4; do echo line $n; done";
    env.rctr(["run", "--name", "both", "busybox", "sh", "-c", script])
        .ok();
    let all = "line 1\nline 2\nline 3\nline 4";
    env.rctr(["logs", "both"])
        .ok()
        .stdout_is(all)
        .stderr_has("oops");
    env.rctr(["run", "--name", "out", "busybox", "sh", "-c", "seq 9"])
        .ok();
    env.rctr(["logs", "--tail", "2", "out"])
        .ok()
        .stdout_is("8\n9")
        .quiet();
    env.rctr(["logs", "--tail", "0", "out"])
        .ok()
        .stdout_is("")
        .quiet();
    env.rctr(["logs", "nosuch"]).refused(1, "nosuch");
}
