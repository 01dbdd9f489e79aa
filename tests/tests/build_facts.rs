//! What images say of how they were built, as BuildKit's say it: facts that `tests/docker/build_compare.py` found by
//! building the same with both.

use std::fs;

use rctr_tests::{Env, parsed};

/// Every build here makes the one image.
const TAG: [&str; 2] = ["-t", "fact"];

/// What the image's own instructions left in its history: `-` before those that made no layer.
fn history(env: &Env, id: &str) -> Vec<String> {
    let hex = id.trim_start_matches("sha256:");
    let blob = fs::read(env.root().join("blobs/sha256").join(hex)).expect("a configuration");
    let config = parsed(&blob);
    let entries = config["history"].as_array().expect("a history");
    let own = entries
        .iter()
        .filter(|entry| entry["comment"] == "buildkit.dockerfile.v0");
    own.map(|entry| {
        let mark = if entry["empty_layer"] == true {
            "-"
        } else {
            "+"
        };
        format!(
            "{mark} {}",
            entry["created_by"].as_str().unwrap_or_default()
        )
    })
    .collect()
}

fn id(env: &Env) -> String {
    env.inspect("fact")["Id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

#[test]
fn history_reads_as_buildkit_writes_it() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM busybox\nARG B A=1\nENV A=env\nRUN true\nEXPOSE 80 53/udp 9000-9001\n\
             HEALTHCHECK --interval=5s --timeout=1m30s --retries=3 CMD true || false\nHEALTHCHECK NONE\nONBUILD RUN x\n\
             COPY --parents --chmod=755 --chown=3 <<E f /m/\ne\nE\nCMD echo x\n",
        ),
        ("f", "content\n"),
    ]);
    env.build(&TAG, &dir).ok();
    assert_eq!(
        history(&env, &id(&env)),
        [
            "- ARG B A=1",
            "- ENV A=env",
            "+ RUN |2 B= A=env /bin/sh -c true # buildkit",
            "- EXPOSE [53/udp 80/tcp 9000/tcp 9001/tcp]",
            "- HEALTHCHECK {Test:[CMD-SHELL true || false] Interval:5s Timeout:1m30s StartPeriod:0s StartInterval:0s Retries:3}",
            "- HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
            "+ COPY --parents --chown=3 --chmod=755 f <<E /m/ # buildkit",
            "- CMD [\"/bin/sh\" \"-c\" \"echo x\"]",
        ]
    );
    assert_eq!(env.inspect("fact")["Config"]["OnBuild"][0], "RUN x");
}

#[test]
fn an_empty_command_is_none() {
    let env = Env::new();
    let dir = env.dockerfile("FROM busybox\nENTRYPOINT []\nCMD []\n");
    env.build(&TAG, &dir).ok();
    let config = &env.inspect("fact")["Config"];
    assert!(
        config["Cmd"].is_null() && config["Entrypoint"].is_null(),
        "{config}"
    );
}

#[test]
fn steps_are_shown_with_the_values_of_their_variables() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            "from busybox as only\nenv V=val\nrun echo $V ${V} $NONE > /o\ncopy f /$V\n",
        ),
        ("f", "content\n"),
    ]);
    env.build(&TAG, &dir)
        .ok()
        .stderr_has("[2/3] RUN echo val val $NONE > /o\n")
        .stderr_has("[3/3] COPY f /val\n");
    env.run_alone(&["fact", "cat", "/o", "/val"])
        .ok()
        .stdout_is("val val\ncontent");
}

#[test]
fn a_proxy_is_there_under_both_its_names_and_leaves_no_trace() {
    let env = Env::new();
    let dir = env.dockerfile("FROM busybox\nRUN env | grep -i proxy | sort\n");
    let flags = [
        "--build-arg",
        "HTTP_PROXY=http://127.0.0.1:9",
        "--build-arg",
        "no_proxy=x",
    ];
    let output = env.build(&[&TAG, &flags[..]].concat(), &dir);
    for line in [
        "HTTP_PROXY=http://127.0.0.1:9",
        "http_proxy=http://127.0.0.1:9",
        "NO_PROXY=x",
        "no_proxy=x",
    ] {
        output.ok().stderr_has(&format!(" {line}\n"));
    }
    assert!(
        history(&env, &id(&env))
            .iter()
            .all(|line| !line.contains("127.0.0.1"))
    );
    let without = env.build(&TAG, &dir);
    without.ok().stderr_has("CACHED");
}

#[test]
fn triggers_are_named_as_such() {
    let env = Env::new();
    let dir = env.dockerfile("FROM busybox AS base\nONBUILD RUN echo triggered > /t\n");
    env.build(&TAG, &dir).ok();
    let next = env.dockerfile("FROM fact\nRUN cat /t\n");
    env.build(&TAG, &next)
        .ok()
        .stderr_has("ONBUILD RUN echo triggered > /t\n")
        .stderr_has(" triggered\n");
    assert!(env.inspect("fact")["Config"]["OnBuild"].is_null());
}
