//! Images that are broken or mean harm: one line says so, and nothing of the host is touched.

use std::fs;
use std::path::Path;

use rctr_tests::Env;

/// Nothing of a refused run may stay: no container, process, mount, link, cgroup or unpacked file.
fn assert_clean(env: &Env) {
    env.rctr(["ps", "--all", "--quiet"]).ok().stdout_is("");
    env.assert_no_leftovers();
    let unpacked =
        |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("unpack-");
    let tmp = fs::read_dir(env.root().join("tmp"))
        .into_iter()
        .flatten()
        .flatten();
    let left: Vec<_> = tmp.filter(unpacked).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!escaped(), "a file outside the root");
}

fn escaped() -> bool {
    let tmp = fs::read_dir("/tmp").into_iter().flatten().flatten();
    let mut names = tmp.map(|entry| entry.file_name());
    names.any(|name| name == "rctr-escape") || Path::new("/rctr-escape").exists()
}

fn refused(image: &str, code: i32, words: &[&str]) {
    let env = Env::new();
    let run = env.run_alone(&[image]);
    for word in words {
        run.refused(code, word);
    }
    run.stdout_is("");
    assert_clean(&env);
}

#[test]
fn a_schema_1_manifest_is_refused_with_a_clear_word() {
    refused(
        "schema1",
        125,
        &["schema1", "schema 1 image", "pushed again"],
    );
}

#[test]
fn an_artifact_is_no_image() {
    refused("artifact", 125, &["artifact"]);
}

#[test]
fn an_index_for_other_platforms_is_refused_and_they_are_named() {
    refused("arm64index", 125, &["linux/arm64", "--platform"]);
    refused("empty-index", 125, &["empty-index"]);
}

#[test]
fn broken_manifests_and_configurations_are_named() {
    refused("bad-config", 125, &["bad-config", "configuration"]);
    refused("bad-mediatype", 125, &["application/vnd.example.layer.v9"]);
}

#[test]
fn layers_that_are_not_what_they_say_are_refused() {
    for image in [
        "bad-diffid",
        "bad-gzip",
        "bad-tar",
        "bad-truncated",
        "bad-size",
    ] {
        refused(image, 125, &["sha256:"]);
    }
}

#[test]
fn members_that_lead_out_of_the_layer_are_refused() {
    refused("hostile-dotdot", 125, &["rctr-escape", "out of the layer"]);
    refused("hostile-hardlink", 125, &["stolen"]);
    refused("hostile-hardlink-through", 125, &["stolen"]);
    refused("hostile-whiteout", 125, &["a/.wh..."]);
}

#[test]
fn links_for_system_directories_are_refused() {
    refused("hostile-dev", 125, &["/dev"]);
    refused("hostile-proc", 125, &["/proc"]);
    refused("hostile-sys", 125, &["/sys"]);
}

#[test]
fn links_and_absolute_names_stay_within_the_root() {
    let env = Env::new();
    for image in [
        "hostile-absolute",
        "hostile-symlink",
        "hostile-whiteout-through",
        "hostile-cwd-link",
    ] {
        let run = env.run_alone(&[image]);
        run.ok().stdout_is("ran");
        assert!(!escaped(), "{image} wrote outside");
    }
    assert_clean(&env);
}

#[test]
fn the_engines_files_are_mounted_within_the_root_whatever_links_say() {
    let env = Env::new();
    for image in ["hostile-etc", "hostile-etc-files"] {
        // Links to one file let the last mount win; what counts is where it is.
        let run = env.rctr(["run", "--rm", image, "cat", "/etc/hosts"]);
        run.ok().stdout_has("localhost");
        assert!(!escaped(), "{image} wrote outside");
    }
    assert_clean(&env);
}

#[test]
fn users_that_cannot_be_are_refused() {
    refused("bad-user", 125, &["nosuchuser"]);
    refused("bad-group", 125, &["nosuchgroup"]);
    refused("hostile-uid", 125, &["4294967296"]);
    refused("hostile-user", 125, &["unable to find user"]);
    refused("hostile-passwd-overflow", 125, &["4294967296"]);
    refused("hostile-passwd-fifo", 125, &["/etc/passwd"]);
    refused("hostile-passwd-huge", 125, &["/etc/passwd"]);
    refused("hostile-passwd-link", 125, &["/etc/passwd"]);
}

#[test]
fn a_newline_in_home_makes_no_second_line_anywhere() {
    let env = Env::new();
    let script = "grep -c evil /etc/passwd; id -u evil; whoami";
    let run = env.run_alone(&["hostile-home", "sh", "-c", script]);
    run.ok().stdout_is("0\nroot").stderr_has("evil");
    assert_clean(&env);
}

#[test]
fn senseless_configurations_are_refused_by_the_field() {
    refused("bad-signal", 125, &["StopSignal", "SIGFOO"]);
    refused("bad-port", 125, &["ExposedPorts"]);
    refused("bad-env", 125, &["Env"]);
    refused("hostile-volume-root", 125, &["Volumes"]);
}

#[test]
fn commands_that_are_not_there() {
    refused("bad-command", 127, &["/no/such/program"]);
    refused("bad-empty-command", 127, &["executable file not found"]);
    refused("notexec", 126, &["/entry", "ermission denied"]);
    refused("nocommand", 125, &["o command specified"]);
}

#[test]
fn a_work_directory_in_proc_gives_no_file_of_the_host() {
    let env = Env::new();
    let run = env.run_alone(&["hostile-cwd", "sh", "-c", "pwd; ls"]);
    assert_ne!(run.status(), 0, "{run:?}");
    run.stdout_is("").one_error("working directory");
    assert_clean(&env);
}

#[test]
fn a_volume_stays_within_the_root() {
    let env = Env::new();
    env.run_alone(&["hostile-volume"]).ok().stdout_is("ran");
    assert_clean(&env);
    refused("hostile-volume-proc", 125, &["/proc cannot be mounted"]);
}

#[test]
fn device_nodes_of_an_image_open_nothing() {
    let env = Env::new();
    let script = "head -c 1 /disk; head -c 1 /mem; echo tried";
    let run = env.run_alone(&["hostile-node", "sh", "-c", script]);
    run.ok()
        .stdout_is("tried")
        .stderr_has("/disk: Operation not permitted")
        .stderr_has("/mem: Operation not permitted");
}

#[test]
fn labels_of_an_image_command_nothing() {
    let env = Env::new();
    let run = env.run_alone(&["hostile-labels", "grep", "CapEff", "/proc/self/status"]);
    run.ok().stdout_is("CapEff:\t00000000a80425fb");
}

#[test]
fn another_architecture_warns_and_a_foreign_program_is_126() {
    let env = Env::new();
    let run = env.run_alone(&["arm64only"]);
    run.ok()
        .stderr_has("WARNING: The requested image's platform (linux/arm64");
    // A program of no known format.
    let script = "printf '\\177ELF\\2\\1\\1' > /out/prog; chmod +x /out/prog";
    let out = env.path("out");
    fs::create_dir(&out).expect("a new directory");
    let volume = format!("{}:/out", out.display());
    env.rctr(["run", "--rm", "-v", &volume, "busybox", "sh", "-c", script])
        .ok();
    env.rctr(["run", "--rm", "-v", &volume, "busybox", "/out/prog"])
        .refused(126, "/out/prog")
        .stderr_has("exec format error");
}
