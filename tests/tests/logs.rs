//! `logs`: what was written, when, on which stream; following, rotation, and nothing lost.

use rctr_tests::{Env, Running, wait_for};

/// Runs a script to its end in a container named `log`.
fn logged(env: &Env, script: &str) {
    env.rctr(["run", "--name", "log", "busybox", "sh", "-c", script])
        .ok();
}

/// Starts the container `log`, which runs a script.
fn logging(env: &Env, script: &str) -> String {
    env.run_detached(["--name", "log", "busybox", "sh", "-c", script])
}

#[test]
fn a_hundred_thousand_lines_are_all_there_in_order() {
    let env = Env::builder()
        .config("[log]\nmax_size = \"10m\"\nmax_file = 3\n")
        .build();
    let run = env.rctr(["run", "--name", "log", "busybox", "seq", "1", "100000"]);
    let logs = env.rctr(["logs", "log"]);
    assert!(run.ok().stdout_bytes() == logs.ok().stdout_bytes());
    assert_eq!(logs.lines().len(), 100_000);
    assert_eq!(logs.lines().last().map(String::as_str), Some("100000"));
    env.rctr(["logs", "--tail", "2", "log"])
        .ok()
        .stdout_is("99999\n100000");
}

#[test]
fn a_long_line_is_one_line() {
    let env = Env::new();
    logged(
        &env,
        "head -c 100000 /dev/zero | tr '\\0' x; echo; echo after; printf unfinished",
    );
    let lines = env.rctr(["logs", "log"]).ok().lines();
    assert_eq!(
        lines.iter().map(String::len).collect::<Vec<_>>(),
        [100_000, 5, 10]
    );
    let stamped = env.rctr(["logs", "-t", "log"]).ok().lines();
    assert_eq!(stamped.len(), 3, "one time for one line");
    env.rctr(["logs", "--tail", "1", "log"])
        .ok()
        .stdout_is("unfinished");
}

#[test]
fn tail_and_streams() {
    let env = Env::new();
    logged(&env, "echo 1; echo 2; echo 3; echo e1 >&2");
    env.rctr(["logs", "log"])
        .ok()
        .stdout_is("1\n2\n3")
        .stderr_has("e1");
    env.rctr(["logs", "--tail", "-1", "log"])
        .ok()
        .stdout_is("1\n2\n3");
    env.rctr(["logs", "-n", "all", "log"])
        .ok()
        .stdout_is("1\n2\n3");
    env.rctr(["logs", "--tail", "0", "log"])
        .ok()
        .stdout_is("")
        .quiet();
    env.rctr(["logs", "--tail", "99", "log"])
        .ok()
        .stdout_is("1\n2\n3");
    env.rctr(["create", "--name", "never", "busybox"]).ok();
    env.rctr(["logs", "never"]).ok().stdout_is("").quiet();
}

#[test]
fn since_until_and_timestamps() {
    let env = Env::new();
    logged(
        &env,
        "echo first; sleep 0.2; echo second; sleep 0.2; echo third",
    );
    let stamped = env.rctr(["logs", "-t", "log"]).ok().lines();
    let times: Vec<_> = stamped
        .iter()
        .map(|line| line.split_once(' ').expect("a time and a line"))
        .collect();
    assert_eq!(
        times.iter().map(|(_, text)| *text).collect::<Vec<_>>(),
        ["first", "second", "third"]
    );
    assert!(times.is_sorted());
    let second = times[1].0;
    assert!(
        second.len() == 30 && second.ends_with('Z'),
        "RFC 3339 with nanoseconds, not {second}"
    );
    env.rctr(["logs", "--since", second, "log"])
        .ok()
        .stdout_is("second\nthird");
    let until = env.rctr(["logs", "--until", times[0].0, "log"]);
    until.ok().stdout_is("first");
    env.rctr(["logs", "--since", "1h", "log"])
        .ok()
        .stdout_is("first\nsecond\nthird");
    env.rctr(["logs", "--until", "1h", "log"])
        .ok()
        .stdout_is("");
    env.rctr(["logs", "--since", "0", "--tail", "1", "log"])
        .ok()
        .stdout_is("third");
    env.rctr(["logs", "--since", "yesterday-ish", "log"])
        .stderr_has("yesterday-ish");
    env.rctr(["logs", "--since", "-1h", "log"])
        .ok()
        .stdout_is("");
}

