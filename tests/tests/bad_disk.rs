//! A full disk, a damaged store, a configuration that cannot be read.

use std::fs;
use std::io::Write;

use rctr_tests::{Env, Mounted};

#[test]
fn a_full_disk_is_told_and_the_next_pull_goes_on_when_there_is_space() {
    let env = Env::new();
    let disk = Mounted::tmpfs(&env.root(), "2m");
    env.rctr(["pull", "busybox"]).refused(1, "o space left");
    env.run_alone(&["busybox", "true"])
        .refused(125, "o space left");
    env.rctr(["images", "--quiet"]).ok().stdout_is("");
    disk.resize("40m");
    env.run_alone(&["busybox", "echo", "there"])
        .ok()
        .stdout_is("there");
    env.rctr(["rmi", "busybox"]).ok();
    let left = fs::read_dir(env.root().join("tmp"))
        .expect("a directory")
        .count();
    assert_eq!(left, 0, "what was begun is used or cleared away");
}

#[test]
fn a_full_filesystem_of_blocks_is_told_and_the_next_pull_goes_on() {
    let env = Env::new();
    let _disk = Mounted::ext4(&env.root(), &env.path("disk"), 24 << 20);
    // Something else takes all but a little.
    let filler = env.root().join("filler");
    let mut file = fs::File::create(&filler).expect("a file");
    let mut left = nix::sys::statvfs::statvfs(&env.root())
        .map(|stat| stat.blocks_available() * stat.fragment_size())
        .expect("a filesystem")
        .saturating_sub(1 << 20);
    let block = vec![1; 1 << 16];
    while left > 0 {
        let part = left.min(1 << 16);
        file.write_all(&block[..part as usize]).expect("space");
        left -= part;
    }
    drop(file);
    env.rctr(["pull", "busybox"]).refused(1, "o space left");
    env.run_alone(&["busybox", "true"])
        .refused(125, "o space left");
    env.rctr(["images", "--quiet"]).ok().stdout_is("");
    assert_eq!(env.leftovers(), [format!("mount {}", env.root().display())]);
    fs::remove_file(&filler).expect("own file");
    // A container that fills it goes with its files.
    env.sh(
        &["--network", "none"],
        "dd if=/dev/zero of=/big bs=1M count=40",
    )
    .exits(1)
    .stderr_has("No space left");
    env.sh(&["--network", "none"], "echo there")
        .ok()
        .stdout_is("there");
    env.rctr(["ps", "--all", "--quiet"]).ok().stdout_is("");
}

/// Fills the disk that its container's files are on.
const FILL: [&str; 3] = ["sh", "-c", "head -c 40000000 /dev/zero > /big; echo full"];

#[test]
fn everything_that_looks_or_makes_room_works_on_a_full_disk() {
    let env = Env::new();
    let _disk = Mounted::ext4(&env.root(), &env.path("disk"), 24 << 20);
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let alone = ["--network", "none", "busybox"];
    let stay = "head -c 40000000 /dev/zero > /big; exec sleep 1000";
    let sleeper =
        env.run_detached([&["--name", "sleeper"], &alone[..], &["sh", "-c", stay]].concat());
    // Also while it is still being filled.
    rctr_tests::wait_for("the disk to be full", || {
        env.rctr(["ps", "--all"]).ok();
        let processes = env.processes_of(&sleeper);
        processes.iter().all(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
        })
    });
    for words in [
        &["ps", "--all"][..],
        &["images"],
        &["logs", "sleeper"],
        &["inspect", "sleeper"],
        &["system", "df"],
        &["internal", "gc"],
    ] {
        env.rctr(words).ok();
    }
    // Again and again: what is kept back for the removal is not for them.
    for _ in 0..12 {
        env.run_alone(&["busybox", "true"])
            .refused(125, "no space left")
            .stderr_has("`rctr rm` and `rctr rmi`");
        env.rctr(["pull", "--quiet", "busybox"])
            .refused(1, "no space left");
    }
    env.rctr(["stop", "--time", "0", "sleeper"]).ok();
    env.rctr([
        "inspect",
        "--format",
        "{{.State.Status}} {{.State.ExitCode}}",
        "sleeper",
    ])
    .ok()
    .stdout_is("exited 137");
    env.rctr(["rm", "sleeper"]).ok();
    assert!(!env.root().join("containers").join(sleeper).exists());
    // One that ends while nobody looks, and its image after it.
    env.rctr([&["run", "--name", "filler"], &alone[..], &FILL].concat())
        .ok();
    env.rctr(["rmi", "--force", "busybox"]).ok();
    env.rctr(["rm", "--force", "filler"]).ok();
    env.rctr(["images", "--quiet"]).ok().stdout_is("");
    env.run_alone(&["busybox", "echo", "there"])
        .ok()
        .stdout_is("there");
    let left = fs::read_dir(env.root().join("tmp")).expect("a directory");
    assert_eq!(left.count(), 0);
}

