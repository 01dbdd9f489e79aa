//! `build --output`: images, archives and files; packed as asked for, and the same each time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rctr_tests::{
    Context, Env, OwnRegistry, entries, parsed, skopeo_inspect, skopeo_raw, text, tool, wait_for,
};
use serde_json::Value;

const FILE: &str = "FROM busybox\nRUN echo made > /made && mkdir /d && echo two > /d/two\nCOPY given /\n\
    CMD [\"cat\", \"/made\", \"/given\"]\n";

fn context(env: &Env) -> Context {
    env.context(&[("Dockerfile", FILE), ("given", "given\n")])
}

/// Builds with these flags.
fn build(env: &Env, flags: &[&str]) -> rctr_tests::Output {
    env.build(flags, &context(env))
}

/// The manifest of the first image of an archive, and the archive's index.
fn manifest(archive: &Path) -> (Value, Value) {
    let member = |name: &str| parsed(&tool("tar", &["-xOf", &text(archive), name]));
    let index = member("index.json");
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
    (
        member(&format!("blobs/{}", digest.replace(':', "/"))),
        index,
    )
}

fn kinds(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().expect("layers").iter();
    let kinds = layers.filter_map(|layer| layer["mediaType"].as_str());
    kinds
        .map(|kind| kind.rsplit('.').next().unwrap_or(kind).to_owned())
        .collect()
}

