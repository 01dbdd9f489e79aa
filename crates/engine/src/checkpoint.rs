//! A running container in an archive, as a kubelet asks for one: its processes, what it changed in its image's files, and
//! what it was made of, under the names that other engines and their tools know.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rctr_runtime::cgroup::Cgroup;
use rctr_runtime::checkpoint::{Dump, Settings, dump};
use rctr_store::{write_tree_archive, write_upper_archive};
use serde_json::json;

use crate::model::{Container, Status};
use crate::{Engine, Error, Result, settle, spec};

/// The directory of what CRIU writes.
const IMAGES: &str = "checkpoint";
/// The container's configuration.
const SPEC: &str = "spec.dump";
/// What it was made of.
const CONFIG: &str = "config.dump";
/// What it changed, as a layer.
const CHANGES: &str = "rootfs-diff.tar";

/// When a checkpoint must be there, and how long that was at first.
#[derive(Clone, Copy)]
struct Limit(Option<Duration>, Option<Instant>);

impl Limit {
    fn from_now(patience: Option<Duration>) -> Limit {
        let end = patience.and_then(|patience| Instant::now().checked_add(patience));
        Limit(patience, end)
    }

    fn check(self) -> Result<()> {
        match (self.0, self.1) {
            (Some(patience), Some(end)) if Instant::now() >= end => Err(Error::CheckpointLate {
                seconds: patience.as_secs(),
            }),
            _ => Ok(()),
        }
    }
}

impl Engine {
    /// Writes a running container to an archive, a file that only its owner may read; the container goes on. Once
    /// `patience` is over there will be no archive: this gives up as soon as the container can be let go on.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::CheckpointLate`]; [`rctr_runtime::Error::MissingCriu`] and [`rctr_runtime::Error::Checkpoint`];
    /// [`Error::File`], [`Error::Store`]. There is no archive then.
    pub fn checkpoint(&self, name: &str, archive: &Path, patience: Option<Duration>) -> Result<()> {
        let limit = Limit::from_now(patience);
        let container = self.container(name)?;
        if container.state.status != Status::Running {
            return Err(Error::NotRunning { id: container.id });
        }
        let dir = self.store.container_dir(&container.id)?;
        let stage = tempfile::Builder::new()
            .prefix("checkpoint-")
            .tempdir_in(&dir);
        let stage = stage.map_err(Error::file("create", &dir))?;
        let spec = dir.join("config.json");
        self.dump(&container, &spec, stage.path(), limit)?;
        fs::copy(&spec, stage.path().join(SPEC)).map_err(Error::file("copy", &spec))?;
        let config = stage.path().join(CONFIG);
        let origin = self.origin(&container).to_string();
        fs::write(&config, origin).map_err(Error::file("write", &config))?;
        let root = File::open(stage.path()).map_err(Error::file("open", stage.path()))?;
        let written = write(archive, |to| Ok(write_tree_archive(root.as_fd(), to)?));
        let written = written.and_then(|()| limit.check());
        written.inspect_err(|_| {
            // The first error is the one to tell.
            let _ = fs::remove_file(archive);
        })
    }

    fn dump(&self, container: &Container, spec: &Path, stage: &Path, limit: Limit) -> Result<()> {
        let parsed = spec::load(spec)?;
        let (driver, path) = (
            settle::driver_of(container),
            Path::new(&container.cgroup_path),
        );
        let mut settings = Settings::new(&stage.join(IMAGES));
        settings.work = stage.to_owned();
        // As others do: whether that can be restored is the restorer's to see.
        settings.tcp_established = true;
        settings.external_unix_sockets = true;
        settings.file_locks = true;
        settings.link_remap = true;
        settings.patience = limit.0;
        let mut failed = None;
        let dumped = dump(
            &Dump {
                settings: &settings,
                pid: container.state.pid,
                spec: &parsed,
                cgroup: &Cgroup::open(driver, path)?,
                leave_running: true,
            },
            &mut || {
                let changed = limit.check().and_then(|()| self.changed(container));
                let written = changed.and_then(|(upper, skip)| {
                    write(&stage.join(CHANGES), |to| {
                        Ok(write_upper_archive(&upper, &skip, to)?)
                    })
                });
                written.map_err(|e| failed = Some(e)).is_ok()
            },
        );
        match failed {
            Some(error) => Err(error),
            None => Ok(dumped?),
        }
    }

    fn origin(&self, container: &Container) -> serde_json::Value {
        let named = container.pod.as_ref().map(|member| &member.options.name);
        json!({
            "id": container.id,
            "name": named.unwrap_or(&container.name),
            "rootfsImage": container.image_name,
            "rootfsImageRef": container.image_id,
            "rootfsImageName": container.image_name,
            "runtime": container.options.runtime.as_deref().unwrap_or("rctr"),
            "createdTime": container.created,
            "checkpointedTime": crate::time::now(),
            "restoredTime": "0001-01-01T00:00:00Z",
            "restored": false,
        })
    }
}

/// Writes a file that only its owner may read.
fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path).map_err(Error::file("create", path))?;
    let mut file = BufWriter::new(file);
    content(&mut file)?;
    file.flush().map_err(Error::file("write", path))
}