#[test]
fn what_goes_at_its_end_goes_from_a_full_disk_too() {
    let env = Env::new();
    let _disk = Mounted::ext4(&env.root(), &env.path("disk"), 24 << 20);
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let containers = || {
        fs::read_dir(env.root().join("containers"))
            .expect("a directory")
            .count()
    };
    env.run_alone(&[&["busybox"], &FILL[..]].concat()).ok();
    assert_eq!(containers(), 0);
    env.run_detached([&["--rm", "--network", "none", "busybox"], &FILL[..]].concat());
    rctr_tests::wait_for("the container to go", || containers() == 0);
    env.rctr(["ps", "--all", "--quiet"]).ok().stdout_is("");
    // A store without a reserve, as an earlier rctr left it.
    env.rctr(
        [
            &["run", "--name", "old", "--network", "none", "busybox"],
            &FILL[..],
        ]
        .concat(),
    )
    .ok();
    let mut rest = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(env.root().join("rest"))
        .expect("a file");
    // It may have been given up already, for what was told of the container's end.
    let removed = fs::remove_file(env.root().join("reserve"));
    assert!(removed.is_ok() || !env.root().join("reserve").exists());
    while rest.write_all(&[1; 1024]).is_ok() {}
    drop(rest);
    env.rctr(["ps", "--all"]).ok();
    env.rctr(["rm", "old"]).ok();
    env.run_alone(&["busybox", "true"]).ok();
}

#[test]
fn a_log_that_was_not_kept_is_refused() {
    let env = Env::builder().config("[log]\ndriver = \"none\"\n").build();
    let run = [
        "run",
        "--name",
        "quiet",
        "--network",
        "none",
        "busybox",
        "echo",
        "x",
    ];
    env.rctr(run).ok().stdout_is("x");
    env.rctr(["logs", "quiet"])
        .refused(1, "configured logging driver does not support reading");
}

#[test]
fn a_disk_without_room_for_a_record_is_told() {
    let env = Env::new();
    let _disk = Mounted::tmpfs(&env.root(), "16k");
    for command in [&["ps"][..], &["pull", "busybox"]] {
        env.rctr(command)
            .refused(1, "store.db")
            .stderr_has("no space left on the disk that holds it")
            .stderr_has("hint: `df`");
    }
}

#[test]
fn damaged_blobs_and_lost_layers_are_told_and_a_pull_repairs_them() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    for blob in fs::read_dir(env.root().join("blobs/sha256"))
        .expect("blobs")
        .flatten()
    {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(blob.path())
            .expect("own file");
        file.set_len(100).expect("own file");
    }
    let run = [
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "echo",
        "well",
    ];
    env.rctr(run).refused(125, "pull");
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    env.rctr(run).ok().stdout_is("well");
    // The layer's files as well: all of them, or just those that are seen in a container.
    for lost in ["", "diff"] {
        for layer in fs::read_dir(env.root().join("layers"))
            .expect("layers")
            .flatten()
        {
            if layer.file_name().len() == 64 {
                fs::remove_dir_all(layer.path().join(lost)).expect("own files");
            }
        }
        env.rctr(run).refused(125, "no layer").stderr_has("pull");
        env.rctr(["pull", "--quiet", "busybox"]).ok();
        env.rctr(run).ok().stdout_is("well");
    }
}

#[test]
fn a_database_that_is_none_is_named_and_left_alone() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let database = env.root().join("store.db");
    let garbage = vec![b'x'; 8192];
    let kept = env.path("kept");
    fs::create_dir(&kept).expect("a new directory");
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        fs::rename(env.root().join(name), kept.join(name)).expect("own file");
    }
    fs::write(&database, &garbage).expect("own file");
    let path = database.to_string_lossy().into_owned();
    for command in [&["ps"][..], &["images"], &["pull", "busybox"]] {
        env.rctr(command).refused(1, &path).stderr_has("damaged");
    }
    env.rctr(["run", "--rm", "busybox", "true"])
        .refused(125, &path);
    assert_eq!(fs::read(&database).expect("own file"), garbage);
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        fs::rename(kept.join(name), env.root().join(name)).expect("own file");
    }
    env.run_alone(&["busybox", "true"]).ok();
}

#[test]
fn mistakes_in_the_configuration_are_named_with_their_line() {
    let env = Env::new();
    let good = fs::read_to_string(env.config_file()).expect("the configuration");
    let file = env.config_file().to_string_lossy().into_owned();
    for (text, words) in [
        ("colour = 1", &["line 1", "colour"][..]),
        ("\n[network]\nbrigde = \"x\"", &["line 3", "brigde"]),
        ("[registry.\"x\"]\nmirror = []", &["line 2", "mirror"]),
        ("[log]\nmax_size = \"x\"", &["line 2", "x"]),
        (
            "[cgroup]\ndriver = \"other\"",
            &["line 2", "other", "cgroupfs"],
        ),
        ("[network]\nsubnet = \"10.0.0.0/33\"", &["line 2"]),
        ("a b", &["line 1"]),
    ] {
        fs::write(env.config_file(), text).expect("the configuration");
        let out = env.rctr(["ps"]);
        out.refused(125, &file);
        for word in words {
            out.one_error(word);
        }
        assert_eq!(out.stderr().lines().count(), 1, "{}", out.stderr());
        env.rctr(["run", "--rm", "busybox", "true"])
            .refused(125, &file);
    }
    fs::write(env.config_file(), good).expect("the configuration");
    let missing = env.path("nosuch.toml").to_string_lossy().into_owned();
    env.rctr(["--config", &missing, "ps"])
        .refused(125, &missing);
    let directory = env.home().to_string_lossy().into_owned();
    env.rctr(["--config", &directory, "ps"])
        .refused(125, &directory);
}

#[test]
fn a_root_that_cannot_be_is_named() {
    let env = Env::new();
    env.rctr(["--root", "/dev/null/x", "ps"])
        .refused(1, "/dev/null/x");
    env.rctr(["--root", "/proc/nosuch", "ps"])
        .refused(1, "/proc/nosuch");
}
