use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ipnet::{Ipv4Net, Ipv6Net};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_network::BridgeConfig;
use tempfile::TempDir;

use crate::{Output, Running, leaks, rctr_binary, registry, wait_for};

/// How long the kernel may take to remove what was let go: links go a moment after their namespace.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// A number that one test owns while it runs, over all processes on the machine: its bridge, subnet and cgroup.
pub struct Slot {
    pub(crate) number: u8,
    _lock: Flock<File>,
}

impl Slot {
    /// Takes the next free number.
    ///
    /// # Panics
    /// When all are taken.
    pub fn take() -> Self {
        let dir = Path::new("/run/rctr-tests");
        fs::create_dir_all(dir).expect("/run is writable");
        // Beginning at different places keeps a number, and with it a bridge, from being used again at once.
        let first = std::process::id() as u8;
        (0..=u8::MAX)
            .map(|n| n.wrapping_add(first))
            .find_map(|number| {
                let path = dir.join(number.to_string());
                let file = OpenOptions::new()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .open(path)
                    .ok()?;
                let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
                Some(Self {
                    number,
                    _lock: lock,
                })
            })
            .expect("a free slot in /run/rctr-tests")
    }

    /// Name of the bridge.
    pub fn bridge(&self) -> String {
        format!("rctrt{}", self.number)
    }

    /// Addresses of the containers; the first is the bridge's.
    pub fn subnet(&self) -> Ipv4Net {
        Ipv4Net::new_assert([10, 213, self.number, 0].into(), 24)
    }

    /// The same for IPv6, if the kernel has it.
    pub fn subnet_v6(&self) -> Option<Ipv6Net> {
        let prefix = [0xfd72, 0x6374, 0x7200, u16::from(self.number), 0, 0, 0, 0];
        rctr_network::kernel_has_ipv6().then(|| Ipv6Net::new_assert(prefix.into(), 64))
    }

    pub(crate) fn cgroup_name(number: u8) -> String {
        format!("rctr-test-{number}")
    }

    fn config(&self) -> BridgeConfig {
        BridgeConfig {
            name: self.bridge(),
            subnet: self.subnet(),
            subnet_v6: self.subnet_v6(),
            ..Default::default()
        }
    }
}

/// An rctr of its own for one test: directories, configuration, bridge, subnet, cgroup. See the crate's text.
pub struct Env {
    dir: TempDir,
    slot: Slot,
}

/// What an [`Env`] may have different.
#[derive(Default)]
pub struct EnvBuilder {
    mirror: Option<String>,
    cgroup_driver: Option<String>,
    config: String,
}

impl EnvBuilder {
    /// Takes `address` for Docker Hub instead of the shared registry: a [`crate::Proxy`], or one that does not answer.
    pub fn mirror(mut self, address: &str) -> Self {
        self.mirror = Some(address.to_owned());
        self
    }

    /// Who makes cgroups; without a word we do.
    pub fn cgroup_driver(mut self, driver: &str) -> Self {
        self.cgroup_driver = Some(driver.to_owned());
        self
    }

    /// Appends TOML tables to the configuration; `registry."docker.io"`, `network` and `cgroup` are there already.
    pub fn config(mut self, tables: &str) -> Self {
        self.config.push_str(tables);
        self
    }

    /// Makes the directories and the configuration file. Nothing is started.
    pub fn build(self) -> Env {
        let dir = tempfile::Builder::new()
            .prefix("rctr-test-")
            .tempdir()
            .expect("a temporary directory");
        let env = Env {
            dir,
            slot: Slot::take(),
        };
        // What a killed test may have left under this number.
        env.force_clean();
        for path in [env.root(), env.state(), env.home()] {
            fs::create_dir(path).expect("a new directory");
        }
        let mirror = self.mirror.unwrap_or_else(|| registry().to_owned());
        let v6 = env
            .slot
            .subnet_v6()
            .map(|net| format!("subnet_v6 = \"{net}\"\n"))
            .unwrap_or_default();
        let driver = self.cgroup_driver.as_deref().unwrap_or("cgroupfs");
        let parent = match driver {
            "systemd" => "system.slice".to_owned(),
            _ => format!("/{}", Slot::cgroup_name(env.slot.number)),
        };
        let text = format!(
            "[registry.\"docker.io\"]\nmirrors = [\"{mirror}\"]\n\n[network]\nbridge = \"{}\"\nsubnet = \"{}\"\n{v6}\n\
             [cgroup]\ndriver = \"{driver}\"\nparent = \"{parent}\"\n\n{}",
            env.slot.bridge(),
            env.slot.subnet(),
            self.config
        );
        fs::write(env.config_file(), text).expect("a configuration file");
        env
    }
}

