//! The container lifecycle, once, for every front door.
//!
//! [`Engine`] joins the crates of the floors below: it resolves an image through the store (pulling it with the
//! registry client when it is missing), allocates an address, writes an OCI bundle and asks a monitor to run it.
//! The command line, the CRI server and the builder all walk this road.
#![deny(missing_docs)]

mod apparmor;
mod attached;
mod changes;
mod check;
mod checkpoint;
mod commit;
pub mod config;
mod container_files;
mod copy;
mod cp;
mod cp_paths;
mod create;
mod dns;
mod endpoint;
mod error;
mod events;
mod exec;
mod files;
mod first_process;
mod health;
mod history;
mod image;
mod image_fs;
mod info;
pub mod inspect;
mod isolation;
mod lifecycle;
mod lock;
mod log_driver;
pub mod login;
mod logs;
pub mod manifest;
pub mod model;
mod mounts;
mod names;
pub mod network;
mod new_file;
pub mod options;
mod pause;
pub mod pod;
mod prune;
mod pull;
mod push;
mod quota;
mod rename;
mod resolve;
mod restart;
mod rootfs_view;
pub mod rootless;
mod runtimes;
mod selinux;
mod settle;
mod spec;
mod start;
mod stats;
mod step;
mod sweep;
mod tag;
mod time;
mod top;
mod update;
mod user;
mod volumes;
mod wait;

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, RwLock};
use std::time::Instant;

use rctr_runtime::cgroup::CgroupDriver;
use rctr_store::Store;

pub use changes::{Change, ChangeKind};
pub use check::Problem;
pub use commit::{CommitRequest, ImportRequest};
pub use config::Config;
pub use copy::{
    ArchiveFormat, CachePlace, CopyOptions, ImageArchive, KeptCache, LoadOptions, LoadSource,
    LoadedImage,
};
pub use cp::{Copied, CopyFlags, CopySource, CopyTarget, check_output};
pub use create::Created;
pub use error::{CopyError, Error, ImageError, NetworkError, Result, chain};
pub use events::{
    ContainerEvent, Event, EventFilter, Events, ImageEvent, PodChange, PodEvent, PodEvents,
};
pub use exec::ExecSession;
pub use history::HistoryLine;
pub use image::{Image, ImageRemoval, ImageSummary, RemoveImage};
pub use image_fs::ImageFs;
pub use info::{
    ClientInfo, Commit, DiskUsage, Index, Info, Plugins, RegistryConfig, RuntimeInfo, Swarm,
    UsageLine, VersionInfo,
};
pub use lifecycle::{RemoveOptions, StopOptions};
pub use log_driver::run_log_driver;
pub use logs::{LogOptions, Logs};
pub use new_file::{NewFile, settle_umask};
pub use prune::{PrunedContainers, PrunedImages, parse_time};
pub use pull::{PulledImage, RemoteImage};
pub use push::{PushLayer, PushOptions, PushProgress, PushedImage};
pub use rctr_registry_client::{Account, PushEvent};
pub use rctr_registry_client::{LayerEvent, Progress as PullProgress, PulledLayer};
pub use rctr_runtime::logs::{LogEntry, Stream as LogStream, format_time};
pub use rctr_runtime::{AttachEvent, AttachStream, ExitStatus, WindowSize};
pub use rctr_store::{CacheFilter, CacheUsage, Compression, sum};
pub use selinux::SelinuxLabels;
pub use start::{RunError, Started, Streams};
pub use stats::Sample;
pub use step::{Step, StepEnd, StepLabels, StepRunner};
pub use top::Top;
pub use update::Update;
pub use volumes::{PrunedVolumes, Volume, VolumeRequest};
pub use wait::WaitCondition;

/// One root directory with its images and containers.
pub struct Engine {
    config: Config,
    store: Store,
    facts: OnceLock<spec::HostFacts>,
    layer_inodes: image_fs::LayerInodes,
    /// Held for reading by who attaches pods to networks, for writing by who collects what is attached no more.
    attaching: RwLock<()>,
    /// When it was last looked for what killed commands have left.
    swept: Mutex<Option<Instant>>,
}

impl Engine {
    /// Opens the store, making it if it is not there.
    ///
    /// # Errors
    /// [`Error::Store`] if the directory cannot be used.
    pub fn open(config: Config) -> Result<Engine> {
        let store = Store::open(&config.root)?;
        Ok(Engine {
            config,
            store,
            facts: OnceLock::new(),
            layer_inodes: Default::default(),
            attaching: RwLock::default(),
            swept: Mutex::default(),
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn facts(&self) -> &spec::HostFacts {
        self.facts.get_or_init(|| {
            let mut facts = spec::HostFacts::gather();
            facts.selinux &= self.config.settings.security.selinux;
            facts
        })
    }

    /// Who makes the containers' cgroups.
    pub fn cgroup_driver(&self) -> CgroupDriver {
        self.config.settings.cgroup.driver_in_force()
    }

    /// `rctr-monitor`: beside this program, or in `../libexec/rctr` of it.
    fn monitor_path(&self) -> Result<PathBuf> {
        monitor_path()
    }
}

/// This program's file. The kernel does not know its path any more once an ordinary user's command has another mount
/// namespace.
fn program() -> Result<PathBuf> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if let Some(known) = PROGRAM.get() {
        return Ok(known.clone());
    }
    let found = std::env::current_exe().map_err(Error::file("find", "/proc/self/exe".as_ref()))?;
    Ok(PROGRAM.get_or_init(|| found).clone())
}

fn monitor_path() -> Result<PathBuf> {
    let exe = program()?;
    let dir = exe.parent().unwrap_or("/".as_ref());
    let looked = vec![
        dir.join("rctr-monitor"),
        dir.join("../libexec/rctr/rctr-monitor"),
    ];
    match looked.iter().find(|path| path.exists()) {
        Some(path) => Ok(path.clone()),
        None => Err(Error::MonitorMissing { looked }),
    }
}

/// The short form of a canonical name: `docker.io/library/nginx:latest` becomes `nginx:latest`.
pub fn familiar_name(canonical: &str) -> String {
    match rctr_registry_client::parse_reference(canonical) {
        Ok(reference) => rctr_registry_client::familiar_name(&reference),
        Err(_) => canonical.into(),
    }
}
