//! `rctr cri` under test, and the requests that a kubelet would send it.

mod calls;
mod crowd;
mod pod;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_cri::api;
use rctr_cri::api::image_service_client::ImageServiceClient;
use rctr_cri::api::runtime_service_client::RuntimeServiceClient;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

pub use self::crowd::{run_alone, run_in};
pub use self::pod::{Pod, limits, mount, secured, sharing};
use crate::{Env, EnvBuilder, wait_for, wait_for_some};

/// How long one request may take before the test fails.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// A running `rctr cri` with clients. When dropped it removes the pods that the test left, and ends.
pub struct Cri {
    env: Env,
    server: RefCell<Option<Child>>,
    io: Runtime,
    channel: Channel,
}

impl Default for Cri {
    fn default() -> Self {
        Self::new()
    }
}

impl Cri {
    /// One with the usual surroundings, and the bridge for its pods.
    pub fn new() -> Self {
        Self::with(Env::builder(), "")
    }

    /// One with lines for the `[cri]` table, which other tables may follow.
    pub fn with_config(lines: &str) -> Self {
        Self::with(Env::builder(), lines)
    }

    /// One over an rctr with something different.
    pub fn over(builder: EnvBuilder) -> Self {
        Self::with(builder, "")
    }

    fn with(builder: EnvBuilder, lines: &str) -> Self {
        // Not the CNI configuration of the machine, unless the test brings one.
        let bridge = match lines.contains("cni_conf_dir") {
            true => "",
            false => "cni_conf_dir = \"/nonexistent/cni\"\n",
        };
        let builder = builder.config(&format!("[cri]\n{bridge}{lines}\n"));
        let env = builder.build();
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("an async runtime");
        let channel = {
            let _inside = io.enter();
            Endpoint::from_shared(format!("unix://{}", socket_in(&env).display()))
                .expect("an address")
                .connect_lazy()
        };
        let cri = Self {
            env,
            server: RefCell::new(None),
            io,
            channel,
        };
        cri.start();
        cri
    }

