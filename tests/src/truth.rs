//! Whether what `ps` tells is so.

use std::time::{Duration, Instant};

use crate::Env;

/// How long what a killed command has begun may take to come to its end.
const SETTLES: Duration = Duration::from_secs(5);

impl Env {
    /// The ids and states that `ps -a` tells.
    pub fn containers(&self) -> Vec<(String, String)> {
        let listed = self.rctr(["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"]);
        let lines = listed.ok().lines().into_iter();
        lines
            .map(|line| {
                let (id, state) = line.split_once(' ').expect("an id and a state");
                (id.to_owned(), state.to_owned())
            })
            .collect()
    }

    /// What `ps -a` tells about the containers is so, or soon will be: a command that was killed may have sent a signal
    /// whose work is not yet done.
    ///
    /// # Panics
    /// When it is not.
    pub fn assert_truth(&self) {
        let deadline = Instant::now() + SETTLES;
        while let Some(lie) = self.find_lie() {
            assert!(Instant::now() < deadline, "{lie}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn find_lie(&self) -> Option<String> {
        self.containers().into_iter().find_map(|(id, state)| {
            let processes = self.processes_of(&id);
            let inspected = self.rctr(["inspect", "--format", "{{.State.Pid}}", &id]);
            let pid = inspected.stdout().parse().unwrap_or(0);
            let true_word = match state.as_str() {
                "running" => processes.contains(&pid),
                "created" | "exited" => processes.is_empty(),
                _ => false,
            };
            (!true_word)
                .then(|| format!("{id} is {state} as {pid}, its processes are {processes:?}"))
        })
    }
}
