//! Several platforms, and what is attested and noted of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rctr_tests::{Env, parsed, skopeo_raw, text, tool};
use serde_json::{Value, json};

use super::{PLATFORMS, member, several};

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
