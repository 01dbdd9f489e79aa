//! What has been built is pushed, saved and looked at, and the cache shrinks.

use std::fs;

use rctr_tests::{Docker, Env, OwnRegistry, installed, parsed, skopeo_inspect, skopeo_raw, text};
use serde_json::json;

use super::{PLATFORMS, member, several};

#[test]
fn a_platform_is_chosen_by_history_and_save() {
    let env = Env::new();
    let flags = ["-q", "-t", "app", "--platform", PLATFORMS];
    env.build(&flags, &several(&env)).ok();
    for platform in ["linux/arm64", "linux/amd64"] {
        let architecture = platform.trim_start_matches("linux/");
        let label = format!("LABEL arch={architecture}");
        env.rctr(["history", "--no-trunc", "--platform", platform, "app"])
            .ok()
            .stdout_has(&label);
        let archive = env.path("one.tar");
        env.rctr(["save", "--platform", platform, "-o", &text(&archive), "app"])
            .ok();
        let saved = member(&archive, "manifest.json");
        let config = member(&archive, saved[0]["Config"].as_str().expect("a name"));
        assert_eq!(config["architecture"], architecture);
        assert_eq!(saved[0]["RepoTags"], json!(["app:latest"]));
    }
    let missing = "does not provide the specified platform (linux/s390x)";
    env.rctr(["history", "--platform", "linux/s390x", "app"])
        .refused(1, missing);
    env.rctr([
        "save",
        "--platform",
        "linux/s390x",
        "-o",
        &text(&env.path("no.tar")),
        "app",
    ])
    .refused(1, missing);
    assert!(!env.path("no.tar").exists());
}

#[test]
fn the_cache_may_keep_so_much() {
    let env = Env::new();
    let steps =
        "FROM busybox\nRUN head -c 3000000 /dev/zero > /a\nRUN head -c 3000000 /dev/zero > /b\n";
    env.build(
        &["-q", "-o", &text(&env.path("out"))],
        &env.dockerfile(steps),
    )
    .ok();
    let records = |env: &Env| {
        env.rctr(["builder", "du"])
            .ok()
            .stdout()
            .matches("true")
            .count()
    };
    let all = records(&env);
    assert!(all >= 2);
    let prune = |flag: &str| env.rctr(["builder", "prune", "-af", flag]);
    for enough in [
        "--max-used-space=1g",
        "--keep-storage=1g",
        "--reserved-space=1g",
        "--min-free-space=1",
    ] {
        prune(enough).ok().stdout_has("Total:\t0B");
    }
    assert_eq!(records(&env), all);
    prune("--max-used-space=4m").ok();
    assert!((1..all).contains(&records(&env)));
    // No disk has that much, but what is reserved stays.
    env.rctr([
        "builder",
        "prune",
        "-af",
        "--min-free-space=1000t",
        "--reserved-space=4m",
    ])
    .ok();
    assert!(records(&env) >= 1);
    prune("--min-free-space=1000t").ok();
    assert_eq!(records(&env), 0);
    prune("--min-free-space=much").refused(125, "--min-free-space");
}

#[test]
fn a_pushed_image_has_the_same_digest_for_everybody() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let repository = format!("{}/me/app", registry.host());
    let context = env.dockerfile("FROM busybox\nRUN echo made > /made\nCMD [\"cat\", \"/made\"]\n");
    let metadata = env.path("metadata.json");
    let docker = (installed("dockerd") && installed("docker")).then(|| Docker::start(&env));
    for compression in ["gzip", "zstd", "estargz"] {
        let name = format!("{repository}:{compression}");
        let flags = ["-q", "-t", &name, "--push", "--compression", compression];
        env.build(
            &[&flags[..], &["--metadata-file", &text(&metadata)]].concat(),
            &context,
        )
        .ok();
        let said = parsed(&fs::read(&metadata).expect("a file"));
        let digest = said["containerimage.digest"].as_str().expect("a digest");
        let inspected = skopeo_inspect(&format!("docker://{name}"));
        assert_eq!(inspected["Digest"], digest);
        let expected = format!("{repository}@{digest}");
        let known = env.inspect(&name)["RepoDigests"].clone();
        assert!(
            known
                .as_array()
                .is_some_and(|all| all.contains(&json!(expected))),
            "{known}"
        );
        if let Some(docker) = &docker {
            let pulled = docker.run(&["pull", &name]);
            assert!(pulled.contains(&format!("Digest: {digest}")), "{pulled}");
            let said = docker.run(&["image", "inspect", "-f", "{{.RepoDigests}}", &name]);
            assert!(said.contains(&expected), "{said}");
            let id = docker.run(&["image", "inspect", "-f", "{{.Id}}", &name]);
            assert_eq!(env.inspect(&name)["Id"], id.as_str());
            assert_eq!(
                docker.run(&["run", "--rm", "--network", "none", &name]),
                "made"
            );
        }
    }
    let plain = format!("{repository}:push");
    env.build(&["-q", "-t", &plain], &context).ok();
    env.rctr([
        "push",
        "-q",
        "--compression",
        "zstd",
        "--compression-level",
        "9",
        &plain,
    ])
    .ok();
    let raw = parsed(&skopeo_raw(&format!("docker://{plain}")));
    for layer in raw["layers"].as_array().expect("layers") {
        assert!(
            layer["mediaType"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("zstd")),
            "{layer}"
        );
    }
    env.rctr(["push", "--compression", "lzw", &plain])
        .refused(125, "unsupported compression type lzw");
}
