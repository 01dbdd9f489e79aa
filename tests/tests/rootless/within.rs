//! Root of a user namespace that somebody has made.

use std::fs;

use crate::user::{User, View};

#[test]
fn root_of_a_user_namespace_is_told_what_it_needs() {
    let user = User::new();
    let nested = |within| View {
        within,
        ..View::default()
    };
    let borrowed = nested("-U --map-auto --map-root-user -m");
    user.rctr_with(borrowed, ["run", "--rm", "busybox", "true"])
        .exits(125)
        .stderr_has("has no power over the network it is in")
        .stderr_has("hint: run rctr as the user outside");
    // With a network of its own, and what else it takes, it is as good as any root. Limits it has none.
    let owned = nested("-U --map-auto --map-root-user -m -n --kill-child -pf --mount-proc");
    user.rctr(["pull", "-q", "busybox"]).ok();
    user.rctr(["save", "-o", "busybox.tar", "busybox"]).ok();
    user.rctr_with(owned, ["load", "-q", "-i", "busybox.tar"])
        .ok();
    for network in ["none", "bridge"] {
        let words = [
            "run",
            "--rm",
            "--network",
            network,
            "-u",
            "7",
            "busybox",
            "id",
            "-u",
        ];
        user.rctr_with(owned, words).ok().stdout_is("7");
    }
}

#[test]
fn rctr_oci_serves_root_of_a_user_namespace() {
    let user = User::new();
    let bundle = user.path("home/bundle");
    fs::create_dir_all(bundle.join("rootfs/bin")).unwrap();
    fs::copy("/bin/busybox", bundle.join("rootfs/bin/sh")).unwrap();
    for own in [&bundle, &bundle.join("rootfs")] {
        std::os::unix::fs::chown(own, Some(user.uid), Some(user.uid)).unwrap();
    }
    let oci = |within, words: &[&str]| {
        let view = View {
            within,
            program: "rctr-oci",
            ..View::default()
        };
        user.rctr_with(view, words)
    };
    let bundle = bundle.to_string_lossy().into_owned();
    let within = "-U --map-auto --map-root-user -m";
    oci(within, &["spec", "--rootless", "-b", &bundle]).ok();
    let config = user.path("home/bundle/config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!(["/bin/sh", "-c", "echo here"]);
    fs::write(&config, spec.to_string()).unwrap();
    oci(within, &["run", "-b", &bundle, "one"])
        .ok()
        .stdout_is("here");
    oci(within, &["list", "-q"]).ok().stdout_is("");
    // Where the user's state is, and not in /run.
    assert!(user.path("runtime/rctr-oci").is_dir());
    let plain = oci("", &["run", "-b", &bundle, "one"]);
    plain
        .exits(1)
        .stderr_has("unshare -U --map-auto --map-root-user");
}
