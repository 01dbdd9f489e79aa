//! `image prune`, `builder du`, `builder prune`, `system prune` and the build cache in `system df`.

use rctr_tests::Env;

fn images(env: &Env) -> Vec<String> {
    let mut names = env
        .rctr(["images", "--format", "{{.Repository}}"])
        .ok()
        .lines();
    names.sort();
    names
}

/// What `system df` says of the build cache.
fn cache_row(env: &Env) -> String {
    let table = env.rctr([
        "system",
        "df",
        "--format",
        "{{.Type}}|{{.TotalCount}}|{{.Size}}|{{.Reclaimable}}",
    ]);
    let lines = table.ok().lines();
    let row = lines.iter().find(|line| line.starts_with("Build Cache"));
    row.expect("a row").clone()
}

#[test]
fn images_that_nobody_uses_go() {
    let env = Env::new();
    env.build_image("a", "FROM busybox\nRUN head -c 30000 /dev/zero > /a\n");
    env.build_image(
        "a",
        "FROM busybox\nLABEL keep=1\nRUN head -c 50000 /dev/zero > /b\n",
    );
    env.rctr(["create", "--name", "user", "busybox"]).ok();
    assert_eq!(images(&env), ["<none>", "a", "busybox"]);

    let asked = env.rctr_with_input(["image", "prune"], b"n\n");
    asked.ok().stdout_has(
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ",
    );
    env.rctr(["image", "prune"]).ok();
    assert_eq!(images(&env).len(), 3);
    env.rctr(["image", "prune", "-f", "--filter", "until=24h"])
        .ok()
        .stdout_is("Total reclaimed space: 0B");
    let pruned = env.rctr_with_input(["image", "prune"], b"y\n");
    pruned.ok().stdout_has("Deleted Images:\ndeleted: sha256:");
    assert_eq!(images(&env), ["a", "busybox"]);

    env.rctr(["image", "prune", "-a", "-f", "--filter", "label!=keep"])
        .ok()
        .stdout_is("Total reclaimed space: 0B");
    let pruned = env.rctr(["image", "prune", "-a", "-f"]);
    pruned
        .ok()
        .stdout_has("untagged: a:latest\ndeleted: sha256:");
    assert_eq!(images(&env), ["busybox"], "a container has it");
    env.rctr(["image", "prune", "-f", "--filter", "colour=red"])
        .refused(1, "invalid filter 'colour'");
    env.rctr(["image", "prune", "-f", "--filter", "until=soon"])
        .refused(1, "until=soon");
}

#[test]
fn the_build_cache_is_seen_and_cleared() {
    let env = Env::new();
    env.build_image(
        "a",
        "FROM busybox\nRUN --mount=type=cache,id=mine,target=/c head -c 30000 /dev/zero > /c/z && head -c 40000 /dev/zero > /a\n",
    );
    let verbose = env.rctr(["builder", "du", "--verbose"]);
    verbose.ok().stdout_has("Type:\texec.cachemount");
    verbose.stdout_has("Description:\tcache mount mine");
    verbose.stdout_has("Shared:\ttrue\nSize:\t40kB");
    let table = env.rctr(["builder", "du"]);
    table
        .ok()
        .stdout_has("ID                           RECLAIMABLE   SIZE      LAST ACCESSED");
    table.stdout_has("Shared:\t\t40kB\nPrivate:\t30kB\nReclaimable:\t30kB\nTotal:\t\t70kB");
    assert_eq!(cache_row(&env), "Build Cache|2|30kB|30kB (100%)");
    env.rctr(["builder", "du", "--filter", "type=exec.cachemount"])
        .ok()
        .stdout_has("30kB");

    env.rctr(["rmi", "a"]).ok();
    assert_eq!(cache_row(&env), "Build Cache|2|70kB|70kB (100%)");
}

#[test]
fn pruning_keeps_what_it_is_told_to() {
    let env = Env::new();
    let a = env.dockerfile("FROM busybox\nRUN head -c 30000 /dev/zero > /a\n");
    env.build(&["-t", "a"], &a).ok();
    env.build_image(
        "b",
        "FROM busybox\nRUN --mount=type=cache,target=/c head -c 20000 /dev/zero > /c/z && head -c 40000 /dev/zero > /b\n",
    );
    let prune = |flags: &[&str]| env.rctr([&["builder", "prune", "-f"], flags].concat());
    // Images have the layers: only the cache mount is nobody's.
    prune(&["--filter", "until=24h"])
        .ok()
        .stdout_is("Total:\t0B");
    prune(&["--reserved-space", "1g"])
        .ok()
        .stdout_is("Total:\t0B");
    let pruned = prune(&[]);
    pruned.ok().stdout_has("Total:\t20kB");
    assert_eq!(pruned.lines().len(), 3, "{}", pruned.stdout());
    env.build_image("b", "FROM busybox\nRUN echo still\n");
    env.build(&["-t", "a"], &a).ok().stderr_has("CACHED");
    // All of it: the layers stay with their images, the steps run again.
    prune(&["-a"]).ok();
    env.rctr(["builder", "du"]).ok().stdout_has("Total:\t\t0B");
    let built = env.build(&["-t", "a"], &a);
    assert!(
        !built
            .ok()
            .stderr()
            .contains("] RUN head -c 30000 /dev/zero > /a\n#6 CACHED")
    );
    env.run_alone(&["a", "wc", "-c", "/a"])
        .ok()
        .stdout_is("30000 /a");
    env.rctr(["builder", "prune"])
        .ok()
        .stdout_has("dangling build cache");
    prune(&["--reserved-space", "much"])
        .exits(125)
        .stderr_has("--reserved-space");
    prune(&["--filter", "x=y"]).refused(1, "invalid filter");
}

