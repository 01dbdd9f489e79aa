//! Health checks of images and flags: what `ps`, `inspect` and the events tell of them.

use std::time::Duration;

use rctr_tests::{Env, wait_for};
use serde_json::{Value, json};

const QUICK: [&str; 4] = ["--health-interval", "100ms", "--health-retries", "2"];

fn run(env: &Env, name: &str, flags: &[&str], script: &str) -> String {
    let words = ["--network", "none", "--name", name];
    env.run_detached([&words, flags, &["busybox", "sh", "-c", script]].concat())
}

fn health(env: &Env, name: &str) -> Value {
    env.inspect(name)["State"]["Health"].take()
}

fn wait_health(env: &Env, name: &str, status: &str) {
    wait_for(&format!("{name} to be {status}"), || {
        health(env, name)["Status"] == status
    });
}

fn last(env: &Env, name: &str) -> Value {
    let log = health(env, name)["Log"].take();
    log.as_array()
        .and_then(|log| log.last().cloned())
        .unwrap_or_default()
}

#[test]
fn a_container_becomes_unhealthy_and_healthy() {
    let env = Env::new();
    let check = "echo looked; test -e /ok";
    let flags = [&["--health-cmd", check], &QUICK[..]].concat();
    run(&env, "web", &flags, "sleep 1000");
    let status = || env.rctr(["ps", "--format", "{{.Status}}"]).stdout();
    wait_health(&env, "web", "unhealthy");
    assert!(status().ends_with(" (unhealthy)"), "{}", status());
    let seen = health(&env, "web");
    assert!(seen["FailingStreak"].as_u64() >= Some(2), "{seen}");
    assert_eq!(last(&env, "web")["ExitCode"], 1);
    assert_eq!(last(&env, "web")["Output"], "looked\n");
    let listed = |health: &str| {
        env.rctr(["ps", "-q", "-f", &format!("health={health}")])
            .lines()
            .len()
    };
    assert_eq!(
        (listed("unhealthy"), listed("healthy"), listed("none")),
        (1, 0, 0)
    );

    env.rctr(["exec", "web", "touch", "/ok"]).ok();
    wait_health(&env, "web", "healthy");
    assert!(status().ends_with(" (healthy)"), "{}", status());
    assert_eq!(health(&env, "web")["FailingStreak"], 0);
    assert_eq!(listed("healthy"), 1);
    wait_for("five results", || {
        health(&env, "web")["Log"]
            .as_array()
            .is_some_and(|log| log.len() == 5)
    });
    let newest = last(&env, "web");
    for field in ["Start", "End"] {
        let time = newest[field].as_str().map(str::parse::<jiff::Timestamp>);
        assert!(matches!(time, Some(Ok(_))), "{newest}");
    }
    assert_eq!(
        env.inspect("web")["Config"]["Healthcheck"],
        json!({"Test": ["CMD-SHELL", check], "Interval": 100_000_000, "Retries": 2})
    );

    // Nobody looks after one that has ended; what was found stays.
    env.rctr(["stop", "-t", "0", "web"]).ok();
    let ended = health(&env, "web");
    assert_eq!(ended["Status"], "unhealthy");
    assert_eq!(ended["Log"].as_array().map(Vec::len), Some(5));
    env.rctr(["exec", "web", "true"]).exits(1);
    env.rctr(["start", "web"]).ok();
    wait_health(&env, "web", "healthy");
}

#[test]
fn a_container_starts_until_a_probe_has_told() {
    let env = Env::new();
    run(
        &env,
        "slow",
        &["--health-cmd", "true", "--health-interval", "1h"],
        "sleep 1000",
    );
    run(&env, "plain", &[], "sleep 1000");
    assert_eq!(
        health(&env, "slow"),
        json!({"Status": "starting", "FailingStreak": 0, "Log": []})
    );
    assert_eq!(health(&env, "plain"), Value::Null);
    env.rctr(["ps", "-f", "name=slow", "--format", "{{.Status}}"])
        .ok()
        .stdout_has("(health: starting)");
    env.rctr(["ps", "-f", "health=starting", "--format", "{{.Names}}"])
        .ok()
        .stdout_is("slow");
    env.rctr(["ps", "-f", "health=none", "--format", "{{.Names}}"])
        .ok()
        .stdout_is("plain");
    env.rctr(["inspect", "-f", "{{.State.Health.Status}}", "slow"])
        .ok()
        .stdout_is("starting");
    env.rctr([
        "inspect",
        "-f",
        "{{if .State.Health}}yes{{else}}no{{end}}",
        "plain",
    ])
    .ok()
    .stdout_is("no");
}