#[test]
fn archives_of_images() {
    let env = Env::new();
    let (oci, docker) = (env.path("oci.tar"), env.path("docker.tar"));
    let flags = [
        "-t".to_owned(),
        "me/app:1".to_owned(),
        format!("--output=type=oci,dest={}", text(&oci)),
        format!(
            "--output=type=docker,dest={},compression=zstd",
            text(&docker)
        ),
        "--annotation=org.example.a=b".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    build(&env, &flags).ok();
    assert!(env.rctr(["images", "me/app", "-q"]).ok().lines().is_empty());
    let (of_oci, index) = manifest(&oci);
    assert_eq!(kinds(&of_oci), ["tar+gzip"; 3]);
    assert_eq!(of_oci["annotations"]["org.example.a"], "b");
    let names = &index["manifests"][0]["annotations"];
    assert_eq!(names["io.containerd.image.name"], "docker.io/me/app:1");
    let listed = String::from_utf8(tool("tar", &["-tf", &text(&oci)])).expect("names");
    assert!(!listed.contains("manifest.json"), "{listed}");
    let (of_docker, _) = manifest(&docker);
    assert_eq!(kinds(&of_docker), ["tar+gzip", "tar+zstd", "tar+zstd"]);

    for archive in [&oci, &docker] {
        let other = Env::new();
        other
            .rctr(["load", "-i", &text(archive)])
            .ok()
            .stdout_is("Loaded image: me/app:1");
        other.run_alone(&["me/app:1"]).ok().stdout_is("made\ngiven");
    }
    let layout = env.path("layout");
    let flag = format!(
        "type=oci,tar=false,dest={},compression=uncompressed,force-compression=true",
        text(&layout)
    );
    build(&env, &["-o", &flag]).ok();
    let place = format!("oci:{}", text(&layout));
    let raw = parsed(&skopeo_raw(&place));
    assert_eq!(kinds(&raw), ["tar"; 3]);
    let out = build(&env, &["-q", "-o", "type=oci"]);
    fs::write(env.path("piped.tar"), out.ok().stdout_bytes()).expect("written");
}

#[test]
fn the_files_alone() {
    let env = Env::new();
    let dir = env.path("out");
    fs::create_dir(&dir).expect("a directory");
    fs::write(dir.join("mine"), "stays").expect("a file");
    build(&env, &["-o", &text(&dir)]).ok();
    let read = |path: &str| fs::read_to_string(dir.join(path)).expect(path);
    assert_eq!(
        (read("made").as_str(), read("d/two").as_str()),
        ("made\n", "two\n")
    );
    assert_eq!(
        (read("given").as_str(), read("mine").as_str()),
        ("given\n", "stays")
    );
    assert_eq!(
        fs::metadata(dir.join("bin/busybox"))
            .expect("a program")
            .mode()
            & 0o777,
        0o755
    );

    let file = env.path("files.tar");
    build(
        &env,
        &["--output", &format!("type=tar,dest={}", text(&file))],
    )
    .ok();
    let listed = String::from_utf8(tool("tar", &["-tf", &text(&file)])).expect("names");
    for name in ["made", "d/", "d/two", "bin/busybox"] {
        assert!(
            listed.lines().any(|line| line == name),
            "{name} in {listed}"
        );
    }
    let piped = build(&env, &["-o", "-"]);
    assert_eq!(piped.ok().stdout_bytes(), fs::read(&file).expect("a file"));
    assert_eq!(
        env.rctr(["images", "-aq"]).ok().lines().len(),
        1,
        "only the base image"
    );
}

#[test]
fn images_are_pushed() {
    let env = Env::new();
    let own = OwnRegistry::start(&env.path("registry"));
    let name = format!("{}/me/app:1", own.host());
    let metadata = env.path("metadata.json");
    build(
        &env,
        &["--push", "-t", &name, "--metadata-file", &text(&metadata)],
    )
    .ok()
    .stderr_has("pushing manifest for");
    let place = format!("docker://{name}");
    let told = parsed(&fs::read(&metadata).expect("metadata"));
    assert_eq!(
        skopeo_inspect(&place)["Digest"],
        told["containerimage.digest"]
    );

    let zstd = format!("{}/me/zstd:1", own.host());
    let flag = format!("type=image,name={zstd},push=true,compression=zstd,force-compression=true");
    build(&env, &["-o", &flag]).ok();
    let raw = skopeo_raw(&format!("docker://{zstd}"));
    assert_eq!(kinds(&parsed(&raw)), ["tar+zstd"; 3]);
    env.run_alone(&[&zstd]).ok().stdout_is("made\ngiven");
    build(&env, &["--load", "-t", "loaded"]).ok();
    env.run_alone(&["loaded"]).ok().stdout_is("made\ngiven");
}

#[test]
fn two_machines_make_the_same_image() {
    let digest = || {
        let env = Env::new();
        let metadata = env.path("metadata.json");
        let file = env.path("image.tar");
        let mut command = env.command([
            "build",
            "--metadata-file",
            &text(&metadata),
            "-t",
            "same:1",
            "-o",
            &format!("type=oci,rewrite-timestamp=true,dest={}", text(&file)),
            context(&env).path(),
        ]);
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        let out = command.output().expect("rctr runs");
        assert!(out.status.success(), "{out:?}");
        let told = parsed(&fs::read(&metadata).expect("metadata"));
        let digest = told["containerimage.digest"].as_str().expect("a digest");
        (digest.to_owned(), fs::read(&file).expect("an archive"))
    };
    let first = digest();
    // The other one's files are of another second.
    let second_of = |time: SystemTime| time.duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let then = second_of(SystemTime::now());
    wait_for("the next second", || second_of(SystemTime::now()) > then);
    let second = digest();
    assert_eq!(first.0, second.0);
    assert!(first.1 == second.1, "the archives differ");
}

#[test]
fn what_cannot_be_is_refused_before_the_build() {
    let env = Env::new();
    for (flags, reason) in [
        (&["-o", "type=zip"][..], "unknown type \"zip\""),
        (
            &["-o", "type=image,compression=lzw", "-t", "x"],
            "unsupported compression type lzw",
        ),
        (&["--push"], "tag is needed when pushing to registry"),
        (&["-o", "type=local"], "dest is required for local exporter"),
        (
            &["--annotation", "image:a=b"],
            "unrecognized annotation type",
        ),
    ] {
        build(&env, flags).exits(125).stderr_has(reason);
    }
    let dir = context(&env);
    let before = entries(&env.path(""));
    let nowhere = format!("type=tar,dest={}", text(&env.path("no/such/x.tar")));
    env.build(&["-o", &nowhere], &dir)
        .exits(1)
        .stderr_has("No such file or directory");
    assert_eq!(entries(&env.path("")), before);
}

#[test]
fn flags_of_docker_s_first_builder_are_taken() {
    let env = Env::new();
    let built = build(&env, &["-q", "--rm", "--force-rm=false", "--compress"]);
    assert_eq!(built.ok().stderr(), "");
    let more = ["--squash", "-m", "64m", "-c", "5", "--cpuset-cpus", "0"];
    let again = build(&env, &[&["-q"], &more[..]].concat());
    assert_eq!(again.ok().stdout(), built.stdout());
    for word in [
        "WARNING: experimental flag squash",
        "WARNING: --memory limits nothing",
        "--cpu-shares",
        "--cpuset-cpus",
    ] {
        again.stderr_has(word);
    }
    build(&env, &["-c", "five"])
        .exits(125)
        .stderr_has("cpu-shares");
}
