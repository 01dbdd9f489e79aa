//! Images between rctr and Docker by way of a registry: each runs what the other has built, and a digest stays what it is.

use rctr_tests::{Docker, Env, OwnRegistry, installed, skopeo_inspect};

#[test]
fn docker_and_rctr_run_what_the_other_has_built_and_pushed() {
    if !installed("dockerd") || !installed("docker") {
        return;
    }
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let docker = Docker::start(&env);
    let repository = format!("{}/me/app", registry.host());
    let [ours, theirs] = ["ours", "theirs"].map(|tag| format!("{repository}:{tag}"));

    env.build_image(
        &ours,
        "FROM busybox\nRUN echo built > /word && ln /word /link\nENV BY=rctr\nCMD echo $(cat /link) by $BY\n",
    );
    env.rctr(["push", "-q", &ours]).ok();
    docker.run(&["pull", "-q", &ours]);
    let digest = &skopeo_inspect(&format!("docker://{ours}"))["Digest"];
    let format = "{{index .RepoDigests 0}}";
    let pulled = docker.run(&["image", "inspect", "-f", format, &ours]);
    assert_eq!(
        pulled,
        format!("{repository}@{}", digest.as_str().expect("text"))
    );
    let word = docker.run(&["run", "--rm", "--network", "none", &ours]);
    assert_eq!(word, "built by rctr");

    let dir = env.dockerfile(&format!(
        "FROM {ours}\nRUN rm /word && echo again > /again\nENV BY=docker\nCMD echo $(cat /link /again) by $BY\n"
    ));
    docker.run(&[
        "build",
        "-q",
        "--network",
        "none",
        "-t",
        &theirs,
        dir.path(),
    ]);
    docker.run(&["push", "-q", &theirs]);
    let other = Env::new();
    other.rctr(["pull", "-q", &theirs]).ok();
    other
        .run_alone(&[&theirs])
        .ok()
        .stdout_is("built again by docker");
    let digest = &skopeo_inspect(&format!("docker://{theirs}"))["Digest"];
    let pulled = format!("{repository}@{}", digest.as_str().expect("text"));
    assert_eq!(other.inspect(&theirs)["RepoDigests"][0], pulled.as_str());
    other.run_alone(&[&theirs, "test", "-e", "/word"]).exits(1);
}