#[test]
fn early_failures_do_not_count() {
    let env = Env::new();
    let flags = [
        "--health-cmd",
        "test -e /ok",
        "--health-interval",
        "1h",
        "--health-retries",
        "1",
        "--health-start-period",
        "1h",
        "--health-start-interval",
        "50ms",
    ];
    run(&env, "slow", &flags, "sleep 1000");
    wait_for("some failures", || {
        health(&env, "slow")["Log"]
            .as_array()
            .is_some_and(|log| log.len() >= 3)
    });
    let seen = health(&env, "slow");
    assert_eq!(
        (&seen["Status"], &seen["FailingStreak"]),
        (&json!("starting"), &json!(0))
    );
    env.rctr(["exec", "slow", "touch", "/ok"]).ok();
    wait_health(&env, "slow", "healthy");
}

#[test]
fn a_probe_that_takes_too_long_is_killed_whole() {
    let env = Env::new();
    let check = "echo so far; sleep 4711 & sleep 4711";
    let flags = [
        "--health-cmd",
        check,
        "--health-interval",
        "50ms",
        "--health-timeout",
        "300ms",
        "--health-retries",
        "1",
    ];
    let id = run(&env, "late", &flags, "sleep 1000");
    wait_health(&env, "late", "unhealthy");
    assert_eq!(last(&env, "late")["ExitCode"], -1);
    assert_eq!(
        last(&env, "late")["Output"],
        "Health check exceeded timeout (300ms): so far\n"
    );
    // Not two at a time: the container's own and one probe's.
    for _ in 0..20 {
        let processes = env.processes_of(&id).len();
        assert!(processes <= 5, "{processes} processes");
        std::thread::sleep(Duration::from_millis(20));
    }
    env.rctr(["stop", "-t", "0", "late"]).ok();
}

#[test]
fn output_is_kept_up_to_its_limit() {
    let env = Env::new();
    let check = "head -c 5000 /dev/zero | tr '\\0' x; echo e >&2";
    let flags = ["--health-cmd", check, "--health-interval", "50ms"];
    run(&env, "wordy", &flags, "sleep 1000");
    wait_health(&env, "wordy", "healthy");
    let output = last(&env, "wordy")["Output"]
        .as_str()
        .map(str::to_owned)
        .unwrap_or_default();
    assert_eq!(output, format!("{}...", "x".repeat(4096)));
}

#[test]
fn what_cannot_be_executed_is_a_failure_with_a_reason() {
    let env = Env::new();
    env.build_image(
        "checked",
        "FROM busybox\nHEALTHCHECK --interval=50ms --retries=1 CMD [\"nosuch\"]\nCMD sleep 1000\n",
    );
    env.run_detached(["--name", "bad", "--network", "none", "checked"]);
    wait_health(&env, "bad", "unhealthy");
    let result = last(&env, "bad");
    assert_eq!(result["ExitCode"], -1);
    let output = result["Output"].as_str().unwrap_or_default();
    assert!(
        output.contains("nosuch") && output.contains("not found"),
        "{output}"
    );
}

#[test]
fn the_image_checks_and_flags_win() {
    let env = Env::new();
    env.build_image(
        "checked",
        "FROM busybox\nUSER nobody\nENV WORD=env\nWORKDIR /tmp\n\
         HEALTHCHECK --interval=50ms --timeout=7s --retries=4 CMD echo $WORD $(id -un) $PWD\nCMD sleep 1000\n",
    );
    let start = |name: &str, flags: &[&str]| {
        let words = ["--network", "none", "--name", name];
        env.run_detached([&words, flags, &["checked"]].concat());
    };
    start("image", &[]);
    start(
        "flags",
        &["--health-retries", "9", "--health-interval", "1h"],
    );
    start("none", &["--no-healthcheck"]);
    wait_health(&env, "image", "healthy");
    assert_eq!(last(&env, "image")["Output"], "env nobody /tmp\n");
    let config = |name: &str| env.inspect(name)["Config"]["Healthcheck"].take();
    assert_eq!(config("flags")["Retries"], 9);
    assert_eq!(config("flags")["Timeout"], 7_000_000_000_u64);
    assert_eq!(config("flags")["Interval"], 3_600_000_000_000_u64);
    assert_eq!(config("none")["Test"], json!(["NONE"]));
    assert_eq!(health(&env, "none"), Value::Null);
}

