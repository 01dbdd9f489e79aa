//! What `build --output` makes beyond a plain image: eStargz, several platforms, attestations and annotations in
//! archives and directories; and what goes out again with `push`, `history` and `save`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rctr_tests::{
    Context, Docker, Env, OwnRegistry, installed, parsed, skopeo_inspect, skopeo_raw, text, tool,
    workspace,
};
use serde_json::{Value, json};

const PLATFORMS: &str = "linux/arm64,linux/amd64";

/// A file of three chunks, small ones, links and a fifo.
const VARIED: &str = "FROM busybox\nRUN mkdir /d && head -c 5000000 /dev/zero > /d/large && echo small > /d/small\n\
    RUN ln -s small /d/link && ln /d/small /d/hard && mkfifo /d/fifo && touch /d/empty\n\
    CMD [\"sh\", \"-c\", \"cat /d/link; wc -c < /d/large\"]\n";
const SAYS: &str = "small\n5000000";

/// An image for two platforms.
fn several(env: &Env) -> Context {
    env.context(&[
        (
            "Dockerfile",
            "FROM multiarch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY given /given\n",
        ),
        ("given", "given\n"),
    ])
}

/// Checks a layout with a program of its own: the files and chunks of each layer.
fn estargz(layout: &Path) -> Vec<String> {
    let script = text(&workspace().join("tests/estargz.py"));
    let out = tool("python3", &[&script, &text(layout)]);
    let out = String::from_utf8(out).expect("text");
    out.lines().map(str::to_owned).collect()
}

fn member(archive: &Path, name: &str) -> Value {
    parsed(&tool("tar", &["-xOf", &text(archive), name]))
}

fn blob(archive: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().expect("a digest");
    member(archive, &format!("blobs/{}", digest.replace(':', "/")))
}

fn names(archive: &Path) -> Vec<String> {
    let listed = tool("tar", &["-tf", &text(archive)]);
    let listed = String::from_utf8(listed).expect("names");
    listed.lines().map(str::to_owned).collect()
}

/// Platforms and annotations of what an index names.
fn entries(index: &Value) -> Vec<(String, Value)> {
    let listed = index["manifests"].as_array().expect("a list").iter();
    let platform = |entry: &Value| {
        entry["platform"]["architecture"]
            .as_str()
            .map(str::to_owned)
    };
    listed
        .map(|entry| (platform(entry).expect("one"), entry["annotations"].clone()))
        .collect()
}

#[test]
fn files_of_estargz_layers_can_be_had_one_by_one() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = format!("{}/me/lazy:1", registry.host());
    let context = env.dockerfile(VARIED);
    let output = format!(
        "type=registry,name={name},compression=estargz,force-compression=true,compression-level=9"
    );
    env.build(&["-q", "-o", &output], &context).ok();
    let layout = env.path("pulled");
    let copied = format!("oci:{}:1", text(&layout));
    let pushed = format!("docker://{name}");
    tool(
        "skopeo",
        &["copy", "-q", "--src-tls-verify=false", &pushed, &copied],
    );
    let layers = estargz(&layout);
    assert_eq!(layers.len(), 3);
    assert_eq!(layers[1], "files=4 chunks=3");

    // What was pushed is what is here, and runs here and elsewhere.
    env.run_alone(&[&name]).ok().stdout_is(SAYS);
    let digest = skopeo_inspect(&pushed)["Digest"].clone();
    let here = env.inspect(&name)["RepoDigests"].clone();
    assert_eq!(
        here[0],
        json!(format!(
            "{}@{}",
            name.trim_end_matches(":1"),
            digest.as_str().expect("one")
        ))
    );
    let other = Env::new();
    other.rctr(["pull", "-q", &name]).ok();
    other.run_alone(&[&name]).ok().stdout_is(SAYS);
    other.rctr(["push", "-q", &name]).ok();
    assert_eq!(skopeo_inspect(&pushed)["Digest"], digest);

    // An image made upon it keeps its layers as they are, with what its manifest says of them.
    let upon = other.dockerfile(&format!("FROM {name}\nRUN echo more > /more\n"));
    let above = format!("{}/me/above:1", registry.host());
    other.build(&["-q", "-t", &above, "--push"], &upon).ok();
    let (below, above) = (
        parsed(&skopeo_raw(&pushed)),
        parsed(&skopeo_raw(&format!("docker://{above}"))),
    );
    let layers = |of: &Value| of["layers"].as_array().expect("layers").clone();
    assert_eq!(layers(&above)[..3], layers(&below)[..]);
    assert!(layers(&above)[3]["annotations"].is_null());

    // Packed otherwise, they are not said to be eStargz any more.
    other
        .rctr(["push", "-q", "--compression", "zstd", &name])
        .ok();
    for layer in layers(&parsed(&skopeo_raw(&pushed))) {
        assert!(
            layer["annotations"].is_null()
                && layer["mediaType"]
                    .as_str()
                    .is_some_and(|t| t.ends_with("zstd"))
        );
    }
    other
        .rctr(["push", "--compression", "estargz", &name])
        .refused(125, "build it with --compression estargz");
}

