//! `build --platform` with several platforms: one name, an image for each.

use std::fs;

use rctr_tests::{Env, OwnRegistry, parsed, skopeo_raw};
use serde_json::Value;

const PLATFORMS: &str = "linux/arm64,linux/amd64";

/// A manifest or index at a registry, as it is there.
fn raw(name: &str) -> Value {
    parsed(&skopeo_raw(&format!("docker://{name}")))
}

#[test]
fn an_image_for_each_platform_goes_under_one_name() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = format!("{}/me/app:v1", registry.host());
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM --platform=$BUILDPLATFORM busybox AS made\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\n\
             FROM --platform=$BUILDPLATFORM busybox AS same\nRUN date +%s%N > /same\n\
             FROM multiarch\nARG TARGETPLATFORM\nLABEL platform=$TARGETPLATFORM\nCOPY --from=made /arch /arch\nCOPY --from=same /same /same\nCOPY file /file\n",
        ),
        ("file", "content"),
    ]);
    let flags = ["--progress", "plain", "--platform", PLATFORMS, "-t", &name];
    let built = env.build(&flags, &dir);
    built
        .ok()
        .stderr_has("[linux/arm64 stage-2 4/4] COPY file /file")
        .stderr_has("[linux/amd64 stage-2 4/4] COPY file /file")
        .stderr_has("[linux/amd64 made 2/2] RUN echo amd64 > /arch")
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
    let again = env.build(&flags, &dir);
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
    let dir = env.context(&[
        ("Dockerfile", "FROM multiarch\nCOPY file /file\n"),
        ("file", "content"),
    ]);
    let out = env.path("out");
    let to = format!("type=local,dest={}", out.display());
    env.build(&["--platform", PLATFORMS, "-o", &to], &dir).ok();
    for platform in ["linux_amd64", "linux_arm64"] {
        let file = fs::read_to_string(out.join(platform).join("file"));
        assert_eq!(file.expect("a file"), "content");
    }
    env.build(&["--platform", "linux/amd64,a/b/c/d"], &dir)
        .exits(125)
        .stderr_has("a/b/c/d");
    // A base for another machine takes no name from the one that runs here, and is found again.
    let digests = env.inspect("multiarch")["RepoDigests"].take();
    let build = || env.build(&["--progress", "plain", "--platform", "linux/s390x"], &dir);
    build().ok().stderr_has("extracting sha256:");
    let again = build();
    assert!(
        !again.ok().stderr().contains("extracting"),
        "{}",
        again.stderr()
    );
    assert_eq!(env.inspect("multiarch")["Architecture"], "amd64");
    assert_eq!(env.inspect("multiarch")["RepoDigests"], digests);
    assert_eq!(digests.as_array().map(Vec::len), Some(1));
    dir.write("Dockerfile", "FROM multiarch\nRUN true\n");
    let emulated = std::path::Path::new("/proc/sys/fs/binfmt_misc/qemu-s390x").exists();
    if !emulated {
        env.build(&["--platform", "linux/amd64,linux/s390x"], &dir)
            .exits(1)
            .stderr_has("programs for linux/s390x do not run on this machine");
    }
}

#[test]
fn what_is_attested_goes_with_the_image() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = format!("{}/me/app:v1", registry.host());
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM busybox\nARG TOKEN\nCOPY file /var/lib/dpkg/status\nRUN --mount=type=secret,id=password true\n",
        ),
        ("file", "content"),
    ]);
    let status =
        "Package: hello\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.10-3\n";
    dir.write("file", status);
    let secret = env.path("password");
    fs::write(&secret, "s3cret").expect("written");
    let secret = format!("id=password,src={}", secret.display());
    let build = |more: &[&str]| {
        let flags = [
            "--secret",
            &secret,
            "--build-arg",
            "TOKEN=t0ken",
            "-t",
            &name,
        ];
        env.build(&[&flags, more].concat(), &dir).ok();
        env.rctr(["push", "-q", &name]).ok();
        raw(&name)
    };
    let repository = name.rsplit_once(':').expect("a tag").0;
    let at = |entry: &Value| {
        raw(&format!(
            "{repository}@{}",
            entry["digest"].as_str().expect("a digest")
        ))
    };

    let index = build(&["--provenance=true", "--sbom=true"]);
    let listed = index["manifests"].as_array().expect("a list");
    assert_eq!(listed.len(), 2, "{index}");
    let (image, attestation) = (&listed[0], &listed[1]);
    assert_eq!(attestation["platform"]["os"], "unknown");
    let notes = &attestation["annotations"];
    assert_eq!(notes["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(notes["vnd.docker.reference.digest"], image["digest"]);
    let layers = at(attestation)["layers"].take();
    let statement = |kind: &str| -> Value {
        let layers = layers.as_array().expect("a list");
        let of_kind = |layer: &&Value| layer["annotations"]["in-toto.io/predicate-type"] == kind;
        let layer = layers.iter().find(of_kind).expect(kind);
        assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
        let digest = layer["digest"]
            .as_str()
            .expect("a digest")
            .trim_start_matches("sha256:");
        let text =
            fs::read_to_string(env.root().join("blobs/sha256").join(digest)).expect("a statement");
        for hidden in ["s3cret", "t0ken"] {
            assert!(!text.contains(hidden), "{text}");
        }
        parsed(text.as_bytes())
    };
    let made = statement("https://slsa.dev/provenance/v1");
    let hex = image["digest"]
        .as_str()
        .expect("a digest")
        .trim_start_matches("sha256:");
    assert_eq!(made["subject"][0]["digest"]["sha256"], hex);
    let definition = &made["predicate"]["buildDefinition"];
    let base = definition["resolvedDependencies"][0]["uri"]
        .as_str()
        .expect("a base");
    assert_eq!(base, "pkg:docker/busybox@latest?platform=linux%2Famd64");
    assert_eq!(
        definition["externalParameters"]["request"]["secrets"][0]["id"],
        "password"
    );
    let packages = statement("https://spdx.dev/Document")["predicate"].take();
    assert_eq!(packages["spdxVersion"], "SPDX-2.3");
    assert_eq!(packages["packages"][1]["name"], "hello");
    assert_eq!(packages["packages"][1]["versionInfo"], "2.10-3");

    // It runs here and, pulled, elsewhere.
    env.run_alone(&[&name, "true"]).ok();
    let there = Env::new();
    there.rctr(["run", "--rm", &name, "true"]).ok();

    // Nothing is attested that nobody asked for.
    let plain = build(&["--provenance=false"]);
    assert_eq!(
        plain["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    env.build(&["--sbom=generator=x"], &dir)
        .exits(125)
        .stderr_has("generator= is not supported");
}
