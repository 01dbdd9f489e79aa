//! Each command is killed before every system call by which it changes something, one call after the other; or that
//! call fails, as on a broken or a full disk. Afterwards the same command can be given again, `system check` finds
//! nothing wrong, and nothing is left behind.

mod errors;
mod kills;
mod monitor;
mod staged;

use std::fs;
use std::process::Command;

use rctr_tests::{Env, Output, Running, installed, rctr_binary};

/// The calls by which something outlives a process, or another process learns of it.
const DURABLE: [&str; 25] = [
    "pwrite64",
    "write",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "symlink",
    "symlinkat",
    "link",
    "linkat",
    "sendto",
    "sendmsg",
    "clone",
    "clone3",
    "vfork",
    "mount",
    "flock",
];

/// One `rctr` command under strace, which counts its calls or makes one of them fail.
struct Traced<'a> {
    env: &'a Env,
    args: Vec<&'a str>,
}

impl<'a> Traced<'a> {
    fn new(env: &'a Env, args: &[&'a str]) -> Self {
        Self {
            env,
            args: args.to_vec(),
        }
    }

    /// Runs it, tracing `calls`; `inject` happens as strace says.
    fn run(&self, calls: &str, inject: &str) -> Output {
        let mut command = Command::new("strace");
        let plain = self.env.command(&self.args);
        command.env_clear();
        for (name, value) in plain.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.arg("-qq").arg("-o").arg(self.trace_file());
        command.args(["-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:{inject}")]);
        command.arg("--").arg(rctr_binary()).args(&self.args);
        Running::start(command, Some(b"")).finish()
    }

    fn trace_file(&self) -> std::path::PathBuf {
        self.env.path("trace")
    }

    /// Runs it again and again; `inject` happens to each of its calls in turn, and then `after` looks what became of
    /// it, told which call it was. Gives how many calls there were.
    fn at_every_call(
        &self,
        calls: &[&str],
        inject: &str,
        mut after: impl FnMut(&str, &Output),
    ) -> usize {
        let mut all = 0;
        for call in calls {
            for number in 1.. {
                // What is broken or used up stays so.
                let on = if inject.starts_with("error") { "+" } else { "" };
                let out = self.run(call, &format!("{inject}:when={number}{on}"));
                let trace = fs::read_to_string(self.trace_file()).unwrap_or_default();
                after(&format!("{call} number {number}"), &out);
                let met = ["+++ killed by SIGKILL", "(INJECTED)"];
                if !met.iter().any(|text| trace.contains(text)) {
                    break;
                }
                all += 1;
            }
        }
        all
    }
}

/// A command that works.
fn give(env: &Env, words: &[&str]) {
    env.rctr(words).ok();
}

/// Whether this machine can trace.
fn can_trace() -> bool {
    installed("strace")
}

/// What `system check` may find after a command was killed, and mend: nothing of it is lost.
const MENDED: [&str; 2] = [
    "has ended, its record says it runs",
    "its firewall rules are gone",
];

/// What is left of a command that was killed goes with an ordinary one later: nothing of it is there for `system check`
/// to find, and what that finds else its repair mends.
fn check(env: &Env, when: &str) {
    // Whoever looks notices an end, and what a monitor that was killed could not take away.
    give(env, &["ps", "-a"]);
    // Whoever removes, though it be nothing, takes away what no record leads to.
    give(
        env,
        &["container", "prune", "-f", "--filter", "until=1970-01-02"],
    );
    let found = env.rctr(["system", "check"]);
    if found.status() == 0 {
        return;
    }
    let found = found.stdout();
    let lost = found
        .lines()
        .find(|line| !MENDED.iter().any(|kind| line.contains(kind)));
    assert_eq!(lost, None, "{when}");
    env.rctr(["system", "check", "--repair"]);
    let out = env.rctr(["system", "check"]);
    let left = (out.status(), out.stdout() + &out.stderr());
    assert_eq!(left, (0, String::new()), "{when}");
}
