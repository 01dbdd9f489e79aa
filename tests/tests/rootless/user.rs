//! An ordinary user of the machine, made for one test, with an rctr of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Output, Running, Slot, rctr_binary, registry, tool, wait_for};
use tempfile::TempDir;

/// How many ids a user has besides its own.
pub const IDS: u32 = 65_536;

/// What the machine shows the user.
#[derive(Clone, Copy, Default)]
pub struct View {
    /// Programs that are not installed.
    pub without: &'static [&'static str],
    /// Programs that have lost what lets them do their work.
    pub powerless: &'static [&'static str],
    /// Whether users may open /dev/net/tun.
    pub no_tunnel: bool,
    /// What `unshare` is to make before rctr is started there, with directories of its own.
    pub within: &'static str,
    /// What is started; nothing: rctr.
    pub program: &'static str,
}

pub struct User {
    name: String,
    dir: TempDir,
    slot: Slot,
    pub uid: u32,
    pub first_id: Option<u32>,
}

impl User {
    /// A user with subordinate ids.
    pub fn new() -> Self {
        Self::make(true)
    }

    pub fn without_ids() -> Self {
        Self::make(false)
    }

    fn make(with_ids: bool) -> Self {
        let slot = Slot::take();
        let number = slot.subnet().network().octets()[2];
        let name = format!("rctrtest{number}");
        let _accounts = accounts();
        // Of a test that was killed.
        remove(&name);
        tool(
            "useradd",
            &["--no-create-home", "--shell", "/bin/sh", &name],
        );
        let uid = String::from_utf8(tool("id", &["-u", &name])).unwrap();
        let uid = uid.trim().parse().unwrap();
        // useradd has given it some, perhaps.
        let line = format!("{name}:{}:{IDS}", first_id(number));
        write_ranges(&name, if with_ids { &line } else { "" });
        let dir = tempfile::Builder::new()
            .prefix("rctr-user-")
            .tempdir()
            .unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let user = User {
            name,
            slot,
            uid,
            first_id: with_ids.then(|| first_id(number)),
            dir,
        };
        for name in ["home", "home/.config", "home/.config/rctr", "runtime"] {
            let path = user.path(name);
            fs::create_dir(&path).unwrap();
            chown(&path, Some(uid), Some(uid)).unwrap();
        }
        fs::set_permissions(user.path("runtime"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::create_dir(user.path("bin")).unwrap();
        let config = format!("[registry.\"docker.io\"]\nmirrors = [\"{}\"]\n", registry());
        fs::write(user.path("home/.config/rctr/config.toml"), config).unwrap();
        user
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the user other subordinate ids, by this line of /etc/subuid and /etc/subgid.
    pub fn set_ranges(&self, line: &str) {
        let _accounts = accounts();
        write_ranges(&self.name, line);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file of the user's.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path("home").join(name);
        fs::write(&path, text).unwrap();
        chown(&path, Some(self.uid), Some(self.uid)).unwrap();
        path
    }

    pub fn state(&self) -> PathBuf {
        self.path("runtime/rctr")
    }

    pub fn root(&self) -> PathBuf {
        self.path("home/.local/share/rctr")
    }

    /// A port for this test alone.
    pub fn port(&self, n: u16) -> u16 {
        20_000 + u16::from(self.slot.subnet().network().octets()[2]) * 10 + n
    }

    /// Another container gets /etc/passwd from the server in this one.
    pub fn reaches_page_of(&self, name: &str) {
        let format = "{{.NetworkSettings.IPAddress}}";
        let address = self.rctr(["inspect", "--format", format, name]);
        let url = format!("http://{}/passwd", address.ok().stdout());
        let page = self.rctr(["run", "--rm", "busybox", "wget", "-qO-", &url]);
        assert!(page.ok().stdout().contains("root:"));
    }

    pub fn rctr<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        self.rctr_with(View::default(), args)
    }

    /// `rctr ARGS…` as the user, on a machine that looks so.
    pub fn rctr_with<A: AsRef<OsStr>>(
        &self,
        view: View,
        args: impl IntoIterator<Item = A>,
    ) -> Output {
        Running::start(self.command(view, args), Some(b"")).finish()
    }

    /// In a mount namespace of its own: the binaries may be where the user cannot go, /dev/net/tun may be root's.
    pub fn command<A: AsRef<OsStr>>(
        &self,
        view: View,
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        let tunnel = self.path("tun");
        let mode = if view.no_tunnel { "600" } else { "666" };
        let mut script = format!(
            "mount --bind {} {}; rm -f {tun}; mknod -m {mode} {tun} c 10 200; mount --bind {tun} /dev/net/tun; ",
            rctr_binary().parent().unwrap().display(),
            self.path("bin").display(),
            tun = tunnel.display(),
        );
        for program in view.without {
            script += &format!(
                "for f in $(which -a {program}); do mount --bind /dev/null $(readlink -f $f); done; "
            );
        }
        for program in view.powerless {
            let copy = self.path(program);
            script += &format!(
                "f=$(readlink -f $(which {program})); cp $f {copy}; chmod 755 {copy}; mount --bind {copy} $f; ",
                copy = copy.display(),
            );
        }
        let within = match view.within {
            "" => String::new(),
            flags => format!(
                "RCTR_ROOT={home}/nest RCTR_STATE={home}/nest-state RCTR_CONFIG={home}/.config/rctr/config.toml unshare {flags}",
                home = self.path("home").display(),
            ),
        };
        script += &format!(
            "cd {home}; exec setpriv --reuid {uid} --regid {uid} --init-groups env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin \
             HOME={home} USER={name} XDG_RUNTIME_DIR={runtime} {within} {bin}/{program} \"$@\"",
            home = self.path("home").display(),
            uid = self.uid,
            name = self.name,
            runtime = self.path("runtime").display(),
            bin = self.path("bin").display(),
            program = if view.program.is_empty() {
                "rctr"
            } else {
                view.program
            },
        );
        let mut command = Command::new("unshare");
        let words = ["-m", "--propagation", "private", "sh", "-ec"];
        command.args(words).arg(script).arg("rctr").args(args);
        command
    }

    /// `rctr run -d ARGS…`: the pid of the container's first process.
    pub fn start(&self, args: &[&str]) -> i32 {
        let id = self.rctr([&["run", "-d"], args].concat()).ok().stdout();
        let pid = self.rctr(["inspect", "--format", "{{.State.Pid}}", &id]);
        pid.ok().stdout().parse().unwrap()
    }

    /// All processes that have one of the user's ids.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let ids = self.first_id.map(|first| first..first + IDS);
        let own = |uid: u32| uid == self.uid || ids.as_ref().is_some_and(|ids| ids.contains(&uid));
        let processes = rctr_tests::entries(Path::new("/proc"));
        let pids = processes.iter().filter_map(|name| name.parse::<i32>().ok());
        pids.filter(|pid| fs::metadata(format!("/proc/{pid}")).is_ok_and(|dir| own(dir.uid())))
            .map(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                (pid, String::from_utf8_lossy(&line).replace('\0', " "))
            })
            // Those that nobody has reaped yet have no words any more.
            .filter(|(_, line)| !line.is_empty())
            .collect()
    }
}

