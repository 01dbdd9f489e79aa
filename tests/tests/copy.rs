//! `rctr copy` and `rctr manifest`, checked with skopeo.

use std::fs;

use rctr_tests::{
    Env, OwnRegistry, Proxy, Verdict, entries, parsed, registry, skopeo_inspect, skopeo_raw, tool,
};
use serde_json::Value;

fn shared(name: &str) -> String {
    let host = registry().trim_start_matches("http://");
    format!("docker://{host}/library/{name}")
}

#[test]
fn an_image_goes_round_and_stays_what_it_is() {
    let env = Env::new();
    let own = OwnRegistry::start(&env.path("registry"));
    let path = |kind: &str, file: &str| format!("{kind}:{}", env.path(file).display());
    let stations = [
        shared("busybox"),
        format!("{}:v1", path("oci", "layout")),
        format!("{}:v1", path("oci-archive", "oci.tar")),
        format!("docker://{}/me/copy:v1", own.host()),
        format!("{}:me/copy:v1", path("docker-archive", "docker.tar")),
        "rctr:me/copied:v1".to_owned(),
        format!("docker://{}/me/copy:v2", own.host()),
    ];
    let original = skopeo_raw(&stations[0]);
    for pair in stations.windows(2) {
        env.rctr(["copy", &pair[0], &pair[1]])
            .ok()
            .stdout_has("digest: sha256:");
        if !pair[1].starts_with("rctr:") && !pair[1].starts_with("docker-archive:") {
            assert_eq!(skopeo_raw(&pair[1]), original, "{pair:?}");
        }
    }
    assert_eq!(skopeo_inspect(&stations[4])["Architecture"], "amd64");
    env.rctr(["run", "--rm", "me/copied:v1", "echo", "here"])
        .ok()
        .stdout_is("here");
    // Docker's own reading of the archive, and what is left beside it.
    let listed = entries(env.path("docker.tar").parent().expect("a directory"));
    assert!(
        listed.iter().all(|name| !name.contains(".tar.")),
        "{listed:?}"
    );
    env.rctr(["copy", "-q", &stations[1], &stations[1].replace("v1", "v2")])
        .ok()
        .stdout_is("");
    let index: Value =
        serde_json::from_slice(&fs::read(env.path("layout/index.json")).expect("an index"))
            .expect("JSON");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2));
}

#[test]
fn all_of_an_index_or_one_platform() {
    let env = Env::new();
    let own = OwnRegistry::start(&env.path("registry"));
    let from = shared("multiarch");
    let to = format!("docker://{}/me/all", own.host());
    env.rctr(["copy", "--all", &from, &to]).ok();
    assert_eq!(skopeo_raw(&to), skopeo_raw(&from));
    let layout = format!("oci:{}:all", env.path("layout").display());
    env.rctr(["copy", "-a", &to, &layout]).ok();
    assert_eq!(skopeo_raw(&layout), skopeo_raw(&from));
    let one = format!("docker://{}/me/one", own.host());
    env.rctr(["copy", "--platform", "linux/arm64", &layout, &one])
        .ok();
    assert_eq!(skopeo_inspect(&one)["Architecture"], "arm64");
    env.rctr(["copy", &layout, &one]).ok();
    assert_eq!(skopeo_inspect(&one)["Architecture"], "amd64");
    env.rctr(["copy", "--platform", "linux/riscv64", &layout, &one])
        .refused(
            1,
            "has no image for linux/riscv64, only for linux/arm64, linux/amd64",
        );
    env.rctr(["copy", "--all", &from, "rctr:x"])
        .refused(1, "takes a single image");
}

