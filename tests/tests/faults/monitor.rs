//! Monitors are killed before their calls, stopped there, or their calls fail.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rctr_tests::{Env, Output, wait_for};

use crate::errors::{OPENING, TO_DISK};
use crate::staged::{CHANGING, From, Staged};
use crate::{can_trace, check, give};

/// So many moments of each kind of call.
const MOST: usize = 4;

/// How long what goes on by itself may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A container's life: how it is begun, when enough has happened, and how it ends.
struct Life {
    flags: &'static [&'static str],
    command: &'static [&'static str],
    from: From,
    /// What `inspect` says once enough has happened.
    until: (&'static str, &'static str),
    end: &'static [&'static [&'static str]],
}

/// Probes of its health, and `stop`.
const STOPPED: Life = Life {
    flags: &[
        "-p",
        "80",
        "-v",
        "vv:/data",
        "--health-cmd",
        "true",
        "--health-interval",
        "50ms",
    ],
    command: &["sleep", "1000"],
    from: From::Start,
    until: ("{{.State.Health.Status}}", "healthy"),
    end: &[&["exec", "cc", "true"], &["stop", "-t", "0", "cc"]],
};

/// Its log is rotated, and it ends by itself.
const TALKER: Life = Life {
    flags: &[
        "--network",
        "none",
        "--log-opt",
        "max-size=20k",
        "--log-opt",
        "max-file=3",
    ],
    command: &["sh", "-c", "sleep 0.1; seq 1 3000; exit 3"],
    from: From::Running,
    until: ("{{.State.Status}}", "exited"),
    end: &[],
};

/// It is started again once.
const FAILING: Life = Life {
    flags: &["--network", "none", "--restart", "on-failure:1"],
    command: &["sh", "-c", "sleep 0.1; exit 3"],
    from: From::Running,
    until: ("{{.State.Status}} {{.RestartCount}}", "exited 1"),
    end: &[],
};

impl Life {
    fn run(&self) -> Vec<&'static str> {
        let first = ["run", "-d", "--name", "cc"];
        [&first, self.flags, &["busybox"], self.command].concat()
    }

    /// Lives it, as far as that goes.
    fn live(&self, env: &Env, staged: &Staged<'_>) -> Vec<Output> {
        let mut outputs = vec![staged.command(&self.run()).finish()];
        let (format, last) = self.until;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let seen = env.rctr(["inspect", "-f", format, "cc"]).stdout();
            let state = env
                .rctr(["inspect", "-f", "{{.State.Status}}", "cc"])
                .stdout();
            let over = state != "running" && state != "restarting" && !self.end.is_empty();
            if seen == last || over || state == "created" || state.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for words in self.end {
            outputs.push(env.rctr(*words));
        }
        outputs
    }
}

/// `inject` happens to the monitor of a life at each of its moments. Whatever becomes of it: no command hangs or loses its
/// head, what is told is true, nothing is lost, the container can be started, and nothing is left of it.
fn sweep(life: &Life, calls: &[&'static str], inject: &str, texts: &[&str]) {
    if !can_trace() {
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let staged = Staged::new(&env);
    let moments = staged.moments(calls, life.from, MOST, || {
        for output in life.live(&env, &staged) {
            output.ok();
        }
        give(&env, &["rm", "-f", "-v", "cc"]);
    });
    let mut met = 0;
    for (call, number) in moments {
        let when = format!("{inject} at {call} number {number}");
        // What is broken or used up stays so.
        let on = if inject.starts_with("error") { "+" } else { "" };
        staged.inject(call, Some(&format!("{inject}:when={number}{on}")));
        for output in life.live(&env, &staged) {
            let said = output.stderr();
            let told = output.status() == 0 || texts.iter().any(|text| said.contains(text));
            assert!(told, "{when}: {output:?}");
            assert!(!said.contains("panicked"), "{when}: {said}");
        }
        met += usize::from(staged.has_met());
        env.assert_truth();
        check(&env, &when);
        if env.rctr(["inspect", "cc"]).status() == 0 {
            give(&env, &["start", "cc"]);
        }
        give(&env, &["rm", "-f", "-v", "cc"]);
        give(&env, &["volume", "rm", "-f", "vv"]);
        env.assert_no_leftovers();
    }
    println!("{inject}: met {met} times");
    assert!(met > 5, "met {met} times only");
}

/// Where monitors are stopped: each time takes as long as `rm -f` waits for whoever may hang.
const STOPS: [&str; 5] = ["write", "rename", "mount", "clone3", "sendto"];

/// What commands say of a monitor that is gone, or was never there.
const LOST: [&str; 6] = [
    "is gone",
    "killed",
    "is not running",
    "No such container",
    "ended",
    "no such",
];

#[test]
fn killed_from_the_start_to_a_stop() {
    sweep(&STOPPED, &CHANGING, "signal=SIGKILL", &LOST);
}

#[test]
fn killed_while_a_log_is_rotated_and_at_the_end() {
    sweep(&TALKER, &CHANGING, "signal=SIGKILL", &LOST);
}

#[test]
fn killed_before_a_restart() {
    sweep(&FAILING, &CHANGING, "signal=SIGKILL", &LOST);
}

fn on_disk() -> Vec<&'static str> {
    [&TO_DISK[..], &["write"]].concat()
}

#[test]
fn on_a_disk_that_is_full() {
    let texts = [&LOST[..], &["o space left on device"]].concat();
    sweep(&STOPPED, &on_disk(), "error=ENOSPC", &texts);
}

#[test]
fn on_a_disk_that_is_full_of_logs() {
    sweep(&TALKER, &on_disk(), "error=ENOSPC", &LOST);
}

#[test]
fn on_a_disk_that_is_broken() {
    let texts = [&LOST[..], &["nput/output error"]].concat();
    sweep(&STOPPED, &on_disk(), "error=EIO", &texts);
}

#[test]
fn without_descriptors() {
    // The second is what libcontainer says.
    let texts = [&LOST[..], &["oo many open files", "failed to bind"]].concat();
    sweep(&STOPPED, &OPENING, "error=EMFILE", &texts);
}

#[test]
fn stopped_where_it_is() {
    if !can_trace() {
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let staged = Staged::new(&env);
    let words = ["run", "-d", "--name", "cc", "busybox", "sleep", "1000"];
    let moments = staged.moments(&STOPS, From::Start, 1, || {
        staged.command(&words).finish().ok();
        give(&env, &["rm", "-f", "cc"]);
    });
    let mut stopped = 0;
    for (call, number) in moments {
        let when = format!("stopped at {call} number {number}");
        staged.inject(call, Some(&format!("signal=SIGSTOP:when={number}")));
        let mut run = staged.command(&words);
        wait_for(
            "a run that has ended, or a monitor that has stopped",
            || staged.has_met() || !run.alive(),
        );
        if !staged.has_met() {
            run.finish().ok();
            give(&env, &["rm", "-f", "cc"]);
            continue;
        }
        stopped += 1;
        for words in [&["ps", "-a"][..], &["inspect", "cc"], &["images"]] {
            let out = env.rctr(words);
            out.ok();
            assert!(out.took() < Duration::from_secs(5), "{when}: {out:?}");
        }
        run.signal(Signal::SIGKILL);
        run.finish();
        let out = env.rctr(["rm", "-f", "cc"]);
        out.ok();
        assert!(out.took() < Duration::from_secs(30), "{when}: {out:?}");
        env.assert_truth();
        check(&env, &when);
        env.assert_no_leftovers();
    }
    println!("stopped {stopped} times");
    assert!(stopped > 2, "stopped {stopped} times only");
}
