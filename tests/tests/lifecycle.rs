//! A container from `create` to `rm`: names and ids, starting, stopping, killing, waiting, attaching.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::thread;

use nix::sys::signal::Signal;
use rctr_tests::{Env, wait_for};
use serde_json::json;

const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];
/// Says when its handler is in place, and leaves with 9 on SIGTERM, 8 on SIGUSR1.
const HANDLER: [&str; 4] = [
    "busybox",
    "sh",
    "-c",
    "trap 'exit 9' TERM; trap 'exit 8' USR1; echo ready; while :; do sleep 0.05; done",
];

fn detached(env: &Env, flags: &[&str], words: &[&str]) -> String {
    env.run_detached([flags, words].concat())
}

#[test]
fn containers_are_found_by_id_prefix_and_name() {
    let env = Env::new();
    let id = detached(&env, &["--name", "one"], &SLEEP);
    for name in [&id[..], &id[..12], &id[..5], "one", "/one"] {
        env.rctr(["inspect", "--format", "{{.Id}}", name])
            .ok()
            .stdout_is(&id);
    }
    let made_up = env.rctr(["create", "busybox"]).ok().stdout();
    let name = env.inspect(&made_up)["Name"].take();
    let name = name.as_str().expect("a name");
    let parts: Vec<_> = name.trim_start_matches('/').split('_').collect();
    assert!(
        parts.len() == 2 && parts.iter().all(|part| !part.is_empty()),
        "a name such as peaceful_buck, not {name}"
    );
    env.rctr(["kill", &id[..12]]).ok().stdout_is(&id[..12]);
    env.rctr(["inspect", "nosuch"])
        .exits(1)
        .stdout_is("[]")
        .stderr_has("nosuch");
}

#[test]
fn a_prefix_of_several_ids_is_refused() {
    let env = Env::new();
    // Seventeen ids begin with sixteen digits.
    let ids: Vec<_> = (0..17)
        .map(|_| env.rctr(["create", "busybox"]).ok().stdout())
        .collect();
    let twice = |id: &&String| ids.iter().filter(|other| other[..1] == id[..1]).count() > 1;
    let prefix = &ids.iter().find(twice).expect("two of one digit")[..1];
    for verb in ["inspect", "rm", "start"] {
        env.rctr([verb, prefix])
            .refused(1, "Multiple IDs found with provided prefix");
    }
    assert_eq!(env.rctr(["ps", "-aq"]).lines().len(), 17);
}

#[test]
fn a_name_is_taken_once_and_free_after_rm() {
    let env = Env::new();
    env.rctr(["create", "--name", "same", "busybox"]).ok();
    env.rctr(["create", "--name", "same", "busybox"])
        .refused(1, "same");
    env.rctr(["run", "--name", "same", "busybox", "true"])
        .refused(125, "same");
    env.rctr(["rm", "same"]).ok().stdout_is("same");
    env.rctr(["run", "--rm", "--name", "same", "busybox", "true"])
        .ok();
    env.rctr(["run", "--rm", "--name", "same", "busybox", "true"])
        .ok();
    env.rctr(["run", "--name", "no spaces", "busybox"])
        .exits(125)
        .stderr_has("no spaces");
}

#[test]
fn rm_after_the_end_takes_the_container_also_in_the_background() {
    let env = Env::new();
    env.rctr(["run", "--rm", "busybox", "true"]).ok();
    let id = detached(&env, &["--rm"], &HANDLER);
    env.wait_log(&id, "ready");
    env.rctr(["stop", &id]).ok();
    wait_for("the container to be gone", || {
        env.rctr(["ps", "--all", "--quiet"]).stdout().is_empty()
    });
}

#[test]
fn cidfile_holds_the_id_and_is_never_overwritten() {
    let env = Env::new();
    let file = env.path("cid");
    let path = file.to_str().expect("a path in UTF-8");
    let id = detached(&env, &["--cidfile", path], &["busybox", "true"]);
    assert_eq!(fs::read_to_string(&file).expect("a file"), id);
    env.rctr(["run", "--cidfile", path, "busybox", "true"])
        .refused(125, path);
    assert_eq!(env.rctr(["ps", "-aq"]).lines().len(), 1);
}

#[test]
fn a_process_without_a_handler_is_killed_by_stop_unless_it_has_an_init() {
    let env = Env::new();
    let bare = detached(&env, &[], &SLEEP);
    env.rctr(["stop", "-t", "1", &bare]).ok().stdout_is(&bare);
    env.rctr(["wait", &bare]).ok().stdout_is("137");
    let init = detached(&env, &["--init"], &SLEEP);
    let stop = env.rctr(["stop", "-t", "20", &init]);
    stop.ok();
    assert!(stop.took().as_secs() < 10, "SIGTERM was enough");
    env.rctr(["wait", &init]).ok().stdout_is("143");
}

