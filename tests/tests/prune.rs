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
    asked.refused(1, "image prune has been cancelled");
    asked.stdout_has(
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ",
    );
    env.rctr(["image", "prune"]).exits(1);
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
        .exits(1)
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
        .exits(1)
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