#[test]
fn archives_of_other_tools_are_read() {
    let env = Env::new();
    let own = OwnRegistry::start(&env.path("registry"));
    let file = env.path("skopeo.tar").display().to_string();
    let archive = format!("docker-archive:{file}:me/app:1");
    tool(
        "skopeo",
        &[
            "copy",
            "-q",
            "--src-tls-verify=false",
            &shared("busybox"),
            &archive,
        ],
    );
    tool("gzip", &["-k", &file]);
    for (n, source) in [archive.clone(), format!("docker-archive:{file}.gz")]
        .iter()
        .enumerate()
    {
        let name = format!("{}/me/app:{n}", own.host());
        env.rctr(["copy", source, &format!("docker://{name}")]).ok();
        let manifest = parsed(&skopeo_raw(&format!("docker://{name}")));
        let layer = manifest["layers"][0]["mediaType"].as_str().expect("a type");
        assert!(
            layer.ends_with(".gzip"),
            "registries get packed layers: {layer}"
        );
        env.rctr(["run", "--rm", &name, "echo", "runs"])
            .ok()
            .stdout_is("runs");
    }
    env.rctr(["copy", &archive, "rctr:me/direct"]).ok();
    env.rctr(["run", "--rm", "me/direct", "echo", "runs"])
        .ok()
        .stdout_is("runs");
    env.rctr(["copy", &format!("docker-archive:{file}:none"), "rctr:x"])
        .refused(1, "has no image");
}

#[test]
fn bad_places_and_damaged_content_are_refused_and_leave_nothing() {
    let env = Env::new();
    let layout = env.path("layout");
    let place = format!("oci:{}:v1", layout.display());
    env.rctr(["copy", &shared("busybox"), &place]).ok();
    for (from, to, words) in [
        ("busybox", "rctr:x", "Invalid image name \"busybox\""),
        ("oci:/nonexistent", "rctr:x", "/nonexistent"),
        ("rctr:nosuch", "oci:/tmp/x", "No such image: nosuch"),
        (place.as_str(), "dir:/x", "Invalid image name"),
        (&format!("{place}2"), "rctr:x", "has no image \"v12\""),
        (&shared("nosuch"), "rctr:x", "not found"),
    ] {
        env.rctr(["copy", from, to]).refused(1, words);
    }
    env.rctr(["copy", &place])
        .exits(1)
        .stderr_has("requires exactly 2 arguments");

    // One byte of the layer is another.
    let blobs = layout.join("blobs/sha256");
    let largest = entries(&blobs)
        .into_iter()
        .max_by_key(|name| fs::metadata(blobs.join(name)).expect("a blob").len());
    let layer = blobs.join(largest.expect("a blob"));
    let mut bytes = fs::read(&layer).expect("a blob");
    bytes[5000] ^= 1;
    fs::write(&layer, &bytes).expect("own file");
    let own = OwnRegistry::start(&env.path("registry"));
    for to in [
        format!("oci:{}", env.path("other").display()),
        format!("oci-archive:{}", env.path("other.tar").display()),
        "rctr:damaged".to_owned(),
        format!("docker://{}/me/damaged", own.host()),
    ] {
        env.rctr(["copy", &place, &to]).exits(1).one_error("");
    }
    assert!(!env.path("other.tar").exists());
    assert_eq!(
        entries(&env.path("other/blobs/sha256")),
        Vec::<String>::new()
    );
    env.rctr(["inspect", "--type", "image", "damaged"]).exits(1);
    // Shorter than the manifest says.
    fs::write(&layer, &bytes[..1000]).expect("own file");
    env.rctr(["copy", &place, "rctr:short"])
        .refused(1, "1000 bytes instead of");
}

#[test]
fn a_broken_download_goes_on() {
    let env = Env::new();
    let proxy = Proxy::start(|request| match request.is_blob() && request.seen < 2 {
        true => Verdict::Cut(300_000),
        false => Verdict::Forward,
    });
    let from = format!("docker://{}/library/busybox", proxy.host());
    let to = format!("oci:{}", env.path("layout").display());
    env.rctr(["copy", &from, &to]).ok();
    assert_eq!(skopeo_raw(&to), skopeo_raw(&from));
    let ranged = |r: &rctr_tests::Request| r.is_blob() && r.header("range").is_some();
    assert!(
        proxy.requests().iter().any(ranged),
        "it does not begin anew"
    );
}