#[test]
fn stop_sends_the_containers_signal_and_waits_for_its_time() {
    let env = Env::new();
    let term = detached(&env, &[], &HANDLER);
    let usr = detached(&env, &["--stop-signal", "SIGUSR1"], &HANDLER);
    let flag = detached(&env, &[], &HANDLER);
    let short = detached(&env, &["--stop-timeout", "0"], &SLEEP);
    for id in [&term, &usr, &flag] {
        env.wait_log(id, "ready");
    }
    env.rctr(["stop", &term]).ok();
    env.rctr(["stop", &usr]).ok();
    env.rctr(["stop", "--signal", "USR1", &flag]).ok();
    env.rctr(["stop", &short]).ok();
    env.rctr(["wait", &term, &usr, &flag, &short])
        .ok()
        .stdout_is("9\n8\n8\n137");
    env.rctr(["stop", &term]).ok().stdout_is(&term);
}

#[test]
fn kill_sends_any_signal_by_name_or_number() {
    let env = Env::new();
    for (signal, code) in [
        ("TERM", "9"),
        ("SIGUSR1", "8"),
        ("10", "8"),
        ("KILL", "137"),
    ] {
        let id = detached(&env, &[], &HANDLER);
        env.wait_log(&id, "ready");
        env.rctr(["kill", "-s", signal, &id]).ok().stdout_is(&id);
        env.rctr(["wait", &id]).ok().stdout_is(code);
        env.rctr(["kill", &id]).refused(1, &id);
    }
    env.rctr(["create", "--name", "still", "busybox"]).ok();
    env.rctr(["kill", "still"]).refused(1, "is not running");
    env.rctr(["kill", "-s", "NOSUCH", "still"])
        .exits(1)
        .stderr_has("NOSUCH");
}

#[test]
fn several_names_one_of_them_missing_the_others_are_done() {
    let env = Env::new();
    for name in ["aa", "bb"] {
        env.rctr(["create", "--name", name, "busybox", "sleep", "1000"])
            .ok();
    }
    let verbs: [&[&str]; 5] = [
        &["start"],
        &["kill"],
        &["start"],
        &["stop", "-t", "0"],
        &["rm"],
    ];
    for verb in verbs {
        env.rctr([verb, &["aa", "missing", "bb"]].concat())
            .refused(1, "missing")
            .stdout_is("aa\nbb");
    }
    env.rctr(["ps", "-aq"]).ok().stdout_is("");
    env.rctr(["wait", "missing"]).refused(1, "missing");
    env.rctr(["rm", "-f", "missing"]).ok();
}

#[test]
fn rm_refuses_what_runs_unless_forced() {
    let env = Env::new();
    let id = detached(&env, &["--name", "busy"], &SLEEP);
    env.rctr(["rm", "busy"]).refused(1, "busy");
    env.rctr(["inspect", "-f", "{{.State.Running}}", "busy"])
        .ok()
        .stdout_is("true");
    env.rctr(["rm", "-f", "busy"]).ok().stdout_is("busy");
    env.rctr(["inspect", &id]).exits(1);
    env.assert_no_leftovers();
}

#[test]
fn rm_v_takes_anonymous_volumes_and_spares_named_ones() {
    let env = Env::new();
    let make = |name: &str| {
        env.rctr([
            "run",
            "--name",
            name,
            "-v",
            "kept:/kept",
            "-v",
            "/anonymous",
            "busybox",
            "sh",
            "-c",
            "echo x > /kept/x; echo y > /anonymous/y",
        ])
        .ok();
        let mounts = env.inspect(name)["Mounts"].take();
        let mounts = mounts.as_array().expect("mounts").clone();
        let of = |target: &str| {
            let mount = mounts.iter().find(|mount| mount["Destination"] == target);
            mount.expect("the mount")["Source"]
                .as_str()
                .expect("a path")
                .to_owned()
        };
        (of("/kept"), of("/anonymous"))
    };
    let (kept, anonymous) = make("with");
    env.rctr(["rm", "-v", "with"]).ok();
    assert!(fs::exists(kept + "/x").expect("a path"));
    assert!(!fs::exists(anonymous).expect("a path"));
    let (_, anonymous) = make("without");
    env.rctr(["rm", "without"]).ok();
    assert!(fs::exists(anonymous + "/y").expect("a path"));
}

#[test]
fn a_failed_start_leaves_a_created_container_with_its_error() {
    let env = Env::new();
    let run = env.rctr(["run", "-d", "--name", "bad", "busybox", "/nosuch"]);
    run.refused(127, "/nosuch");
    let state = env.inspect("bad")["State"].take();
    assert_eq!(state["Status"], "created", "{state}");
    assert_eq!(state["ExitCode"], 127, "{state}");
    let error = state["Error"].as_str().expect("a text");
    assert!(error.contains("/nosuch"), "{error}");
    assert_eq!(
        env.inspect("bad")["Id"],
        json!(run.stdout()),
        "run -d has printed the id"
    );
    env.rctr(["start", "bad"]).refused(1, "/nosuch");
    env.rctr(["rm", "bad"]).ok();
    env.assert_no_leftovers();
}

