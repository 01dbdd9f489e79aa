//! An rctr whose monitors run under strace, from their first call to their last.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use rctr_tests::{Env, Running, rctr_binary};

/// The calls by which a monitor changes what another process, or the next command, finds.
pub const CHANGING: [&str; 24] = [
    "write",
    "pwrite64",
    "ftruncate",
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
    "mknodat",
    "sendto",
    "sendmsg",
    "clone",
    "clone3",
    "vfork",
    "mount",
    "move_mount",
    "unshare",
    "setns",
    "kill",
];

/// The call by which a monitor says that its container runs.
const LAUNCHED: &str = "\"Launched";

/// `rctr` with a monitor that strace starts.
pub struct Staged<'a> {
    env: &'a Env,
    dir: PathBuf,
}

impl<'a> Staged<'a> {
    pub fn new(env: &'a Env) -> Self {
        let dir = env.path("staged");
        fs::create_dir_all(&dir).expect("a new directory");
        // rctr finds its monitor beside itself.
        let (from, to) = (rctr_binary(), dir.join("rctr"));
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).expect("a copy of rctr");
        }
        Self { env, dir }
    }

    fn trace(&self) -> PathBuf {
        self.dir.join("trace")
    }

    /// From now on `inject` happens to `calls` of monitors, as strace says; without them it only writes them down.
    pub fn inject(&self, calls: &str, inject: Option<&str>) {
        // What it met before is not what it meets now.
        let _ = fs::remove_file(self.trace());
        let real = rctr_binary().with_file_name("rctr-monitor");
        let real = real.display();
        let inject = inject.map(|what| format!("-e inject={calls}:{what}"));
        // A timer is not a monitor.
        let script = format!(
            "#!/bin/bash\n[ $# = 0 ] || exec -c -a restart-timer {real} \"$@\"\n\
             exec -c /usr/bin/strace -D -qq -s 64 -o {} -e trace={calls} {} -- {real}\n",
            self.trace().display(),
            inject.unwrap_or_default()
        );
        let path = self.dir.join("rctr-monitor");
        fs::write(&path, script).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    pub fn command(&self, args: &[&str]) -> Running {
        let plain = self.env.command(args);
        let mut command = Command::new(self.dir.join("rctr"));
        command.env_clear().args(args);
        for (name, value) in plain.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        Running::start(command, Some(b""))
    }

    /// Whether what was to happen to a call has happened.
    pub fn has_met(&self) -> bool {
        let trace = fs::read_to_string(self.trace()).unwrap_or_default();
        let met = ["+++ killed by SIGKILL", "--- SIGSTOP", "(INJECTED)"];
        met.iter().any(|text| trace.contains(text))
    }

    /// Of the `calls` that a monitor makes in `life`, from its first one on, or from when its container runs: some of each
    /// kind, the first and the last among them.
    pub fn moments(
        &self,
        calls: &[&'static str],
        from: From,
        most: usize,
        life: impl FnOnce(),
    ) -> Vec<(&'static str, usize)> {
        // The one that says that the container runs is needed in any case.
        let traced = [calls, &["sendto"]].concat();
        self.inject(&traced.join(","), None);
        life();
        let trace = fs::read_to_string(self.trace()).expect("a trace");
        let lines: Vec<&str> = trace.lines().collect();
        let runs = lines.iter().position(|line| line.contains(LAUNCHED));
        let runs = runs.expect("the container runs");
        let mut moments = Vec::new();
        for &call in calls {
            let start = format!("{call}(");
            let is = |line: &&&str| line.starts_with(&start);
            let all = lines.iter().filter(is).count();
            let before = match from {
                From::Start => 0,
                From::Running => lines[..=runs].iter().filter(is).count(),
            };
            moments.extend(spread(before + 1, all, most).map(|number| (call, number)));
        }
        moments
    }
}

/// Where to begin.
#[derive(Clone, Copy)]
pub enum From {
    Start,
    Running,
}

/// At most so many of the numbers from `first` to `last`, at even distances.
fn spread(first: usize, last: usize, most: usize) -> impl Iterator<Item = usize> {
    let count = (last + 1).saturating_sub(first);
    let picked = count.min(most);
    (0..picked).map(move |index| first + index * (count - 1).max(1) / (picked - 1).max(1))
}