#[test]
fn the_whole_system_is_cleared() {
    let env = Env::new();
    env.build_image(
        "a",
        "FROM busybox\nRUN --mount=type=cache,target=/c head -c 20000 /dev/zero > /c/z\n",
    );
    env.rctr(["create", "--name", "idle", "busybox"]).ok();
    let running = env.run_detached(["--network", "none", "busybox", "sleep", "1000"]);
    env.rctr(["system", "prune"])
        .ok()
        .stdout_has("all stopped containers");
    let pruned = env.rctr(["system", "prune", "-f"]);
    pruned.ok().stdout_has("Deleted Containers:\n");
    pruned.stdout_has("Deleted build cache objects:\n");
    pruned.stdout_has("Total reclaimed space: 20");
    assert_eq!(images(&env), ["a", "busybox"]);
    env.rctr(["system", "prune", "-a", "-f"])
        .ok()
        .stdout_has("untagged: a:latest");
    assert_eq!(images(&env), ["busybox"]);
    env.rctr(["ps", "-q", "--no-trunc"])
        .ok()
        .stdout_is(&running);
}

#[test]
fn stopped_containers_go_by_label_and_age() {
    let env = Env::new();
    env.run_detached(["--name", "runs", "busybox", "sleep", "600"]);
    env.rctr(["create", "--name", "keep", "-l", "keep=1", "busybox"])
        .ok();
    env.rctr(["run", "--name", "ended", "busybox", "true"]).ok();
    let names = || {
        let mut names = env
            .rctr(["ps", "-a", "--format", "{{.Names}}"])
            .ok()
            .lines();
        names.sort();
        names
    };
    let prune = |flags: &[&str]| env.rctr([&["container", "prune", "-f"], flags].concat());
    env.rctr_with_input(["container", "prune"], b"n\n")
        .ok()
        .stdout_has("WARNING! This will remove all stopped containers.");
    prune(&["--filter", "until=1h"])
        .ok()
        .stdout_is("Total reclaimed space: 0B");
    prune(&["--filter", "label=none"]).ok();
    assert_eq!(names(), ["ended", "keep", "runs"]);
    let ended = env.inspect("ended")["Id"]
        .as_str()
        .expect("an id")
        .to_owned();
    prune(&["--filter", "label!=keep"])
        .ok()
        .stdout_has(&format!(
            "Deleted Containers:\n{ended}\n\nTotal reclaimed space: "
        ));
    assert_eq!(names(), ["keep", "runs"]);
    prune(&["--filter", "colour=red"]).refused(1, "invalid filter 'colour'");
    prune(&["--filter", "until=1h", "--filter", "until=2h"])
        .refused(1, "more than one until filter specified");
    prune(&[]).ok();
    assert_eq!(names(), ["runs"]);
}

#[test]
fn the_whole_system_by_label_with_networks_and_volumes() {
    let env = Env::new();
    env.rctr([
        "create", "--name", "one", "-l", "gone=1", "-v", "/own", "busybox",
    ])
    .ok();
    env.rctr(["create", "--name", "two", "busybox"]).ok();
    env.rctr(["volume", "create", "named"]).ok();
    let prune = |flags: &[&str]| env.rctr([&["system", "prune"], flags].concat());
    prune(&["--volumes", "--filter", "label=gone"])
        .ok()
        .stdout_has(
            "  - all networks not used by at least one container\n  - all anonymous volumes",
        )
        .stdout_has("\n  Items to be pruned will be filtered with:\n  - label=gone\n");
    prune(&["-f", "--volumes", "--filter", "until=1h"])
        .refused(1, "\"until\" filter is not supported with \"--volumes\"");
    prune(&["-f", "--filter", "label=gone"])
        .ok()
        .stdout_has("Deleted Containers:");
    let left = env.rctr(["ps", "-a", "--format", "{{.Names}}"]);
    left.ok().stdout_is("two");
    let volumes = || env.rctr(["volume", "ls", "-q"]).ok().lines().len();
    assert_eq!(volumes(), 2, "volumes are asked for");
    prune(&["-f", "--volumes"])
        .ok()
        .stdout_has("Deleted Volumes:");
    env.rctr(["volume", "ls", "-q"]).ok().stdout_is("named");
}
