//! `build --platform` with several platforms: one name, an image for each.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rctr_tests::{Env, OwnRegistry};
use serde_json::Value;

const PLATFORMS: &str = "linux/arm64,linux/amd64";

fn context(env: &Env, dockerfile: &str) -> PathBuf {
    let dir = env.path("ctx");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("Dockerfile"), dockerfile).expect("written");
    fs::write(dir.join("file"), "content").expect("written");
    dir
}

/// A manifest or index at a registry, as it is there.
fn raw(name: &str) -> Value {
    let out = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{name}"))
        .output()
        .expect("skopeo runs");
    assert!(out.status.success(), "{name}: {out:?}");
    serde_json::from_slice(&out.stdout).expect("skopeo prints JSON")
}

#[test]
fn an_image_for_each_platform_goes_under_one_name() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = format!("{}/me/app:v1", registry.host());
    let dir = context(
        &env,
        "FROM --platform=$BUILDPLATFORM busybox AS made\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\n\
         FROM --platform=$BUILDPLATFORM busybox AS same\nRUN date +%s%N > /same\n\
         FROM multiarch\nARG TARGETPLATFORM\nLABEL platform=$TARGETPLATFORM\nCOPY --from=made /arch /arch\nCOPY --from=same /same /same\nCOPY file /file\n",
    );
    let path = dir.to_string_lossy().into_owned();
    let built = env.rctr([
        "build",
        "--progress",
        "plain",
        "--platform",
        PLATFORMS,
        "-t",
        &name,
        &path,
    ]);
    built
        .ok()
        .stderr_has("[linux/arm64 stage-2 4/4] COPY file /file")
        .stderr_has("[linux/amd64 stage-2 4/4] COPY file /file")
        .stderr_has("[linux/amd64 made 2/2] RUN echo $TARGETARCH > /arch")
        .stderr_has("exporting manifest list sha256:");
    // What does not depend on the platform is done once, where programs of this machine do it.
    let text = built.stderr();
    let mut steps: Vec<&str> = text
        .lines()
        .filter(|l| l.ends_with("RUN date +%s%N > /same"))
        .collect();
    steps.dedup();
    assert_eq!(steps.len(), 1, "{text}");

    // Here the name stands for the one that runs.
    let image = env.inspect(&name);
    assert_eq!(image["Architecture"], "amd64");
    assert_eq!(image["Config"]["Labels"]["platform"], "linux/amd64");
    env.run_alone(&[&name, "cat", "/arch", "/file"])
        .ok()
        .stdout_is("amd64\ncontent");

    env.rctr(["push", "-q", &name]).ok();
    let index = raw(&name);
    assert_eq!(
        index["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    let listed = index["manifests"].as_array().expect("a list");
    let of: Vec<&str> = listed
        .iter()
        .filter_map(|m| m["platform"]["architecture"].as_str())
        .collect();
    assert_eq!(of, ["arm64", "amd64"]);
    for entry in listed {
        let repository = name.rsplit_once(':').expect("a tag").0;
        let digest = entry["digest"].as_str().expect("a digest");
        let manifest = raw(&format!("{repository}@{digest}"));
        let layers = manifest["layers"].as_array().expect("a list");
        assert!(
            layers
                .iter()
                .all(|l| l["mediaType"].as_str().is_some_and(|t| t.ends_with("gzip")))
        );
    }

    // The other one comes back from there.
    let there = Env::new();
    there
        .rctr(["pull", "-q", "--platform", "linux/arm64", &name])
        .ok();
    let image = there.inspect(&name);
    assert_eq!(image["Architecture"], "arm64");
    assert_eq!(image["Config"]["Labels"]["platform"], "linux/arm64");

    // All from the cache, and the base image's name is still what runs here.
    let again = env.rctr([
        "build",
        "--progress",
        "plain",
        "--platform",
        PLATFORMS,
        "-t",
        &name,
        &path,
    ]);
    again.ok();
    let text = again.stderr();
    let lines: Vec<&str> = text.lines().collect();
    let done = lines
        .windows(2)
        .filter(|pair| pair[0].contains("[linux") && pair[1].contains(" DONE"));
    let done: Vec<_> = done.collect();
    assert!(done.is_empty(), "{text}");
    assert_eq!(env.inspect("busybox")["Architecture"], "amd64");
}

#[test]
fn programs_of_other_machines_and_outputs_for_one() {
    let env = Env::new();
    let dir = context(&env, "FROM multiarch\nCOPY file /file\n");
    let path = dir.to_string_lossy().into_owned();
    let out = env.path("out");
    let to = format!("type=local,dest={}", out.display());
    env.rctr(["build", "--platform", PLATFORMS, "-o", &to, &path])
        .ok();
    for platform in ["linux_amd64", "linux_arm64"] {
        let file = fs::read_to_string(out.join(platform).join("file"));
        assert_eq!(file.expect("a file"), "content");
    }
    let to = format!("type=tar,dest={}", env.path("x.tar").display());
    env.rctr(["build", "--platform", PLATFORMS, "-o", &to, &path])
        .exits(1)
        .stderr_has("takes the result for one platform, not for 2");
    env.rctr(["build", "--platform", "linux/amd64,a/b/c/d", &path])
        .exits(125)
        .stderr_has("a/b/c/d");
    fs::write(dir.join("Dockerfile"), "FROM multiarch\nRUN true\n").expect("written");
    let emulated = std::path::Path::new("/proc/sys/fs/binfmt_misc/qemu-s390x").exists();
    if !emulated {
        env.rctr(["build", "--platform", "linux/amd64,linux/s390x", &path])
            .exits(1)
            .stderr_has("programs for linux/s390x do not run on this machine");
    }
}
