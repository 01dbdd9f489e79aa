//! What a user's state directory says of its namespaces.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Result;
use super::error::RootlessError;
use crate::state::ProcessId;

/// Locked, shared, by all who are in the namespaces.
pub(super) const LOCK: &str = ".keeper.lock";
/// Locked while the keeper or the way outside is being made.
pub(super) const MAKING: &str = ".keeper.making";
const RECORD: &str = ".keeper";

/// Who keeps the namespaces, and what leads out of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The user on the host.
    pub uid: u32,
    pub keeper: ProcessId,
    pub single_id: bool,
    pub helper: Option<Helper>,
    /// What the kernel calls the user and the network namespace.
    #[serde(default)]
    pub inodes: (u64, u64),
}

/// pasta or slirp4netns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Helper {
    pub process: ProcessId,
    pub name_server: IpAddr,
}

impl Helper {
    /// Not by SIGTERM, which the first process of a PID namespace takes no notice of.
    pub(super) fn end(&self) {
        // It may have ended.
        let _ = self.process.signal(libc::SIGKILL);
    }
}

impl Record {
    /// The record, if its keeper lives.
    pub(super) fn of_living(state: &Path) -> Result<Option<Self>> {
        Ok(Self::load(state)?.filter(|record| record.keeper.is_alive()))
    }

    pub(super) fn load(state: &Path) -> Result<Option<Self>> {
        let path = state.join(RECORD);
        match fs::read(&path) {
            // Half of one is none: it is written anew.
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(RootlessError::file("read", &path)(e)),
        }
    }

    pub(super) fn save(&self, state: &Path) -> Result<()> {
        let path = state.join(RECORD);
        let new = state.join(".keeper.new");
        let json = serde_json::to_vec(self).map_err(io::Error::from);
        json.and_then(|json| fs::write(&new, json))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(RootlessError::file("write", &path))
    }

    pub(super) fn remove(state: &Path) {
        // Of a keeper that is gone nobody takes any notice.
        let _ = fs::remove_file(state.join(RECORD));
    }

    /// Where the kernel shows one of the keeper's namespaces.
    pub(super) fn path(&self, namespace: &str) -> String {
        format!("/proc/{}/ns/{namespace}", self.keeper.pid)
    }

    /// One of the keeper's namespaces, and of no other process that has got its pid.
    pub(super) fn namespace(&self, name: &str) -> Result<File> {
        let path = self.path(name);
        let opened = File::open(&path).map_err(RootlessError::file("open", path.as_ref()))?;
        match self.keeper.is_alive() {
            true => Ok(opened),
            false => Err(RootlessError::Namespace {
                step: "open the keeper's",
                source: io::ErrorKind::NotFound.into(),
            }),
        }
    }
}
