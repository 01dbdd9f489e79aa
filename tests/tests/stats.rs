//! `stats` and `top`: the figures of the kernel's own files, and the host's `ps`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, wait_for};
use serde_json::Value;

/// One look at a container.
fn look(env: &Env, name: &str) -> Value {
    env.rctr(["stats", "--no-stream", "--format", "json", name])
        .ok()
        .json()
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().expect("text")
}

/// `12.34%`.
fn percent(row: &Value, column: &str) -> f64 {
    let number = text(row, column).strip_suffix('%').expect("a share");
    number.parse().expect("a number")
}

/// What the kernel says of a container's memory: v1 or v2.
fn memory_files(env: &Env, id: &str) -> (u64, u64) {
    let dirs = env.cgroups_of(id);
    let number = |names: [&str; 2]| -> u64 {
        let paths = dirs.iter().flat_map(|dir| names.map(|name| dir.join(name)));
        let found: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
        let text = std::fs::read_to_string(found.first().expect("a memory cgroup")).expect("text");
        text.trim().parse().expect("a number")
    };
    (
        number(["memory.usage_in_bytes", "memory.current"]),
        number(["memory.limit_in_bytes", "memory.max"]),
    )
}

#[test]
fn figures_are_the_kernel_s() {
    let env = Env::new();
    let script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; echo ready; \
                  sleep 600 & while :; do :; done";
    let flags = ["--name", "busy", "-m", "128m", "--cpus", "0.5"];
    let id = env.run_detached([&flags[..], &["busybox", "sh", "-c", script]].concat());
    env.wait_log("busy", "ready");
    let row = look(&env, "busy");
    assert_eq!(text(&row, "Name"), "busy");
    assert_eq!(text(&row, "Container"), "busy");
    assert_eq!(text(&row, "ID"), &id[..12]);
    let cpu = percent(&row, "CPUPerc");
    assert!((20.0..90.0).contains(&cpu), "half a processor is {cpu}%");
    let (usage, limit) = memory_files(&env, &id);
    assert_eq!(limit, 128 << 20);
    assert!(text(&row, "MemUsage").ends_with(" / 128MiB"));
    let share = percent(&row, "MemPerc");
    let real = usage as f64 / limit as f64 * 100.0;
    assert!((share - real).abs() < 2.0, "{share}% and not {real}%");
    assert!(share > 100.0 * 20.0 / 128.0, "20 MB of a tmpfs count");
    assert_eq!(text(&row, "PIDs"), "2");

    env.rctr(["pause", "busy"]).ok();
    assert_eq!(percent(&look(&env, "busy"), "CPUPerc"), 0.0);
}

#[test]
fn traffic_counts_and_the_host_s_does_not() {
    let env = Env::new();
    env.run_detached(["--name", "net", "busybox", "sleep", "600"]);
    env.run_detached([
        "--name",
        "host",
        "--network",
        "host",
        "busybox",
        "sleep",
        "600",
    ]);
    let gateway = env.slot().subnet().hosts().next().expect("one").to_string();
    let bytes = |name: &str| text(&look(&env, name), "NetIO").to_owned();
    env.rctr(["exec", "net", "ping", "-c", "3", "-s", "1400", &gateway])
        .ok();
    let counted = bytes("net");
    assert!(
        counted.contains("kB / ") && counted.ends_with("kB"),
        "{counted}"
    );
    assert_eq!(bytes("host"), "0B / 0B");
}

#[test]
fn what_is_written_to_disks_counts() {
    let env = Env::new();
    // Past the cache, and to a disk: what holds the containers here may be memory.
    let dir = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let bind = format!("{}:/disk", dir.path().display());
    let script =
        "dd if=/dev/zero of=/disk/x bs=1M count=8 oflag=direct 2>&1; echo ready; sleep 600";
    let flags = ["--name", "cc", "--network", "none", "-v", &bind];
    let id = env.run_detached([&flags[..], &["debian", "sh", "-c", script]].concat());
    env.wait_log("cc", "ready");
    let files = env.cgroups_of(&id).into_iter().flat_map(|dir| {
        ["blkio.throttle.io_service_bytes_recursive", "io.stat"].map(|name| dir.join(name))
    });
    let text: String = files
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .collect();
    let written: u64 = text
        .split_whitespace()
        .zip(text.split_whitespace().skip(1))
        .filter_map(|(word, number)| match word.strip_prefix("wbytes=") {
            Some(bytes) => bytes.parse::<u64>().ok(),
            None if word == "Write" => number.parse().ok(),
            None => None,
        })
        .sum();
    let row = look(&env, "cc");
    let shown = text_of_written(&row);
    match written {
        // A filesystem that passes nothing on under the container's name.
        0 => assert_eq!(shown, "0B", "{row}"),
        _ => {
            assert!(written >= 8 << 20, "{text}");
            assert!(
                shown.starts_with("8.") && shown.ends_with("MB"),
                "{written}: {row}"
            );
        }
    }
}

