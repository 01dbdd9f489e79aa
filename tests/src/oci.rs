//! Bundles for an OCI runtime, made of busybox, and `rctr-oci` on them.

use std::fs;
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

use crate::output::{Output, Running};
use crate::rctr_binary;
use crate::tools::{parsed, text};

/// What a bundle's root filesystem has in /bin.
const PROGRAMS: &[&str] = &[
    "sh", "cat", "echo", "env", "grep", "id", "ls", "mount", "pwd", "readlink", "sleep", "stat",
    "stty", "test", "touch", "true", "tty",
];

/// A directory with a bundle, the state of an OCI runtime, and the containers that a test makes there.
pub struct Bundle {
    dir: tempfile::TempDir,
    /// The configuration, written before each command that reads it.
    pub config: Value,
}

impl Default for Bundle {
    fn default() -> Self {
        Self::new(&["true"])
    }
}

/// Where `rctr-oci` was built.
pub fn oci_binary() -> PathBuf {
    rctr_binary().with_file_name("rctr-oci")
}

impl Bundle {
    /// A bundle for this command, without a terminal, as `rctr-oci spec` writes it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let bin = dir.path().join("rootfs/bin");
        fs::create_dir_all(&bin).expect("a directory");
        fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static");
        for name in PROGRAMS {
            symlink("busybox", bin.join(name)).expect("a link");
        }
        let mut spec = Command::new(oci_binary());
        crate::run(spec.args(["spec", "--bundle"]).arg(dir.path()));
        let written = fs::read(dir.path().join("config.json")).expect("config.json");
        let mut config = parsed(&written);
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = args.into();
        config["root"]["readonly"] = false.into();
        // One of its own: that of an id would be shared with other tests.
        let name = dir.path().file_name().expect("a name").to_string_lossy();
        config["linux"]["cgroupsPath"] =
            format!("/rctr-oci-{}", name.trim_start_matches('.')).into();
        Self { dir, config }
    }

    /// A path below the bundle.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `rctr-oci --root … WORDS…`, to be run in the bundle.
    ///
    /// # Panics
    /// When the configuration cannot be written.
    pub fn command(&self, words: &[&str]) -> Command {
        let file = self.path("config.json");
        fs::write(&file, self.config.to_string()).expect("config.json");
        let mut command = Command::new(oci_binary());
        command.arg("--root").arg(self.path("state")).args(words);
        command.current_dir(self.dir.path());
        command
    }

    /// The same, run.
    pub fn oci(&self, words: &[&str]) -> Output {
        Running::start(self.command(words), None).finish()
    }

    /// `.status` of `rctr-oci state`.
    ///
    /// # Panics
    /// When there is no such container.
    pub fn status(&self, id: &str) -> String {
        let state = self.oci(&["state", id]).ok().json();
        state["status"].as_str().expect("a status").to_owned()
    }

    /// Puts the container, whose root filesystem that is then, into a user namespace: its root is this user of the host's.
    ///
    /// # Panics
    /// When the bundle cannot be given to it.
    pub fn in_user_namespace(&mut self, first: u32) {
        let mapping = json!([{"containerID": 0, "hostID": first, "size": 1000}]);
        let linux = &mut self.config["linux"];
        let namespaces = linux["namespaces"].as_array_mut();
        namespaces.expect("a list").push(json!({"type": "user"}));
        linux["uidMappings"] = mapping.clone();
        linux["gidMappings"] = mapping;
        let everybody = fs::Permissions::from_mode(0o755);
        for place in ["", "rootfs", "rootfs/bin"] {
            fs::set_permissions(self.path(place), everybody.clone()).expect("permissions");
        }
        let root = self.path("rootfs");
        std::os::unix::fs::chown(root, Some(first), Some(first)).expect("an owner");
    }

    /// Shows the container the host's /usr, so that programs from there run in it.
    ///
    /// # Panics
    /// When the root filesystem has a /lib already.
    pub fn with_usr(&mut self) {
        self.bind(Path::new("/usr"), "/usr", &["ro"]);
        for name in ["lib", "lib64"] {
            symlink(format!("usr/{name}"), self.path("rootfs").join(name)).expect("a link");
        }
    }

    /// Mounts a place of the host in the container.
    ///
    /// # Panics
    /// When the configuration has no list of mounts.
    pub fn bind(&mut self, source: &Path, destination: &str, options: &[&str]) {
        let options = [&["rbind"], options].concat();
        let mount = json!({
            "destination": destination, "type": "bind", "source": text(source), "options": options,
        });
        let mounts = self.config["mounts"].as_array_mut();
        mounts.expect("a list").push(mount);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let state = self.path("state");
        for id in crate::entries(&state) {
            if !id.starts_with('.') {
                self.oci(&["delete", "--force", &id]);
            }
        }
        let left = crate::entries(&state);
        if !std::thread::panicking() {
            let left: Vec<_> = left.iter().filter(|name| !name.starts_with('.')).collect();
            assert!(left.is_empty(), "containers are left: {left:?}");
        }
    }
}

/// A descriptor from whoever connects.
///
/// # Panics
/// When none comes.
pub fn receive(listener: &UnixListener) -> OwnedFd {
    let (socket, _) = listener.accept().expect("a connection");
    let mut byte = [0; 64];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags);
    let message = message.expect("a message");
    let mut items = message.cmsgs().expect("room");
    let Some(ControlMessageOwned::ScmRights(fds)) = items.next() else {
        panic!("no descriptor came");
    };
    // SAFETY: the kernel has just made it for us.
    unsafe { OwnedFd::from_raw_fd(fds[0]) }
}

/// Reads what a terminal shows until `wanted` is among it.
///
/// # Panics
/// When it shows something else, and no more.
pub fn shown_by(master: &OwnedFd, wanted: &str) {
    let mut terminal = fs::File::from(master.try_clone().expect("a descriptor"));
    let mut all = String::new();
    let mut buffer = [0; 1024];
    while !all.contains(wanted) {
        let count = terminal.read(&mut buffer).unwrap_or(0);
        assert!(count > 0, "it has shown {all:?}");
        all += &String::from_utf8_lossy(&buffer[..count]);
    }
}
