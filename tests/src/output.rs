use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// How long one command may take before the test fails.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// How long something may hold a finished command's output open.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// A finished command: what it was, how it ended, what it printed. The checks panic with all of that, and can be chained.
#[derive(Debug, Clone)]
pub struct Output {
    command: String,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    took: Duration,
}

impl Output {
    /// The exit status, 128 + n for a process that signal n killed.
    pub fn status(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Standard output without the last newline.
    pub fn stdout(&self) -> String {
        trimmed(&self.stdout)
    }

    /// Standard output as it came.
    pub fn stdout_bytes(&self) -> &[u8] {
        &self.stdout
    }

    /// Standard error without the last newline.
    pub fn stderr(&self) -> String {
        trimmed(&self.stderr)
    }

    /// The lines of standard output.
    pub fn lines(&self) -> Vec<String> {
        self.stdout().lines().map(str::to_owned).collect()
    }

    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.stdout) {
            Ok(value) => value,
            Err(error) => self.fail(&format!("JSON on standard output ({error})")),
        }
    }

    /// How long the command took.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The status must be 0.
    pub fn ok(&self) -> &Self {
        self.exits(0)
    }

    /// The status must be `code`.
    pub fn exits(&self, code: i32) -> &Self {
        self.check(self.status() == code, &format!("status {code}"))
    }

    /// Standard output, without the last newline, must be `text`.
    pub fn stdout_is(&self, text: &str) -> &Self {
        self.check(self.stdout() == text, &format!("standard output {text:?}"))
    }

    /// Standard output must contain `text`.
    pub fn stdout_has(&self, text: &str) -> &Self {
        self.check(
            self.stdout().contains(text),
            &format!("{text:?} in standard output"),
        )
    }

    /// Standard output must not contain `text`.
    pub fn stdout_lacks(&self, text: &str) -> &Self {
        self.check(
            !self.stdout().contains(text),
            &format!("no {text:?} in standard output"),
        )
    }

    /// Standard error must contain `text`.
    pub fn stderr_has(&self, text: &str) -> &Self {
        self.check(
            self.stderr().contains(text),
            &format!("{text:?} in standard error"),
        )
    }

    /// Standard error must be empty.
    pub fn quiet(&self) -> &Self {
        self.check(self.stderr.is_empty(), "nothing on standard error")
    }

    /// The command must have failed with `code` and exactly one line of standard error, `rctr: …`, that names `thing`.
    pub fn refused(&self, code: i32, thing: &str) -> &Self {
        self.exits(code).one_error(thing)
    }

    /// Standard error must hold exactly one line that starts with `rctr: `, and it must contain `thing`.
    pub fn one_error(&self, thing: &str) -> &Self {
        let errors: Vec<_> = self
            .stderr()
            .lines()
            .filter(|line| line.starts_with("rctr: "))
            .map(str::to_owned)
            .collect();
        let holds = matches!(errors.as_slice(), [line] if line.contains(thing));
        self.check(holds, &format!("one line `rctr: …` that names {thing:?}"))
    }

    fn check(&self, holds: bool, wanted: &str) -> &Self {
        if !holds {
            self.fail(wanted);
        }
        self
    }

    fn fail(&self, wanted: &str) -> ! {
        panic!(
            "wanted: {wanted}\ncommand: {}\nstatus: {} after {:?}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.command,
            self.status(),
            self.took,
            self.stdout(),
            self.stderr()
        );
    }
}

fn trimmed(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

/// A command that runs beside the test. Dropped before it ended, it is killed.
pub struct Running {
    command: String,
    child: Child,
    outputs: [Receiver<Vec<u8>>; 2],
    started: Instant,
}

impl Running {
    /// Starts `command` with `input` on its standard input: `Some(b"")` closes it at once, `None` keeps it open
    /// until [`Running::close_stdin`].
    pub fn start(mut command: Command, input: Option<&[u8]>) -> Self {
        let shown = format!("{command:?}");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        let outputs = [
            drain(child.stdout.take().expect("stdout is a pipe")),
            drain(child.stderr.take().expect("stderr is a pipe")),
        ];
        if let Some(input) = input {
            let mut stdin = child.stdin.take().expect("stdin is a pipe");
            let input = input.to_owned();
            // A command that ends without reading all of its input is not the harness's business.
            thread::spawn(move || stdin.write_all(&input));
        }
        Self {
            command: shown,
            child,
            outputs,
            started,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        // It may be gone already: then there is nothing to send to.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal);
    }

    /// Writes to its standard input.
    pub fn write(&mut self, data: &[u8]) {
        let stdin = self
            .child
            .stdin
            .as_mut()
            .expect("standard input is still open");
        stdin
            .write_all(data)
            .and_then(|()| stdin.flush())
            .expect("the command reads its input");
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// True while it has not ended.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends, however it does.
    ///
    /// # Panics
    /// When it takes too long, or left a process behind that holds its output open.
    pub fn finish(mut self) -> Output {
        let deadline = self.started + COMMAND_LIMIT;
        let mut pause = Duration::from_millis(1);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "{} hangs (after {COMMAND_LIMIT:?})",
                self.command
            );
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        let took = self.started.elapsed();
        let [stdout, stderr] = self.outputs.each_ref().map(|output| {
            let whole = output.recv_timeout(DRAIN_LIMIT);
            whole.unwrap_or_else(|_| {
                panic!(
                    "{} has ended, but something holds its output open",
                    self.command
                )
            })
        });
        Output {
            command: self.command.clone(),
            status,
            stdout,
            stderr,
            took,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.alive() {
            // Both fail only for a process that is gone.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn drain(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        // A read error ends the output, as its end does.
        let _ = from.read_to_end(&mut all);
        send.send(all)
    });
    receive
}