#[test]
fn archives_have_estargz_layers_too() {
    let env = Env::new();
    let context = env.dockerfile(VARIED);
    let (oci, docker, layout) = (env.path("oci.tar"), env.path("docker.tar"), env.path("dir"));
    let forced = "force-compression=true";
    let outputs = [
        format!("type=oci,dest={},{forced}", text(&oci)),
        format!("type=docker,dest={},{forced}", text(&docker)),
        format!("type=oci,tar=false,dest={},{forced}", text(&layout)),
    ];
    let mut flags = vec!["-q", "-t", "me/lazy:1", "--compression", "estargz"];
    for output in &outputs {
        flags.extend(["-o", output]);
    }
    let id = env.build(&flags, &context);
    assert_eq!(estargz(&layout).len(), 3);
    // The configuration is another one than that of the plain image: its layers hold more.
    let plain = env.build(&["-q"], &context);
    assert_ne!(plain.ok().stdout(), id.ok().stdout());
    for archive in [&oci, &docker] {
        let other = Env::new();
        other.rctr(["load", "-q", "-i", &text(archive)]).ok();
        other.run_alone(&["me/lazy:1"]).ok().stdout_is(SAYS);
        let id = id.stdout();
        assert_eq!(other.inspect("me/lazy:1")["Id"], id.trim());
        let unpacked = env.path("unpacked");
        let source = format!("oci-archive:{}", text(archive));
        tool(
            "skopeo",
            &["copy", "-q", &source, &format!("oci:{}:1", text(&unpacked))],
        );
        assert_eq!(estargz(&unpacked).len(), 3);
        fs::remove_dir_all(&unpacked).expect("a directory");
    }
    env.build(
        &["--cache-to", "type=local,dest=x,compression=estargz"],
        &context,
    )
    .refused(125, "a cache cannot have compression=estargz");
}

