use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// A mount that a test made; gone, with all below it, when dropped.
pub struct Mounted(PathBuf);

impl Mounted {
    /// A tmpfs of this size, such as `2m`.
    ///
    /// # Panics
    /// When it cannot be mounted; so do the others.
    pub fn tmpfs(at: &Path, size: &str) -> Self {
        Self::call(
            Some("tmpfs"),
            at,
            MsFlags::empty(),
            Some(&format!("size={size}")),
        );
        Self(at.to_owned())
    }

    /// Gives a tmpfs another size.
    pub fn resize(&self, size: &str) {
        let options = format!("size={size}");
        Self::call(Some("tmpfs"), &self.0, MsFlags::MS_REMOUNT, Some(&options));
    }

    /// A new ext4 of so many bytes, in the file `image` behind a loop device.
    pub fn ext4(at: &Path, image: &Path, size: u64) -> Self {
        File::create(image)
            .and_then(|file| file.set_len(size))
            .expect("a file");
        let mut make = Command::new("mkfs.ext4");
        let mut mount = Command::new("mount");
        make.arg("-q").arg(image);
        mount.args(["-o", "loop"]).args([image, at]);
        for command in [&mut make, &mut mount] {
            let done = command.output().expect("e2fsprogs and mount are installed");
            assert!(done.status.success(), "{done:?}");
        }
        Self(at.to_owned())
    }

    /// A directory on itself, so that what is mounted below it later is passed on to those who look.
    pub fn shared(dir: &Path) -> Self {
        let at = dir.to_str().expect("a path in UTF-8");
        Self::call(Some(at), dir, MsFlags::MS_BIND, None);
        Self::call(None, dir, MsFlags::MS_SHARED, None);
        Self(dir.to_owned())
    }

    fn call(source: Option<&str>, at: &Path, flags: MsFlags, options: Option<&str>) {
        let kind = options.map(|_| "tmpfs");
        mount(source, at, kind, flags, options).expect("root may mount");
    }
}

/// Runs `work`, and the commands it starts, where nobody else sees what it mounts.
///
/// # Panics
/// When there can be no such place.
pub fn unseen<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let done = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            let none = None::<&str>;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(none, "/", none, private, none).expect("mounts of our own");
            work()
        });
        worker.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).expect("it is mounted");
    }
}
