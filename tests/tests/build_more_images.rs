//! What images of builds are made of: those for several platforms as a whole, and what is listed of their content.

use std::fs;

use rctr_tests::{Env, OwnRegistry, parsed, skopeo_raw};
use serde_json::Value;

const PLATFORMS: &str = "linux/arm64,linux/amd64";

#[test]
fn an_image_for_several_platforms_stays_and_goes_as_a_whole() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = format!("{}/me/app:v1", registry.host());
    let context = env.context(&[
        ("Dockerfile", "FROM multiarch\nCOPY file /file\n"),
        ("file", "one"),
    ]);
    let images = || env.rctr(["images", "--quiet", "--no-trunc"]).ok().lines();
    env.rctr(["pull", "-q", "multiarch"]).ok();
    let before = images();
    let build = || env.build(&["--platform", PLATFORMS, "-t", &name], &context);
    build().ok();
    let listed = images();
    assert_eq!(
        listed.len(),
        before.len() + 1,
        "one line for all: {listed:?}"
    );

    // Nothing of it is rubbish.
    env.rctr(["image", "prune", "-f"]).ok();
    env.rctr(["push", "-q", &name]).ok();
    let index = parsed(&skopeo_raw(&format!("docker://{name}")));
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2));

    // What it was before is, all of it.
    context.write("file", "two");
    build().ok();
    let pruned = env.rctr(["image", "prune", "-f"]);
    let deleted = |text: &str| text.matches("deleted: sha256:").count();
    assert!(deleted(&pruned.ok().stdout()) >= 2, "{}", pruned.stdout());
    assert_eq!(images().len(), listed.len());
    env.rctr(["push", "-q", &name]).ok();

    env.rctr(["rmi", &name]).ok();
    env.rctr(["rmi", "-f", "multiarch"]).ok();
    env.rctr(["image", "prune", "-f"]).ok();
    env.rctr(["builder", "prune", "-af"]).ok();
    assert_eq!(images(), Vec::<String>::new());
    let layers = fs::read_dir(env.root().join("layers")).expect("a directory");
    let layers = layers.flatten().filter(|e| e.file_name() != "link").count();
    assert_eq!(layers, 0, "a layer is left");
}

#[test]
fn a_list_of_packages_has_what_programs_are_linked_from() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = format!("{}/me/app:v1", registry.host());
    let context = env.dockerfile("FROM scratch\nCOPY skopeo /bin/skopeo\n");
    fs::copy("/usr/bin/skopeo", context.file("skopeo")).expect("skopeo is a program of Go");
    env.build(&["--sbom=true", "--push", "-t", &name], &context)
        .ok();
    let index = parsed(&skopeo_raw(&format!("docker://{name}")));
    let attested = index["manifests"][1]["digest"].as_str().expect("a digest");
    let repository = name.rsplit_once(':').expect("a tag").0;
    let manifest = parsed(&skopeo_raw(&format!("docker://{repository}@{attested}")));
    let digest = manifest["layers"][0]["digest"].as_str().expect("a digest");
    let blob = format!("/v2/me/app/blobs/{digest}");
    let host = registry.host();
    let statement = rctr_tests::http_get(host, &blob).expect("an answer");
    let statement: Value = serde_json::from_str(&statement.body).expect("JSON");
    let packages = statement["predicate"]["packages"]
        .as_array()
        .expect("a list");
    let purls: Vec<&str> = packages
        .iter()
        .filter_map(|p| p["externalRefs"][0]["referenceLocator"].as_str())
        .collect();
    let has = |part: &str| purls.iter().any(|purl| purl.starts_with(part));
    assert!(has("pkg:golang/stdlib@1."), "{purls:?}");
}