fn text_of_written(row: &Value) -> &str {
    let (_, written) = text(row, "BlockIO").split_once(" / ").expect("two figures");
    written
}

#[test]
fn tables_and_who_is_in_them() {
    let env = Env::new();
    env.run_detached(["--name", "runs", "busybox", "sleep", "600"]);
    env.rctr(["create", "--name", "made", "busybox"]).ok();
    let table = env.rctr(["stats", "--no-stream"]).ok().lines();
    let heads: Vec<&str> = table[0]
        .split("  ")
        .map(str::trim)
        .filter(|h| !h.is_empty())
        .collect();
    assert_eq!(
        heads,
        [
            "CONTAINER ID",
            "NAME",
            "CPU %",
            "MEM USAGE / LIMIT",
            "MEM %",
            "NET I/O",
            "BLOCK I/O",
            "PIDS"
        ]
    );
    assert_eq!(table.len(), 2);
    let names = |flags: &[&str]| {
        let words = [
            "stats",
            "--no-stream",
            "--format",
            "{{.Name}} {{.MemUsage}}",
        ];
        env.rctr([&words[..], flags].concat()).ok().lines()
    };
    assert_eq!(names(&["-a"])[0], "made 0B / 0B");
    assert_eq!(names(&["-a"]).len(), 2);
    assert_eq!(names(&["made"]), ["made 0B / 0B"]);
    let whole = env.rctr(["stats", "--no-stream", "--no-trunc", "--format", "{{.ID}}"]);
    assert_eq!(whole.ok().stdout().len(), 64);
    env.rctr([
        "stats",
        "--no-stream",
        "--format",
        "table {{.Container}}\\t{{.PIDs}}",
        "runs",
    ])
    .ok()
    .stdout_has("CONTAINER   PIDS\nruns        1");
    env.rctr(["stats", "--no-stream", "nobody"])
        .refused(1, "nobody");
    env.rctr(["stats", "--no-stream", "--format", "{{.Nope}}"])
        .exits(1);
}

#[test]
fn the_screen_is_refreshed_until_the_last_is_gone() {
    let env = Env::new();
    env.run_detached(["--name", "short", "busybox", "sleep", "600"]);
    let start = |words: &[&str], screen: &Path| {
        let file = std::fs::File::create(screen).expect("a file");
        let live = env.command(words).stdin(Stdio::null()).stdout(file).spawn();
        live.expect("rctr starts")
    };
    let text = |screen: &Path| std::fs::read_to_string(screen).unwrap_or_default();
    let frames = |screen: &Path| text(screen).matches("\x1b[H").count();
    let path = env.path("screen");
    let mut live = start(&["stats", "short"], &path);
    wait_for("two frames", || frames(&path) >= 2);
    let screen = text(&path);
    assert!(screen.starts_with("\x1b[HCONTAINER ID"), "{screen:?}");
    assert!(screen.contains("\x1b[K\n") && screen.contains("\x1b[J"));
    env.rctr(["rm", "-f", "short"]).ok();
    let ended = live.wait().expect("it is our child");
    assert!(ended.success());

    // Without names it goes on, for whatever comes.
    let path = env.path("all");
    let mut all = start(&["stats"], &path);
    wait_for("two frames of nothing", || frames(&path) >= 2);
    let pid = i32::try_from(all.id()).expect("a pid");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("it goes on");
    all.wait().expect("it is our child");
}

#[test]
fn top_lists_the_container_s_processes_alone() {
    let env = Env::new();
    env.run_detached([
        "--name",
        "web",
        "busybox",
        "sh",
        "-c",
        "sleep 601 & sleep 602",
    ]);
    wait_for("both", || {
        env.rctr(["top", "web"]).stdout().contains("sleep 602")
    });
    let table = env.rctr(["top", "web"]).ok().lines();
    assert!(
        table[0].starts_with("UID                 PID "),
        "{}",
        table[0]
    );
    assert!(table[0].ends_with(" CMD"));
    assert!(table.iter().any(|line| line.ends_with("sleep 601")));
    assert!((3..=4).contains(&table.len()), "{table:?}");
    let own = std::process::id().to_string();
    let pids = env
        .rctr(["top", "web", "-e", "-o", "pid,comm"])
        .ok()
        .lines();
    assert!(pids[0].starts_with("PID                 COMMAND"));
    assert!(pids[1..].iter().all(|line| !line.starts_with(&own)));
    env.rctr(["top", "web", "-o", "comm"])
        .refused(1, "Couldn't find PID field in ps output");
    env.rctr(["top", "web", "-o", "comm -o user=PID"])
        .refused(1, "specifying \"user=PID\" is not allowed");
    env.rctr(["top", "web", "--no-such-option"]).exits(1);
    env.rctr(["create", "--name", "made", "busybox"]).ok();
    env.rctr(["top", "made"]).refused(1, "is not running");
    env.rctr(["top"]).exits(1);
}