#[test]
fn an_empty_time_is_none() {
    let env = Env::new();
    logged(&env, "echo one");
    env.rctr(["logs", "--since", "", "--until", "", "log"])
        .ok()
        .stdout_is("one");
    let events = |flags: &[&str]| env.rctr([&["events", "--until", "0s"], flags].concat());
    let all = events(&[]).ok().stdout();
    assert!(all.contains("container die"), "{all}");
    events(&["--since", ""]).ok().stdout_is(&all);
}

#[test]
fn the_file_has_the_format_of_kubernetes() {
    let env = Env::new();
    logged(&env, "echo out; echo 'err or' >&2; printf unfinished");
    let path = env.inspect("log")["LogPath"].take();
    let text = std::fs::read_to_string(path.as_str().expect("a path")).expect("a log");
    let mut rest: Vec<String> = Vec::new();
    for line in text.lines() {
        let (time, rest_of_line) = line.split_once(' ').expect("a time");
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        rest.push(rest_of_line.to_owned());
    }
    rest.sort();
    assert_eq!(
        rest,
        ["stderr F err or", "stdout F out", "stdout P unfinished"]
    );
}

#[test]
fn details_are_what_the_options_name() {
    let env = Env::new();
    let flags = [
        "--name",
        "log",
        "-l",
        "tier=front",
        "-l",
        "other=x",
        "-e",
        "STAGE=test",
        "--network",
        "none",
        "--log-opt",
        "labels=tier",
        "--log-opt",
        "env=STAGE,NOT",
    ];
    let words = [&["run"], &flags[..], &["busybox", "echo", "hello"]].concat();
    env.rctr(words).ok();
    env.rctr(["logs", "--details", "log"])
        .ok()
        .stdout_is("STAGE=test,tier=front hello");
    let both = env.rctr(["logs", "-t", "--details", "log"]).ok().stdout();
    let (time, rest) = both.split_once(' ').expect("a time");
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{both}");
    assert_eq!(rest, "STAGE=test,tier=front hello");
}

#[test]
fn follow_ends_at_the_time_that_was_said() {
    let env = Env::new();
    logging(&env, "echo first; while :; do sleep 0.1; echo more; done");
    env.wait_log("log", "more");
    let stamped = env.rctr(["logs", "-t", "--tail", "1", "log"]).ok().stdout();
    let (last, _) = stamped.split_once(' ').expect("a time");
    // One that has passed by now, with something after it.
    let past = env.rctr(["logs", "-f", "--until", last, "log"]);
    past.ok().stdout_has("first\nmore");
    // One to come, and one of which nothing will be written any more.
    let before = past.lines().len();
    let later = env.rctr(["logs", "-f", "--until", "-1s", "log"]);
    assert!(later.ok().lines().len() > before + 3, "{later:?}");
    env.run_detached(["--name", "quiet", "busybox", "sleep", "1000"]);
    let quiet = env.rctr(["logs", "-f", "--until", "-1s", "quiet"]);
    quiet.ok().stdout_is("");
    assert!(
        quiet.took() < std::time::Duration::from_secs(30),
        "{quiet:?}"
    );
}

/// Waits until `logs -f` watches for what comes.
fn await_following(logs: &Running) {
    let dir = format!("/proc/{}/fd", logs.pid());
    wait_for("logs -f to watch", || {
        let files = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        let mut targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        targets.any(|target| target.to_string_lossy().contains("inotify"))
    });
}