    /// The rctr beneath.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Where it serves.
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.env)
    }

    /// The service's process id.
    pub fn pid(&self) -> i32 {
        let server = self.server.borrow();
        let id = server.as_ref().expect("it runs").id();
        i32::try_from(id).expect("a process id")
    }

    /// The processes that the service has started and not reaped, by whichever of its threads.
    pub fn children(&self) -> Vec<String> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid()));
        let lists = crate::entries(&tasks).into_iter().map(|task| {
            // A thread may end at any moment.
            std::fs::read_to_string(tasks.join(task).join("children")).unwrap_or_default()
        });
        let mut children: Vec<String> = lists
            .flat_map(|list| {
                list.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        children.sort();
        children
    }

    /// Starts the service and waits until it answers.
    pub fn start(&self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.env.path("cri.log"))
            .expect("a log");
        let mut command = self.env.command([
            "--debug".to_owned(),
            "cri".to_owned(),
            format!("--listen=unix://{}", self.socket().display()),
        ]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("rctr starts");
        *self.server.borrow_mut() = Some(child);
        wait_for("rctr cri to answer", || {
            if let Some(ended) = self.ended() {
                panic!("rctr cri ended: {ended}\n{}", self.log());
            }
            self.runtime(async |c| c.version(api::VersionRequest::default()).await)
                .is_ok()
        });
    }

    fn ended(&self) -> Option<String> {
        let mut server = self.server.borrow_mut();
        let ended = server.as_mut()?.try_wait().expect("a child");
        ended.map(|status| status.to_string())
    }

    /// What the service has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.env.path("cri.log")).unwrap_or_default()
    }

    /// Ends the service with a signal, and waits for its end. The pods go on.
    pub fn end(&self, signal: Signal) {
        let Some(mut server) = self.server.borrow_mut().take() else {
            return;
        };
        let pid = Pid::from_raw(i32::try_from(server.id()).expect("a process id"));
        // It may have ended by itself, which a test that cares has seen.
        let _ = kill(pid, signal);
        server.wait().expect("a child");
    }

    /// Kills the service and starts it again.
    pub fn restart(&self) {
        self.end(Signal::SIGKILL);
        self.start();
    }

    /// Sends a request to the RuntimeService.
    pub fn runtime<T>(
        &self,
        call: impl AsyncFnOnce(&mut RuntimeServiceClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        let mut client =
            RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(16 << 20);
        self.wait(call(&mut client)).map(Response::into_inner)
    }

    /// Sends a request to the ImageService.
    pub fn images<T>(
        &self,
        call: impl AsyncFnOnce(&mut ImageServiceClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        let mut client = ImageServiceClient::new(self.channel.clone());
        self.wait(call(&mut client)).map(Response::into_inner)
    }

    /// A client of its own, for requests at the same time.
    pub fn runtime_client(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone())
    }

    /// The same for images.
    pub fn image_client(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    /// Waits for something of the async world.
    ///
    /// # Panics
    /// When it takes longer than anything should.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.io.block_on(async {
            match tokio::time::timeout(REQUEST_LIMIT, work).await {
                Ok(done) => done,
                Err(_) => panic!("no answer in {REQUEST_LIMIT:?}\n{}", self.log()),
            }
        })
    }

    /// Waits until a container has ended: its status.
    pub fn wait_exit(&self, id: &str) -> api::ContainerStatus {
        wait_for_some(&format!("container {id} to end"), || {
            let status = self.status(id);
            (status.state() == api::ContainerState::ContainerExited).then_some(status)
        })
    }

    /// ExecSync of a shell script that must succeed: what it wrote, without the last newline.
    pub fn sh(&self, id: &str, script: &str) -> String {
        let done = self
            .try_exec(id, &["sh", "-c", script], 20)
            .unwrap_or_else(|e| self.fail(script, &e));
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        assert_eq!(done.exit_code, 0, "{script}: {out}{err}");
        out.trim_end_matches('\n').to_owned()
    }

    /// The file in a pod's log directory, once it contains `word`.
    pub fn wait_log(&self, path: &Path, word: &str) -> String {
        wait_for_some(&format!("{word:?} in {}", path.display()), || {
            let log = std::fs::read_to_string(path).ok()?;
            log.contains(word).then_some(log)
        })
    }

    /// A pod's configuration with a log directory of its own.
    pub fn pod_config(&self, name: &str) -> api::PodSandboxConfig {
        let logs = self.env.path("pods").join(name);
        std::fs::create_dir_all(&logs).expect("a log directory");
        api::PodSandboxConfig {
            metadata: Some(api::PodSandboxMetadata {
                name: name.into(),
                uid: format!("uid-{name}"),
                namespace: "default".into(),
                attempt: 0,
            }),
            hostname: name.into(),
            log_directory: logs.to_string_lossy().into_owned(),
            labels: map(&[("app", name)]),
            annotations: map(&[("note", "a/b")]),
            linux: Some(api::LinuxPodSandboxConfig::default()),
            ..Default::default()
        }
    }

    /// Waits until nothing of any pod is on the machine any more.
    ///
    /// # Panics
    /// When something stays.
    pub fn assert_no_leftovers(&self) {
        wait_for("nothing to be left of the pods", || {
            let left = self.env.leftovers();
            left.iter().all(|leak| leak.contains("rctr --debug cri "))
        });
    }

    fn fail(&self, what: &str, status: &Status) -> ! {
        let log = self.log();
        let skip = log.len().saturating_sub(4000);
        let tail = log.get(skip..).unwrap_or(&log);
        panic!("{what}: {:?}: {}\n{tail}", status.code(), status.message())
    }

    fn remove_all(&self) {
        if self.ended().is_some() || self.server.borrow().is_none() {
            self.start();
        }
        for pod in self.pods(None) {
            self.remove_pod(&pod.id);
        }
    }
}

impl Drop for Cri {
    fn drop(&mut self) {
        let cleaned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.remove_all()));
        self.end(Signal::SIGTERM);
        if cleaned.is_err() && !std::thread::panicking() {
            panic!("the pods cannot be removed");
        }
    }
}

/// An image by name or id.
pub fn image(name: &str) -> api::ImageSpec {
    api::ImageSpec {
        image: name.into(),
        ..Default::default()
    }
}

/// A container's configuration: a command in an image.
pub fn container(name: &str, image_name: &str, command: &[&str]) -> api::ContainerConfig {
    api::ContainerConfig {
        metadata: Some(api::ContainerMetadata {
            name: name.into(),
            attempt: 0,
        }),
        image: Some(image(image_name)),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        log_path: format!("{name}.log"),
        labels: map(&[("container", name)]),
        linux: Some(api::LinuxContainerConfig::default()),
        ..Default::default()
    }
}

/// A container's configuration: a shell script in busybox.
pub fn shell(name: &str, script: &str) -> api::ContainerConfig {
    container(name, "busybox", &["sh", "-c", script])
}

/// Words as a map.
pub fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A request with a deadline.
pub fn within<T>(deadline: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

/// The outcome must be a refusal with this code; gives its words.
pub fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code) -> String {
    match outcome {
        Err(status) if status.code() == code => status.message().to_owned(),
        other => panic!("{code:?} expected: {other:?}"),
    }
}

/// A shell command on the host that must succeed: what it printed.
pub fn host(script: &str) -> String {
    let done = Command::new("sh").args(["-c", script]).output();
    let done = done.expect("sh runs");
    assert!(done.status.success(), "{script}: {}", text(&done.stderr));
    text(&done.stdout).trim_end().to_owned()
}

fn socket_in(env: &Env) -> PathBuf {
    env.path("cri.sock")
}
