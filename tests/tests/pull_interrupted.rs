//! Ctrl-C and SIGTERM while an image is pulled: the exit code is the signal's, nothing is half-done under a final
//! name, and the next pull goes on from there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use rctr_tests::{Env, Proxy, Verdict, wait_for, wait_for_some};

/// A registry whose first download of every blob is slow.
fn slow_at_first() -> Proxy {
    Proxy::start(|request| match (request.is_blob(), request.seen) {
        (true, 0) => Verdict::Slow(400_000),
        _ => Verdict::Forward,
    })
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(dir).into_iter().flatten().flatten();
    list.map(|entry| entry.path()).collect()
}

/// Size of the biggest partial download.
fn partial(env: &Env) -> u64 {
    let files = entries(&env.root().join("tmp")).into_iter();
    files
        .filter_map(|path| path.metadata().ok())
        .filter(|meta| meta.is_file())
        .map(|meta| meta.len())
        .max()
        .unwrap_or_default()
}

/// Blobs have the digest in their name, no image is known, and nothing that was made on the way is left but the
/// partial download.
fn nothing_half_done(env: &Env) {
    for blob in entries(&env.root().join("blobs/sha256")) {
        let sum = Command::new("sha256sum").arg(&blob).output();
        let sum = String::from_utf8(sum.expect("sha256sum runs").stdout).expect("text");
        let name = blob.file_name().expect("a name").to_string_lossy();
        assert!(sum.starts_with(&*name), "{} holds {sum}", blob.display());
    }
    let trees = trees(env);
    assert!(trees.is_empty(), "{trees:?}");
    env.rctr(["images", "--all", "--quiet"]).ok().stdout_is("");
    env.rctr(["ps", "--all", "--quiet"]).ok().stdout_is("");
}

/// Layers in the making.
fn trees(env: &Env) -> Vec<PathBuf> {
    let mut found = entries(&env.root().join("tmp"));
    found.retain(|path| path.is_dir());
    found
}

/// Layers under their final names, with the number of their files.
fn layers(env: &Env) -> Vec<(PathBuf, usize)> {
    fn count(dir: &Path) -> usize {
        let below = entries(dir);
        let dirs = below
            .iter()
            .filter(|path| path.is_dir() && !path.is_symlink());
        below.len() + dirs.map(|dir| count(dir)).sum::<usize>()
    }
    let mut found = entries(&env.root().join("layers"));
    found.retain(|dir| !dir.ends_with("link"));
    found
        .into_iter()
        .map(|dir| (dir.clone(), count(&dir)))
        .collect()
}

#[test]
fn while_downloading() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let proxy = slow_at_first();
        let env = Env::builder().mirror(&proxy.url()).build();
        let pull = env.spawn(["pull", "--quiet", "busybox"]);
        wait_for("a part of the layer", || partial(&env) > 100_000);
        pull.signal(signal);
        let ended = pull.finish();
        ended.exits(code).quiet().stdout_is("");
        assert!(ended.took() < Duration::from_secs(10), "{:?}", ended.took());
        nothing_half_done(&env);
        assert_eq!(layers(&env), []);
        let kept = partial(&env);
        assert!(kept > 100_000, "{kept}");
        env.rctr(["pull", "--quiet", "busybox"]).ok();
        let range = format!("bytes={kept}-");
        assert!(
            proxy
                .requests()
                .iter()
                .any(|request| request.header("range") == Some(&range)),
            "{range}: {:?}",
            proxy.requests()
        );
        assert_eq!(partial(&env), 0, "nothing is left of the download");
        env.rctr(["run", "--rm", "--network", "none", "busybox", "true"])
            .ok();
    }
}

#[test]
fn while_run_downloads() {
    let proxy = slow_at_first();
    let env = Env::builder().mirror(&proxy.url()).build();
    let cidfile = env.path("cid");
    let words = ["run", "--rm", "--network", "none", "--cidfile"];
    let mut words: Vec<_> = words.map(str::to_owned).into();
    words.push(cidfile.display().to_string());
    words.extend(["busybox", "echo", "ran"].map(str::to_owned));
    let run = env.spawn(&words);
    wait_for("a part of the layer", || partial(&env) > 100_000);
    run.signal(Signal::SIGINT);
    run.finish().exits(130).stdout_is("");
    nothing_half_done(&env);
    assert!(!cidfile.exists(), "no container was made");
    env.rctr(&words).ok().stdout_is("ran");
}

#[test]
fn while_unpacking() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let proxy = Proxy::start(|_| Verdict::Forward);
        let env = Env::builder().mirror(&proxy.url()).build();
        let mut pull = env
            .command(["pull", "big"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("rctr starts");
        let stdout = pull.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        // All is here and verified by length; the files are still being written.
        wait_for_some("the download to be complete", || {
            lines.find(|line| line.ends_with(": Download complete"))
        });
        let pid = nix::unistd::Pid::from_raw(pull.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("the pull still runs");
        let rest: Vec<_> = lines.collect();
        let status = pull.wait().expect("a child can be waited for");
        assert_eq!(status.code(), Some(code), "{rest:?}");
        // A layer that was all but done may have become so; it is whole then.
        let before = layers(&env);
        nothing_half_done(&env);
        let downloads = proxy.blob_downloads();
        env.rctr(["pull", "--quiet", "big"]).ok();
        assert_eq!(
            proxy.blob_downloads(),
            downloads,
            "what had come whole is not fetched again"
        );
        let after = layers(&env);
        assert!(
            before.iter().all(|layer| after.contains(layer)),
            "{before:?} {after:?}"
        );
        assert!(trees(&env).is_empty());
        env.rctr(["run", "--rm", "--network", "none", "big", "true"])
            .ok();
    }
}