#[test]
fn a_stopped_container_starts_again_with_its_files() {
    let env = Env::new();
    let script = "echo line >> /file; cat /file; exit 3";
    env.rctr(["create", "--name", "again", "busybox", "sh", "-c", script])
        .ok();
    env.rctr(["start", "-a", "again"])
        .exits(3)
        .stdout_is("line");
    env.rctr(["start", "--attach", "again"])
        .exits(3)
        .stdout_is("line\nline");
    env.rctr(["start", "again"]).ok().stdout_is("again");
    env.rctr(["wait", "again"]).ok().stdout_is("3");
    env.rctr(["logs", "again"])
        .ok()
        .stdout_is("line\nline\nline\nline\nline\nline");
}

#[test]
fn starting_what_runs_changes_nothing() {
    let env = Env::new();
    detached(&env, &["--name", "up"], &SLEEP);
    let pid = env.inspect("up")["State"]["Pid"].take();
    env.rctr(["start", "up"]).ok().stdout_is("up");
    assert_eq!(env.inspect("up")["State"]["Pid"], pid);
}

#[test]
fn start_ai_gives_the_container_input() {
    let env = Env::new();
    env.rctr(["create", "-i", "--name", "cat", "busybox", "cat"])
        .ok();
    env.rctr_with_input(["start", "-ai", "cat"], b"typed\n")
        .ok()
        .stdout_is("typed");
}

#[test]
fn attach_brings_output_input_and_the_exit_code() {
    let env = Env::new();
    let script = "read line; echo got $line; exit 5";
    env.rctr([
        "run", "-d", "-i", "--name", "reader", "busybox", "sh", "-c", script,
    ])
    .ok();
    env.rctr_with_input(["attach", "reader"], b"this\n")
        .exits(5)
        .stdout_is("got this");
    env.rctr(["attach", "reader"])
        .refused(1, "stopped container");
}

#[test]
fn signals_to_an_attached_run_go_to_the_container() {
    let env = Env::new();
    let run = env.spawn([&["run", "--rm", "--name", "proxy"][..], &HANDLER].concat());
    env.wait_log("proxy", "ready");
    run.signal(Signal::SIGUSR1);
    run.finish().exits(8);
    let run = env.spawn(
        [
            &["run", "--name", "alone", "--sig-proxy=false"][..],
            &HANDLER,
        ]
        .concat(),
    );
    env.wait_log("alone", "ready");
    run.signal(Signal::SIGTERM);
    run.finish();
    env.rctr(["inspect", "-f", "{{.State.Running}}", "alone"])
        .ok()
        .stdout_is("true");
}

#[test]
fn a_reader_that_leaves_ends_the_command_and_not_the_container() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let words = ["run", "--name", "endless", "busybox", "yes"];
    let mut command = env.command(words);
    command.stdout(Stdio::piped()).stdin(Stdio::null());
    let mut child = command.spawn().expect("rctr starts");
    let mut first = [0; 2];
    let mut output = child.stdout.take().expect("a pipe");
    output.read_exact(&mut first).expect("output");
    assert_eq!(&first, b"y\n");
    drop(output);
    let status = child.wait().expect("a child can be waited for");
    assert!(!status.success(), "{status}");
    assert_eq!(env.inspect("endless")["State"]["Running"], true);
}

#[test]
fn stopping_starting_and_removing_at_once_ends_well() {
    let env = Env::new();
    let ids: Vec<_> = (0..4)
        .map(|_| detached(&env, &["--stop-timeout", "0"], &SLEEP))
        .collect();
    thread::scope(|scope| {
        for id in &ids {
            let env = &env;
            for verb in [
                &["stop"][..],
                &["start"],
                &["kill"],
                &["rm", "-f"],
                &["inspect"],
            ] {
                scope.spawn(move || env.rctr([verb, &[id]].concat()));
            }
        }
    });
    env.rctr(
        [
            &["rm", "-f"],
            &ids.iter().map(String::as_str).collect::<Vec<_>>()[..],
        ]
        .concat(),
    )
    .ok();
    env.rctr(["ps", "-aq"]).ok().stdout_is("");
    env.assert_no_leftovers();
}

#[test]
fn wait_answers_when_the_container_ends() {
    let env = Env::new();
    let id = detached(&env, &[], &HANDLER);
    env.wait_log(&id, "ready");
    let mut wait = env.spawn(["wait", &id]);
    assert!(wait.alive());
    env.rctr(["kill", "-s", "TERM", &id]).ok();
    wait.finish().ok().stdout_is("9");
}

#[test]
fn wrong_counts_and_flags_have_dockers_codes() {
    let env = Env::new();
    for verb in [
        "start", "stop", "kill", "rm", "wait", "attach", "create", "run", "logs", "inspect",
    ] {
        env.rctr([verb]).exits(1).stderr_has("argument");
        env.rctr([verb, "--no-such"])
            .exits(125)
            .stderr_has("--no-such");
    }
    env.rctr(["stop", "-t", "soon", "x"])
        .exits(125)
        .stderr_has("soon");
    env.rctr(["nosuchverb"]).exits(1).stderr_has("nosuchverb");
}