impl Default for Env {
    fn default() -> Self {
        Self::new()
    }
}

impl Env {
    /// The usual one: the shared registry stands in for Docker Hub.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// One with something different.
    pub fn builder() -> EnvBuilder {
        EnvBuilder::default()
    }

    /// `--root`.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// `--state`.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// `--config`.
    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    /// `$HOME` of the commands: a `.docker/config.json` goes here.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A path for the test's own files, removed at the end.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Bridge and addresses of this rctr.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// `rctr ARGS…` ready to be started otherwise than by [`Env::rctr`]; its surroundings are set, nothing inherited
    /// but PATH.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(rctr_binary());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("RCTR_ROOT", self.root())
            .env("RCTR_STATE", self.state())
            .env("RCTR_CONFIG", self.config_file())
            .args(args);
        command
    }

    /// The cgroup that those of its containers are in, below each hierarchy's root.
    pub fn cgroup_parent(&self) -> String {
        Slot::cgroup_name(self.slot.number)
    }

    /// Runs `rctr ARGS…` to its end, with nothing on its standard input.
    pub fn rctr<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        Running::start(self.command(args), Some(b"")).finish()
    }

    /// Runs `rctr ARGS…` to its end, with `input` on its standard input.
    pub fn rctr_with_input<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Output {
        Running::start(self.command(args), Some(input)).finish()
    }

    /// Starts `rctr ARGS…` and leaves it running, with its standard input open.
    pub fn spawn<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Running {
        Running::start(self.command(args), None)
    }

    /// `rctr run --rm FLAGS… busybox sh -c SCRIPT`.
    pub fn sh(&self, flags: &[&str], script: &str) -> Output {
        let words = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat();
        self.rctr(words)
    }

    /// `rctr run --rm --network none IMAGE WORDS…`.
    pub fn run_alone(&self, words: &[&str]) -> Output {
        self.rctr([&["run", "--rm", "--network", "none"], words].concat())
    }

    /// `rctr run -d ARGS…`: the id it prints.
    pub fn run_detached<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        let mut command = self.command(["run", "-d"]);
        command.args(args);
        let id = Running::start(command, Some(b"")).finish().ok().stdout();
        let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(is_id, "run -d prints an id, not {id:?}");
        id
    }

    /// The one object that `rctr inspect NAME` prints.
    pub fn inspect(&self, name: &str) -> serde_json::Value {
        self.rctr(["inspect", name]).ok().json()[0].take()
    }

    /// Waits until the container has `status`: `running`, `exited`, ….
    pub fn wait_status(&self, name: &str, status: &str) {
        wait_for(&format!("{name} to be {status}"), || {
            self.rctr(["inspect", "--format", "{{.State.Status}}", name])
                .stdout()
                == status
        });
    }

    /// Waits until `rctr logs NAME` contains `text`.
    pub fn wait_log(&self, name: &str, text: &str) {
        wait_for(&format!("{text:?} in the log of {name}"), || {
            let logs = self.rctr(["logs", name]);
            logs.stdout().contains(text) || logs.stderr().contains(text)
        });
    }

    /// What of this rctr is on the machine now: mounts, links, cgroups, processes. The bridge and the parent cgroup
    /// stay while an rctr lives, and are not listed.
    pub fn leftovers(&self) -> Vec<String> {
        let bridge = format!("link {}", self.slot.bridge());
        let parent = format!("/{}", Slot::cgroup_name(self.slot.number));
        let mut found = leaks::of(self.dir.path(), &self.slot);
        found.retain(|leak| {
            *leak != bridge && !(leak.starts_with("cgroup ") && leak.ends_with(&parent))
        });
        found
    }

    /// Waits until nothing of this rctr is on the machine any more.
    ///
    /// # Panics
    /// When something stays.
    pub fn assert_no_leftovers(&self) {
        let left = self.await_gone();
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    }

    /// The cgroups of a container, by its complete id: one on v2, one for each controller on v1.
    pub fn cgroups_of(&self, id: &str) -> Vec<PathBuf> {
        let mut all = leaks::cgroups(self.slot.number);
        all.retain(|path| path.to_string_lossy().contains(id));
        all
    }

    /// The processes of a container, by its complete id.
    pub fn processes_of(&self, id: &str) -> Vec<i32> {
        let own = self.cgroups_of(id).into_iter();
        let mut pids: Vec<i32> = own
            .filter_map(|path| fs::read_to_string(path.join("cgroup.procs")).ok())
            .flat_map(|list| list.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| line.parse().ok())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// The monitor of a container, by its complete id, as soon and as long as its state directory names one.
    pub fn monitor_of(&self, id: &str) -> Option<i32> {
        let state = fs::read(self.state().join(id).join("state.json")).ok()?;
        let state: serde_json::Value = serde_json::from_slice(&state).ok()?;
        state["monitor"]["pid"].as_i64()?.try_into().ok()
    }

    /// Published ports of this rctr in the firewall, as nft prints them.
    pub fn published(&self) -> Vec<String> {
        let target = format!(
            " : {}",
            self.slot
                .subnet()
                .network()
                .to_string()
                .trim_end_matches('0')
        );
        let listed = Command::new("nft")
            .args(["list", "table", "inet", "rctr"])
            .output();
        let text = listed.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        let elements = text.unwrap_or_default();
        elements
            .split([',', '{', '}', '\n'])
            .filter(|element| element.contains(&target))
            .map(|element| element.trim().to_owned())
            .collect()
    }

    fn await_gone(&self) -> Vec<String> {
        let deadline = Instant::now() + GONE_LIMIT;
        loop {
            let left = self.leftovers();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn remove_containers(&self) -> Vec<String> {
        if fs::read_dir(self.root()).map_or(true, |mut entries| entries.next().is_none()) {
            return Vec::new();
        }
        let list = self.rctr(["ps", "--all", "--quiet", "--no-trunc"]);
        if list.status() != 0 {
            return vec![format!("ps failed: {}", list.stderr())];
        }
        let ids = list.lines();
        if ids.is_empty() {
            return Vec::new();
        }
        let removed = self.rctr(
            ["rm", "--force", "--volumes"]
                .into_iter()
                .map(str::to_owned)
                .chain(ids),
        );
        if removed.status() == 0 {
            Vec::new()
        } else {
            vec![format!("rm -f failed: {}", removed.stderr())]
        }
    }

    /// The networks that the test made, with their bridges.
    fn remove_networks(&self) -> Vec<String> {
        // Only who ran a container on one has a bridge.
        if !self.state().join("dns.lock").exists() {
            return Vec::new();
        }
        let removed = self.rctr(["network", "prune", "--force"]);
        match removed.status() {
            0 => Vec::new(),
            _ => vec![format!("network prune failed: {}", removed.stderr())],
        }
    }

    /// Takes away what is left by force, so that one test's fault is not the next one's.
    fn force_clean(&self) {
        let name = self.dir.path().to_string_lossy().into_owned();
        for (pid, _) in leaks::processes_naming(&name) {
            // Any of these may be gone by now: that is what is wanted.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for leak in leaks::of(self.dir.path(), &self.slot).iter().rev() {
            if let Some(point) = leak.strip_prefix("mount ") {
                let _ = umount2(point, MntFlags::MNT_DETACH);
            }
        }
        let _ = rctr_network::remove_bridge(&self.slot.config());
        for cgroup in leaks::cgroups(self.slot.number) {
            for pid in fs::read_to_string(cgroup.join("cgroup.procs"))
                .unwrap_or_default()
                .lines()
            {
                let _ = pid
                    .parse()
                    .map(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL));
            }
            let deadline = Instant::now() + GONE_LIMIT;
            while fs::remove_dir(&cgroup).is_err() && cgroup.exists() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        let mut problems = self.remove_containers();
        problems.extend(self.remove_networks());
        problems.extend(
            self.await_gone()
                .into_iter()
                .map(|leak| format!("left behind: {leak}")),
        );
        self.force_clean();
        let stays = leaks::of(self.dir.path(), &self.slot);
        problems.extend(
            stays
                .into_iter()
                .map(|leak| format!("cannot be removed: {leak}")),
        );
        if problems.is_empty() {
            return;
        }
        let problems = problems.join("\n");
        if std::thread::panicking() {
            eprintln!("{problems}");
        } else {
            panic!("{problems}");
        }
    }
}