#[test]
fn follow_ends_with_the_container_and_misses_nothing() {
    let env = Env::new();
    let script = "echo early; read go; for n in 1 2 3; do echo line $n; done; echo err >&2";
    env.rctr([
        "run", "-d", "-i", "--name", "log", "busybox", "sh", "-c", script,
    ])
    .ok();
    env.wait_log("log", "early");
    let mut follow = env.spawn(["logs", "-f", "log"]);
    let last = env.spawn(["logs", "-f", "--tail", "0", "log"]);
    assert!(follow.alive());
    await_following(&follow);
    await_following(&last);
    env.rctr_with_input(["attach", "log"], b"go\n").ok();
    follow
        .finish()
        .ok()
        .stdout_is("early\nline 1\nline 2\nline 3")
        .stderr_has("err");
    last.finish().ok().stdout_is("line 1\nline 2\nline 3");
}

/// Sizes of the files that hold the log of the container `log`.
fn files_of_log(env: &Env) -> Vec<u64> {
    let inspected = env.inspect("log");
    let text = |key: &str| inspected[key].as_str().expect("a text").to_owned();
    let (id, path) = (text("Id"), text("LogPath"));
    assert!(path.contains(&id), "{path}");
    let dir = std::path::Path::new(&path).parent().expect("a directory");
    let entries = std::fs::read_dir(dir).expect("the log's directory");
    let logs = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("log"));
    logs.map(|entry| entry.metadata().map_or(0, |meta| meta.len()))
        .collect()
}

#[test]
fn unasked_three_files_of_ten_megabytes_are_kept() {
    let env = Env::new();
    let line = "x".repeat(1000);
    logging(&env, &format!("yes {line} | head -n 45000"));
    env.rctr(["wait", "log"]).ok().stdout_is("0");
    let files = files_of_log(&env);
    assert!(
        files.len() == 3 && files.iter().all(|size| *size <= 10_000_000),
        "{files:?}"
    );
    let kept = env.rctr(["logs", "log"]).ok().stdout_bytes().len();
    assert!((20_000_000..30_000_000).contains(&kept), "{kept} bytes");
}

#[test]
fn rotation_bounds_the_disk_and_follow_goes_across_it() {
    let env = Env::builder()
        .config("[log]\nmax_size = \"64k\"\nmax_file = 3\n")
        .build();
    let script = "read go; seq 1 30000";
    env.rctr([
        "run", "-d", "-i", "--name", "log", "busybox", "sh", "-c", script,
    ])
    .ok();
    let follow = env.spawn(["logs", "-f", "log"]);
    await_following(&follow);
    env.rctr_with_input(["attach", "log"], b"go\n").ok();
    let followed = follow.finish();
    let lines = followed.ok().lines();
    assert_eq!(lines.first().map(String::as_str), Some("1"));
    assert_eq!(lines.last().map(String::as_str), Some("30000"));
    let kept = env.rctr(["logs", "log"]).ok().lines();
    let first: usize = kept[0].parse().expect("a number");
    assert!(first > 1, "old lines are gone");
    assert_eq!(kept.len(), 30_000 - first + 1, "and no others");
    let files = files_of_log(&env);
    assert_eq!(files.len(), 3, "{files:?}");
    let size: u64 = files.iter().sum();
    assert!(size < 700_000, "{size} bytes on disk");
}

#[test]
fn ctrl_c_ends_follow_and_not_the_container() {
    let env = Env::new();
    logging(&env, "echo up; sleep 1000");
    env.wait_log("log", "up");
    let follow: Running = env.spawn(["logs", "--follow", "log"]);
    await_following(&follow);
    follow.signal(nix::sys::signal::Signal::SIGINT);
    follow.finish();
    env.rctr(["inspect", "-f", "{{.State.Running}}", "log"])
        .ok()
        .stdout_is("true");
}

#[test]
fn a_terminals_output_is_logged_as_it_came() {
    let env = Env::new();
    env.run_detached([
        "-t",
        "--name",
        "log",
        "busybox",
        "sh",
        "-c",
        "echo one; echo two >&2",
    ]);
    env.rctr(["wait", "log"]).ok();
    let logs = env.rctr(["logs", "log"]);
    assert_eq!(logs.ok().quiet().stdout_bytes(), b"one\r\ntwo\r\n");
}
