//! Images that are pulled, loaded or made here.

use rctr_tests::Env;

use super::{attributes, told, words};

#[test]
fn images() {
    let env = Env::new();
    env.rctr(["pull", "busybox"]).ok();
    env.rctr(["tag", "busybox", "mine:1"]).ok();
    env.rctr(["save", "-o", &env.path("tar").to_string_lossy(), "mine:1"])
        .ok();
    env.rctr(["rmi", "mine:1"]).ok();
    env.rctr(["rmi", "busybox"]).ok();
    env.rctr(["load", "-i", &env.path("tar").to_string_lossy()])
        .ok();
    env.rctr(["image", "prune", "-af"]).ok();
    let events = told(&env, &["--filter", "type=image"]);
    let expected = [
        "pull", "tag", "save", "untag", "untag", "untag", "delete", "load", "tag", "untag",
        "delete", "prune",
    ];
    assert_eq!(words(&events), expected.map(|word| format!("image {word}")));
    let id = events[1]["Actor"]["ID"].as_str().expect("an id");
    assert!(id.starts_with("sha256:"));
    assert_eq!(events[0]["Actor"]["ID"], "busybox:latest");
    assert_eq!(attributes(&events[1])["name"], "mine:1");
    assert_eq!(attributes(&events[3])["name"], id);
    let reclaimed = attributes(&events[11])["reclaimed"].parse::<u64>();
    assert!(reclaimed.is_ok_and(|bytes| bytes > 0));
}

#[test]
fn images_that_are_made_here() {
    let env = Env::new();
    env.rctr(["pull", "busybox"]).ok();
    env.rctr(["create", "--name", "cc", "busybox"]).ok();
    env.rctr(["commit", "cc", "kept:1"]).ok();
    let tar = env.path("fs.tar").to_string_lossy().into_owned();
    env.rctr(["export", "-o", &tar, "cc"]).ok();
    env.rctr(["import", &tar, "brought"]).ok();
    env.rctr(["import", &tar]).ok();
    env.build_image("built", "FROM busybox\nLABEL a=b\n");
    let mut events = told(&env, &[]);
    events.retain(|event| event["Action"] != "pull");
    assert_eq!(
        words(&events),
        [
            "container create",
            "image tag",
            "container commit",
            "container export",
            "image tag",
            "image import",
            "image import",
            "image tag",
        ]
    );
    let names: Vec<_> = [1, 4, 7]
        .map(|at| attributes(&events[at])["name"].clone())
        .into();
    assert_eq!(names, ["kept:1", "brought:latest", "built:latest"]);
    assert_eq!(events[1]["Actor"]["ID"], attributes(&events[2])["imageID"]);
    assert_eq!(events[4]["Actor"]["ID"], events[5]["Actor"]["ID"]);
}