/// The kernel's name for a process's user.
pub fn uid_of(pid: i32) -> u32 {
    fs::metadata(format!("/proc/{pid}")).unwrap().uid()
}

fn first_id(number: u8) -> u32 {
    500_000_000 + u32::from(number) * IDS
}

/// The machine's list of users is changed by one test at a time.
fn accounts() -> Flock<File> {
    let file = File::create("/run/rctr-tests/accounts").unwrap();
    Flock::lock(file, FlockArg::LockExclusive).unwrap()
}

/// To be called while nobody else does.
fn write_ranges(name: &str, line: &str) {
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        let others = text.lines().filter(|other| {
            let own = other.split_once(':').is_some_and(|(user, _)| user == name);
            !own && !other.is_empty()
        });
        let own = Some(line).filter(|line| !line.is_empty());
        let lines = others.chain(own).map(|line| format!("{line}\n"));
        fs::write(file, lines.collect::<String>()).unwrap();
    }
}

fn remove(name: &str) {
    let known = Command::new("id").arg(name).output().unwrap();
    if known.status.success() {
        tool("userdel", &["--force", name]);
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let all = self.rctr(["ps", "--all", "--quiet", "--no-trunc"]);
        let ids = all.lines();
        if !ids.is_empty() {
            self.rctr(
                ["rm", "--force", "--volumes"]
                    .map(str::to_owned)
                    .into_iter()
                    .chain(ids),
            );
        }
        // The last container takes the keeper along, and pasta.
        let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("the user's processes to end", || {
                self.processes().is_empty()
            });
        }));
        let left = self.processes();
        for (pid, _) in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        let _accounts = accounts();
        remove(&self.name);
        if gone.is_err() && !std::thread::panicking() {
            panic!("left behind: {left:?}");
        }
    }
}
