//! The disk is full or broken at each call, or there are no more descriptors.

use rctr_tests::Env;

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
                    let said = out.stderr();
                    // SQLite has one word for whatever hinders a sync; a disk that is full is asked whether it is.
                    let sync = call.starts_with("fsync") && said.contains("disk I/O error");
                    assert!(
                        sync || texts.iter().any(|text| said.contains(text)),
                        "{when}: {}: {said}",
                        out.status()
                    );
                    assert!(!said.contains("panicked"), "{when}: {said}");
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

#[test]
fn a_disk_that_is_full() {
    life_with(&TO_DISK, "ENOSPC", &["o space left on device"]);
}

#[test]
fn a_disk_that_is_broken() {
    life_with(&TO_DISK, "EIO", &["nput/output error", "disk I/O error"]);
}

#[test]
fn no_more_descriptors() {
    life_with(&OPENING, "EMFILE", &["oo many open files"]);
}
