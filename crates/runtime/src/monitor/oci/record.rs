//! What is kept of a container between two commands.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{ContainerState as Status, State};
use serde::{Deserialize, Serialize};

use super::{CgroupDriver, Result, SPEC_VERSION};
use crate::state::{self, ProcessId, STATE_FILE};

/// The content of `state.json`, written once the container exists.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub id: String,
    pub init: ProcessId,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    pub owner: u32,
    pub annotations: HashMap<String, String>,
    pub cgroup_driver: CgroupDriver,
    pub cgroup_path: PathBuf,
    pub own_pid_namespace: bool,
    pub no_new_keyring: bool,
}

impl Record {
    pub(super) fn exists(dir: &Path) -> bool {
        dir.join(STATE_FILE).is_file()
    }

    pub(super) fn load(dir: &Path) -> Result<Option<Self>> {
        state::load(&dir.join(STATE_FILE))
    }

    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        state::save(&dir.join(STATE_FILE), self)
    }

    pub(super) fn state(&self, status: Status) -> State {
        let pid = if status == Status::Stopped {
            0
        } else {
            self.init.pid
        };
        self.describe(status, pid)
    }

    fn describe(&self, status: Status, pid: i32) -> State {
        state_of(&self.id, status, pid, &self.bundle, &self.annotations)
    }
}

/// The specification's state of a container.
pub(super) fn state_of(
    id: &str,
    status: Status,
    pid: i32,
    bundle: &Path,
    annotations: &HashMap<String, String>,
) -> State {
    let mut state = State::default();
    state
        .set_version(SPEC_VERSION.to_owned())
        .set_id(id.to_owned())
        .set_status(status)
        .set_pid(Some(pid))
        .set_bundle(bundle.to_owned())
        .set_annotations(Some(annotations.clone()));
    state
}
