//! `--log-driver` and `--log-opt`: what receivers get, what is kept here, and what happens when one is slow or gone.

mod fluentd;
mod syslog;
mod tls;

use rctr_tests::Env;

#[test]
fn a_driver_without_a_receiver_starts_nothing() {
    let env = Env::new();
    for (flags, named) in [
        (
            &["syslog", "--log-opt", "syslog-address=tcp://127.0.0.1:1"][..],
            "failed to initialize logging driver",
        ),
        (
            &["fluentd", "--log-opt", "fluentd-address=127.0.0.1:1"],
            "dial tcp://127.0.0.1:1",
        ),
        (&["foo"], "logger: no log driver named 'foo' is registered"),
        (&["awslogs"], "log driver awslogs is not supported"),
        (
            &["json-file", "--log-opt", "foo=1"],
            "unknown log opt 'foo' for json-file log driver",
        ),
        (
            &["json-file", "--log-opt", "max-file=x"],
            "invalid value for max-file",
        ),
        (
            &["syslog", "--log-opt", "syslog-facility=x"],
            "no such facility",
        ),
        (
            &["journald", "--log-opt", "tag={{.X}}"],
            "invalid value for tag",
        ),
        (
            &["local", "--log-opt", "mode=x"],
            "logging mode not supported: x",
        ),
    ] {
        let words = [
            &["run", "--rm", "--network", "none", "--log-driver"],
            flags,
            &["busybox", "true"],
        ]
        .concat();
        env.rctr(words).exits(125).stderr_has(named);
    }
    env.rctr(["ps", "-aq"]).ok().stdout_is("");
    // Fluentd may come later.
    let later = [
        "fluentd",
        "--log-opt",
        "fluentd-address=127.0.0.1:1",
        "--log-opt",
        "fluentd-async=true",
    ];
    let words = [
        &[
            "run",
            "--name",
            "later",
            "--network",
            "none",
            "--log-driver",
        ],
        &later[..],
        &["busybox", "echo", "hello"],
    ];
    env.rctr(words.concat()).ok().stdout_is("hello");
    env.rctr(["logs", "later"]).ok().stdout_is("hello");
}

#[test]
fn files_have_their_own_sizes() {
    let env = Env::builder()
        .config("[log]\ndriver = \"local\"\nmax_size = \"1m\"\nmax_file = 2\n")
        .build();
    let opts = ["--log-opt", "max-size=10k", "--log-opt", "max-file=3"];
    let words = [
        &["run", "--name", "sized", "--network", "none"],
        &opts[..],
        &["busybox", "seq", "1", "5000"],
    ]
    .concat();
    env.rctr(words).ok();
    let id = env.inspect("sized")["Id"].as_str().unwrap().to_owned();
    let dir = env.root().join("containers").join(id);
    let size = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |m| m.len());
    assert!(
        size("log") <= 10240 && size("log.1") <= 10240 && size("log.2") > 0 && size("log.3") == 0
    );
    let config = env.inspect("sized")["HostConfig"]["LogConfig"].take();
    assert_eq!(
        config,
        serde_json::json!({"Type": "local", "Config": {"max-file": "3", "max-size": "10k"}})
    );
    env.rctr([
        "run",
        "--name",
        "no",
        "--network",
        "none",
        "--log-driver",
        "none",
        "busybox",
        "echo",
        "x",
    ])
    .ok();
    env.rctr(["logs", "no"])
        .exits(1)
        .stderr_has("configured logging driver does not support reading");
}