#[test]
fn members_added_to_a_list_at_once_are_all_in_it() {
    let env = Env::new();
    let own = OwnRegistry::start(&env.path("registry"));
    let list = format!("{}/me/list", own.host());
    let members: Vec<String> = (0..6).map(|n| format!("{}/me/m{n}", own.host())).collect();
    for member in &members {
        let to = format!("docker://{member}");
        env.rctr(["copy", "-q", &shared("busybox"), &to]).ok();
    }
    let add = |member: &String| env.spawn(["manifest", "create", "--amend", &list, member]);
    let adding: Vec<_> = members.iter().map(add).collect();
    for command in adding {
        command.finish().ok();
    }
    let shown = env.rctr(["manifest", "inspect", &list]).ok().json();
    assert_eq!(shown["manifests"].as_array().map(Vec::len), Some(6));
}

#[test]
fn manifest_lists_are_made_of_images_at_registries() {
    let env = Env::new();
    let own = OwnRegistry::start(&env.path("registry"));
    let from = shared("multiarch");
    let (amd, arm) = (
        format!("{}/me/amd", own.host()),
        format!("{}/me/arm", own.host()),
    );
    for (platform, name) in [("linux/amd64", &amd), ("linux/arm64", &arm)] {
        let to = format!("docker://{name}");
        env.rctr(["copy", "-q", "--platform", platform, &from, &to])
            .ok();
    }
    let list = format!("{}/me/list:v1", own.host());
    env.rctr(["manifest", "create", &list, &amd])
        .ok()
        .stdout_is(&format!("Created manifest list {list}"));
    env.rctr(["manifest", "create", &list, &arm]).refused(
        1,
        "refusing to amend an existing manifest list with no --amend flag",
    );
    env.rctr(["manifest", "create", "--amend", &list, &arm])
        .ok();
    env.rctr([
        "manifest",
        "annotate",
        "--variant",
        "v9",
        "--os-version",
        "1",
        &list,
        &arm,
    ])
    .ok()
    .quiet();
    env.rctr(["manifest", "annotate", "--variant", "v9", &list, "nosuch"])
        .refused(1, "does not exist in");
    let shown = env.rctr(["manifest", "inspect", &list]).ok().json();
    assert_eq!(shown["manifests"][1]["platform"]["variant"], "v9");
    let member = env.rctr(["manifest", "inspect", &list, &amd]).ok().json();
    assert_eq!(member["schemaVersion"], 2);

    let pushed = env.rctr(["manifest", "push", "--purge", &list]);
    pushed.ok().stdout_has("Pushed ref ").stdout_has("sha256:");
    let at_registry = parsed(&skopeo_raw(&format!("docker://{list}")));
    assert_eq!(at_registry, shown);
    assert_eq!(
        skopeo_inspect(&format!("docker://{list}"))["Architecture"],
        "amd64"
    );
    env.rctr(["run", "--rm", &list, "true"]).ok();
    env.rctr(["manifest", "rm", &list])
        .refused(1, "No such manifest");
    // What is not under way here is asked for at the registry.
    assert_eq!(env.rctr(["manifest", "inspect", &list]).ok().json(), shown);
    let verbose = env.rctr(["manifest", "inspect", "-v", &list]).ok().json();
    assert_eq!(
        verbose[0]["Descriptor"]["platform"]["architecture"],
        "amd64"
    );
    env.rctr([
        "manifest",
        "create",
        &list,
        from.trim_start_matches("docker://"),
    ])
    .refused(1, "is a manifest list");
    env.rctr(["manifest", "create", &list])
        .exits(1)
        .stderr_has("requires at least 2 arguments");
}