#[test]
fn a_paused_container_is_not_probed() {
    let env = Env::new();
    let flags = [
        "--health-cmd",
        "echo x >> /looked",
        "--health-interval",
        "50ms",
    ];
    run(&env, "web", &flags, "sleep 1000");
    wait_health(&env, "web", "healthy");
    env.rctr(["pause", "web"]).ok();
    assert_eq!(health(&env, "web")["Status"], "unhealthy");
    env.rctr(["ps", "--format", "{{.Status}}"])
        .ok()
        .stdout_has("(Paused)");
    let newest = last(&env, "web");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(last(&env, "web"), newest);
    env.rctr(["unpause", "web"]).ok();
    wait_for("another probe", || last(&env, "web") != newest);
    assert_eq!(health(&env, "web")["Status"], "healthy");
}

/// Seen with Docker: SHELL is for the build alone.
#[test]
fn a_line_is_for_bin_sh_whatever_the_image_was_built_with() {
    let env = Env::new();
    env.build_image(
        "shelled",
        "FROM busybox\nSHELL [\"/bin/ash\", \"-e\", \"-c\"]\nHEALTHCHECK --interval=50ms CMD echo $0[$-]\nCMD sleep 1000\n",
    );
    env.run_detached(["--name", "web", "--network", "none", "shelled"]);
    wait_health(&env, "web", "healthy");
    let output = last(&env, "web")["Output"].to_string();
    assert!(
        output.contains("/bin/sh[") && !output.contains('e'),
        "{output}"
    );
    assert_eq!(env.inspect("web")["Config"]["Shell"], Value::Null);
}

/// The probe that the end of a run kills belongs to that run.
#[test]
fn an_unhealthy_container_that_is_restarted_starts() {
    let env = Env::new();
    // At first it fails at once; later it is always at work.
    let check = "if test -e /slow; then echo at work; sleep 1000; fi; exit 1";
    let flags = ["--health-cmd", check, "--health-interval", "50ms"];
    let flags = [&flags[..], &["--health-retries", "1"]].concat();
    let id = run(&env, "web", &flags, "exec sleep 4711");
    wait_health(&env, "web", "unhealthy");
    env.rctr(["exec", "web", "touch", "/slow"]).ok();
    for _ in 0..10 {
        wait_for("a probe at work", || env.processes_of(&id).len() > 1);
        env.rctr(["restart", "-t", "0", "web"]).ok();
        for _ in 0..5 {
            let seen = health(&env, "web");
            assert_eq!(seen["Status"], "starting", "{seen}");
            env.rctr(["ps", "--format", "{{.Status}}"])
                .ok()
                .stdout_has("(health: starting)");
        }
    }
}

#[test]
fn what_cannot_be_is_refused_in_docker_s_words() {
    let env = Env::new();
    for (flags, code, why) in [
        (
            &["--no-healthcheck", "--health-cmd", "x"][..],
            125,
            "--no-healthcheck conflicts with --health-* options",
        ),
        (
            &["--health-interval=-1s"],
            125,
            "--health-interval cannot be negative",
        ),
        (
            &["--health-retries=-1"],
            125,
            "--health-retries cannot be negative",
        ),
        (
            &["--health-timeout", "5"],
            125,
            "invalid argument \"5\" for \"--health-timeout\" flag: time: missing unit in duration \"5\"",
        ),
        (
            &["--health-interval", "1us"],
            1,
            "Interval in Healthcheck cannot be less than 1ms",
        ),
    ] {
        env.rctr([&["create"], flags, &["busybox"]].concat())
            .refused(code, why);
    }
}