#[test]
fn an_oci_archive_holds_the_images_for_all_platforms_and_what_is_attested_of_them() {
    let env = Env::new();
    let (archive, layout) = (env.path("all.tar"), env.path("all"));
    let outputs = [
        format!("--output=type=oci,dest={}", text(&archive)),
        format!("--output=type=oci,tar=false,dest={}", text(&layout)),
    ];
    let [archived, laid_out] = &outputs;
    let flags = ["-q", "-t", "me/app:1", "--platform", PLATFORMS];
    let attested = [
        "--provenance",
        "mode=max",
        "--sbom",
        "true",
        archived,
        laid_out,
    ];
    env.build(&[&flags[..], &attested].concat(), &several(&env))
        .ok();

    let root = member(&archive, "index.json");
    assert_eq!(root["manifests"].as_array().map(Vec::len), Some(1));
    let entry = &root["manifests"][0];
    assert_eq!(
        entry["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    let named = &entry["annotations"]["io.containerd.image.name"];
    assert_eq!(named, "docker.io/me/app:1");
    let index = blob(&archive, entry);
    let of: Vec<_> = entries(&index).into_iter().map(|(of, _)| of).collect();
    assert_eq!(of, ["arm64", "amd64", "unknown", "unknown"]);
    let subject = &index["manifests"][2]["annotations"]["vnd.docker.reference.digest"];
    assert_eq!(*subject, index["manifests"][0]["digest"]);
    let statements = blob(&archive, &index["manifests"][3]);
    let kinds: Vec<_> = statements["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .collect();
    assert_eq!(kinds.len(), 2);
    // All of it is there, by another program's judgement, and in the directory it is the same.
    let copy = env.path("copy");
    let source = format!("oci-archive:{}", text(&archive));
    tool(
        "skopeo",
        &[
            "copy",
            "-q",
            "--all",
            &source,
            &format!("oci:{}", text(&copy)),
        ],
    );
    let place = format!("oci:{}:1", text(&layout));
    assert_eq!(parsed(&skopeo_raw(&place)), index);

    for (platform, architecture) in [("linux/arm64", "arm64"), ("linux/amd64", "amd64")] {
        let other = Env::new();
        let path = text(&archive);
        other
            .rctr(["load", "-q", "--platform", platform, "-i", &path])
            .ok();
        let image = other.inspect("me/app:1");
        assert_eq!(image["Architecture"], architecture);
        assert_eq!(image["Config"]["Labels"]["arch"], architecture);
    }
    // Docker's archives have no place for it.
    let docker = format!(
        "--output=type=docker,dest={}",
        text(&env.path("docker.tar"))
    );
    for flags in [
        ["--platform", PLATFORMS, &docker],
        ["--sbom", "true", &docker],
    ] {
        env.build(&flags, &several(&env)).refused(
            1,
            "docker exporter does not currently support exporting manifest lists",
        );
    }
    assert!(!env.path("docker.tar").exists());
}

#[test]
fn files_for_several_platforms_are_in_directories_of_their_own() {
    let env = Env::new();
    let (dir, archive) = (env.path("out"), env.path("out.tar"));
    let outputs = [
        format!("--output={}", text(&dir)),
        format!("--output=type=tar,dest={}", text(&archive)),
    ];
    let [local, tar] = &outputs;
    let flags = [
        "-q",
        "--platform",
        PLATFORMS,
        "--sbom",
        "true",
        "--provenance",
        "true",
    ];
    env.build(&[&flags[..], &[local, tar]].concat(), &several(&env))
        .ok();
    let listed = names(&archive);
    for platform in ["linux_amd64", "linux_arm64"] {
        let given = dir.join(platform).join("given");
        assert_eq!(fs::read_to_string(given).expect("a file"), "given\n");
        for name in [
            "",
            "given",
            "bin/busybox",
            "provenance.json",
            "sbom.spdx.json",
        ] {
            let name = format!("{platform}/{name}");
            assert!(listed.contains(&name), "{name} in {listed:?}");
        }
        let said = dir.join(platform).join("provenance.json");
        assert_eq!(fs::metadata(&said).expect("a file").mode() & 0o777, 0o600);
        let said = parsed(&fs::read(said).expect("a file"));
        assert_eq!(said["predicateType"], "https://slsa.dev/provenance/v1");
        let subjects = said["subject"].as_array().expect("subjects");
        let given = subjects.iter().find(|subject| subject["name"] == "given");
        let sum = tool("sha256sum", &[&text(&dir.join(platform).join("given"))]);
        let sum = String::from_utf8(sum).expect("text");
        let sum = sum.split(' ').next().expect("a sum");
        assert_eq!(given.expect("it")["digest"]["sha256"], sum);
        assert_eq!(
            member(&archive, &format!("{platform}/provenance.json"))["subject"],
            said["subject"]
        );
    }
    let one = env.path("one");
    let output = format!("type=local,dest={},attestation-prefix=at-", text(&one));
    env.build(&["-q", "--sbom", "true", "-o", &output], &several(&env))
        .ok();
    assert!(one.join("given").exists() && one.join("at-sbom.spdx.json").exists());
    let output = format!("type=local,dest={},platform-split=true", text(&one));
    env.build(&["-q", "-o", &output], &several(&env)).ok();
    assert!(one.join("linux_amd64/given").exists());
}

#[test]
fn annotations_go_where_they_are_to_be() {
    let env = Env::new();
    let archive = env.path("all.tar");
    let output = format!(
        "--output=type=oci,dest={},annotation.all=1,annotation[linux/arm64].one=2,annotation-index.of=3,\
         annotation-index-descriptor.at=4,annotation-manifest-descriptor[linux/amd64].desc=5",
        text(&archive)
    );
    let flags = [
        "-q",
        "--platform",
        PLATFORMS,
        "--annotation=index,manifest-descriptor:both=6",
        "--annotation=manifest[linux/amd64]:mine=7",
        "--annotation=plain=8",
        &output,
    ];
    env.build(&flags, &several(&env)).ok();
    let root = member(&archive, "index.json");
    assert_eq!(root["manifests"][0]["annotations"], json!({"at": "4"}));
    let index = blob(&archive, &root["manifests"][0]);
    assert_eq!(index["annotations"], json!({"of": "3", "both": "6"}));
    let expected = [
        ("arm64".to_owned(), json!({"both": "6"})),
        ("amd64".to_owned(), json!({"both": "6", "desc": "5"})),
    ];
    assert_eq!(entries(&index), expected);
    let of = |position: usize| blob(&archive, &index["manifests"][position])["annotations"].clone();
    assert_eq!(of(0), json!({"all": "1", "one": "2", "plain": "8"}));
    assert_eq!(of(1), json!({"all": "1", "mine": "7", "plain": "8"}));

    // Of a single image, the descriptor is the archive's.
    let output = format!("--output=type=oci,dest={}", text(&archive));
    let flags = [
        "-q",
        "-t",
        "x:1",
        "--annotation=manifest-descriptor:a=b",
        &output,
    ];
    env.build(&flags, &several(&env)).ok();
    let said = &member(&archive, "index.json")["manifests"][0]["annotations"];
    assert_eq!(
        (&said["a"], &said["org.opencontainers.image.ref.name"]),
        (&json!("b"), &json!("1"))
    );

    for (flag, code, reason) in [
        (
            "--annotation=index:a=b",
            1,
            "index annotations not supported for single platform export",
        ),
        (
            "--output=type=image,annotation-index-descriptor.a=b",
            1,
            "index annotations not supported",
        ),
        (
            "--annotation=manifest[linux/s390x]:a=b",
            1,
            "no platform linux/s390x found in source",
        ),
        (
            "--annotation=image:a=b",
            125,
            "unrecognized annotation type \"image\"",
        ),
        (
            "--output=type=image,annotation-image.a=b",
            125,
            "unrecognized annotation type \"image\"",
        ),
    ] {
        env.build(&[flag], &several(&env)).refused(code, reason);
    }
}

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
