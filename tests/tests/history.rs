//! `history`, and `images --tree`.

use rctr_tests::Env;

#[test]
fn the_steps_of_an_image_are_told() {
    let env = Env::new();
    env.build_image(
        "app",
        "FROM busybox\nRUN head -c 20000 /dev/zero > /zeros\nENV A=b\nCMD [\"cat\", \"/zeros\"]\n",
    );
    let table = env.rctr(["history", "app"]);
    let lines = table.ok().lines();
    assert!(lines[0].starts_with("IMAGE          CREATED"), "{lines:?}");
    let id = env.inspect("app")["Id"].as_str().expect("an id").to_owned();
    assert!(lines[1].starts_with(&id[7..19]) && lines[1].contains("CMD [\"cat\" \"/zeros\"]"));
    assert!(lines[2].starts_with("<missing>") && lines[2].contains("ENV A=b"));
    assert!(lines[3].contains("RUN /bin/sh -c head -c 20000") && lines[3].contains("20kB"));
    assert!(lines[3].ends_with("buildkit.dockerfile.v0"), "{}", lines[3]);
    assert!(lines.len() > 4, "the steps of the base image follow");

    let cells = env.rctr([
        "history",
        "--no-trunc",
        "--format",
        "{{.ID}}|{{.CreatedBy}}|{{.Size}}",
        "app",
    ]);
    assert!(cells.ok().lines()[0].starts_with(&format!("{id}|CMD")));
    let bytes = env.rctr([
        "history",
        "-H=false",
        "--format",
        "{{.Size}} {{.CreatedSince}}",
        "app",
    ]);
    let line = bytes.ok().lines()[2].clone();
    assert!(line.starts_with("20000 2") && line.contains('T'), "{line}");
    let quiet = env.rctr(["history", "-q", "app"]);
    assert_eq!(quiet.ok().lines()[..2], [&id[7..19], "<missing>"]);
    let json = env.rctr(["history", "--format", "json", "app"]);
    assert!(json.ok().lines()[1].contains("\"CreatedBy\":\"ENV A=b\""));
    env.rctr(["history", "nosuch"])
        .refused(1, "No such image: nosuch");
    env.rctr(["history"])
        .exits(1)
        .stderr_has("requires exactly 1 argument");
}

#[test]
fn images_as_a_tree() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    env.rctr(["tag", "busybox", "again"]).ok();
    env.rctr(["create", "busybox"]).ok();
    let tree = env.rctr(["images", "--tree"]);
    let lines = tree.ok().lines();
    let first: Vec<&str> = lines.iter().filter_map(|l| l.split("  ").next()).collect();
    assert_eq!(
        first,
        ["IMAGE", "again:latest", "busybox:latest", "└─ linux/amd64"]
    );
    assert!(lines[1].ends_with('✔'), "{}", lines[1]);
    env.rctr(["images", "--tree", "-q"])
        .refused(1, "--tree cannot be used with");
}
