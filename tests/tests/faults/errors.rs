//! The disk is full or broken at each call, or there are no more descriptors.

use rctr_tests::{Env, Output};

use crate::{Traced, can_trace, check, give};

/// Calls that a disk can refuse.
pub const TO_DISK: [&str; 14] = [
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "symlink",
    "symlinkat",
    "link",
    "linkat",
];

/// Calls that need a descriptor.
pub const OPENING: [&str; 7] = [
    "openat",
    "openat2",
    "socket",
    "pipe2",
    "eventfd2",
    "memfd_create",
    "pidfd_open",
];

const LIFE: [&[&str]; 4] = [
    &[
        "create", "--name", "cc", "-p", "80", "-v", "/anon", "busybox", "sleep", "1000",
    ],
    &["start", "cc"],
    &["stop", "-t", "0", "cc"],
    &["rm", "-v", "cc"],
];

/// A command's words.
type Words = &'static [&'static str];

/// What is done with networks, volumes and what nobody uses, each after what it needs, and what takes that away.
const REST: [(&[Words], Words, &[Words]); 6] = [
    (&[], &["volume", "create", "vv"], &[VOLUME_GONE]),
    (&[], NETWORK, &[NETWORK_GONE]),
    (
        &[NETWORK, RUN],
        &["network", "connect", "nn", "cc"],
        &[GONE, NETWORK_GONE],
    ),
    (
        &[NETWORK, RUN, &["network", "connect", "nn", "cc"]],
        &["network", "disconnect", "nn", "cc"],
        &[GONE, NETWORK_GONE],
    ),
    (&[RUN], &["exec", "cc", "true"], &[GONE]),
    (
        &[
            &["pull", "-q", "scratch-hello"],
            &["create", "--name", "cc", "-v", "/anon", "scratch-hello"],
            &["rm", "cc"],
        ],
        &["system", "prune", "-a", "-f", "--volumes"],
        &[&["rmi", "-f", "scratch-hello"], VOLUMES_GONE],
    ),
];

const RUN: &[&str] = &[
    "run", "-d", "--name", "cc", "-p", "80", "busybox", "sleep", "1000",
];
const NETWORK: &[&str] = &["network", "create", "--subnet", SUBNET, "nn"];
/// Stands for one that no other test has.
const SUBNET: &str = "SUBNET";
const GONE: &[&str] = &["rm", "-f", "cc"];
const NETWORK_GONE: &[&str] = &["network", "rm", "-f", "nn"];
const VOLUME_GONE: &[&str] = &["volume", "rm", "-f", "vv"];
const VOLUMES_GONE: &[&str] = &["volume", "prune", "-af"];

/// Each of [`REST`] meets `error` at each of its calls in turn, and says in one error what is wrong; given again it works.
fn the_rest_with(calls: &[&str], error: &str, texts: &[&str]) {
    if !can_trace() {
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let mut refused = 0;
    let subnet = env.slot().subnet().to_string();
    let subnet = subnet.replace("10.213.", "10.218.");
    for (prepare, args, undo) in REST {
        let own = |words: &[&'static str]| -> Vec<&str> {
            let word = |word: &&'static str| {
                if *word == SUBNET {
                    subnet.as_str()
                } else {
                    word
                }
            };
            words.iter().map(word).collect()
        };
        let args = &own(args)[..];
        // Whatever there was before goes with what nobody uses.
        let make = || {
            if env.rctr(["images", "-q", "busybox"]).stdout().is_empty() {
                give(&env, &["pull", "-q", "busybox"]);
            }
            prepare.iter().for_each(|words| give(&env, &own(words)));
        };
        make();
        let inject = format!("error={error}");
        let met = Traced::new(&env, args).at_every_call(calls, &inject, |call, out| {
            let when = format!("{} with {error} at its {call}", args.join(" "));
            if out.status() != 0 {
                refused += 1;
                told(&when, call, out, texts);
                let again = env.rctr(args);
                let done = ["already exists", "is not connected"];
                assert!(
                    again.status() == 0 || done.iter().any(|text| again.stderr().contains(text)),
                    "{when}, then: {}",
                    again.stderr()
                );
            }
            check(&env, &when);
            undo.iter().for_each(|words| give(&env, words));
            make();
        });
        undo.iter().for_each(|words| give(&env, words));
        println!("{error}, {}: {met} calls", args.join(" "));
    }
    assert!(refused > 0, "nothing was refused");
}

/// A command that failed has said why.
fn told(when: &str, call: &str, out: &Output, texts: &[&str]) {
    let said = out.stderr();
    // SQLite has one word for whatever hinders a sync; a disk that is full is asked whether it is.
    let sync = call.starts_with("fsync") && said.contains("disk I/O error");
    assert!(
        sync || texts.iter().any(|text| said.contains(text)),
        "{when}: {}: {said}",
        out.status()
    );
    assert!(!said.contains("panicked"), "{when}: {said}");
}

/// Each command of a container's life meets `error` at each of its calls in turn. It works all the same or says in one
/// error what is wrong; given again it works.
fn life_with(calls: &[&str], error: &str, texts: &[&str]) {
    if !can_trace() {
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let mut refused = 0;
    for (stage, args) in LIFE.iter().enumerate() {
        let met =
            Traced::new(&env, args).at_every_call(calls, &format!("error={error}"), |call, out| {
                let when = format!("{} with {error} at its {call}", args.join(" "));
                let before = LIFE[..stage].iter();
                if out.status() != 0 {
                    refused += 1;
                    told(&when, call, out, texts);
                    let again = env.rctr(*args);
                    let there = ["already in use", "No such container"];
                    assert!(
                        again.status() == 0
                            || there.iter().any(|text| again.stderr().contains(text)),
                        "{when}, then: {}",
                        again.stderr()
                    );
                }
                check(&env, &when);
                env.rctr(["rm", "-f", "-v", "cc"]).ok();
                before.for_each(|words| give(&env, words));
            });
        env.rctr(["rm", "-f", "-v", "cc"]).ok();
        LIFE[..=stage]
            .iter()
            .take(3)
            .for_each(|words| give(&env, words));
        println!("{error}, {}: {met} calls", args.join(" "));
    }
    assert!(refused > 0, "nothing was refused");
}

const FULL: [&str; 1] = ["o space left on device"];
const BROKEN: [&str; 2] = ["nput/output error", "disk I/O error"];
const NO_MORE: [&str; 1] = ["oo many open files"];

#[test]
fn a_disk_that_is_full() {
    life_with(&TO_DISK, "ENOSPC", &FULL);
}

#[test]
fn a_disk_that_is_full_for_networks_volumes_and_prunes() {
    the_rest_with(&TO_DISK, "ENOSPC", &FULL);
}

#[test]
fn a_disk_that_is_broken() {
    life_with(&TO_DISK, "EIO", &BROKEN);
}

#[test]
fn a_disk_that_is_broken_for_networks_volumes_and_prunes() {
    the_rest_with(&TO_DISK, "EIO", &BROKEN);
}

#[test]
fn no_more_descriptors() {
    life_with(&OPENING, "EMFILE", &NO_MORE);
}

#[test]
fn no_more_descriptors_for_networks_volumes_and_prunes() {
    the_rest_with(&OPENING, "EMFILE", &NO_MORE);
}
