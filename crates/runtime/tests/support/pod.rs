//! Namespaces for a pod's containers, let go whatever happens.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxNamespaceType;
use rctr_runtime::namespaces::{DIRECTORY, IdMap, IdMappings, PinRequest, Pinned, pin, unpin};

use super::Bundle;

pub struct Pod {
    _dir: tempfile::TempDir,
    pub path: PathBuf,
    pub pinned: Pinned,
    user: Option<IdMappings>,
}

impl Pod {
    pub fn new(request: &PinRequest<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DIRECTORY).join("pod");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let pinned = pin(&path, request).unwrap();
        Self {
            _dir: dir,
            path,
            pinned,
            user: request.user.clone(),
        }
    }

    /// Lets a container join.
    pub fn take_in(&self, bundle: &mut Bundle) {
        use LinuxNamespaceType::{Ipc, Network, User, Uts};
        bundle.join(Network, self.pinned.net.as_deref());
        bundle.join(Ipc, self.pinned.ipc.as_deref());
        bundle.join(Uts, self.pinned.uts.as_deref());
        bundle.spec.set_hostname(None);
        if let Some(shm) = &self.pinned.shm {
            bundle.bind(shm, "/dev/shm", &["rbind", "rw"]);
        }
        if let Some(user) = &self.user {
            bundle.join(User, self.pinned.user.as_deref());
            bundle.linux(|linux| {
                linux
                    .set_uid_mappings(Some(IdMap::listed(&user.uids)))
                    .set_gid_mappings(Some(IdMap::listed(&user.gids)));
            });
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        unpin(&self.path).unwrap();
    }
}

pub fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
